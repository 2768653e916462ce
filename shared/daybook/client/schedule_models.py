"""What the API answers about schedules, as values; what holds for all answers is told in `models`."""

from datetime import datetime
from typing import Any

import msgspec


class LastSlot(msgspec.Struct, frozen=True, kw_only=True):
    """The slot that fired last, its task, and when it fired."""

    slot: datetime
    task: str
    fired_at: datetime | None = None


class ScheduleView(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule: its rule, what it submits at each slot, and how it stands. Lists leave out the `input`.

    `words` say when it is due, `next` are its next slots, five at most; there are none during a pause without an end.
    `runs` is how often its own rule has fired it, `counts` how many slots became what: `fired`, or the reason why not.
    """

    id: str
    app: str
    cron: str
    timezone: str
    version: int
    app_version: str | None = None
    input: Any = None
    seconds: bool = False
    overlap: str = "skip"
    catch_up: str = "latest"
    catch_up_window_seconds: float | None = None
    jitter_seconds: float = 0.0
    dst_gap: str = "next"
    dst_fold: str = "once"
    start_at: datetime | None = None
    end_at: datetime | None = None
    max_runs: int | None = None
    pause_after_errors: int | None = None
    queue: str = ""
    priority: int = 3
    labels: dict[str, str] = {}
    policy: dict[str, Any] = {}
    paused: bool = False
    paused_until: datetime | None = None
    paused_by: str | None = None
    note: str | None = None
    owner: str = ""
    created_at: datetime | None = None
    words: str = ""
    next: list[datetime] = []
    last: LastSlot | None = None
    runs: int = 0
    counts: dict[str, int] = {}


class SchedulePage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list, newest first."""

    items: list[ScheduleView]
    next_cursor: str | None = None


class DecidedSlot(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the ledger: a slot that fired, or the `count` slots from `slot` to `last` that did not, all for one reason.

    `lateness_ms` is from when it was due, which jitter puts behind the slot, to when its task was submitted.
    """

    slot: datetime
    outcome: str
    reason: str = ""
    last: datetime | None = None
    count: int = 1
    task: str | None = None
    due_at: datetime | None = None
    decided_at: datetime | None = None
    lateness_ms: float | None = None


class PendingSlot(msgspec.Struct, frozen=True, kw_only=True):
    """A slot that was due and is not decided yet, and what it waits for."""

    slot: datetime
    due_at: datetime | None = None
    why: str = ""


class PlannedSlot(msgspec.Struct, frozen=True, kw_only=True):
    """A slot to come, and when it will fire."""

    slot: datetime
    due_at: datetime | None = None


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a schedule's slots, newest first, what is undecided, and what is to come."""

    items: list[DecidedSlot]
    pending: list[PendingSlot] = []
    planned: list[PlannedSlot] = []
    next_cursor: str | None = None


class Backfill(msgspec.Struct, frozen=True, kw_only=True):
    """The past slots that are fired after all, or would be (`dry_run`). `already_fired` had been, `already_waiting` are to be
    anyway; `more` says that there are others after `next_since`, which did not fit into the limit.
    """

    slots: list[datetime]
    count: int
    dry_run: bool = False
    already_fired: int = 0
    already_waiting: int = 0
    more: bool = False
    next_since: datetime | None = None


class PreviewedSlot(msgspec.Struct, frozen=True, kw_only=True):
    """An instant at which a cadence is due, and what the clocks in its zone show then."""

    at: datetime
    local: str


class ClockChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the clocks (`gap` or `fold`), and what becomes of the times that it takes away or brings twice."""

    at: datetime
    kind: str
    text: str


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a cadence means: in words, as instants, and what changes of the clocks do to it meanwhile."""

    words: str
    timezone: str
    next: list[PreviewedSlot] = []
    notes: list[ClockChange] = []
