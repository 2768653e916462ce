"""Slots: what is due of a schedule is decided once, its task is there, and who waits for the end of a task hears of it."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from uuid import UUID

from tests.bus.parts import kinds_of
from tests.scheduler.schedules import INPUT, create, ending, fired, has_fired, skipped, state, tasks_of
from tests.services import running_scheduler

from daybook import clock, ids
from daybook.domain.cadence import Cadence
from daybook.domain.events import TaskSubmitted
from daybook.domain.schedule import decide
from daybook.domain.schedule_commands import TriggerSchedule
from daybook.domain.schedule_events import ScheduleChanged, ScheduleEvent, SchedulePaused, ScheduleResumed, SlotFired
from daybook.log.connections import Connection
from daybook.log.envelope import Conflict
from daybook.log.postgres import Log
from daybook.scheduling import task_of_slot
from daybook.settings import Settings
from daybook.testing import eventually


async def test_slots_fire_at_their_seconds_and_their_tasks_are_there(settings: Settings, log: Log) -> None:
    async with running_scheduler(settings):
        stream = await create(log, overlap="allow")
        found = await has_fired(log, stream, 3)
        slots = [event.slot for event, _ in found]
        assert all(later - earlier == timedelta(seconds=1) for earlier, later in pairwise(slots))
        assert all(timedelta() <= at - event.slot < timedelta(seconds=1) for event, at in found)
        for event, _ in found:
            recorded = await eventually(lambda event=event: log.load(task_of_slot(ids.spell("sch", stream), event.slot)))  # type: ignore[misc]
            first = recorded[0].event
            assert isinstance(first, TaskSubmitted)
            assert (first.schedule, first.slot, first.correlation) == (ids.spell("sch", stream), event.slot, ids.spell("sch", stream))
            assert event.task == ids.spell("tsk", recorded[0].stream)
            assert recorded[0].payload == INPUT.payload


async def test_of_three_schedulers_one_decides_each_slot(settings: Settings, log: Log) -> None:
    async with running_scheduler(settings), running_scheduler(settings), running_scheduler(settings):
        streams = [await create(log, overlap="allow") for _ in range(20)]
        for stream in streams:
            slots = [event.slot for event, _ in await has_fired(log, stream, 4)]
            assert slots == [slots[0] + timedelta(seconds=number) for number in range(len(slots))]


async def test_while_a_task_runs_slots_are_skipped_and_when_it_ends_they_fire(settings: Settings, log: Log, owner: Connection) -> None:
    async with running_scheduler(settings):
        stream = await create(log)
        await has_fired(log, stream, 1)
        await eventually(lambda: skipped(log, stream))
        [first] = await tasks_of(log, stream)
        await ending(owner)(first)
        found = await has_fired(log, stream, 2)
        gone = await skipped(log, stream)
        assert {each.reason for each in gone} == {"overlap"}
        between = found[1][0].slot - found[0][0].slot
        assert sum(each.count for each in gone) == between.total_seconds() - 1


async def test_one_waits_and_fires_as_soon_as_the_task_before_it_ends(settings: Settings, log: Log, owner: Connection) -> None:
    async with running_scheduler(settings):
        stream = await create(log, overlap="queue_one")
        await has_fired(log, stream, 1)
        await eventually(lambda: owner.fetchval("SELECT for_run FROM read.timer WHERE id = $1", stream))
        [first] = await tasks_of(log, stream)
        ended = clock.now()
        await ending(owner)(first)
        found = await has_fired(log, stream, 2, timeout_seconds=1)
        assert found[1][0].slot == found[0][0].slot + timedelta(seconds=1)
        assert found[1][1] - ended < timedelta(seconds=1)


async def test_the_task_before_it_makes_room(settings: Settings, log: Log) -> None:
    async with running_scheduler(settings):
        stream = await create(log, overlap="cancel_previous")
        await has_fired(log, stream, 3)
        first, second, *_ = await tasks_of(log, stream)
        assert await kinds_of(log, first) == await kinds_of(log, second) == ["submitted", "cancelled"]


async def test_errors_in_a_row_pause_it_at_once(settings: Settings, log: Log, owner: Connection) -> None:
    async with running_scheduler(settings):
        stream = await create(log, Cadence(cron="0 0 1 1 *"), pause_after_errors=2)
        end = ending(owner)
        for _ in range(2):
            await trigger(log, stream)
            await end((await tasks_of(log, stream))[-1], failed=True)
        await eventually(lambda: is_paused(log, stream))
        assert (await state(log, stream)).note == "2 tasks in a row ended with an error"


async def test_a_pause_with_an_end_ends_by_itself_and_its_slots_say_so(settings: Settings, log: Log) -> None:
    async with running_scheduler(settings):
        stream = await create(log, overlap="allow")
        await has_fired(log, stream, 1)
        until = clock.after(2.2)
        version = (await state(log, stream)).version
        await append(log, stream, version, SchedulePaused(until=until, reason="maintenance"))
        await eventually(lambda: skipped(log, stream), 10)
        [gone] = await skipped(log, stream)
        assert (gone.reason, gone.count) == ("paused", 2)
        after = (await has_fired(log, stream, len(await fired(log, stream)) + 1))[-1]
        assert after[0].slot > until
        assert any(isinstance(each.event, ScheduleResumed) for each in await log.load(stream))


async def test_a_change_holds_from_now_on(settings: Settings, log: Log) -> None:
    async with running_scheduler(settings):
        stream = await create(log, Cadence(cron="0 0 1 1 *"))
        schedule = await state(log, stream)
        rule = type(schedule.rule)(cadence=Cadence(cron="* * * * * *", seconds=True), overlap="allow", max_runs=2)
        await append(log, stream, schedule.version, ScheduleChanged(rule=rule, work=schedule.work))
        await has_fired(log, stream, 2)
        assert (await state(log, stream)).is_used_up


async def test_a_slot_whose_task_is_missing_gets_it(settings: Settings, log: Log, owner: Connection) -> None:
    """As when the process that fired it died before it could submit."""
    async with running_scheduler(settings):
        stream = await create(log, Cadence(cron="0 0 1 1 *"))
        await trigger(log, stream)
        [task] = await tasks_of(log, stream)
        await eventually(lambda: log.load(task), 8)
        assert await kinds_of(log, task) == ["submitted"]
        await eventually(lambda: owner.fetchval("SELECT count(*) = 1 FROM read.timer"))


async def test_what_a_newer_release_wrote_waits_and_keeps_nobody_else_waiting(settings: Settings, log: Log, owner: Connection) -> None:
    put = "INSERT INTO read.timer (id, version, due_at, what, state) VALUES ($1, 1, clock_timestamp(), $2, $3)"
    strangers = [ids.new_id(), ids.new_id()]
    for stranger, what in zip(strangers, ("schedule", "submission"), strict=True):
        await owner.execute(put, stranger, what, b'{"mood": "of tomorrow"}')
    async with running_scheduler(settings):
        await has_fired(log, await create(log, overlap="allow"), 1)
        later = "SELECT count(*) = 2 FROM read.timer WHERE id = ANY ($1) AND due_at > clock_timestamp() + interval '30 s'"
        await eventually(lambda: owner.fetchval(later, strangers))


async def trigger(log: Log, stream: UUID) -> None:
    """Record that a slot fired, and no more: the task is for the scheduler to submit."""
    schedule = await state(log, stream)
    at = clock.now()
    task = task_of_slot(ids.spell("sch", stream), at)
    event = decide(schedule, TriggerSchedule(actor="user:ann", at=at, task=ids.spell("tsk", task)), at)
    assert isinstance(event, SlotFired)
    await log.append(stream, schedule.version + 1, event, namespace="default")
    await eventually(lambda: log.load(task), 8)


async def append(log: Log, stream: UUID, version: int, event: ScheduleEvent) -> None:
    """Append behind `version`, or behind whatever the scheduler appended meanwhile."""
    for number in range(version + 1, version + 20):
        try:
            await log.append(stream, number, event, namespace="default")
            return
        except Conflict:
            continue


async def is_paused(log: Log, stream: UUID) -> bool:
    return (await state(log, stream)).paused_at is not None
