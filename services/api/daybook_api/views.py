"""How a task's events become what HTTP shows of them. The shapes are in `schemas`; nothing here does I/O."""

from datetime import datetime
from typing import Final, cast

import msgspec

from daybook import ids
from daybook.domain.events import (
    AppPublished,
    Event,
    Policy,
    TaskCancelled,
    TaskCancelRequested,
    TaskExpired,
    TaskFailed,
    TaskLost,
    TaskReleased,
    TaskRetried,
    TaskStarted,
    TaskSucceeded,
)
from daybook.domain.status import Status
from daybook.domain.task import Task
from daybook.log import codec
from daybook.log.envelope import Recorded
from daybook.projections.listing import ListedTask

from .schemas import (
    AppView,
    AttemptView,
    CancellationView,
    Ending,
    ErrorView,
    EventView,
    Links,
    OnFinish,
    PolicyView,
    ResultView,
    StatusName,
    TaskSummary,
    TaskView,
)

_WAITING: Final = frozenset({Status.SCHEDULED, Status.QUEUED})
_WITHOUT_ERROR: Final = frozenset({Status.SUCCESS, Status.CANCELLED})
_ENDINGS: Final[dict[type[Event], Ending]] = {
    TaskSucceeded: "success",
    TaskFailed: "error",
    TaskLost: "lost",
    TaskReleased: "released",
    TaskCancelled: "cancelled",
}


def task_view(
    task_id: str,
    task: Task,
    *,
    content: bytes | None,
    attempts: list[AttemptView] | None = None,
    error: ErrorView | None = None,
    cancellation: CancellationView | None = None,
) -> TaskView:
    """A task as HTTP shows it. `content` is its input, JSON as it was given; None when it was erased."""
    path = f"/v1/tasks/{task_id}"
    result = task.result
    # A time that somebody chose has no reason; one that follows an attempt has.
    retries = task.status is Status.SCHEDULED and task.attempt > 0 and task.reason != ""
    return TaskView(
        id=task_id,
        app=task.app,
        app_version=task.app_version,
        status=task.status.value,
        reason=task.reason,
        owner=task.owner,
        queue=task.queue,
        priority=task.priority,
        labels=task.labels,
        schedule=task.schedule or None,
        attempt=task.attempt,
        run_at=task.run_at,
        submitted_at=task.submitted_at,
        started_at=_begun(task.status, task.started_at),
        finished_at=task.finished_at,
        error_type=_error_type(task.status, task.error_type),
        version=task.version,
        rerun_of=task.rerun_of or None,
        slot=task.slot,
        failures=task.failures,
        losses=task.losses,
        retry_at=task.run_at if retries else None,
        expires_at=task.expires_at if task.status is Status.QUEUED else None,
        deadline_at=task.deadline_at,
        on_finish=on_finish_view(task.on_finish),
        cancellation=cancellation,
        input=None if content is None else msgspec.Raw(content),
        attempts=attempts or [],
        result=None if result is None else ResultView(media_type=result.media_type, size_bytes=result.size_bytes, href=f"{path}/result"),
        error=error,
        progress=None,
        links=_links(path),
    )


def on_finish_view(url: str) -> OnFinish | None:
    """Whom a task tells of its end, as HTTP shows it."""
    return OnFinish(url=url) if url else None


def summary(row: ListedTask) -> TaskSummary:
    """A row of the read model as HTTP shows it."""
    return TaskSummary(
        id=ids.spell("tsk", row.id),
        app=row.app,
        app_version=row.app_version,
        status=cast("StatusName", row.status),
        reason=row.reason,
        owner=row.owner,
        queue=row.queue,
        priority=row.priority,
        labels=msgspec.json.decode(row.labels),
        schedule=None if row.schedule is None else ids.spell("sch", row.schedule),
        attempt=row.attempt,
        run_at=row.run_at,
        submitted_at=row.submitted_at,
        started_at=_begun(row.status, row.started_at),
        finished_at=row.finished_at,
        error_type=_error_type(row.status, row.error_type),
        version=row.version,
    )


def _begun(status: str, started_at: datetime | None) -> datetime | None:
    """When the current attempt began. A task that waits has none: its earlier ones, with their times, are among its attempts."""
    return None if status in _WAITING else started_at


def _error_type(status: str, error_type: str) -> str | None:
    """What went wrong last. What ended well, or was stopped, ended without an error: those on the way are its attempts'."""
    return None if status in _WITHOUT_ERROR else error_type or None


