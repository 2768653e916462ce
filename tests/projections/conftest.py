"""Fixtures of the read models' tests."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

# What the tests of the log share is imported by its full name.
sys.path.insert(0, str(Path(__file__).parents[2]))

from daybook.log.connections import Connection, connect


@pytest_asyncio.fixture(loop_scope="session")
async def owner(database_url: str) -> AsyncIterator[Connection]:
    """A connection as the owner of the database, who may do anything."""
    connection = await connect(database_url, None)
    yield connection
    await connection.close()
