"""Fixtures of the tests of faults."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from tests.e2e.house import ApiService, House, furnished, open_house
from tests.services import fresh_database

from daybook_local.nats import EmbeddedNats
from daybook_local.postgres import EmbeddedPostgres


@pytest_asyncio.fixture(loop_scope="session")
async def house(database_url: str, nats_server: EmbeddedNats, folder: Path) -> AsyncIterator[House]:
    """A house without processes yet, over a database and a nats-server of its own."""
    async with open_house(database_url, nats_server, folder) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def settled(postgres: EmbeddedPostgres, template_database: str, session_folder: Path) -> AsyncIterator[House]:
    """A house with one process of each kind, for all tests of a file. They leave it as they found it, but for the tasks."""
    folder = Path(tempfile.mkdtemp(prefix="house-", dir=session_folder))
    server = EmbeddedNats(folder / "nats")
    server.start()
    async with fresh_database(postgres, template_database) as database_url, open_house(database_url, server, folder) as opened:
        await furnished(opened)
        yield opened
    server.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def api(settled: House) -> ApiService:
    """The API of the house that all tests of a file share."""
    service = settled.services[0]
    assert isinstance(service, ApiService)
    return service
