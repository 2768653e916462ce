"""What time alone does to a task: when the next such thing is to happen, and what that moment means once it has come."""

from datetime import datetime

from .commands import AnyCommand, Expire, Lose, MarkDue
from .events import TaskDue, TaskEvent, TaskFailed, TaskLost, TaskReleased, TaskRescheduled, TaskRetried, TaskStarted, TaskSubmitted
from .status import Status
from .task import Task


def due_at(event: TaskEvent) -> datetime | None:
    """When something will happen to a task of which this is the latest event: it is due, its time in the queue is over,
    or its attempt is overdue. None where time does nothing, or nothing that the event before did not say."""
    match event:
        case TaskSubmitted():
            return event.run_at or event.expires_at
        case TaskLost():
            return event.retry_at or event.expires_at
        case TaskRescheduled():
            return event.run_at
        case TaskFailed():
            return event.retry_at
        case TaskDue() | TaskReleased() | TaskRetried():
            return event.expires_at
        case TaskStarted():
            return event.overdue_at
        case _:
            return None


def what_is_due(task: Task, now: datetime, *, actor: str, seed: str) -> AnyCommand | None:
    """What is to be done to the task at this moment; None when its time has not come, or means nothing any more.
    `seed` spreads the pauses of tasks that were lost together."""
    if task.deadline_at is not None and now >= task.deadline_at and task.status in {Status.SCHEDULED, Status.QUEUED}:
        return Expire(actor=actor)
    match task.status:
        case Status.SCHEDULED:
            return MarkDue(actor=actor)
        case Status.QUEUED:
            return Expire(actor=actor)
        case Status.RUNNING if task.overdue_at is not None and now >= task.overdue_at:
            return Lose(actor=actor, reason="overdue", attempt=task.attempt, seed=seed)
        case _:
            return None
