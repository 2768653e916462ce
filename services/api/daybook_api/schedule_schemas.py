"""What comes in and what goes out over HTTP about schedules. Durations come as text or seconds, and go out in seconds.

What is left out of a request is as usual, or stays as it is where something is changed; null is the usual value, said
aloud. Only an `input` of null is just that.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from daybook.domain.cadence import Fold, Gap
from daybook.domain.schedule import MOST_BACKFILLED
from daybook.domain.schedule_events import CatchUp, Overlap

from .schemas import (
    DURATION,
    LONGEST_SECONDS,
    Cron,
    Delay,
    Labels,
    Name,
    OnFinish,
    PolicyView,
    Priority,
    QueueName,
    Reason,
    RetryRequest,
    Timeout,
    Timestamp,
    Zone,
)

MomentText: TypeAlias = Annotated[str, Meta(max_length=64, extra_json_schema={"anyOf": [{"format": "date-time"}, {"pattern": DURATION}]})]
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=LONGEST_SECONDS)]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Reasons: TypeAlias = Literal["overlap", "missed", "paused", "ended", "limit", "changed"]


class _ScheduleFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    timezone: Zone | UnsetType | None = UNSET
    seconds: bool | UnsetType | None = UNSET
    overlap: Overlap | UnsetType | None = UNSET
    catch_up: CatchUp | UnsetType | None = UNSET
    catch_up_window: Delay | UnsetType | None = UNSET
    jitter: Delay | UnsetType | None = UNSET
    dst_gap: Gap | UnsetType | None = UNSET
    dst_fold: Fold | UnsetType | None = UNSET
    start_at: Timestamp | UnsetType | None = UNSET
    end_at: Timestamp | UnsetType | None = UNSET
    max_runs: Count | UnsetType | None = UNSET
    pause_after_errors: Count | UnsetType | None = UNSET
    queue: QueueName | UnsetType | None = UNSET
    priority: Priority | UnsetType | None = UNSET
    labels: Labels | UnsetType | None = UNSET
    timeout: Timeout | UnsetType | None = UNSET
    queue_ttl: Timeout | UnsetType | None = UNSET
    deadline: Timeout | UnsetType | None = UNSET
    retry: RetryRequest | UnsetType | None = UNSET
    delivery: Literal["at_least_once", "at_most_once"] | UnsetType | None = UNSET
    on_finish: OnFinish | UnsetType | None = UNSET


class CreateScheduleRequest(_ScheduleFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task to submit at every slot of `cron`: five fields, or six with the seconds first where `seconds` asks for them.
    `overlap` says what happens to a slot while the task of an earlier one has not ended, `catch_up` what happens to slots
    that nobody could fire in time. `jitter` spreads them. After `pause_after_errors` tasks in a row that ended with an
    error it pauses by itself. What is said about the task is as in a submit.
    """

    app: Name
    cron: Cron
    input: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    paused: bool = False
    note: Reason = ""


