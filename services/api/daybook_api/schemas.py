"""What comes in and what goes out over HTTP: the shapes of bodies, and the words they are made of.

Requests are strict (an unknown field is a typo), answers are complete (a field without a value is null).
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from daybook.webhooks import LONGEST_URL

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
Ending: TypeAlias = Literal["success", "error", "lost", "released", "cancelled"]
Labels: TypeAlias = Annotated[dict[Name, Label], Meta(max_length=32)]
Priority: TypeAlias = Annotated[int, Meta(ge=1, le=5)]
Reason: TypeAlias = Annotated[str, Meta(max_length=500)]
Cron: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256, examples=["30 9 * * mon-fri", "@hourly", "0 12 L * *"])]
Url: TypeAlias = Annotated[str, Meta(min_length=1, max_length=LONGEST_URL, examples=["https://example.net/daybook"])]
Zone: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64, examples=["Europe/Berlin"])]

_NO_INPUT: Final = msgspec.Raw(b"{}")
_SAME_INPUT: Final = msgspec.Raw(b"")


class RetryRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a task may be tried, and how long it waits in between: `backoff` the first time, `factor` times as long
    each time after, `max_backoff` at most. Errors of the types in `non_retryable` are final. What is left out is as the
    app has it."""

    max_attempts: Annotated[int, Meta(ge=1, le=100)] | None = None
    backoff: Delay | None = None
    max_backoff: Delay | None = None
    factor: Annotated[float, Meta(ge=1, le=100)] | None = None
    non_retryable: Annotated[list[Name], Meta(max_length=32)] | None = None


class OnFinish(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to tell when the task has ended: a signed message is sent to `url`, and sent again until it is taken."""

    url: Url


class TaskRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task to run: `input` for `app`, now, at `run_at`, or after `delay` (`"10m"`, `"1h30m"`, or seconds). `timeout`
    bounds one attempt, `queue_ttl` the wait in the queue, and `deadline` all of it, from when the task is due."""

    app: Name
    input: msgspec.Raw = msgspec.field(default_factory=lambda: _NO_INPUT)
    run_at: Timestamp | None = None
    delay: Delay | None = None
    queue: QueueName | None = None
    priority: Priority | None = None
    labels: Labels = {}
    timeout: Timeout | None = None
    queue_ttl: Timeout | None = None
    deadline: Timeout | None = None
    retry: RetryRequest | None = None
    delivery: Literal["at_least_once", "at_most_once"] | None = None
    on_finish: OnFinish | None = None


class SubmitRequest(TaskRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task to run: `input` for `app`, now, at `run_at`, or after `delay` (`"10m"`, `"1h30m"`, or seconds); or, with
    `cron`, again and again: that makes a schedule. `timeout` bounds one attempt, `queue_ttl` the wait in the queue, and
    `deadline` all of it, from when the task is due."""

    cron: Cron | None = None
    timezone: Zone | None = None


class BatchItem(TaskRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task of a batch; it may carry its own idempotency key."""

    idempotency_key: Key | None = None


class CancelRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why the task is to stop; for its history."""

    reason: Reason = ""


class RetryTaskRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why the task is to be tried again; for its history."""

    reason: Reason = ""


class RerunRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different about the new task; everything else is as it was, and it runs at once unless `run_at` or
    `delay` is given."""

    input: msgspec.Raw = msgspec.field(default_factory=lambda: _SAME_INPUT)
    run_at: Timestamp | None = None
    delay: Delay | None = None
    queue: QueueName | None = None
    priority: Priority | None = None
    labels: Labels | None = None
    on_finish: OnFinish | UnsetType | None = UNSET


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
    """One execution of the task. `lost` is one whose runner died, or could not be reached; `released` one that its
    runner handed back. `reason` says why it ended, `error_type` what went wrong."""

    attempt: int
    runner: str
    started_at: Timestamp
    ended_at: Timestamp | None
    outcome: Literal["running", "success", "error", "lost", "released", "cancelled"]
    reason: str
    error_type: str | None


class ResultView(Struct, frozen=True, kw_only=True):
    """Where the result is."""

    media_type: str
    size_bytes: int
    href: str


class CancellationView(Struct, frozen=True, kw_only=True):
    """Who wanted the task to stop, when, and why."""

    requested_by: str
    requested_at: Timestamp
    reason: str


class Links(Struct, frozen=True, kw_only=True):
    """Where to go from here."""

    self: str
    events: str
    logs: str
    output: str
    result: str
    cancel: str
    reschedule: str
    run_now: str
    retry: str
    rerun: str


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
    schedule: str | None
    attempt: int
    run_at: Timestamp | None
    submitted_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None
    error_type: str | None
    version: int


class TaskView(TaskSummary, frozen=True, kw_only=True):
    """A task, whole. `failures` and `losses` count what `retry` bounds, anew after each manual retry. `retry_at` is when
    it will be tried again, `expires_at` until when it may be started, `deadline_at` when all of it must be over. Where a
    `schedule` submitted it, `slot` is what for."""

    input: Any
    slot: Timestamp | None
    rerun_of: str | None
    failures: int
    losses: int
    retry_at: Timestamp | None
    expires_at: Timestamp | None
    deadline_at: Timestamp | None
    on_finish: OnFinish | None
    cancellation: CancellationView | None
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
    """How tasks of an app are tried unless they say otherwise. `max_attempts` counts attempts that fail, `max_losses` is
    how many may be lost with their runners."""

    max_attempts: int
    max_losses: int
    backoff_seconds: float
    backoff_factor: float
    backoff_max_seconds: float
    non_retryable: list[str]
    timeout_seconds: float | None
    queue_ttl_seconds: float | None
    deadline_seconds: float | None
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


class LogLine(Struct, frozen=True, kw_only=True):
    """A line that an attempt logged, printed or warned of; `n` is its number among everything that the attempt said."""

    attempt: int
    n: int
    at: Timestamp
    level: Literal["debug", "info", "warning", "error"]
    message: str
    fields: dict[str, Any]


class LogList(Struct, frozen=True, kw_only=True):
    """Log lines in order. `next_after` is null when nothing can follow."""

    items: list[LogLine]
    next_after: str | None


class OutputList(Struct, frozen=True, kw_only=True):
    """Messages in order, as they were told live: `type`, `attempt`, `n`, `at`, and the fields of that type. `next_from` is null when nothing
    can follow."""

    items: list[dict[str, Any]]
    next_from: str | None
