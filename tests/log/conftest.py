"""Fixtures of the log's tests: databases that guests may use, logs that close themselves, a proxy in front of Postgres."""

import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import pytest
import pytest_asyncio

# What the tests of this folder share is imported by its full name.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.log.samples import submit_one

from daybook.log.connections import Connection, connect
from daybook.log.postgres import Log
from daybook.testing.proxy import Proxy


@pytest_asyncio.fixture(loop_scope="session")
async def owner(database_url: str) -> AsyncIterator[Connection]:
    """A connection as the owner of the database, who may do anything."""
    connection = await connect(database_url, None)
    yield connection
    await connection.close()


@pytest_asyncio.fixture(loop_scope="session")
async def log(url_as: Callable[[str], str]) -> AsyncIterator[Log]:
    """The log as the API sees it."""
    opened = await Log.open(url_as("daybook_api"), "api", pool_size=2, writers=2)
    yield opened
    await opened.close()


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    """A proxy in front of the database."""
    place = urlsplit(database_url)
    assert place.hostname is not None
    assert place.port is not None
    async with Proxy(place.hostname, place.port) as opened:
        yield opened


@pytest.fixture
def through(proxy: Proxy) -> Callable[[str], str]:
    """The same address, but through the proxy."""

    def reroute(url: str) -> str:
        place = urlsplit(url)
        assert place.port is not None
        return url.replace(f":{place.port}/", f":{proxy.port}/")

    return reroute


@pytest_asyncio.fixture(loop_scope="session")
async def task(owner: Connection) -> UUID:
    """A task that waits for a runner."""
    return await submit_one(owner)