class ChangeScheduleRequest(_ScheduleFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different. The app stays, and is taken as it is today; null takes back what was said before."""

    cron: Cron | UnsetType = UNSET
    input: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b""))


class PauseRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why no slot is to fire, and `until` when: a time, or a while from now. Without it, until somebody says otherwise."""

    note: Reason = ""
    until: MomentText | Seconds | None = None


class ResumeRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why slots may fire again; for its history."""

    note: Reason = ""


class TriggerRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why its task is wanted now; for its history."""

    note: Reason = ""


class BackfillRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which slots to fire after all: those after `since` and up to `until` (now), the first `limit` of them. Either is a
    time, or a while back from now. With `dry_run` they are only named."""

    since: MomentText | Seconds
    until: MomentText | Seconds | None = None
    dry_run: bool = False
    limit: Annotated[int, Meta(ge=1, le=MOST_BACKFILLED)] = 100


class PreviewRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cadence, and which of its slots to show: the first `count` after `after` (now)."""

    cron: Cron
    timezone: Zone | None = None
    seconds: bool | None = None
    dst_gap: Gap | None = None
    dst_fold: Fold | None = None
    start_at: Timestamp | None = None
    end_at: Timestamp | None = None
    after: Timestamp | None = None
    count: Annotated[int, Meta(ge=1, le=100)] = 5


class LastSlot(Struct, frozen=True, kw_only=True):
    """The slot that fired last, its task, and when it did."""

    slot: Timestamp
    task: str
    fired_at: Timestamp


class SlotCounts(Struct, frozen=True, kw_only=True):
    """How many slots have fired, and how many have not, by the reason why."""

    fired: int
    overlap: int
    missed: int
    paused: int
    ended: int
    limit: int
    changed: int


class ScheduleSummary(Struct, frozen=True, kw_only=True):
    """A schedule, as lists show it. `words` tell its cadence, `next` are the slots that will fire next unless something
    happens, `runs` is how many of those that `max_runs` bounds have fired. `paused_until` is null where only somebody can
    end the pause."""

    id: str
    app: str
    app_version: str
    cron: str
    timezone: str
    seconds: bool
    overlap: Overlap
    catch_up: CatchUp
    catch_up_window_seconds: float
    jitter_seconds: float
    dst_gap: Gap
    dst_fold: Fold
    start_at: Timestamp | None
    end_at: Timestamp | None
    max_runs: int | None
    pause_after_errors: int | None
    queue: str
    priority: int
    labels: dict[str, str]
    policy: PolicyView
    on_finish: OnFinish | None
    paused: bool
    paused_until: Timestamp | None
    paused_by: str | None
    note: str | None
    owner: str
    version: int
    created_at: Timestamp
    words: str
    next: list[Timestamp]
    last: LastSlot | None
    runs: int
    counts: SlotCounts


class ScheduleView(ScheduleSummary, frozen=True, kw_only=True):
    """A schedule, whole."""

    input: Any


class ScheduleList(Struct, frozen=True, kw_only=True):
    """A page of schedules, newest first."""

    items: list[ScheduleSummary]
    next_cursor: str | None


class DecidedSlot(Struct, frozen=True, kw_only=True):
    """A line of the ledger: a slot that fired, or the `count` slots from `slot` to `last` that did not. `reason` is why
    not, or what made it fire. `due_at` is later than the slot by its jitter, `lateness_ms` how much later it was decided."""

    slot: Timestamp
    last: Timestamp
    count: int
    outcome: Literal["fired", "skipped"]
    reason: Literal["slot", "trigger", "backfill"] | Reasons
    task: str | None
    due_at: Timestamp
    decided_at: Timestamp
    lateness_ms: float | None


class PendingSlot(Struct, frozen=True, kw_only=True):
    """A slot that is due and not decided yet, and why that is."""

    slot: Timestamp
    due_at: Timestamp
    why: str


class PlannedSlot(Struct, frozen=True, kw_only=True):
    """A slot to come, and when it fires."""

    slot: Timestamp
    due_at: Timestamp


class SlotList(Struct, frozen=True, kw_only=True):
    """A page of the ledger, newest first; and, whatever the page, the first of the slots that are pending and planned."""

    items: list[DecidedSlot]
    next_cursor: str | None
    pending: list[PendingSlot]
    planned: list[PlannedSlot]


class BackfillView(Struct, frozen=True, kw_only=True):
    """Slots that fire after all, or would. Left out are those that had fired (`already_fired`) and those that were waiting
    for it (`already_waiting`); `more` says that there are others, after `next_since`."""

    dry_run: bool
    slots: list[Timestamp]
    count: int
    already_fired: int
    already_waiting: int
    more: bool
    next_since: Timestamp | None


class PreviewedSlot(Struct, frozen=True, kw_only=True):
    """A slot: `at` in UTC, and `local` with the offset that clocks have in the zone then."""

    at: Timestamp
    local: Annotated[datetime, Meta(tz=True)]


class ClockChange(Struct, frozen=True, kw_only=True):
    """What a change of the clocks does to the cadence."""

    at: Timestamp
    kind: Literal["gap", "fold"]
    text: str


class PreviewView(Struct, frozen=True, kw_only=True):
    """What a cadence means: in words, as slots, and the changes of the clocks within the next year (or as long as the
    slots go) that make a difference to it."""

    words: str
    timezone: str
    next: list[PreviewedSlot]
    notes: list[ClockChange]
