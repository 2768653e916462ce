"""Writers that want the same: one of them gets it, the others are told, and nobody waits for somebody who waits for him."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from random import Random

import asyncpg
import pytest_asyncio
from tests.log.samples import RESCHEDULED, SUBMITTED, append_of, send

from daybook import ids
from daybook.log.connections import Connection, connect
from daybook.log.envelope import Append, Appended, Conflict
from daybook.log.postgres import Log
from daybook.testing import eventually

RACES = 40
STREAMS = 64


@pytest_asyncio.fixture(loop_scope="session")
async def rivals(url_as: Callable[[str], str]) -> AsyncIterator[list[Log]]:
    """Three logs, as three processes would have them."""
    async with contextlib.AsyncExitStack() as stack:
        logs = [await Log.open(url_as("daybook_api"), "api", pool_size=1, writers=1) for _ in range(3)]
        for opened in logs:
            stack.push_async_callback(opened.close)
        yield logs


async def test_of_writers_of_one_version_exactly_one_wins(rivals: list[Log], log: Log) -> None:
    stream = ids.new_id()
    for version in range(1, 151):
        event = SUBMITTED if version == 1 else RESCHEDULED
        outcomes = await asyncio.gather(*(rival.append(stream, version, event, namespace="default") for rival in rivals), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Appended", "Conflict", "Conflict"], f"version {version}"
    recorded = await log.load(stream)
    assert [each.version for each in recorded] == list(range(1, 151))


async def test_of_fifty_appends_of_one_version_in_one_process_exactly_one_wins(log: Log) -> None:
    stream = ids.new_id()
    appends = [log.append(stream, 1, SUBMITTED, namespace="default") for _ in range(50)]
    outcomes = await asyncio.gather(*appends, return_exceptions=True)
    assert sum(isinstance(outcome, Appended) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 49
    assert len(await log.load(stream)) == 1


async def test_what_has_no_predecessor_is_a_conflict(log: Log) -> None:
    stream = ids.new_id()
    with_gap, first = log.append(stream, 2, RESCHEDULED, namespace="default"), ids.new_id()
    await log.append(first, 1, SUBMITTED, namespace="default")
    outcomes = await asyncio.gather(with_gap, log.append(first, 3, RESCHEDULED, namespace="default"), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Conflict}
    assert await log.load(stream) == []


async def test_three_writers_of_the_same_streams_in_different_orders_do_not_deadlock(rivals: list[Log], owner: Connection) -> None:
    chance, streams = Random(1), [ids.new_id() for _ in range(STREAMS)]
    before = await _deadlocks(owner)
    for version in range(1, RACES + 1):
        event = SUBMITTED if version == 1 else RESCHEDULED
        appends = [rival.append(stream, version, event, namespace="default") for rival in rivals for stream in chance.sample(streams, STREAMS)]
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
        assert sum(isinstance(outcome, Appended) for outcome in outcomes) == STREAMS
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 2 * STREAMS
    for rival in rivals:
        await rival.close()  # What a backend counted is told at its end, at the latest.
    await _gone(owner)
    assert await _deadlocks(owner) == before


async def test_rows_that_are_not_sorted_do_deadlock(database_url: str, owner: Connection) -> None:
    """The control of the test above: without the order, by hand and past every function, the same race ends badly, and is counted."""
    chance, streams = Random(2), [ids.new_id() for _ in range(STREAMS)]
    connections = [await connect(database_url, None) for _ in range(3)]
    for connection in connections:
        await connection.execute("SET deadlock_timeout = '20ms'")
    before = await _deadlocks(owner)
    deadlocks = 0
    for version in range(1, RACES + 1):
        races = [_insert_as_it_comes(each, [append_of(stream, version, SUBMITTED) for stream in chance.sample(streams, STREAMS)]) for each in connections]
        outcomes = await asyncio.gather(*races, return_exceptions=True)
        deadlocks += sum(isinstance(outcome, asyncpg.DeadlockDetectedError) for outcome in outcomes)
        if deadlocks:
            break
    for connection in connections:
        await connection.close()
    assert deadlocks
    await eventually(lambda: _more_deadlocks(owner, before))


async def test_rows_sent_unsorted_are_sorted_by_the_function(database_url: str, owner: Connection) -> None:
    chance, streams = Random(3), [ids.new_id() for _ in range(STREAMS)]
    connections = [await connect(database_url, None) for _ in range(3)]
    for connection in connections:
        await connection.execute("SET deadlock_timeout = '20ms'")
    for version in range(1, RACES + 1):
        event = SUBMITTED if version == 1 else RESCHEDULED
        races = [send(each, "api", [append_of(stream, version, event) for stream in chance.sample(streams, STREAMS)]) for each in connections]
        assert sum(map(len, await asyncio.gather(*races))) == STREAMS
    for connection in connections:
        await connection.close()


async def test_a_deadlock_is_tried_again(log: Log, owner: Connection, database_url: str) -> None:
    """Somebody who holds what the writer wants, and wants what the writer holds: the writer loses the deadlock, and yet its append succeeds."""
    first, second = sorted((ids.new_id(), ids.new_id()), key=lambda stream: stream.bytes)
    patient = await connect(database_url, None)
    await patient.execute("SET deadlock_timeout = '1h'")  # It never looks for deadlocks itself; the writer does, once, after a second.
    tried = patient.transaction()
    await tried.start()
    await _insert_as_it_comes(patient, [append_of(second, 1, SUBMITTED)])
    appends = [log.append(stream, 1, SUBMITTED, namespace="default") for stream in (first, second)]
    await eventually(lambda: owner.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"))
    await _insert_as_it_comes(patient, [append_of(first, 1, SUBMITTED)])  # Waits for the writer, who waits for us and is told to give up.
    await tried.rollback()
    assert {type(outcome) for outcome in await asyncio.gather(*appends)} == {Appended}
    await patient.close()
    await log.close()
    await eventually(lambda: _more_deadlocks(owner, 0))


async def _insert_as_it_comes(connection: Connection, rows: list[Append]) -> None:
    await connection.execute(
        "INSERT INTO log.event (lane, position, stream, version, id, kind, namespace, data, payload)"
        " SELECT 0, nextval('log.position'), * FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::text[], $5::text[], $6::json[], $7::bytea[])"
        " ON CONFLICT ON CONSTRAINT one_event_per_version DO NOTHING",
        *zip(*rows, strict=True),
    )


async def _deadlocks(owner: Connection) -> int:
    count: int = await owner.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return count


async def _more_deadlocks(owner: Connection, before: int) -> bool:
    return await _deadlocks(owner) > before


async def _gone(owner: Connection) -> None:
    await eventually(lambda: owner.fetchval("SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND usename = 'daybook_api'"))
