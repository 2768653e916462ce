"""One schedule: what its events make of it (`evolve`) and what a command makes of that (`decide`).

What time does to it, slot by slot, is decided in `slots`. The state is small and complete: with it and the events after its
`version` nobody needs to read the stream, which may hold millions of slots, from its beginning.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, assert_never

import msgspec

from .commands import Command, Submit
from .events import Content, TaskSubmitted
from .refusals import AlreadyDone, AlreadyExists, NotFound, Refusal
from .schedule_commands import (
    AnyScheduleCommand,
    BackfillSchedule,
    ChangeSchedule,
    CreateSchedule,
    DeleteSchedule,
    PauseSchedule,
    ResumeSchedule,
    TriggerSchedule,
)
from .schedule_events import (
    AnyScheduleEvent,
    Rule,
    ScheduleBackfilled,
    ScheduleChanged,
    ScheduleCreated,
    ScheduleDeleted,
    ScheduleEvent,
    SchedulePaused,
    ScheduleResumed,
    SlotFired,
    SlotsSkipped,
    Work,
)
from .task import decide as decide_task

MOST_LIVE: Final = 100
"""So many tasks that have not ended are remembered: the newest."""
MOST_BACKFILLED: Final = 500
"""So many slots can be waiting to be filled in."""


class Tail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Slots of a rule that holds no more (or held during a pause), after `after` and up to `until`: none of them fires,
    for that reason."""

    rule: Rule
    after: datetime
    until: datetime
    reason: str


class Schedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of a schedule after `version` events. All slots up to `decided_until` are decided but those in `tails` and
    `backlog`; `input_version` is the event whose payload is the input; `counts` are slots by what became of them: `fired`,
    or the reason why not. `served_at` is when a slot fired in its turn, neither triggered nor filled in; errors of tasks
    that had ended by `forgiven_at` count no more."""

    version: int
    owner: str
    rule: Rule
    work: Work
    input_version: int
    created_at: datetime
    decided_until: datetime
    fingerprint: str = ""
    tails: tuple[Tail, ...] = ()
    backlog: tuple[datetime, ...] = ()
    paused_at: datetime | None = None
    paused_until: datetime | None = None
    paused_by: str = ""
    note: str = ""
    deleted_at: datetime | None = None
    runs: int = 0
    live: tuple[datetime, ...] = ()
    errors: int = 0
    forgiven_at: datetime | None = None
    served_at: datetime | None = None
    last_slot: datetime | None = None
    last_task: str = ""
    last_fired_at: datetime | None = None
    last_skipped_at: datetime | None = None
    last_skip_reason: str = ""
    counts: dict[str, int] = {}

    @property
    def is_used_up(self) -> bool:
        """Whether it has fired as often as it may."""
        return self.rule.max_runs is not None and self.runs >= self.rule.max_runs


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule and the namespace that it lives in, as read models keep it."""

    namespace: str
    schedule: Schedule


def evolve(schedule: Schedule | None, event: ScheduleEvent, at: datetime) -> Schedule:
    """The schedule after one more event, recorded at `at`. Raises ValueError for an event that cannot be the next one."""
    if schedule is None or isinstance(event, ScheduleCreated):
        if schedule is not None or not isinstance(event, ScheduleCreated):
            raise ValueError(f"{type(event).__name__} is not how a schedule goes on")
        return _created(event, at)
    changed: dict[str, Any] = {"version": schedule.version + 1}
    match event:
        case ScheduleChanged():
            changed |= _changes(schedule, event, at)
        case SchedulePaused():
            changed |= {"paused_at": schedule.paused_at or at, "paused_until": event.until, "paused_by": event.actor, "note": event.reason}
            if event.live is not None:
                changed |= {"live": event.live, "errors": 0}
        case ScheduleResumed():
            changed |= {"paused_at": None, "paused_until": None, "paused_by": "", "note": "", "errors": 0, "forgiven_at": at}
            changed |= _left(schedule, event.since or at, "paused")
        case ScheduleDeleted():
            changed |= {"deleted_at": at, "backlog": ()} | _left(schedule, at, "paused" if schedule.paused_at else "ended")
        case ScheduleBackfilled():
            changed |= {"backlog": tuple(sorted({*schedule.backlog, *event.slots}))}
        case SlotFired():
            changed |= _fired(schedule, event, at)
        case SlotsSkipped():
            tails = tuple(msgspec.structs.replace(tail, after=max(tail.after, event.last)) for tail in schedule.tails if tail.until > event.last)
            changed |= {"tails": tails, "decided_until": max(schedule.decided_until, event.last)}
            changed |= {"last_skipped_at": at, "last_skip_reason": event.reason, "counts": _counted(schedule, event.reason, event.count)}
    return msgspec.structs.replace(schedule, **changed)


def fold(events: Iterable[tuple[ScheduleEvent, datetime]], schedule: Schedule | None = None) -> Schedule | None:
    """The schedule that these events, in order, have made of one (or of none)."""
    for event, at in events:
        schedule = evolve(schedule, event, at)
    return schedule


