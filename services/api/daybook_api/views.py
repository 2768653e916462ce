"""How a task's events become what HTTP shows of them. The shapes are in `schemas`; nothing here does I/O."""

from datetime import datetime
from typing import Final, cast

import msgspec

from daybook import ids
from daybook.domain.events import AppPublished, Event, TaskCancelled, TaskFailed, TaskReleased, TaskStarted, TaskSucceeded
from daybook.domain.status import Status
from daybook.domain.task import Task
from daybook.log import codec
from daybook.log.envelope import Recorded
from daybook.projections.listing import ListedTask

from .schemas import AppView, AttemptView, Ending, ErrorView, EventView, Links, PolicyView, ResultView, StatusName, TaskSummary, TaskView

_WAITING: Final = frozenset({Status.SCHEDULED, Status.QUEUED})
_ENDINGS: Final[dict[type[Event], Ending]] = {
    TaskSucceeded: "success",
    TaskFailed: "error",
    TaskReleased: "released",
    TaskCancelled: "cancelled",
}


def task_view(task_id: str, task: Task, *, content: bytes | None, attempts: list[AttemptView] | None = None, error: ErrorView | None = None) -> TaskView:
    """A task as HTTP shows it. `content` is its input, JSON as it was given; None when it was erased."""
    path = f"/v1/tasks/{task_id}"
    result = task.result
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
        attempt=task.attempt,
        run_at=task.run_at,
        submitted_at=task.submitted_at,
        started_at=_begun(task.status, task.started_at),
        finished_at=task.finished_at,
        error_type=task.error_type or None,
        version=task.version,
        input=None if content is None else msgspec.Raw(content),
        attempts=attempts or [],
        result=None if result is None else ResultView(media_type=result.media_type, size_bytes=result.size_bytes, href=f"{path}/result"),
        error=error,
        progress=None,
        links=Links(self=path, events=f"{path}/events", result=f"{path}/result", cancel=f"{path}/cancel", reschedule=f"{path}/reschedule"),
    )


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
        attempt=row.attempt,
        run_at=row.run_at,
        submitted_at=row.submitted_at,
        started_at=_begun(row.status, row.started_at),
        finished_at=row.finished_at,
        error_type=row.error_type or None,
        version=row.version,
    )


def _begun(status: str, started_at: datetime | None) -> datetime | None:
    """When the current attempt began. A task that waits has none: its earlier ones, with their times, are among its attempts."""
    return None if status in _WAITING else started_at


def attempts_of(recorded: list[Recorded]) -> list[AttemptView]:
    """The attempts that a task's events tell of, in order."""
    views: list[AttemptView] = []
    for each in recorded:
        event = each.event
        if isinstance(event, TaskStarted):
            views.append(AttemptView(attempt=event.attempt, runner=event.runner, started_at=each.at, ended_at=None, outcome="running"))
        elif isinstance(event, Event) and (ending := _ENDINGS.get(type(event))) and views and views[-1].ended_at is None:
            views[-1] = msgspec.structs.replace(views[-1], ended_at=each.at, outcome=ending)
    return views


def event_view(recorded: Recorded) -> EventView:
    """One event as HTTP shows it: what is stored, less the kind that stands beside it."""
    data = msgspec.json.decode(recorded.data)
    kind = data.pop("kind")
    return EventView(id=ids.spell("evt", recorded.id), kind=kind, version=recorded.version, at=recorded.at, data=data)


def app_view(manifest: bytes, published_at: datetime) -> AppView:
    """An app as HTTP shows it."""
    event = codec.decode("app.published.v1", manifest)
    assert isinstance(event, AppPublished)
    policy = PolicyView(max_attempts=event.policy.max_attempts, timeout_seconds=event.policy.timeout_seconds, delivery=event.policy.delivery)
    return AppView(
        app=event.app,
        kind=event.app_kind,
        version=event.version,
        doc=event.doc,
        input_schema=event.input_schema,
        queue=event.queue,
        priority=event.priority,
        policy=policy,
        published_at=published_at,
    )
