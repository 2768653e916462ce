"""An append whose connection is cut ends as exactly one event, or says that it does not know; never as two, never as none that was promised."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from tests.log.samples import RESCHEDULED, SUBMITTED

from daybook import ids
from daybook.domain.events import TaskRescheduled
from daybook.log import connections
from daybook.log import writer as writing
from daybook.log.connections import Connection
from daybook.log.envelope import START, Appended, Conflict, LogUnavailable, Position
from daybook.log.postgres import Log
from daybook.log.reader import LogReader
from daybook.testing import eventually
from daybook.testing.proxy import Direction, Proxy

DAWDLE = """
CREATE FUNCTION public.dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END $$;
CREATE TRIGGER dawdle AFTER INSERT ON log.event FOR EACH STATEMENT EXECUTE FUNCTION public.dawdle();
"""


@pytest_asyncio.fixture(loop_scope="session")
async def cuttable(url_as: Callable[[str], str], through: Callable[[str], str]) -> AsyncIterator[Log]:
    """A log whose only writing connection goes through the proxy, and is warm: its next request is an append and nothing else."""
    opened = await Log.open(through(url_as("daybook_api")), "api", pool_size=1, writers=1)
    await opened.append(ids.new_id(), 1, SUBMITTED, namespace="default")
    yield opened
    await opened.close()


@pytest.mark.parametrize("moment", ["request", "answer"])
async def test_an_append_that_is_cut_off_ends_as_exactly_one_event(cuttable: Log, log: Log, proxy: Proxy, moment: Direction) -> None:
    stream = ids.new_id()
    cut = proxy.cut_at(moment)
    appended = await cuttable.append(stream, 1, SUBMITTED, namespace="default", payload=b"mine")
    assert cut.done()
    [recorded] = await log.load(stream)
    assert appended == Appended(Position(recorded.lane, recorded.position), recorded.at)
    assert recorded.payload == b"mine"


@pytest.mark.parametrize("moment", ["request", "answer"])
async def test_a_whole_batch_that_is_cut_off_ends_as_one_event_each(cuttable: Log, log: Log, proxy: Proxy, moment: Direction) -> None:
    streams = [ids.new_id() for _ in range(50)]
    cut = proxy.cut_at(moment)
    await asyncio.gather(*(cuttable.append(stream, 1, SUBMITTED, namespace="default") for stream in streams))
    assert cut.done()
    found = await log.load_many(streams)
    assert [len(found[stream]) for stream in streams] == [1] * 50


@pytest.mark.parametrize("moment", ["request", "answer"])
async def test_what_lost_its_race_while_it_was_cut_off_is_a_conflict(cuttable: Log, log: Log, proxy: Proxy, moment: Direction) -> None:
    stream, fresh = ids.new_id(), ids.new_id()
    await log.append(stream, 1, SUBMITTED, namespace="default")
    winner = await log.append(stream, 2, RESCHEDULED, namespace="default")
    cut = proxy.cut_at(moment)
    outcomes = await asyncio.gather(
        cuttable.append(stream, 2, TaskRescheduled(run_at=RESCHEDULED.run_at, reason="mine"), namespace="default"),
        cuttable.append(fresh, 1, SUBMITTED, namespace="default"),
        return_exceptions=True,
    )
    assert cut.done()
    assert isinstance(outcomes[0], Conflict)
    assert isinstance(outcomes[1], Appended)
    assert [Position(each.lane, each.position) for each in await log.load(stream)][1] == winner.position


@pytest.mark.parametrize("moment", ["request", "answer"])
async def test_what_has_no_predecessor_is_a_conflict_after_a_cut_too(cuttable: Log, proxy: Proxy, moment: Direction) -> None:
    cut = proxy.cut_at(moment)
    with pytest.raises(Conflict):
        await asyncio.wait_for(cuttable.append(ids.new_id(), 2, RESCHEDULED, namespace="default"), 5)
    assert cut.done()


async def test_an_old_backend_that_is_still_committing_is_waited_for(cuttable: Log, log: Log, proxy: Proxy, owner: Connection) -> None:
    await owner.execute(DAWDLE)
    await owner.execute("SELECT pg_advisory_lock(7)")
    stream = ids.new_id()
    appending = cuttable.append(stream, 1, SUBMITTED, namespace="default")
    await eventually(lambda: _waiting(owner, 1))  # The row is inserted, its transaction open.
    proxy.cut()
    await eventually(lambda: _waiting(owner, 2))  # The second try waits for the first: for its row.
    assert not appending.done()
    await owner.execute("SELECT pg_advisory_unlock(7)")
    appended = await appending
    assert [Position(each.lane, each.position) for each in await log.load(stream)] == [appended.position]


async def test_an_old_backend_that_gives_up_leaves_the_version_to_the_second_try(cuttable: Log, log: Log, proxy: Proxy, owner: Connection) -> None:
    await owner.execute(DAWDLE)
    await owner.execute("SELECT pg_advisory_lock(7)")
    stream = ids.new_id()
    appending = cuttable.append(stream, 1, SUBMITTED, namespace="default")
    old = await eventually(lambda: _waiting(owner, 1))
    proxy.cut()
    await eventually(lambda: _waiting(owner, 2))
    await owner.execute("SELECT pg_terminate_backend($1)", old[0])
    await owner.execute("SELECT pg_advisory_unlock(7)")
    appended = await appending
    assert [Position(each.lane, each.position) for each in await log.load(stream)] == [appended.position]


async def test_a_backend_that_is_ended_by_an_operator_costs_nothing(cuttable: Log, log: Log, owner: Connection) -> None:
    await owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'daybook_api' AND pid <> pg_backend_pid()")
    stream = ids.new_id()
    await cuttable.append(stream, 1, SUBMITTED, namespace="default")
    assert len(await log.load(stream)) == 1


async def _waiting(owner: Connection, count: int) -> list[int]:
    """The backends of the API that wait for a lock, once they are so many."""
    rows = await owner.fetch(
        "SELECT pid FROM pg_stat_activity WHERE usename = 'daybook_api' AND datname = current_database() AND wait_event_type = 'Lock' ORDER BY backend_start"
    )
    return [row["pid"] for row in rows] if len(rows) == count else []


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An append has a tenth of the patience."""
    monkeypatch.setattr(writing, "PATIENCE_SECONDS", writing.PATIENCE_SECONDS / 10)


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's deadlines, a tenth as long."""
    monkeypatch.setattr(connections, "COMMAND_TIMEOUT_SECONDS", connections.COMMAND_TIMEOUT_SECONDS / 10)
    monkeypatch.setattr(connections, "CONNECT_TIMEOUT_SECONDS", connections.CONNECT_TIMEOUT_SECONDS / 10)


