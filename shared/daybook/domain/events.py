"""Facts, in the past tense. Once written they never change, and neither does the meaning of a field.

Each event is one msgspec struct whose tag is its stable name. A fact (`data` in the log) is small and may be read by anyone who
may see the task; what belongs to the user (input, result, error text) travels apart, as the event's payload, and the fact keeps
only its `Content`: media type, size, and a salted digest, so that erasing the payload leaves nothing to guess from.

A field that is added must have a default. A changed meaning is a new kind (`task.submitted.v2`), and is written one release after
it can be read.
"""

from datetime import datetime
from typing import Any, ClassVar, Final, Literal, TypeAlias

import msgspec

AppKind: TypeAlias = Literal["chat", "http", "nats", "python", "command"]
Delivery: TypeAlias = Literal["at_least_once", "at_most_once"]
TokenUse: TypeAlias = Literal["", "login", "session"]
Ending: TypeAlias = Literal["task.success", "task.error", "task.cancelled"]

BUILT_IN: Final = "daybook."
"""How the ids of apps begin that the house itself has: nobody can publish them, and nobody can submit to them."""


class Content(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Where a payload is and how to know it again: `digest` is hex SHA-256 over salt and bytes; `blob` is true when the bytes
    are in the blob store under that digest rather than in the event's own payload."""

    digest: str
    size_bytes: int
    media_type: str = "application/json"
    blob: bool = False


class Policy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """How a task is to be tried.

    `max_attempts` counts attempts that fail by themselves, `max_losses` those whose runner was lost. Before retry n a
    task waits `backoff_seconds` times `backoff_factor` to the power n - 1, `backoff_max_seconds` at most; errors of the
    types in `non_retryable` are final. `timeout_seconds` bounds one attempt, `queue_ttl_seconds` the time that the task
    waits in its queue, `deadline_seconds` all of it, from when it was first due.
    """

    max_attempts: int = 1
    timeout_seconds: float | None = None
    delivery: Delivery = "at_least_once"
    max_losses: int = 3
    backoff_seconds: float = 1.0
    backoff_factor: float = 2.0
    backoff_max_seconds: float = 300.0
    non_retryable: tuple[str, ...] = ()
    queue_ttl_seconds: float | None = None
    deadline_seconds: float | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", gc=False):
    """What every fact records: who (`actor`), why (`reason`), and what led to it (`correlation` and `causation` ids)."""

    actor: str = ""
    reason: str = ""
    correlation: str = ""
    causation: str = ""


class TaskEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A fact about one task."""


class TaskSubmitted(TaskEvent, frozen=True, kw_only=True, omit_defaults=True, tag="task.submitted.v1"):
    """A task was accepted. With `run_at` it waits for that instant. `fingerprint` names the request, for idempotency keys;
    `rerun_of` the task that this one repeats, `schedule` and `slot` what it was submitted for. From `expires_at` on it is
    not to be started any more. `on_finish` is a URL that is told of each of its ends."""

    owner: str
    app: str
    app_version: str
    input: Content
    queue: str = "default"
    priority: int = 3
    run_at: datetime | None = None
    policy: Policy = Policy()
    labels: dict[str, str] = {}
    fingerprint: str = ""
    rerun_of: str = ""
    expires_at: datetime | None = None
    schedule: str = ""
    slot: datetime | None = None
    on_finish: str = ""


class TaskRescheduled(TaskEvent, frozen=True, kw_only=True, omit_defaults=True, tag="task.rescheduled.v1"):
    """A task that had not started was given another time."""

    run_at: datetime


class TaskDue(TaskEvent, frozen=True, kw_only=True, omit_defaults=True, tag="task.due.v1"):
    """The time of a scheduled task has come."""

    expires_at: datetime | None = None


class TaskStarted(TaskEvent, frozen=True, kw_only=True, omit_defaults=True, tag="task.started.v1"):
    """A runner claimed the task: attempt number `attempt`, counted from 1. It must have reported by `overdue_at`."""

    attempt: int
    runner: str
    overdue_at: datetime | None = None


class TaskReleased(TaskEvent, frozen=True, kw_only=True, omit_defaults=True, tag="task.released.v1"):
    """A draining runner handed the attempt back, unfinished. Not a loss."""

    attempt: int
    expires_at: datetime | None = None


class TaskSucceeded(TaskEvent, frozen=True, kw_only=True, omit_defaults=True, tag="task.succeeded.v1"):
    """The attempt ended well. The payload is the result."""

    attempt: int
    result: Content


class TaskFailed(TaskEvent, frozen=True, kw_only=True, omit_defaults=True, tag="task.failed.v1"):
    """The attempt ended badly. The payload is the error (type, message, traceback). With `retry_at` the task is tried again."""

    attempt: int
    error: Content
    error_type: str
    retry_at: datetime | None = None


class TaskLost(TaskEvent, frozen=True, kw_only=True, omit_defaults=True, tag="task.lost.v1"):
    """The attempt will never report: its runner is gone, or is long overdue. The task is queued again, at once or from
    `retry_at` on, unless the loss is `final`."""

    error_type: ClassVar = "RunnerLost"
    attempt: int
    runner: str = ""
    retry_at: datetime | None = None
    final: bool = False
    expires_at: datetime | None = None


class TaskExpired(TaskEvent, frozen=True, kw_only=True, omit_defaults=True, tag="task.expired.v1"):
    """The task waited too long: in its queue (reason `queue_ttl`), or altogether (`deadline`)."""

    error_type: ClassVar = "Expired"


class TaskRetried(TaskEvent, frozen=True, kw_only=True, omit_defaults=True, tag="task.retried.v1"):
    """Somebody wanted an ended task to be tried again: a new round begins, with all attempts before it."""

    expires_at: datetime | None = None


class TaskCancelRequested(TaskEvent, frozen=True, kw_only=True, omit_defaults=True, tag="task.cancel_requested.v1"):
    """Somebody wants a running task to stop; its runner has been asked."""


class TaskCancelled(TaskEvent, frozen=True, kw_only=True, omit_defaults=True, tag="task.cancelled.v1"):
    """The task was stopped before it could end by itself. `attempt` is 0 when it never ran; `requested_by` wanted it, when
    another actor tells it."""

    attempt: int = 0
    requested_by: str = ""


class AppPublished(Event, frozen=True, kw_only=True, omit_defaults=True, tag="app.published.v1"):
    """A runner announced what it serves. `version` is the hash of the manifest's content."""

    app: str
    app_kind: AppKind
    version: str
    doc: str = ""
    input_schema: dict[str, Any] = {}
    queue: str = "default"
    priority: int = 3
    policy: Policy = Policy()


class TokenIssued(Event, frozen=True, kw_only=True, omit_defaults=True, tag="token.issued.v1"):
    """A token was made. The payload is the SHA-256 of its secret; the secret itself is shown once and kept nowhere.

    `use` is empty for a bearer token, `login` for a link that begins one session, `session` for what a browser keeps.
    """

    owner: str
    scopes: tuple[str, ...]
    label: str = ""
    expires_at: datetime | None = None
    use: TokenUse = ""


class TokenRevoked(Event, frozen=True, kw_only=True, omit_defaults=True, tag="token.revoked.v1"):
    """A token stopped being good."""


class WebhookCreated(Event, frozen=True, kw_only=True, omit_defaults=True, tag="webhook.created.v1"):
    """Somebody wants `url` to be told when tasks end in one of the ways in `events` (none named means all): the owner's, or
    with `all_owners` everybody's in the namespace; with `app` only those of that app. `reason` is the note."""

    owner: str
    url: str
    events: tuple[Ending, ...] = ()
    app: str = ""
    all_owners: bool = False


class WebhookDeleted(Event, frozen=True, kw_only=True, omit_defaults=True, tag="webhook.deleted.v1"):
    """Nothing is told there any more."""


AnyTaskEvent: TypeAlias = (
    TaskSubmitted
    | TaskRescheduled
    | TaskDue
    | TaskStarted
    | TaskReleased
    | TaskSucceeded
    | TaskFailed
    | TaskLost
    | TaskExpired
    | TaskRetried
    | TaskCancelRequested
    | TaskCancelled
)
AnyEvent: TypeAlias = AnyTaskEvent | AppPublished | TokenIssued | TokenRevoked | WebhookCreated | WebhookDeleted

TASK_EVENTS: tuple[type[TaskEvent], ...] = (
    TaskSubmitted,
    TaskRescheduled,
    TaskDue,
    TaskStarted,
    TaskReleased,
    TaskSucceeded,
    TaskFailed,
    TaskLost,
    TaskExpired,
    TaskRetried,
    TaskCancelRequested,
    TaskCancelled,
)
OTHER_EVENTS: tuple[type[Event], ...] = (AppPublished, TokenIssued, TokenRevoked, WebhookCreated, WebhookDeleted)


def kind_of(event: type[Event] | Event) -> str:
    """The stable name of an event's type, such as `task.submitted.v1`."""
    return str(event.__struct_config__.tag)