def decide(schedule: Schedule | None, command: AnyScheduleCommand, now: datetime) -> AnyScheduleEvent | Refusal:
    """What a command makes of a schedule: the one event to append as the next version, or why not."""
    said: dict[str, Any] = {name: getattr(command, name) for name in Command.__struct_fields__}
    if isinstance(command, CreateSchedule):
        if schedule is not None:
            return AlreadyExists(fingerprint=schedule.fingerprint)
        return ScheduleCreated(owner=command.owner, rule=command.rule, work=command.work, paused=command.paused, fingerprint=command.fingerprint, **said)
    if schedule is None:
        return NotFound()
    if schedule.deleted_at is not None:
        return AlreadyDone() if isinstance(command, DeleteSchedule) else NotFound()
    match command:
        case ChangeSchedule(rule=rule, work=work):
            return AlreadyDone() if (rule, work) == (schedule.rule, schedule.work) else ScheduleChanged(rule=rule, work=work, **said)
        case PauseSchedule(until=until):
            same = schedule.paused_at is not None and (until, command.reason) == (schedule.paused_until, schedule.note)
            return AlreadyDone() if same else SchedulePaused(until=until, **said)
        case ResumeSchedule():
            # A pause that was over by itself ended then, whoever is the first to say so.
            over = schedule.paused_until if schedule.paused_until is not None and schedule.paused_until <= now else None
            return AlreadyDone() if schedule.paused_at is None else ScheduleResumed(since=over, **said)
        case DeleteSchedule():
            return ScheduleDeleted(**said)
        case TriggerSchedule():
            return SlotFired(slot=command.at, task=command.task, cause="trigger", live=schedule.live, errors=schedule.errors, **said)
        case BackfillSchedule(slots=slots):
            return ScheduleBackfilled(slots=slots, **said) if set(slots) - set(schedule.backlog) else AlreadyDone()
        case _:
            assert_never(command)


def submission(schedule: Schedule, fired: SlotFired, name: str, at: datetime) -> TaskSubmitted:
    """The first event of the task of a slot that fired at `at`; `name` is the schedule's public id. The schedule is as that
    event left it."""
    work = schedule.work
    command = Submit(
        actor=f"schedule:{name}",
        reason=fired.cause,
        correlation=name,
        owner=schedule.owner,
        app=work.app,
        app_version=work.app_version,
        input=work.input,
        queue=work.queue,
        priority=work.priority,
        policy=work.policy,
        labels=work.labels,
        schedule=name,
        slot=fired.slot,
        on_finish=work.on_finish,
    )
    event = decide_task(None, command, at)
    assert isinstance(event, TaskSubmitted), "a task without a time of its own cannot be late"
    return event


def _created(event: ScheduleCreated, at: datetime) -> Schedule:
    return Schedule(
        version=1,
        owner=event.owner,
        rule=event.rule,
        work=event.work,
        input_version=1,
        created_at=at,
        decided_until=at,
        fingerprint=event.fingerprint,
        paused_at=at if event.paused else None,
        paused_by=event.actor if event.paused else "",
        note=event.reason if event.paused else "",
    )


def _changes(schedule: Schedule, event: ScheduleChanged, at: datetime) -> dict[str, Any]:
    changed: dict[str, Any] = {"rule": event.rule, "work": event.work}
    if _is_other_input(schedule.work.input, event.work.input):
        changed["input_version"] = schedule.version + 1
    if _times(event.rule) != _times(schedule.rule):
        # What the old rule had due stays undecided no longer, and the new one begins here: no slot can fire twice.
        changed |= _left(schedule, at, "paused" if schedule.paused_at else "changed")
    return changed


def _is_other_input(before: Content, after: Content) -> bool:
    return before.digest != after.digest


def _times(rule: Rule) -> tuple[Any, ...]:
    return rule.cadence, rule.jitter_seconds, rule.start_at, rule.end_at, rule.max_runs


def _left(schedule: Schedule, until: datetime, reason: str) -> dict[str, Any]:
    """What was not decided up to `until` will not fire."""
    until = max(until, schedule.decided_until)
    if schedule.is_used_up:
        return {"decided_until": until}
    tail = Tail(rule=schedule.rule, after=schedule.decided_until, until=until, reason=reason)
    last = schedule.tails[-1] if schedule.tails else None
    if last is not None and last.until == tail.after and (last.rule, last.reason) == (tail.rule, tail.reason):
        # Else a schedule that is rarely due and often paused would remember every pause.
        return {"decided_until": until, "tails": (*schedule.tails[:-1], msgspec.structs.replace(last, until=until))}
    return {"decided_until": until, "tails": (*schedule.tails, tail)}


def _fired(schedule: Schedule, event: SlotFired, at: datetime) -> dict[str, Any]:
    changed: dict[str, Any] = {
        "live": (*event.live, event.slot)[-MOST_LIVE:],
        "errors": event.errors,
        "last_slot": event.slot,
        "last_task": event.task,
        "last_fired_at": at,
        "counts": _counted(schedule, "fired", 1),
    }
    if event.slot in schedule.backlog:
        changed["backlog"] = tuple(slot for slot in schedule.backlog if slot != event.slot)
    if event.cause == "slot":
        changed["served_at"] = at
        after = msgspec.structs.replace(schedule, runs=schedule.runs + 1, decided_until=max(schedule.decided_until, event.slot), tails=())
        changed |= {"runs": after.runs, "decided_until": after.decided_until, "tails": ()}
        if after.is_used_up and after.decided_until < at:
            # Slots that were waiting behind this one are there no more; but the rule had them due.
            tail = Tail(rule=msgspec.structs.replace(schedule.rule, max_runs=None), after=after.decided_until, until=at, reason="limit")
            changed |= {"decided_until": at, "tails": (tail,)}
    return changed


def _counted(schedule: Schedule, what: str, count: int) -> dict[str, int]:
    return {**schedule.counts, what: schedule.counts.get(what, 0) + count}