@pytest.mark.usefixtures("_impatient", "_quick")
async def test_an_append_into_a_black_hole_fails_when_its_patience_ends(cuttable: Log, log: Log, proxy: Proxy) -> None:
    loop = asyncio.get_running_loop()
    streams = [ids.new_id() for _ in range(writing.BATCH + 10)]  # The last of them wait behind a batch that hangs.
    proxy.stall()
    began = loop.time()
    outcomes = await asyncio.gather(*(cuttable.append(stream, 1, SUBMITTED, namespace="default") for stream in streams), return_exceptions=True)
    took = loop.time() - began
    assert {type(outcome) for outcome in outcomes} == {LogUnavailable}
    assert writing.PATIENCE_SECONDS <= took < writing.PATIENCE_SECONDS + 2
    proxy.heal()
    await cuttable.append(ids.new_id(), 1, SUBMITTED, namespace="default")
    assert {len(recorded) for recorded in (await log.load_many(streams)).values()} <= {1}


@pytest.mark.usefixtures("_quick")
async def test_an_append_outlives_a_black_hole_that_heals(cuttable: Log, log: Log, proxy: Proxy) -> None:
    stream = ids.new_id()
    before = proxy.accepted
    proxy.stall()
    appending = cuttable.append(stream, 1, SUBMITTED, namespace="default")
    await eventually(lambda: proxy.accepted > before + 1)  # The driver's own deadline ended the command that hung: to cancel it, and to try again.
    assert not appending.done()
    proxy.heal()
    await appending
    assert len(await log.load(stream)) == 1


@pytest.mark.usefixtures("_quick")
async def test_an_answer_that_never_comes_is_looked_for(cuttable: Log, log: Log, proxy: Proxy) -> None:
    stream = ids.new_id()
    proxy.drop("answer")
    appending = cuttable.append(stream, 1, SUBMITTED, namespace="default")
    await eventually(lambda: log.load(stream))
    proxy.heal()
    appended = await appending
    assert [Position(each.lane, each.position) for each in await log.load(stream)] == [appended.position]


@pytest.mark.usefixtures("_quick")
async def test_reads_from_a_black_hole_fail_by_the_drivers_deadline(through: Callable[[str], str], url_as: Callable[[str], str], proxy: Proxy) -> None:
    loop = asyncio.get_running_loop()
    opened = await Log.open(through(url_as("daybook_api")), "api", pool_size=1, writers=1)
    reader = LogReader(lambda: connections.connect(through(url_as("daybook_api")), "daybook_api"))
    await reader.page_after(START, 0)
    proxy.stall()
    began = loop.time()
    outcomes = await asyncio.gather(opened.load(ids.new_id()), opened.head(), reader.page_after(START, 0), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {TimeoutError}
    assert loop.time() - began < 3
    proxy.heal()
    assert await opened.load(ids.new_id()) == []
    assert (await reader.page_after(START, 0)).events == []
    await reader.close()
    await opened.close()


async def test_nobody_is_left_waiting_when_the_writer_fails_in_a_way_nobody_foresaw(cuttable: Log, owner: Connection) -> None:
    await owner.execute("ALTER FUNCTION log.append_api RENAME TO append_gone")
    appends = [cuttable.append(ids.new_id(), 1, SUBMITTED, namespace="default") for _ in range(writing.BATCH + 10)]
    outcomes = await asyncio.wait_for(asyncio.gather(*appends, return_exceptions=True), 5)
    assert {type(outcome) for outcome in outcomes} == {LogUnavailable}
    await owner.execute("ALTER FUNCTION log.append_gone RENAME TO append_api")
    await cuttable.append(ids.new_id(), 1, SUBMITTED, namespace="default")
