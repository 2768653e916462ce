"""Connections: what they insist on, whatever the server's own settings say."""

from collections.abc import Callable

import pytest

from daybook.log.connections import Connection, connect, connect_pool


@pytest.mark.parametrize(
    ("default", "asynchronous", "expected"), [("off", False, "on"), ("off", True, "off"), ("on", True, "off"), ("remote_apply", False, "remote_apply")]
)
async def test_what_was_answered_is_committed(owner: Connection, url_as: Callable[[str], str], default: str, asynchronous: bool, expected: str) -> None:
    await owner.execute(f"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = {default}', current_database()); END $$")
    connection = await connect(url_as("daybook_api"), "daybook_api", asynchronous_commit=asynchronous)
    try:
        assert await connection.fetchval("SHOW synchronous_commit") == expected
        assert await connection.fetchval("SELECT current_user") == "daybook_api"
    finally:
        await connection.close()


async def test_so_it_is_through_a_pool_and_for_the_owner(owner: Connection, database_url: str, url_as: Callable[[str], str]) -> None:
    await owner.execute("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$")
    for url, role in ((url_as("daybook_api"), "daybook_api"), (database_url, None)):
        pool = await connect_pool(url, role, size=1)
        try:
            assert await pool.fetchval("SHOW synchronous_commit") == "on"
        finally:
            await pool.close()
