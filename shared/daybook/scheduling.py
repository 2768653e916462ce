"""Schedules at work: what `handling` is for tasks, and the step from a slot that fired to its task.

The stream of a schedule may hold millions of slots. So nobody reads it from its beginning who has a snapshot of it: the
state that a read model keeps, which only the events behind its version are added to.

The task of a slot has an id made of schedule and slot. Whoever finds a slot fired may submit it; the second to try finds
it there.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from . import ids
from .domain.refusals import Contended, NotFound, Refusal
from .domain.schedule import Snapshot, decide, evolve, fold, submission
from .domain.schedule_commands import AnyScheduleCommand
from .domain.schedule_events import AnyScheduleEvent, ScheduleEvent, SlotFired
from .log.envelope import Appended, Conflict, Position
from .log.postgres import Log, events_of

_TRIES: Final = 8


class Handled(NamedTuple):
    """A command that was followed: the schedule after it, the fact, when it was recorded, and where the log keeps it."""

    snapshot: Snapshot
    event: AnyScheduleEvent
    at: datetime
    position: Position


def task_of_slot(schedule: str, slot: datetime) -> UUID:
    """The id of the task of a slot of the schedule with this public id. The database checks it: `log.append_scheduler`."""
    return ids.derive_id("slot", schedule, str(msgspec.to_builtins(slot)))


async def current(log: Log, stream: UUID, known: Snapshot | None) -> Snapshot | None:
    """The schedule as it is now, from a snapshot (None: from the beginning); None when there is no such stream. Raises
    `StreamUnreadable` for one from the future."""
    recorded = await log.load_after(stream, 0 if known is None else known.schedule.version)
    if not recorded:
        return known
    if known is None and not isinstance(recorded[0].event, ScheduleEvent):
        return None
    schedule = fold(events_of(recorded), None if known is None else known.schedule)
    assert schedule is not None
    return Snapshot(namespace=recorded[0].namespace, schedule=schedule)


async def handle_schedule(
    log: Log,
    stream: UUID,
    command: AnyScheduleCommand | Callable[[Snapshot], AnyScheduleCommand],
    known: Snapshot | None,
    now: datetime,
    *,
    permits: Callable[[Snapshot], Refusal | None],
    payload: bytes | None = None,
) -> Handled | Refusal:
    """Carry out a command on an existing schedule; one that depends on the schedule is made from it anew at each try.

    Raises `LogUnavailable` when the database stays away, `StreamUnreadable` for a stream from the future.
    """
    for _ in range(_TRIES):
        known = await current(log, stream, known)
        if known is None:
            return NotFound()
        refusal = permits(known)
        if refusal is not None:
            return refusal
        outcome = decide(known.schedule, command(known) if callable(command) else command, now)
        if not isinstance(outcome, ScheduleEvent):
            return outcome
        try:
            appended = await log.append(stream, known.schedule.version + 1, outcome, namespace=known.namespace, payload=payload)
        except Conflict:
            continue
        after = Snapshot(namespace=known.namespace, schedule=evolve(known.schedule, outcome, appended.at))
        return Handled(after, outcome, appended.at, appended.position)
    return Contended()


async def submit_slot(log: Log, stream: UUID, snapshot: Snapshot, fired: SlotFired, at: datetime, payload: bytes | None) -> Appended | None:
    """Submit the task of a slot that fired at `at`, with the schedule's input as `payload`; None when it is there already."""
    name = ids.spell("sch", stream)
    event = submission(snapshot.schedule, fired, name, at)
    try:
        return await log.append(task_of_slot(name, fired.slot), 1, event, namespace=snapshot.namespace, payload=payload)
    except Conflict:
        return None