def _links(path: str) -> Links:
    return Links(
        self=path,
        events=f"{path}/events",
        logs=f"{path}/logs",
        output=f"{path}/output",
        result=f"{path}/result",
        cancel=f"{path}/cancel",
        reschedule=f"{path}/reschedule",
        run_now=f"{path}/run-now",
        retry=f"{path}/retry",
        rerun=f"{path}/rerun",
    )


def attempts_of(recorded: list[Recorded]) -> list[AttemptView]:
    """The attempts that a task's events tell of, in order."""
    views: list[AttemptView] = []
    for each in recorded:
        event = each.event
        if isinstance(event, TaskStarted):
            views.append(_attempt(event, each.at))
        elif isinstance(event, Event) and (ending := _ENDINGS.get(type(event))) and views and views[-1].ended_at is None:
            views[-1] = msgspec.structs.replace(views[-1], ended_at=each.at, outcome=ending, reason=event.reason, error_type=_went_wrong(event))
    return views


def _attempt(event: TaskStarted, at: datetime) -> AttemptView:
    return AttemptView(attempt=event.attempt, runner=event.runner, started_at=at, ended_at=None, outcome="running", reason="", error_type=None)


def _went_wrong(event: Event) -> str | None:
    match event:
        case TaskFailed() | TaskLost():
            return event.error_type
        case _:
            return None


def cancellation_of(recorded: list[Recorded]) -> CancellationView | None:
    """Who wanted the current attempt, or the waiting task, to stop; None when nobody does."""
    stopped: CancellationView | None = None
    for each in reversed(recorded):
        event = each.event
        if isinstance(event, TaskStarted | TaskRetried):
            break
        if isinstance(event, TaskCancelled | TaskCancelRequested):
            # Where a runner had to be asked, the one who wanted it is in the earlier of the two.
            stopped = CancellationView(requested_by=event.actor, requested_at=each.at, reason=event.reason)
    return stopped


def error_without_report(task: Task) -> ErrorView | None:
    """The error of a task that ended without an attempt that could have said how; None for any other."""
    if task.status is not Status.ERROR:
        return None
    match task.error_type:
        case TaskLost.error_type:
            why = {"lost_runner": "it stopped answering", "overdue": "it did not report in time"}.get(task.reason, task.reason)
            once = task.policy.delivery == "at_most_once"
            bound = "the task runs at most once" if once else f"{task.losses} attempts were lost, and {task.policy.max_losses} may be"
            said = f"runner {task.runner} was lost while it ran attempt {task.attempt}" + (f": {why}" if why else "")
            return ErrorView(type=task.error_type, message=f"{said}; {bound}")
        case TaskExpired.error_type if task.reason == "deadline" or task.policy.queue_ttl_seconds is None:
            return ErrorView(type=task.error_type, message=f"its deadline of {task.policy.deadline_seconds or 0:g} s passed before it could end")
        case TaskExpired.error_type:
            return ErrorView(type=task.error_type, message=f"no runner began it in the {task.policy.queue_ttl_seconds or 0:g} s that it may wait in its queue")
        case _:
            return None


def event_view(recorded: Recorded) -> EventView:
    """One event as HTTP shows it: what is stored, less the kind that stands beside it."""
    data = msgspec.json.decode(recorded.data)
    kind = data.pop("kind")
    return EventView(id=ids.spell("evt", recorded.id), kind=kind, version=recorded.version, at=recorded.at, data=data)


def app_view(manifest: bytes, published_at: datetime) -> AppView:
    """An app as HTTP shows it."""
    event = codec.decode("app.published.v1", manifest)
    assert isinstance(event, AppPublished)
    return AppView(
        app=event.app,
        kind=event.app_kind,
        version=event.version,
        doc=event.doc,
        input_schema=event.input_schema,
        queue=event.queue,
        priority=event.priority,
        policy=policy_view(event.policy),
        published_at=published_at,
    )


def policy_view(policy: Policy) -> PolicyView:
    """A policy as HTTP shows it."""
    return PolicyView(
        max_attempts=policy.max_attempts,
        max_losses=policy.max_losses,
        backoff_seconds=policy.backoff_seconds,
        backoff_factor=policy.backoff_factor,
        backoff_max_seconds=policy.backoff_max_seconds,
        non_retryable=list(policy.non_retryable),
        timeout_seconds=policy.timeout_seconds,
        queue_ttl_seconds=policy.queue_ttl_seconds,
        deadline_seconds=policy.deadline_seconds,
        delivery=policy.delivery,
    )
