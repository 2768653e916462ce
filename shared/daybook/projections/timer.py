"""The read model `timer`: one row per thing that will be due. It has its own follower, in the scheduler, so that an
outage of the API delays nothing.

- `task`: something will happen to a task at a time: it is due, its time in the queue is over, or its attempt is overdue.
  The row carries the version that made it: whoever fires it decides on the task as it is then. So a row that has become
  pointless (the attempt ended in time) costs nothing but a look when its time comes, and most of them are left to that.
- `due`: the same for a task that was submitted for a time, and about which there is nothing else to know: as long as that
  version is its latest, what follows is `TaskDue`.
- `schedule`: its next slot. The row carries the schedule's whole state, so that nobody reads a stream of a million slots.
  Whoever decides slots writes it too; the higher version stays.
- `submission`: a slot has fired, and its task is to be there by then. As a rule it is there first.
"""

from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from .. import ids
from ..domain.due import due_at
from ..domain.events import Event, TaskCancelled, TaskDue, TaskEvent, TaskExpired, TaskSubmitted
from ..domain.schedule import Snapshot
from ..domain.schedule_events import ScheduleEvent, SlotFired
from ..domain.slots import next_look
from ..domain.status import TERMINAL, Status, status_after
from ..log.connections import Connection
from ..log.envelope import Recorded
from ..log.sql import statements
from .schedule import folded

FOLLOWER: Final = "timer"
_ENDING: Final = (TaskDue, TaskExpired, TaskCancelled)
_SUBMITTED_WITHIN: Final = timedelta(seconds=2)
_SQL: Final = statements("daybook.projections")
_ENCODE: Final = msgspec.json.Encoder().encode
_SNAPSHOT: Final = msgspec.json.Decoder(Snapshot)


class PendingSubmission(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a `submission`: a slot of `schedule` that fired at `at`, and the schedule as that left it (or a little
    later, where a scheduler was ahead of the follower)."""

    schedule: UUID
    snapshot: Snapshot
    fired: SlotFired
    at: datetime


class _Changes(NamedTuple):
    """What a page of events makes of the timers."""

    wanted: dict[UUID, tuple[int, datetime, str]]
    gone: dict[UUID, int]
    submissions: dict[UUID, PendingSubmission]
    ended: set[UUID]
    failed: set[UUID]


class TimerProjection:
    """Keeps `read.timer`; a `Handler` of its own follower."""

    in_transaction = True

    def concerns(self, event: Event) -> bool:
        """What sets a timer, what ends one, and the ends that a schedule may be waiting for."""
        if isinstance(event, TaskEvent):
            return isinstance(event, _ENDING) or due_at(event) is not None or _schedule_of(event) is not None
        return isinstance(event, ScheduleEvent)

    async def begin(self, connection: Connection) -> None:
        """Nothing is remembered between pages."""

    async def apply(self, connection: Connection, events: list[Recorded]) -> bool:
        """Set and remove timers; false when no event concerns one."""
        changes = _Changes({}, {}, {}, set(), set())
        schedules = await self._schedules(connection, events, changes)
        for recorded in events:
            if isinstance(recorded.event, TaskEvent):
                _note(recorded, recorded.event, changes)
        if changes.gone:
            await connection.execute(_SQL["drop_timers"], list(changes.gone), list(changes.gone.values()))
        if changes.wanted:
            rows = sorted((stream, *timer) for stream, timer in changes.wanted.items())
            await connection.execute(_SQL["put_timers"], *zip(*rows, strict=True))
        if schedules:
            await connection.execute(_SQL["put_schedule_timers"], *zip(*(_row(stream, schedules[stream]) for stream in sorted(schedules)), strict=True))
        if changes.submissions:
            pending = [(task, each.at + _SUBMITTED_WITHIN, _ENCODE(each)) for task, each in sorted(changes.submissions.items())]
            await connection.execute(_SQL["put_submissions"], *zip(*pending, strict=True))
        if changes.ended:
            await connection.execute(_SQL["wake_schedules"], sorted(changes.ended), sorted(changes.failed))
        return bool(schedules or any(changes))

    async def _schedules(self, connection: Connection, events: list[Recorded], changes: _Changes) -> dict[UUID, Snapshot]:
        """The schedules that these events change; the tasks that their slots are to have go to `changes`."""
        ours = [recorded for recorded in events if isinstance(recorded.event, ScheduleEvent)]
        if not ours:
            return {}
        rows = await connection.fetch(_SQL["known_schedule_timers"], list({recorded.stream for recorded in ours}))
        known: dict[UUID, Snapshot] = {row["id"]: _SNAPSHOT.decode(row["state"]) for row in rows}
        changed: dict[UUID, Snapshot] = {}
        for recorded in ours:
            after = folded(known.get(recorded.stream), recorded)
            if after is not None:
                known[recorded.stream] = changed[recorded.stream] = after
            if isinstance(recorded.event, SlotFired) and (task := ids.parse("tsk", recorded.event.task)) is not None:
                pending = PendingSubmission(schedule=recorded.stream, snapshot=known[recorded.stream], fired=recorded.event, at=recorded.at)
                changes.submissions[task] = pending
        return changed


def _note(recorded: Recorded, event: TaskEvent, changes: _Changes) -> None:
    stream, version = recorded.stream, recorded.version
    at = due_at(event)
    if at is not None:
        changes.wanted[stream] = (version, at, "due" if _is_plainly_due(event) else "task")
        changes.gone.pop(stream, None)
    elif isinstance(event, _ENDING) or (isinstance(event, TaskSubmitted) and event.schedule):
        changes.wanted.pop(stream, None)
        changes.gone[stream] = version
    schedule = _schedule_of(event)
    if schedule is None:
        return
    changes.submissions.pop(stream, None)
    status = status_after(event)
    if status in TERMINAL:
        changes.ended.add(schedule)
        if status is Status.ERROR:
            changes.failed.add(schedule)


def _is_plainly_due(event: TaskEvent) -> bool:
    if not isinstance(event, TaskSubmitted) or event.run_at is None:
        return False
    return event.policy.queue_ttl_seconds is None and event.policy.deadline_seconds is None and not event.correlation


def _schedule_of(event: TaskEvent) -> UUID | None:
    """The schedule that led to the task; None for events that are neither its beginning nor its end."""
    if not event.correlation or not (isinstance(event, TaskSubmitted) or status_after(event) in TERMINAL):
        return None
    return ids.parse("sch", event.correlation)


def _row(stream: UUID, snapshot: Snapshot) -> tuple[UUID, int, datetime | None, bytes]:
    return stream, snapshot.schedule.version, next_look(snapshot.schedule, ids.spell("sch", stream)), _ENCODE(snapshot)
