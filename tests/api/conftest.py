"""Fixtures of the API's tests: one set of real services for all of them, and for each test an owner of its own, who sees nobody else's tasks."""

import itertools
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
import structlog

# The services are shared with other tests, by their full name.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.api.apps import Gate, app, gates
from tests.api.bad import STRICT
from tests.services import Services, fresh_database, running_services

from daybook.settings import Settings
from daybook_local.nats import EmbeddedNats
from daybook_local.postgres import EmbeddedPostgres

_LOGGING = structlog.get_config()
_numbers = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL), processors=[structlog.processors.KeyValueRenderer()])
    yield
    structlog.configure(**_LOGGING)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def services(postgres: EmbeddedPostgres, template_database: str, session_folder: Path) -> AsyncIterator[Services]:
    """An API, a scheduler and a runner."""
    nats = EmbeddedNats(session_folder / "nats-of-the-api")
    nats.start()
    try:
        async with fresh_database(postgres, template_database) as url:
            # Nobody delivers here: attempts to reach wherever schemathesis wants webhooks to lead would take all slots.
            settings = Settings(database_url=url, nats_url=nats.url, webhook_queue="undelivered")
            async with running_services(settings, app) as running:
                yield running
    finally:
        nats.stop()


@pytest.fixture
def owner() -> str:
    """Somebody new."""
    return f"owner-{next(_numbers)}"


@pytest_asyncio.fixture(loop_scope="session")
async def client(services: Services, owner: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Their client."""
    async with services.client(await services.token(owner)) as connected:
        yield connected


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate for an app to wait at; opened at the end, so that nothing is left running."""
    made = Gate(f"gate-{next(_numbers)}")
    gates[made.name] = made
    yield made
    made.opened.set()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def strict(services: Services) -> AsyncIterator[httpx2.AsyncClient]:
    """A client in a namespace where nothing else happens, so that every new event would be seen."""
    for definition in app.definitions.values():
        await services.announce(definition.published("a test"), STRICT)
    async with services.client(await services.token("ann", namespace=STRICT)) as connected:
        yield connected
