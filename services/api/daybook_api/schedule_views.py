"""How a schedule's state and its ledger become what HTTP shows of them: also what is not recorded anywhere, the slots to
come and those that wait. The shapes are in `schedule_schemas`; nothing here does I/O.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain, islice, takewhile
from typing import Any, Final, cast

import msgspec

from daybook import ids
from daybook.domain import cadence
from daybook.domain.schedule import Schedule
from daybook.domain.schedule_events import Rule
from daybook.domain.slots import LATE, Due, due, slots_of
from daybook.projections.schedule_listing import ListedSlot

from .schedule_schemas import (
    ClockChange,
    DecidedSlot,
    LastSlot,
    PendingSlot,
    PlannedSlot,
    PreviewedSlot,
    PreviewView,
    ScheduleSummary,
    ScheduleView,
    SlotCounts,
)
from .views import on_finish_view, policy_view
from .wording import words

MOST_PLANNED: Final = 5
MOST_PENDING: Final = 50
_YEAR: Final = timedelta(days=366)
_LAST_YEAR: Final = datetime(9998, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def schedule_summary(name: str, schedule: Schedule, now: datetime) -> ScheduleSummary:
    """A schedule as lists show it."""
    return ScheduleSummary(**_summary(name, schedule, now))


def schedule_view(name: str, schedule: Schedule, now: datetime, content: bytes | None) -> ScheduleView:
    """A schedule, whole. `content` is its input, JSON as it was given; None when it was erased."""
    return ScheduleView(**_summary(name, schedule, now), input=None if content is None else msgspec.Raw(content))


def _summary(name: str, schedule: Schedule, now: datetime) -> dict[str, Any]:
    rule, work = schedule.rule, schedule.work
    last = None
    if schedule.last_slot is not None and schedule.last_fired_at is not None:
        last = LastSlot(slot=schedule.last_slot, task=schedule.last_task, fired_at=schedule.last_fired_at)
    of_rule = {field: value for field, value in msgspec.structs.asdict(rule).items() if field != "cadence"}
    of_work = {field: getattr(work, field) for field in ("app", "app_version", "queue", "priority", "labels")}
    return {
        **msgspec.structs.asdict(rule.cadence),
        **of_rule,
        **of_work,
        "id": name,
        "policy": policy_view(work.policy),
        "on_finish": on_finish_view(work.on_finish),
        "paused": schedule.paused_at is not None,
        "paused_until": schedule.paused_until,
        "paused_by": schedule.paused_by or None,
        "note": schedule.note or None,
        "owner": schedule.owner,
        "version": schedule.version,
        "created_at": schedule.created_at,
        "words": words(rule.cadence),
        "next": [each.slot for each in planned(schedule, name, now)],
        "last": last,
        "runs": schedule.runs,
        "counts": SlotCounts(**{what: schedule.counts.get(what, 0) for what in SlotCounts.__struct_fields__}),
    }


def planned(schedule: Schedule, name: str, now: datetime) -> list[Due]:
    """The slots that fire next, unless something happens: five at most."""
    if schedule.deleted_at is not None or (schedule.paused_at is not None and schedule.paused_until is None):
        return []
    begin = now if schedule.paused_until is None else max(now, schedule.paused_until)
    # A slot may lie behind us, and by its jitter be still to come; what a pause covers is not.
    after = max(schedule.decided_until, begin if schedule.paused_at else begin - timedelta(seconds=schedule.rule.jitter_seconds))
    left = MOST_PLANNED if schedule.rule.max_runs is None else min(MOST_PLANNED, max(0, schedule.rule.max_runs - schedule.runs))
    ahead = due(msgspec.structs.replace(schedule, decided_until=after), name)
    return list(islice((each for each in ahead if each.at > now), left))


def planned_slots(schedule: Schedule, name: str, now: datetime) -> list[PlannedSlot]:
    """The same, as HTTP shows it."""
    return [PlannedSlot(slot=each.slot, due_at=each.at) for each in planned(schedule, name, now)]


def pending_slots(schedule: Schedule, name: str, now: datetime, *, has_live: bool) -> list[PendingSlot]:
    """The first slots that are due and not decided. `has_live`: the task of an earlier slot has not ended."""
    left = (PendingSlot(slot=slot, due_at=slot, why=tail.reason) for tail in schedule.tails for slot in slots_of(tail.rule, tail.after, tail.until))
    wanted = (PendingSlot(slot=slot, due_at=slot, why="backfill") for slot in schedule.backlog)
    return list(islice(chain(left, _undecided(schedule, name, now, has_live), wanted), MOST_PENDING))


def _undecided(schedule: Schedule, name: str, now: datetime, has_live: bool) -> Iterator[PendingSlot]:
    if schedule.deleted_at is not None:
        return
    for slot, at in takewhile(lambda each: each.at <= now, due(schedule, name)):
        yield PendingSlot(slot=slot, due_at=at, why=_why(schedule, slot, now - at, has_live))


def _why(schedule: Schedule, slot: datetime, waited: timedelta, has_live: bool) -> str:
    if schedule.paused_at is not None and (schedule.paused_until is None or slot <= schedule.paused_until):
        return "paused"
    if has_live and schedule.rule.overlap in {"queue_one", "queue_all"}:
        return "waiting for an earlier task"
    if has_live and schedule.rule.overlap == "skip":
        return "overlap"
    return "late" if waited > LATE else "due"


def decided_slot(row: ListedSlot) -> DecidedSlot:
    """A row of the ledger as HTTP shows it."""
    fired = row.outcome == "fired"
    return DecidedSlot(
        slot=row.slot,
        last=row.last,
        count=row.count,
        outcome="fired" if fired else "skipped",
        reason=cast(Any, row.reason),
        task=None if row.task is None else ids.spell("tsk", row.task),
        due_at=row.due_at,
        decided_at=row.decided_at,
        lateness_ms=(row.decided_at - row.due_at) / _MILLISECOND if fired else None,
    )


def preview_view(rule: Rule, after: datetime, count: int) -> PreviewView:
    """What a rule means from an instant on."""
    shown = list(islice(slots_of(rule, after), count))
    place = cadence.zone(rule.cadence.timezone)
    until = max(min(after, _LAST_YEAR) + _YEAR, shown[-1])
    return PreviewView(
        words=words(rule.cadence),
        timezone=rule.cadence.timezone,
        next=[PreviewedSlot(at=slot, local=slot.astimezone(place)) for slot in shown],
        notes=[ClockChange(at=note.at, kind=note.kind, text=note.text) for note in cadence.notes(rule.cadence, after, until)],
    )
