"""Migrations: each file once, whoever comes first; a file that was changed after it was applied stops everything."""

import asyncio
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from daybook.log import migrate as migrating
from daybook.log.migrate import MigrationError, migrate
from daybook_local.postgres import EmbeddedPostgres

SHIPPED = sorted(entry.name for entry in files("daybook.log").joinpath("migrations").iterdir() if entry.name.endswith(".sql"))
SCHEMA = """
SELECT format('%s %s', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('log', 'daybook', 'daybook_meta', 'read') ORDER BY 1
"""


@pytest_asyncio.fixture(loop_scope="session")
async def empty_url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The address of a database with nothing in it."""
    server = await asyncpg.connect(postgres.url("postgres"))
    await server.execute("CREATE DATABASE daybook_test_empty")
    yield postgres.url("daybook_test_empty")
    await server.execute("DROP DATABASE daybook_test_empty WITH (FORCE)")
    await server.close()


@pytest.fixture
def edited(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The shipped migrations, to be changed by the test."""
    scripts = migrating._scripts()
    monkeypatch.setattr(migrating, "_scripts", lambda: scripts)
    return scripts


async def test_what_is_missing_is_applied_and_then_nothing_is(empty_url: str) -> None:
    assert await migrate(empty_url) == SHIPPED
    schema = await _schema(empty_url)
    assert await migrate(empty_url) == []
    assert await _schema(empty_url) == schema
    assert "read task" in schema


async def test_of_three_that_start_at_once_one_applies(empty_url: str) -> None:
    outcomes = await asyncio.gather(*(migrate(empty_url) for _ in range(3)))
    assert sorted(outcomes) == [[], [], SHIPPED]


async def test_a_file_that_was_edited_after_it_was_applied_is_refused(empty_url: str, edited: list[tuple[str, str]]) -> None:
    await migrate(empty_url)
    before = await _schema(empty_url)
    name, script = edited[1]
    edited[1] = name, script + "\n-- one more comment\n"
    edited.append(("9999_new.sql", "CREATE TABLE log.new ();"))
    with pytest.raises(MigrationError, match=f"{name} was applied in another form"):
        await migrate(empty_url)
    assert await _schema(empty_url) == before


async def test_a_database_of_a_newer_release_is_left_alone(empty_url: str, edited: list[tuple[str, str]]) -> None:
    edited.append(("9999_new.sql", "CREATE TABLE log.new ();"))
    await migrate(empty_url)
    edited.pop()
    edited.append(("9998_ours.sql", "CREATE TABLE log.ours ();"))
    before = await _schema(empty_url)
    with pytest.raises(MigrationError, match="newer than this release: it has 9999_new"):
        await migrate(empty_url)
    assert await _schema(empty_url) == before


async def test_a_file_that_fails_leaves_nothing_of_itself(empty_url: str, edited: list[tuple[str, str]]) -> None:
    await migrate(empty_url)
    edited.append(("9999_bad.sql", "CREATE TABLE log.half (); SELECT 1 / 0;"))
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_url)
    assert "log half" not in await _schema(empty_url)
    edited[-1] = ("9999_bad.sql", "CREATE TABLE log.whole ();")
    assert await migrate(empty_url) == ["9999_bad.sql"]


async def test_a_migration_that_never_ends_is_waited_for_only_so_long(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrating, "_WAIT_SECONDS", 0.3)
    busy = await asyncpg.connect(empty_url)
    await busy.execute("SELECT pg_advisory_lock($1)", migrating._LOCK)
    with pytest.raises(MigrationError, match="another migration"):
        await migrate(empty_url)
    await busy.close()
    assert await migrate(empty_url) == SHIPPED


async def test_dropped_read_models_come_back_empty(empty_url: str) -> None:
    await migrate(empty_url)
    owner = await asyncpg.connect(empty_url)
    await owner.execute("DROP SCHEMA read CASCADE")
    await migrate(empty_url)
    assert await owner.fetchval("SELECT count(*) FROM read.task") == 0
    await owner.close()


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [Path(name).name[:4] for name in SHIPPED] == [f"{number:04}" for number in range(1, len(SHIPPED) + 1)]


async def _schema(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(SCHEMA)
    await connection.close()
    return [row[0] for row in rows]
