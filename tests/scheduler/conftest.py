"""Fixtures of the scheduler's tests: a real scheduler, and no runner, so that every bell stays where it was rung."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.bus.parts import open_log
from tests.scheduler.bells import Bells

from daybook.log import reader
from daybook.log.connections import Connection, connect
from daybook.log.postgres import Log
from daybook.settings import Settings
from daybook_local.nats import EmbeddedNats
from daybook_scheduler import dispatcher


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pokes here, so everybody looks often; and the dispatcher rings again only where a test wants that."""
    monkeypatch.setattr(reader, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(dispatcher, "_PUMP_SECONDS", 0.02)
    monkeypatch.setattr(dispatcher, "_RING_AGAIN_SECONDS", 60.0)


@pytest_asyncio.fixture(loop_scope="session")
async def log(database_url: str) -> AsyncIterator[Log]:
    """The log as the API sees it."""
    async with open_log(database_url) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def owner(database_url: str) -> AsyncIterator[Connection]:
    """A connection that may do anything."""
    connection = await connect(database_url, None)
    yield connection
    await connection.close()


@pytest_asyncio.fixture(loop_scope="session")
async def settings(database_url: str, nats_server: EmbeddedNats) -> Settings:
    """What a scheduler is told."""
    return Settings(database_url=database_url, nats_url=nats_server.url)


@pytest.fixture
def bells(nats_server: EmbeddedNats) -> Bells:
    """What was rung so far."""
    return Bells(nats_server.url)
