"""Schedules for the scheduler's tests, put into the log as the API would put them; and the tasks of their slots, ended as
a runner would end them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from daybook import ids
from daybook.domain.cadence import Cadence
from daybook.domain.events import Event, TaskFailed, TaskStarted, TaskSucceeded, kind_of
from daybook.domain.schedule import Schedule, fold
from daybook.domain.schedule_events import Rule, ScheduleCreated, SlotFired, SlotsSkipped, Work
from daybook.log import codec
from daybook.log.connections import Connection
from daybook.log.postgres import Log, events_of
from daybook.scheduling import task_of_slot
from daybook.testing import eventually

INPUT = codec.seal(b'{"said":"by the schedule"}')
EVERY_SECOND = Cadence(cron="* * * * * *", seconds=True)


async def create(log: Log, cadence: Cadence = EVERY_SECOND, *, app: str = "hello", **rule: Any) -> UUID:
    """A schedule in the log, as the API would put it there."""
    stream = ids.new_id()
    work = Work(app=app, app_version="1", input=INPUT.content)
    await log.append(stream, 1, ScheduleCreated(owner="ann", rule=Rule(cadence=cadence, **rule), work=work), namespace="default", payload=INPUT.payload)
    return stream


async def state(log: Log, stream: UUID) -> Schedule:
    """The schedule as its whole stream has it."""
    schedule = fold(events_of(await log.load(stream)))
    assert schedule is not None
    return schedule


async def fired(log: Log, stream: UUID) -> list[tuple[SlotFired, datetime]]:
    """The slots that fired, and when that was recorded."""
    return [(each.event, each.at) for each in await log.load(stream) if isinstance(each.event, SlotFired)]


async def skipped(log: Log, stream: UUID) -> list[SlotsSkipped]:
    """The slots that did not."""
    return [each.event for each in await log.load(stream) if isinstance(each.event, SlotsSkipped)]


async def has_fired(log: Log, stream: UUID, count: int, timeout_seconds: float = 10.0) -> list[tuple[SlotFired, datetime]]:
    """Wait until so many slots have fired."""
    found: list[tuple[SlotFired, datetime]] = []

    async def enough() -> bool:
        found[:] = await fired(log, stream)
        return len(found) >= count

    await eventually(enough, timeout_seconds)
    return found


async def tasks_of(log: Log, stream: UUID) -> list[UUID]:
    """The tasks of the slots that fired, in order; each is there."""
    name = ids.spell("sch", stream)
    return [task_of_slot(name, event.slot) for event, _ in await fired(log, stream)]


def ending(owner: Connection) -> Callable[..., Awaitable[None]]:
    """What ends a queued task as a runner would: `await end(task)`, `await end(task, failed=True)`."""

    async def end(task: UUID, *, failed: bool = False) -> None:
        content = codec.seal(b"null").content
        last: Event = TaskSucceeded(attempt=1, result=content, correlation=await correlation(task))
        if failed:
            last = TaskFailed(attempt=1, error=content, error_type="Broken", correlation=await correlation(task))
        for version, event in enumerate((TaskStarted(attempt=1, runner="run_test"), last), 2):
            await owner.execute(
                "SELECT log._append(log._take_lane(), ARRAY[$1::uuid], ARRAY[$2::int], ARRAY[$3::uuid], ARRAY[$4::text],"
                " ARRAY['default'], ARRAY[$5::json], ARRAY[NULL::bytea])",
                task, version, ids.new_id(), kind_of(event), codec.encode(event),
            )  # fmt: skip

    async def correlation(task: UUID) -> str:
        return str(await owner.fetchval("SELECT data ->> 'correlation' FROM log.event WHERE stream = $1 AND version = 1", task))

    return end
