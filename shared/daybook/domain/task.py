"""One task: what its events make of it (`evolve`) and what a command makes of that (`decide`).

Both are pure: no I/O, no clock, no chance. `decide` answers with the one event that the log then appends under the
version check, or with a refusal. The fence lives here: a report counts only while the task is running and its attempt is
the current one.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, assert_never

import msgspec

from .commands import (
    AnyCommand,
    Cancel,
    Command,
    ConfirmCancel,
    Fail,
    MarkDue,
    Release,
    Reschedule,
    Start,
    Submit,
    Succeed,
)
from .events import (
    AnyTaskEvent,
    Content,
    Policy,
    TaskCancelled,
    TaskCancelRequested,
    TaskDue,
    TaskEvent,
    TaskFailed,
    TaskReleased,
    TaskRescheduled,
    TaskStarted,
    TaskSubmitted,
    TaskSucceeded,
)
from .refusals import AlreadyDone, AlreadyExists, InThePast, NotAllowed, NotFound, Refusal, StaleAttempt
from .status import TERMINAL, Status, allows, status_after

PAST_TOLERANCE: Final = timedelta(minutes=1)
"""How far in the past a requested time may lie: clocks differ, and a request takes a while to arrive."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a task after `version` events."""

    version: int
    status: Status
    reason: str
    owner: str
    app: str
    app_version: str
    input: Content
    queue: str
    priority: int
    policy: Policy
    labels: dict[str, str]
    fingerprint: str
    submitted_at: datetime
    run_at: datetime | None = None
    attempt: int = 0
    runner: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancel_requested: bool = False
    result: Content | None = None
    error: Content | None = None
    error_type: str = ""


def evolve(task: Task | None, event: TaskEvent, at: datetime) -> Task:
    """The task after one more event, recorded at `at`. Raises ValueError where the table does not allow that event."""
    if not allows(task.status if task else None, type(event)):
        raise ValueError(f"{type(event).__name__} cannot follow status {task.status if task else None}")
    status = status_after(event)
    if task is None:
        assert isinstance(event, TaskSubmitted)
        return _begun(event, status, at)
    change = msgspec.structs.replace
    version = task.version + 1
    reason = event.reason
    match event:
        case TaskRescheduled(run_at=run_at):
            return change(task, version=version, status=status, reason=reason, run_at=run_at)
        case TaskStarted(attempt=attempt, runner=runner):
            return change(
                task,
                version=version,
                status=status,
                reason=reason,
                attempt=attempt,
                runner=runner,
                started_at=at,
                cancel_requested=False,
            )
        case TaskSucceeded(result=result):
            return change(task, version=version, status=status, reason=reason, finished_at=at, result=result)
        case TaskFailed(error=error, error_type=error_type, retry_at=retry_at):
            ended = None if retry_at else at
            return change(
                task,
                version=version,
                status=status,
                reason=reason,
                run_at=retry_at,
                finished_at=ended,
                error=error,
                error_type=error_type,
            )
        case TaskCancelRequested():
            return change(task, version=version, reason=reason, cancel_requested=True)
        case TaskCancelled():
            return change(task, version=version, status=status, reason=reason, finished_at=at)
        case _:
            return change(task, version=version, status=status, reason=reason)


def fold(events: Iterable[tuple[TaskEvent, datetime]]) -> Task | None:
    """The task that these events, in order, have made; None for no events."""
    task: Task | None = None
    for event, at in events:
        task = evolve(task, event, at)
    return task


def decide(task: Task | None, command: AnyCommand, now: datetime) -> AnyTaskEvent | Refusal:
    """What a command makes of a task: the one event to append as the next version, or why not."""
    if isinstance(command, Submit):
        return AlreadyExists(fingerprint=task.fingerprint) if task else _submit(command, now)
    if task is None:
        return NotFound()
    said = _said(command)
    match command:
        case Reschedule():
            if not allows(task.status, TaskRescheduled):
                return NotAllowed(status=task.status, wanted="reschedule")
            if command.run_at < now - PAST_TOLERANCE:
                return InThePast()
            return TaskRescheduled(run_at=command.run_at, **said)
        case MarkDue():
            # Whoever keeps the timers may not have heard yet that the task was given a later time.
            early = task.run_at is not None and now < task.run_at
            if early or not allows(task.status, TaskDue):
                return NotAllowed(status=task.status, wanted="mark due")
            return TaskDue(**said)
        case Start():
            if not allows(task.status, TaskStarted):
                return NotAllowed(status=task.status, wanted="start")
            return TaskStarted(attempt=task.attempt + 1, runner=command.runner, **said)
        case Release():
            return _fenced(task, command.attempt, "release") or _released(task, said)
        case Succeed():
            return _fenced(task, command.attempt, "succeed") or TaskSucceeded(attempt=command.attempt, result=command.result, **said)
        case Fail():
            return _fenced(task, command.attempt, "fail") or TaskFailed(
                attempt=command.attempt, error=command.error, error_type=command.error_type, retry_at=None, **said
            )
        case ConfirmCancel():
            return _fenced(task, command.attempt, "confirm cancel") or TaskCancelled(attempt=command.attempt, **said)
        case Cancel():
            return _cancel(task, said)
        case _:
            assert_never(command)


def _begun(event: TaskSubmitted, status: Status, at: datetime) -> Task:
    return Task(
        version=1,
        status=status,
        reason=event.reason,
        owner=event.owner,
        app=event.app,
        app_version=event.app_version,
        input=event.input,
        queue=event.queue,
        priority=event.priority,
        policy=event.policy,
        labels=event.labels,
        fingerprint=event.fingerprint,
        submitted_at=at,
        run_at=event.run_at,
    )


def _submit(command: Submit, now: datetime) -> TaskSubmitted | Refusal:
    if command.run_at is not None and command.run_at < now - PAST_TOLERANCE:
        return InThePast()
    return TaskSubmitted(
        owner=command.owner,
        app=command.app,
        app_version=command.app_version,
        input=command.input,
        queue=command.queue,
        priority=command.priority,
        run_at=command.run_at,
        policy=command.policy,
        labels=command.labels,
        fingerprint=command.fingerprint,
        actor=command.actor,
        reason=command.reason,
        correlation=command.correlation,
        causation=command.causation,
    )


def _cancel(task: Task, said: dict[str, str]) -> TaskCancelled | TaskCancelRequested | Refusal:
    if task.status is Status.CANCELLED or (task.cancel_requested and task.status is Status.RUNNING):
        return AlreadyDone()
    if task.status in TERMINAL:
        return NotAllowed(status=task.status, wanted="cancel")
    return TaskCancelRequested(**said) if task.status is Status.RUNNING else TaskCancelled(attempt=task.attempt, **said)


def _released(task: Task, said: dict[str, str]) -> TaskReleased | TaskCancelled:
    # Queued again, a task that somebody wanted stopped would start anew, and nobody would ask that runner to stop.
    return (TaskCancelled if task.cancel_requested else TaskReleased)(attempt=task.attempt, **said)


def _fenced(task: Task, attempt: int, wanted: str) -> Refusal | None:
    if attempt != task.attempt:
        return StaleAttempt(attempt=attempt, current=task.attempt)
    return None if task.status is Status.RUNNING else NotAllowed(status=task.status, wanted=wanted)


def _said(command: Command) -> dict[str, str]:
    return {
        "actor": command.actor,
        "reason": command.reason,
        "correlation": command.correlation,
        "causation": command.causation,
    }
