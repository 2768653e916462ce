"""What comes in and what goes out over HTTP: the shapes of bodies, and the words they are made of.

Requests are strict (an unknown field is a typo), answers are complete (a field without a value is null).
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from .problems import ProblemDetails

LONGEST_SECONDS: Final = 3650 * 24 * 3600
_NUMBER: Final = r"[0-9]+(\.[0-9]+)?"
DURATION: Final = rf"^\s*(?=[0-9])({_NUMBER}|" + "".join(rf"({_NUMBER}{unit}\s*)?" for unit in ("w", "d", "h", "m", "s", "ms")) + r")\s*$"
"""How a duration is written, as a JSON Schema pattern. What it means is `daybook.durations`' business."""

Timestamp: TypeAlias = Annotated[datetime, Meta(tz=True)]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
Label: TypeAlias = Annotated[str, Meta(max_length=256)]
# In Python `$` also fits before a line break at the end, so that is ruled out beside it.
QueueName: TypeAlias = Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,32}(?!\n)$")]
Key: TypeAlias = Annotated[str, Meta(pattern=r"^[ -~]{1,255}(?!\n)$")]
DurationText: TypeAlias = Annotated[str, Meta(max_length=32, extra_json_schema={"pattern": DURATION, "examples": ["10m", "1h30m", "45s"]})]
Delay: TypeAlias = DurationText | Annotated[float, Meta(ge=0, le=LONGEST_SECONDS)]
Timeout: TypeAlias = DurationText | Annotated[float, Meta(gt=0, le=LONGEST_SECONDS)]
StatusName: TypeAlias = Literal["scheduled", "queued", "running", "success", "error", "cancelled"]
Ending: TypeAlias = Literal["success", "error", "released", "cancelled"]


_NO_INPUT: Final = msgspec.Raw(b"{}")


class RetryRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a task may be tried."""

    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 1


class SubmitRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task to run: `input` for `app`, now, at `run_at`, or after `delay` (`"10m"`, `"1h30m"`, or seconds)."""

    app: Name
    input: msgspec.Raw = msgspec.field(default_factory=lambda: _NO_INPUT)
    run_at: Timestamp | None = None
    delay: Delay | None = None
    queue: QueueName | None = None
    priority: Annotated[int, Meta(ge=1, le=5)] | None = None
    labels: Annotated[dict[Name, Label], Meta(max_length=32)] = {}
    timeout: Timeout | None = None
    retry: RetryRequest | None = None
    delivery: Literal["at_least_once", "at_most_once"] | None = None


class BatchItem(SubmitRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task of a batch; it may carry its own idempotency key."""

    idempotency_key: Key | None = None


class CancelRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why the task is to stop; for its history."""

    reason: Annotated[str, Meta(max_length=500)] = ""


class RescheduleRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the task is to run instead: `run_at` or `delay`, one of them."""

    run_at: Timestamp | None = None
    delay: Delay | None = None


class ErrorView(Struct, frozen=True, kw_only=True):
    """What went wrong in an attempt."""

    type: str
    message: str
    traceback: str | None = None


class AttemptView(Struct, frozen=True, kw_only=True):
    """One execution of the task."""

    attempt: int
    runner: str
    started_at: Timestamp
    ended_at: Timestamp | None
    outcome: Literal["running", "success", "error", "released", "cancelled"]


class ResultView(Struct, frozen=True, kw_only=True):
    """Where the result is."""

    media_type: str
    size_bytes: int
    href: str


class Links(Struct, frozen=True, kw_only=True):
    """Where to go from here."""

    self: str
    events: str
    result: str
    cancel: str
    reschedule: str


class TaskSummary(Struct, frozen=True, kw_only=True):
    """A task, as lists show it."""

    id: str
    app: str
    app_version: str
    status: StatusName
    reason: str
    owner: str
    queue: str
    priority: int
    labels: dict[str, str]
    attempt: int
    run_at: Timestamp | None
    submitted_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None
    error_type: str | None
    version: int


class TaskView(TaskSummary, frozen=True, kw_only=True):
    """A task, whole."""

    input: Any
    attempts: list[AttemptView]
    result: ResultView | None
    error: ErrorView | None
    progress: None
    links: Links


class TaskList(Struct, frozen=True, kw_only=True):
    """A page of tasks, newest first."""

    items: list[TaskSummary]
    next_cursor: str | None


class EventView(Struct, frozen=True, kw_only=True):
    """One event of a task's history."""

    id: str
    kind: str
    version: int
    at: Timestamp
    data: dict[str, Any]


class EventList(Struct, frozen=True, kw_only=True):
    """All events of a task, in order."""

    items: list[EventView]


class BatchOutcome(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one item of a batch: a task, or a problem."""

    task_id: str | None = None
    status: str | None = None
    problem: ProblemDetails | None = None


class BatchOutcomes(Struct, frozen=True, kw_only=True):
    """What became of a batch, item by item in the order of the request."""

    items: list[BatchOutcome]
    accepted: int
    refused: int


class PolicyView(Struct, frozen=True, kw_only=True):
    """How tasks of an app are tried unless they say otherwise."""

    max_attempts: int
    timeout_seconds: float | None
    delivery: str


class AppView(Struct, frozen=True, kw_only=True):
    """Something that can be run."""

    app: str
    kind: Literal["chat", "http", "nats", "python", "command"]
    version: str
    doc: str
    input_schema: dict[str, Any]
    queue: str
    priority: int
    policy: PolicyView
    published_at: Timestamp


class AppList(Struct, frozen=True, kw_only=True):
    """The catalogue."""

    items: list[AppView]


class Health(Struct, frozen=True, kw_only=True):
    """Whether this process can do its work; `checks` names each thing it needs."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, str] = {}
