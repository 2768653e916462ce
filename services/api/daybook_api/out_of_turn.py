"""Slots that fire because somebody wants it: one that is now (trigger), and past ones (backfill).

Which past slots may fire after all are those of the rule that are decided, or never will be, and that have no task. What
is due and undecided is left alone: it would be decided twice.
"""

from datetime import datetime
from itertools import islice
from typing import Final, NamedTuple
from uuid import UUID

from daybook import clock, ids
from daybook.access import Principal
from daybook.domain.events import TaskEvent
from daybook.domain.refusals import AlreadyExists, Contended, Refusal
from daybook.domain.schedule import MOST_BACKFILLED, Schedule
from daybook.domain.schedule_commands import BackfillSchedule, TriggerSchedule
from daybook.domain.schedule_events import SlotFired
from daybook.domain.slots import slots_of
from daybook.domain.status import TERMINAL, status_after
from daybook.log.envelope import Position
from daybook.log.postgres import Log
from daybook.scheduling import Handled, handle_schedule, submit_slot, task_of_slot

from .schedules import TRIES, FoundSchedule, Schedules, permission, refused
from .submission import checked_key

_REMEMBERED: Final = 1000
"""Among so many latest events a trigger's key is looked for."""
_CHUNK: Final = 500
_MOST_LOOKED_AT: Final = 5000


class Triggered(NamedTuple):
    """A task that was submitted out of turn, and the positions of the slot's event and its own."""

    task: UUID
    positions: tuple[Position, ...]
    replayed: bool = False


class Gaps(NamedTuple):
    """Slots to fire after all; how many are left out since they have fired, or wait for that already; and after which
    instant there are more (None: there are none)."""

    slots: list[datetime]
    already_fired: int
    already_waiting: int
    next_since: datetime | None


class OutOfTurn:
    """Fires slots on request."""

    def __init__(self, log: Log, schedules: Schedules) -> None:
        self._log = log
        self._schedules = schedules

    async def trigger(self, schedule_id: str, note: str, who: Principal, *, key: str | None) -> Triggered:
        """Submit a schedule's task, now; with a key that was used lately, find the task of that time. Raises problems."""
        cause = "" if key is None else str(ids.derive_id("http-trigger", who.namespace, who.owner, checked_key(key)))
        refusal: Refusal = Contended()
        for _ in range(TRIES):
            found = await self._schedules.find(schedule_id, who)
            if cause and (replayed := await self._triggered(found, cause, note)) is not None:
                return replayed
            now = clock.now()
            # Cadences are due at whole seconds, so no slot of theirs is this one.
            at = now if now.microsecond else now.replace(microsecond=1)
            task = task_of_slot(found.name, at)
            command = TriggerSchedule(actor=f"user:{who.owner}", reason=note, causation=cause, at=at, task=ids.spell("tsk", task))
            # Whether the key is new is known of this version alone.
            permits = permission(who, None, version=found.schedule.version if cause else None)
            outcome = await handle_schedule(self._log, found.stream, command, found.snapshot, now, permits=permits)
            if isinstance(outcome, Handled):
                return await self._submitted(found, task, outcome)
            refusal = outcome
            if not isinstance(refusal, Contended):
                break
        raise refused(refusal)

    async def backfill(self, schedule_id: str, gap: tuple[datetime, datetime], limit: int, who: Principal, *, dry_run: bool) -> tuple[FoundSchedule, Gaps]:
        """Fire past slots after all, those after the first instant and up to the second; or (dry run) only say which they
        are. Raises problems."""
        for _ in range(TRIES):
            found = await self._schedules.find(schedule_id, who)
            now = clock.now()
            gaps = await self._gaps(found, gap, limit, now)
            if dry_run or not gaps.slots:
                return found, gaps
            command = BackfillSchedule(actor=f"user:{who.owner}", slots=tuple(gaps.slots))
            # A slot that fired meanwhile would fire twice.
            permits = permission(who, None, version=found.schedule.version)
            outcome = await handle_schedule(self._log, found.stream, command, found.snapshot, now, permits=permits)
            if not isinstance(outcome, Contended):
                return await self._schedules.after(found, outcome), gaps
        raise refused(Contended())

    async def _submitted(self, found: FoundSchedule, task: UUID, handled: Handled) -> Triggered:
        """The task is submitted here, and at once. Should that not come about, a scheduler does it."""
        assert isinstance(handled.event, SlotFired)
        event = (found.stream, handled.snapshot.schedule.input_version)
        payload = (await self._log.load_payloads([event])).get(event)
        appended = await submit_slot(self._log, found.stream, handled.snapshot, handled.event, handled.at, payload)
        return Triggered(task, (handled.position,) if appended is None else (handled.position, appended.position))

    async def _triggered(self, found: FoundSchedule, cause: str, note: str) -> Triggered | None:
        """The task that this key submitted before; None when there is none among the latest events."""
        for recorded in await self._log.load_after(found.stream, max(0, found.schedule.version - _REMEMBERED)):
            event = recorded.event
            if not isinstance(event, SlotFired) or event.causation != cause:
                continue
            if event.reason != note:
                raise refused(AlreadyExists(fingerprint=""))
            task = task_of_slot(found.name, event.slot)
            first = (await self._log.load_first([task])).get(task)
            if first is None:
                # It is about to be submitted, by whoever recorded the slot or by a scheduler.
                raise refused(Contended())
            return Triggered(task, (Position(recorded.lane, recorded.position), Position(first.lane, first.position)), replayed=True)
        return None

    async def _gaps(self, found: FoundSchedule, gap: tuple[datetime, datetime], limit: int, now: datetime) -> Gaps:
        """The first slots of that time that have not fired: `limit` of them, and no more than may wait at once. It looks at
        5,000 slots at most."""
        schedule, name = found.schedule, found.name
        last, until = gap[0], min(gap[1], _settled_until(schedule, now))
        room = min(limit, MOST_BACKFILLED - len(schedule.backlog))
        waiting = frozenset(schedule.backlog)
        slots: list[datetime] = []
        fired = in_line = looked_at = 0
        upcoming = slots_of(schedule.rule, last, until)
        while len(slots) < room and looked_at < _MOST_LOOKED_AT and (chunk := list(islice(upcoming, _CHUNK))):
            tasks = {slot: task_of_slot(name, slot) for slot in chunk}
            there = await self._log.load_first(list(tasks.values()))
            for slot in chunk:
                if len(slots) == room:
                    break
                looked_at, last = looked_at + 1, slot
                if tasks[slot] in there:
                    fired += 1
                elif slot in waiting:
                    in_line += 1
                else:
                    slots.append(slot)
        more = next(slots_of(schedule.rule, last, until), None) is not None
        return Gaps(slots, fired, in_line, last if more else None)


async def has_unfinished(log: Log, name: str, schedule: Schedule) -> bool:
    """Whether the task of an earlier slot has not ended."""
    tasks = [task_of_slot(name, slot) for slot in schedule.live]
    if not tasks:
        return False
    latest = await log.load_last(tasks)
    ended = {task for task, recorded in latest.items() if isinstance(recorded.event, TaskEvent) and status_after(recorded.event) in TERMINAL}
    return len(ended) < len(tasks)


def _settled_until(schedule: Schedule, now: datetime) -> datetime:
    """Up to here no slot will ever fire of its own accord."""
    if schedule.is_used_up:
        return now
    if schedule.paused_at is not None:
        return max(schedule.decided_until, now if schedule.paused_until is None else min(now, schedule.paused_until))
    return schedule.decided_until
