"""Fixtures of the client's tests: an API that does as it is told, and clients that know no other."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

# The fake API is shared with the tests of the command line, by its full name.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.client.fake_api import FakeApi, running

from daybook.client import AsyncClient, Client


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """The API, as scripted."""
    with running() as served:
        yield served


@pytest.fixture
def client(api: FakeApi) -> Iterator[Client]:
    """A blocking client of it."""
    with Client(api.url, "dbk_test", timeout=5, attempts=3) as connected:
        yield connected


@pytest_asyncio.fixture(loop_scope="session")
async def aclient(api: FakeApi) -> AsyncIterator[AsyncClient]:
    """An async client of it."""
    async with AsyncClient(api.url, "dbk_test", timeout=5, attempts=3) as connected:
        yield connected
