"""Lists of schedules and the ledger of one: every row once, newest first; and the state beside a ledger is of the same instant."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio
from tests.log.samples import CONTENT, append_of, send

from daybook import ids
from daybook.domain.cadence import Cadence
from daybook.domain.schedule_events import Rule, ScheduleCreated, ScheduleDeleted, ScheduleEvent, SlotFired, SlotsSkipped, Work
from daybook.log.connections import Connection, Pool, connect_pool
from daybook.log.envelope import START, Cursor
from daybook.log.postgres import read_page
from daybook.projections.paging import BadCursor
from daybook.projections.projector import Projector
from daybook.projections.schedule_listing import ListedSchedule, ListedSlot, ScheduleFilter, SlotFilter, list_schedules, list_slots

WORK = Work(app="hello", app_version="1", input=CONTENT)
CREATED = ScheduleCreated(owner="ann", rule=Rule(cadence=Cadence(cron="* * * * *")), work=WORK)
MINE = ScheduleFilter(namespace="default", owner="ann")
NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


class Writing:
    """Tells of schedules and keeps the read models up."""

    def __init__(self, owner: Connection) -> None:
        self._owner = owner
        self._projector = Projector()
        self._cursor: Cursor = START
        self._versions: dict[UUID, int] = {}

    async def create(self, count: int = 1, namespace: str = "default", **changes: Any) -> list[UUID]:
        """So many schedules, one commit each."""
        streams = [ids.new_id() for _ in range(count)]
        for stream in streams:
            await self.tell(stream, msgspec.structs.replace(CREATED, **changes), namespace)
        return streams

    async def tell(self, stream: UUID, event: ScheduleEvent, namespace: str = "default", *, projected: bool = True) -> None:
        """One more event of a schedule; unless it is to be behind, the read models have it."""
        version = self._versions[stream] = self._versions.get(stream, 0) + 1
        role = "scheduler" if isinstance(event, SlotsSkipped) else "api"
        await send(self._owner, role, [append_of(stream, version, event, namespace=namespace)])
        while projected and (page := await read_page(self._owner, self._cursor, 100)).events:
            await self._projector.apply(self._owner, page.events)
            self._cursor = page.after

    async def fire(self, stream: UUID, minute: int) -> None:
        """A slot that fired."""
        await self.tell(stream, SlotFired(slot=NOON + timedelta(minutes=minute), task=ids.spell("tsk", ids.new_id())))

    async def skip(self, stream: UUID, first: int, last: int) -> None:
        """A run of slots that did not."""
        skipped = SlotsSkipped(first=NOON + timedelta(minutes=first), last=NOON + timedelta(minutes=last), count=last - first + 1, reason="paused")
        await self.tell(stream, skipped)


@pytest.fixture
def writing(owner: Connection) -> Writing:
    return Writing(owner)


@pytest_asyncio.fixture(loop_scope="session")
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Connections as the API has them."""
    connections = await connect_pool(database_url, "daybook_api", size=1)
    yield connections
    await connections.close()


async def all_schedules(owner: Connection, wanted: ScheduleFilter, limit: int = 2) -> list[ListedSchedule]:
    """Page after page, until there is no next one."""
    schedules, cursor = await list_schedules(owner, wanted, limit=limit, cursor=None)
    while cursor is not None:
        more, cursor = await list_schedules(owner, wanted, limit=limit, cursor=cursor)
        assert more
        schedules += more
    return schedules


async def all_slots(pool: Pool, wanted: SlotFilter, limit: int = 2) -> list[ListedSlot]:
    """The same of a ledger."""
    ledger = await list_slots(pool, wanted, limit=limit, cursor=None)
    slots = ledger.slots
    while ledger.following is not None:
        ledger = await list_slots(pool, wanted, limit=limit, cursor=ledger.following)
        assert ledger.slots
        slots += ledger.slots
    return slots


async def test_filters_choose_and_what_was_deleted_is_not_listed(writing: Writing, owner: Connection) -> None:
    mine = await writing.create(5)
    (other,) = await writing.create(owner="bob", work=msgspec.structs.replace(WORK, app="images.resize"))
    (foreign,) = await writing.create(namespace="other")
    (gone,) = await writing.create()
    await writing.tell(gone, ScheduleDeleted())

    async def found(**wanted: Any) -> list[UUID]:
        return [row.id for row in await all_schedules(owner, ScheduleFilter(**{"namespace": "default"} | wanted))]

    assert await found() == [other, *mine[::-1]]
    assert await found(owner="ann") == mine[::-1]
    assert await found(app="images.resize") == await found(owner="bob") == [other]
    assert await found(namespace="other") == [foreign]
    assert await found(owner="ann'; --") == []
    listed = (await all_schedules(owner, ScheduleFilter(namespace="other")))[0].snapshot
    assert (listed.namespace, listed.schedule.owner, listed.schedule.work) == ("other", "ann", WORK)


