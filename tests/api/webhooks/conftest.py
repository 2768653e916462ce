"""A house of their own for the tests of webhooks: its runner may send messages to this machine, and tries again at once.

The receiver is a socket that answers as a test says; everything else is what runs in production.
"""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from tests.api.apps import app
from tests.api.webhooks.hooking import QUICK
from tests.services import Services, fresh_database, running_services
from tests.webhook_receiver import Receiver, receiving

from daybook.settings import Settings
from daybook_local.nats import EmbeddedNats
from daybook_local.postgres import EmbeddedPostgres

_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def services(postgres: EmbeddedPostgres, template_database: str, session_folder: Path) -> AsyncIterator[Services]:
    """An API, a scheduler and a runner that may send messages to this machine, and tries again at once."""
    nats = EmbeddedNats(session_folder / "nats-of-the-webhooks")
    nats.start()
    try:
        async with fresh_database(postgres, template_database) as url:
            settings = Settings(database_url=url, nats_url=nats.url, http_allow="127.0.0.1/32")
            async with running_services(settings, app) as running:
                running.api.gateway.deliveries.policy = QUICK
                yield running
    finally:
        nats.stop()


@pytest.fixture
def owner() -> str:
    """Somebody new."""
    return f"hooked-{next(_numbers)}"


@pytest_asyncio.fixture(loop_scope="session")
async def client(services: Services, owner: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Their client."""
    async with services.client(await services.token(owner)) as connected:
        yield connected


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[Receiver]:
    """Somebody who wants to hear."""
    async with receiving() as opened:
        yield opened
