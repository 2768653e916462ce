"""Who may write and read what attempts said: a runner its own attempts' words, by the function; the API reads, the janitor deletes."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from tests.log.samples import SUBMITTED, append_of, send, started, succeeded

from daybook import ids
from daybook.log.connections import Connection, connect
from daybook.log.sql import statements

STATEMENTS = statements("daybook", "stored_output.sql")
ROLES = ("daybook_api", "daybook_scheduler", "daybook_runner", "daybook_projector", "daybook_janitor", "daybook_guest")
SECRET = "the secret of r1"
INSERT = "INSERT INTO daybook.output (stream, attempt, first, last, logs, size_bytes, content) VALUES (gen_random_uuid(), 1, 1, 1, 0, 1, '')"


@pytest_asyncio.fixture(loop_scope="session")
async def runner(url_as: Callable[[str], str]) -> AsyncIterator[Connection]:
    """A connection of runners r1 and r2."""
    connection = await connect(url_as("daybook_runner"), "daybook_runner")
    for name, secret in (("r1", SECRET), ("r2", "another")):
        take = "SELECT daybook.take_lease($1, $2, 'default', '{default}', '{hello}', 4, 'here', $3)"
        await connection.execute(take, name, secret, timedelta(seconds=30))
    yield connection
    await connection.close()


async def _store(connection: Connection, *rows: tuple[Any, ...], name: str | None = "r1", secret: str | None = SECRET) -> None:
    await connection.execute(STATEMENTS["store"], name, secret, *zip(*rows, strict=True))


def _row(stream: UUID | None, attempt: int | None = 1, first: int = 1, content: bytes = b"x") -> tuple[Any, ...]:
    return stream, attempt, first, first + 9, 0, 10, content


async def _started(owner: Connection, runner: Connection, name: str = "r1", secret: str = SECRET) -> UUID:
    stream = ids.new_id()
    await send(owner, "api", [append_of(stream, 1, SUBMITTED)])
    await send(runner, "runner", [append_of(stream, 2, started(name))], name, secret)
    return stream


@pytest.mark.parametrize("name", STATEMENTS)
async def test_every_statement_can_be_prepared(name: str, owner: Connection) -> None:
    await owner.prepare(STATEMENTS[name])


async def test_a_runner_stores_what_its_own_attempts_said_and_the_api_reads_it(runner: Connection, owner: Connection, url_as: Callable[[str], str]) -> None:
    task = await _started(owner, runner)
    await _store(runner, _row(task), _row(task, first=11))
    api = await connect(url_as("daybook_api"), "daybook_api")
    rows = await api.fetch(STATEMENTS["forwards"], task, 0, 1, 99, False, 99)
    await api.close()
    assert [(row["attempt"], row["first"], row["last"], row["content"]) for row in rows] == [(1, 1, 10, b"x"), (1, 11, 20, b"x")]


async def test_what_is_stored_is_never_changed(runner: Connection, owner: Connection) -> None:
    task = await _started(owner, runner)
    await _store(runner, _row(task))
    await _store(runner, _row(task, content=b"y"), _row(task, first=11))
    assert await owner.fetchval("SELECT string_agg(content, '' ORDER BY first) FROM daybook.output WHERE stream = $1", task) == b"xx"


async def test_a_runner_stores_nothing_for_others(runner: Connection, owner: Connection) -> None:
    own, foreign, waiting = await _started(owner, runner), await _started(owner, runner, "r2", "another"), ids.new_id()
    await send(owner, "api", [append_of(waiting, 1, SUBMITTED)])
    for row in (_row(foreign), _row(waiting), _row(ids.new_id()), _row(own, 2), _row(None), _row(own, None)):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="only what its own attempts said"):
            await _store(runner, _row(own), row)
    assert await owner.fetchval("SELECT count(*) FROM daybook.output") == 0


async def test_a_runner_needs_its_secret(runner: Connection, owner: Connection) -> None:
    task = await _started(owner, runner)
    for name, secret in (("r1", "guess"), ("r2", SECRET), ("r1", None), (None, SECRET)):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="with this secret"):
            await _store(runner, _row(task), name=name, secret=secret)


async def test_the_last_words_are_stored_after_the_end_too(runner: Connection, owner: Connection) -> None:
    task = await _started(owner, runner)
    await send(runner, "runner", [append_of(task, 3, succeeded())], "r1", SECRET)
    await runner.execute("SELECT daybook.end_lease('r1', $1)", SECRET)
    await _store(runner, _row(task))


@pytest.mark.parametrize("row", [(1, 2, 1, 0, 1), (1, 0, 1, 0, 1), (1, 1, 1, -1, 1), (1, 1, 1, 0, 9_000_000)])
async def test_what_makes_no_sense_is_refused(runner: Connection, owner: Connection, row: tuple[int, ...]) -> None:
    task = await _started(owner, runner)
    with pytest.raises(asyncpg.CheckViolationError):
        await _store(runner, (task, *row, b"x"))


@pytest.mark.parametrize("role", ROLES)
async def test_nobody_writes_past_the_function(role: str, url_as: Callable[[str], str]) -> None:
    connection = await connect(url_as(role), role)
    writes = [INSERT, "UPDATE daybook.output SET content = ''", "TRUNCATE daybook.output"]
    if role != "daybook_runner":
        writes.append("SELECT daybook.store_output('r1', '', '{}', '{}', '{}', '{}', '{}', '{}', '{}')")
    if role != "daybook_janitor":
        writes.append("DELETE FROM daybook.output")
    if role != "daybook_api":
        writes.append("SELECT content FROM daybook.output")
    for statement in writes:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


async def test_the_janitor_deletes(runner: Connection, owner: Connection, url_as: Callable[[str], str]) -> None:
    task = await _started(owner, runner)
    await _store(runner, _row(task))
    janitor = await connect(url_as("daybook_janitor"), "daybook_janitor")
    assert await janitor.execute("DELETE FROM daybook.output WHERE stream = $1", task) == "DELETE 1"
    await janitor.close()