@pytest.mark.parametrize("limit", [1, 3, 9, 10, 11])
async def test_schedules_of_one_instant_are_listed_once(writing: Writing, owner: Connection, limit: int) -> None:
    await owner.execute("ALTER TABLE log.event ALTER COLUMN at SET DEFAULT '2026-03-14 12:00:00.000001Z'")
    created = await writing.create(10)
    assert [row.id for row in await all_schedules(owner, MINE, limit)] == sorted(created, reverse=True)


async def test_a_ledger_tells_of_every_decision_once(writing: Writing, pool: Pool) -> None:
    stream, other = await writing.create(2)
    for minute in range(3):
        await writing.fire(stream, minute)
    await writing.skip(stream, 3, 9)
    await writing.fire(other, 4)
    await writing.fire(stream, 10)
    # Made up for: the slot is there twice, and its later decision comes first.
    await writing.fire(stream, 3)

    def told(slots: list[ListedSlot]) -> list[tuple[str, int, int]]:
        return [(each.outcome, round((each.slot - NOON) / timedelta(minutes=1)), each.count) for each in slots]

    everything = [("fired", 10, 1), ("fired", 3, 1), ("skipped", 3, 7), ("fired", 2, 1), ("fired", 1, 1), ("fired", 0, 1)]
    for limit in (1, 2, 5, 6, 7):
        assert told(await all_slots(pool, SlotFilter(schedule=stream), limit)) == everything
    assert told(await all_slots(pool, SlotFilter(schedule=stream, outcome="skipped"))) == [("skipped", 3, 7)]
    assert told(await all_slots(pool, SlotFilter(schedule=stream, outcome="fired"))) == [each for each in everything if each[0] == "fired"]
    assert told(await all_slots(pool, SlotFilter(schedule=other))) == [("fired", 4, 1)]
    assert await all_slots(pool, SlotFilter(schedule=ids.new_id())) == []


async def test_the_state_beside_a_ledger_is_as_old_as_the_ledger(writing: Writing, pool: Pool) -> None:
    (stream,) = await writing.create()
    await writing.fire(stream, 1)
    later = SlotFired(slot=NOON + timedelta(minutes=2), task=ids.spell("tsk", ids.new_id()))
    await writing.tell(stream, later, projected=False)
    ledger = await list_slots(pool, SlotFilter(schedule=stream), limit=9, cursor=None)
    assert ledger.snapshot is not None
    assert [each.slot for each in ledger.slots] == [ledger.snapshot.schedule.last_slot] == [NOON + timedelta(minutes=1)]
    assert (await list_slots(pool, SlotFilter(schedule=ids.new_id()), limit=9, cursor=None)).snapshot is None


async def test_a_cursor_is_of_its_own_list(writing: Writing, owner: Connection, pool: Pool) -> None:
    stream, *_ = await writing.create(3)
    for minute in range(3):
        await writing.fire(stream, minute)
    _, of_schedules = await list_schedules(owner, MINE, limit=2, cursor=None)
    of_slots = (await list_slots(pool, SlotFilter(schedule=stream), limit=2, cursor=None)).following
    assert of_schedules is not None
    assert of_slots is not None
    others = ScheduleFilter(namespace="default"), ScheduleFilter(namespace="other", owner="ann"), msgspec.structs.replace(MINE, app="hello")
    for wanted in others:
        with pytest.raises(BadCursor, match="another filter"):
            await list_schedules(owner, wanted, limit=2, cursor=of_schedules)
    for slots in (SlotFilter(schedule=ids.new_id()), SlotFilter(schedule=stream, outcome="fired")):
        with pytest.raises(BadCursor, match="another filter"):
            await list_slots(pool, slots, limit=2, cursor=of_slots)
    for cursor in (of_slots, "", "AAAA", "é"):
        with pytest.raises(BadCursor):
            await list_schedules(owner, MINE, limit=2, cursor=cursor)
    for cursor in (of_schedules, "", "AAAA", "é"):
        with pytest.raises(BadCursor):
            await list_slots(pool, SlotFilter(schedule=stream), limit=2, cursor=cursor)
