"""Facts about schedules. What holds for all facts is told in `events`.

A schedule is a `Rule` (when it is due, and what becomes of slots that come at a bad time) and the `Work` that it submits
at each slot. Both are always told as a whole.
"""

from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from .cadence import Cadence
from .events import Content, Event, Policy

Overlap: TypeAlias = Literal["skip", "queue_one", "queue_all", "cancel_previous", "allow"]
CatchUp: TypeAlias = Literal["none", "latest", "all"]
Cause: TypeAlias = Literal["slot", "trigger", "backfill"]
SkipReason: TypeAlias = Literal["overlap", "missed", "paused", "ended", "limit", "changed"]


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """When a schedule is due, and what becomes of a slot that comes at a bad time.

    `overlap` says what happens while the task of an earlier slot has not ended, `catch_up` what happens to slots that
    nobody could fire in time: those of the last `catch_up_window_seconds`. Each slot is fired up to `jitter_seconds` late,
    always the same for one slot. There are no slots before `start_at`, after `end_at`, and after `max_runs` of them have
    fired; after `pause_after_errors` tasks in a row that ended with an error the schedule pauses by itself.
    """

    cadence: Cadence
    overlap: Overlap = "skip"
    catch_up: CatchUp = "latest"
    catch_up_window_seconds: float = 3600.0
    jitter_seconds: float = 0.0
    start_at: datetime | None = None
    end_at: datetime | None = None
    max_runs: int | None = None
    pause_after_errors: int | None = None


class Work(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The task that is submitted at each slot."""

    app: str
    app_version: str
    input: Content
    queue: str = "default"
    priority: int = 3
    policy: Policy = Policy()
    labels: dict[str, str] = {}
    on_finish: str = ""


class ScheduleEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A fact about one schedule."""


class ScheduleCreated(ScheduleEvent, frozen=True, kw_only=True, omit_defaults=True, tag="schedule.created.v1"):
    """A schedule was accepted. The payload is the input of its tasks; `reason` is the note of one that begins `paused`."""

    owner: str
    rule: Rule
    work: Work
    paused: bool = False
    fingerprint: str = ""


class ScheduleChanged(ScheduleEvent, frozen=True, kw_only=True, omit_defaults=True, tag="schedule.changed.v1"):
    """From now on the schedule is this. The payload is the input where that is another; else there is none."""

    rule: Rule
    work: Work


class SchedulePaused(ScheduleEvent, frozen=True, kw_only=True, omit_defaults=True, tag="schedule.paused.v1"):
    """No slot fires any more: until somebody resumes it, or until a time. `reason` is the note. Where the schedule paused by
    itself, `live` are the slots whose tasks had not ended."""

    until: datetime | None = None
    live: tuple[datetime, ...] | None = None


class ScheduleResumed(ScheduleEvent, frozen=True, kw_only=True, omit_defaults=True, tag="schedule.resumed.v1"):
    """Slots fire again: those after now, or after `since`, when its pause was over."""

    since: datetime | None = None


class ScheduleDeleted(ScheduleEvent, frozen=True, kw_only=True, omit_defaults=True, tag="schedule.deleted.v1"):
    """There is no such schedule any more. Its tasks and its ledger stay."""


class ScheduleBackfilled(ScheduleEvent, frozen=True, kw_only=True, omit_defaults=True, tag="schedule.backfilled.v1"):
    """Somebody wants these past slots fired after all."""

    slots: tuple[datetime, ...]


class SlotFired(ScheduleEvent, frozen=True, kw_only=True, omit_defaults=True, tag="slot.fired.v1"):
    """The slot is decided: `task` is submitted for it. `due_at` is when it was to fire, where jitter made that another
    time; `cause` what made it fire. The decision rests on `live`, the earlier slots whose tasks had not ended, and
    `errors`, how many tasks in a row had ended with an error."""

    slot: datetime
    task: str
    due_at: datetime | None = None
    cause: Cause = "slot"
    live: tuple[datetime, ...] = ()
    errors: int = 0


class SlotsSkipped(ScheduleEvent, frozen=True, kw_only=True, omit_defaults=True, tag="slots.skipped.v1"):
    """The `count` slots from `first` to `last` are decided: they do not fire, all for the same `reason` (a `SkipReason`)."""

    first: datetime
    last: datetime
    count: int


AnyScheduleEvent: TypeAlias = (
    ScheduleCreated | ScheduleChanged | SchedulePaused | ScheduleResumed | ScheduleDeleted | ScheduleBackfilled | SlotFired | SlotsSkipped
)

SCHEDULE_EVENTS: tuple[type[ScheduleEvent], ...] = (
    ScheduleCreated,
    ScheduleChanged,
    SchedulePaused,
    ScheduleResumed,
    ScheduleDeleted,
    ScheduleBackfilled,
    SlotFired,
    SlotsSkipped,
)
