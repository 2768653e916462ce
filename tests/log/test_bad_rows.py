"""What is wrong with one append is that append's trouble alone; what is nobody's fault is tried again."""

import asyncio
from collections.abc import Callable

import asyncpg
import pytest
import structlog
from tests.log.samples import DUE, RESCHEDULED, SUBMITTED, append_of

from daybook import ids
from daybook.log import connections
from daybook.log import writer as writing
from daybook.log.connections import Connection
from daybook.log.envelope import Append, Appended, LogUnavailable
from daybook.log.postgres import Log
from daybook.testing import eventually

BAD: dict[str, tuple[Callable[[Append], Append], type[Exception]]] = {
    "not JSON": (lambda row: row._replace(data=b'{"kind"'), asyncpg.InvalidTextRepresentationError),
    "not UTF-8": (lambda row: row._replace(data=b'{"a":"\xff"}'), asyncpg.CharacterNotInRepertoireError),
    "a raw NUL in JSON": (lambda row: row._replace(data=b'{"a":"\x00"}'), asyncpg.CharacterNotInRepertoireError),
    "a NUL in a name": (lambda row: row._replace(namespace="de\x00fault"), asyncpg.CharacterNotInRepertoireError),
    "JSON nested too deeply": (lambda row: row._replace(data=b"[" * 100_000 + b"]" * 100_000), asyncpg.StatementTooComplexError),
    "a version the client cannot encode": (lambda row: row._replace(version=1 << 40), asyncpg.DataError),
    "a name the client cannot encode": (lambda row: row._replace(namespace="\ud800"), asyncpg.DataError),
    "a kind this role may not append": (lambda row: row._replace(kind="task.started.v1"), asyncpg.InsufficientPrivilegeError),
    "a kind that nobody may append": (lambda row: row._replace(kind="task.made_up.v1"), asyncpg.InsufficientPrivilegeError),
}


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_row_fails_alone(log: Log, what: str) -> None:
    assert log.writer is not None
    spoil, expected = BAD[what]
    rows = [append_of(ids.new_id(), 1, SUBMITTED) for _ in range(60)]
    bad = {7, 8, 51}
    appends = [log.writer.append(spoil(row) if number in bad else row) for number, row in enumerate(rows)]
    outcomes = await asyncio.wait_for(asyncio.gather(*appends, return_exceptions=True), 5)
    assert {type(outcome) for number, outcome in enumerate(outcomes) if number not in bad} == {Appended}
    for number in bad:
        assert isinstance(outcomes[number], expected), outcomes[number]
    found = await log.load_many([row.stream for row in rows])
    assert len(found) == 60 - len(bad)


async def test_text_that_jsonb_refuses_is_kept_as_it_was_written(log: Log) -> None:
    assert log.writer is not None
    row = append_of(ids.new_id(), 1, SUBMITTED)
    data = row.data.replace(b'"1"', rb'"\u0000\ud800 1e999"')
    await log.writer.append(row._replace(data=data))
    [recorded] = await log.load(row.stream)
    assert recorded.data == data


async def test_a_lock_that_is_not_had_in_time_is_tried_again(log: Log, owner: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections._SETTINGS, "lock_timeout", "50ms")
    told = structlog.testing.CapturingLogger()
    monkeypatch.setattr(writing, "log", told)
    stream = ids.new_id()
    holding = owner.transaction()
    await holding.start()
    await _insert(owner, append_of(stream, 1, SUBMITTED))
    appending = log.append(stream, 1, SUBMITTED, namespace="default")
    await eventually(lambda: [call for call in told.calls if call.args == ("append.contended",)])
    assert not appending.done()
    await holding.rollback()
    await appending
    assert len(await log.load(stream)) == 1


async def test_a_lock_that_is_never_had_exhausts_the_patience(log: Log, owner: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections._SETTINGS, "lock_timeout", "50ms")
    monkeypatch.setattr(writing, "PATIENCE_SECONDS", 0.3)
    stream = ids.new_id()
    async with owner.transaction():
        await _insert(owner, append_of(stream, 1, SUBMITTED))
        with pytest.raises(LogUnavailable):
            await asyncio.wait_for(log.append(stream, 1, SUBMITTED, namespace="default"), 5)
    await log.append(ids.new_id(), 1, SUBMITTED, namespace="default")


async def test_an_append_that_nobody_waits_for_any_more_stops_nobody(log: Log) -> None:
    streams = [ids.new_id() for _ in range(10)]
    appends = [log.append(stream, 1, SUBMITTED, namespace="default") for stream in streams]
    appends[3].cancel()
    outcomes = await asyncio.gather(*appends, return_exceptions=True)
    assert sum(isinstance(outcome, Appended) for outcome in outcomes) == 9


async def test_closing_finishes_what_is_under_way(url_as: Callable[[str], str], log: Log) -> None:
    closing = await Log.open(url_as("daybook_api"), "api", pool_size=1, writers=2)
    streams = [ids.new_id() for _ in range(300)]
    appends = [closing.append(stream, 1, SUBMITTED, namespace="default") for stream in streams]
    await closing.close()
    assert all(append.done() for append in appends)
    assert len(await log.load_many(streams)) == 300


async def test_versions_of_one_stream_wait_for_each_other(log: Log) -> None:
    """At most one row of a stream travels in a batch, in the order in which they were handed over."""
    stream = ids.new_id()
    first = log.append(stream, 1, SUBMITTED, namespace="default")
    await first
    await log.append(stream, 2, RESCHEDULED, namespace="ignored")
    assert [each.namespace for each in await log.load(stream)] == ["default", "default"]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await log.append(stream, 3, DUE, namespace="default")


async def _insert(owner: Connection, row: Append) -> None:
    await owner.execute(
        "INSERT INTO log.event (lane, position, stream, version, id, kind, namespace, data, payload)"
        " VALUES (0, nextval('log.position'), $1, $2, $3, $4, $5, $6, $7)",
        *row,
    )
