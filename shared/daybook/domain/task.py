"""One task: what its events make of it (`evolve`) and what a command makes of that (`decide`).

Both are pure: no I/O, no clock, no chance. `decide` answers with the one event that the log then appends under the
version check, or with a refusal. The fence lives here: a report counts only while the task is running and its attempt is
the current one.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, assert_never

import msgspec

from .commands import (
    AnyCommand,
    Cancel,
    Command,
    ConfirmCancel,
    Expire,
    Fail,
    Lose,
    MarkDue,
    Release,
    Reschedule,
    Retry,
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
    TaskExpired,
    TaskFailed,
    TaskLost,
    TaskReleased,
    TaskRescheduled,
    TaskRetried,
    TaskStarted,
    TaskSubmitted,
    TaskSucceeded,
)
from .refusals import AlreadyDone, AlreadyExists, InThePast, NotAllowed, NotFound, Refusal, StaleAttempt
from .retry import is_worth_retrying, pause_before_retry
from .status import TERMINAL, Status, allows, status_after

PAST_TOLERANCE: Final = timedelta(minutes=1)
"""How far in the past a requested time may lie: clocks differ, and a request takes a while to arrive."""
OVERDUE_GRACE: Final = timedelta(seconds=10)
"""How much longer than its timeout an attempt may take to report, before it counts as lost."""


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
    correlation: str = ""
    rerun_of: str = ""
    schedule: str = ""
    slot: datetime | None = None
    on_finish: str = ""
    run_at: datetime | None = None
    deadline_at: datetime | None = None
    expires_at: datetime | None = None
    overdue_at: datetime | None = None
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    runner: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancel_requested: bool = False
    cancel_actor: str = ""
    cancel_reason: str = ""
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
    changed: dict[str, Any] = {"version": task.version + 1, "status": status, "reason": event.reason}
    if status in TERMINAL:
        changed["finished_at"] = at
    match event:
        case TaskRescheduled(run_at=run_at):
            changed |= {"run_at": run_at, "deadline_at": _deadline(task.policy, run_at)}
        case TaskDue(expires_at=expires_at) | TaskReleased(expires_at=expires_at):
            changed |= {"expires_at": expires_at}
        case TaskStarted(attempt=attempt, runner=runner, overdue_at=overdue_at):
            changed |= {"attempt": attempt, "runner": runner, "overdue_at": overdue_at, "started_at": at, "cancel_requested": False}
        case TaskSucceeded(result=result):
            changed |= {"result": result, "error": None, "error_type": ""}
        case TaskFailed(error=error, error_type=error_type, retry_at=retry_at):
            changed |= {"failures": task.failures + 1, "error": error, "error_type": error_type, "run_at": retry_at}
        case TaskLost(retry_at=retry_at, expires_at=expires_at):
            changed |= {"losses": task.losses + 1, "error": None, "error_type": event.error_type, "run_at": retry_at, "expires_at": expires_at}
        case TaskExpired():
            changed |= {"error": None, "error_type": event.error_type}
        case TaskRetried(expires_at=expires_at):
            changed |= {"failures": 0, "losses": 0, "finished_at": None, "run_at": None, "cancel_requested": False}
            changed |= {"expires_at": expires_at, "deadline_at": _deadline(task.policy, at)}
        case TaskCancelRequested():
            changed |= {"cancel_requested": True, "cancel_actor": event.actor, "cancel_reason": event.reason}
    return msgspec.structs.replace(task, **changed)


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
    said = _said(command, task)
    match command:
        case Reschedule():
            return _rescheduled(task, command, now, said)
        case MarkDue():
            # Whoever keeps the timers may not have heard yet that the task was given a later time.
            early = task.run_at is not None and now < task.run_at
            if early or not allows(task.status, TaskDue):
                return NotAllowed(status=task.status, wanted="mark due")
            return TaskDue(expires_at=_expiry(task.policy, now, task.deadline_at), **said)
        case Start():
            if not allows(task.status, TaskStarted) or (task.expires_at is not None and now >= task.expires_at):
                return NotAllowed(status=task.status, wanted="start")
            return TaskStarted(attempt=task.attempt + 1, runner=command.runner, overdue_at=_overdue(task, now), **said)
        case Release():
            return _fenced(task, command.attempt, "release") or _released(task, now, said)
        case Succeed():
            return _fenced(task, command.attempt, "succeed") or TaskSucceeded(attempt=command.attempt, result=command.result, **said)
        case Fail():
            return _fenced(task, command.attempt, "fail") or _failed(task, command, now, said)
        case Lose():
            return _fenced(task, command.attempt, "lose") or _lost(task, command, now, said)
        case ConfirmCancel():
            return _fenced(task, command.attempt, "confirm cancel") or _released(task, now, said)
        case Expire():
            return _expired(task, now, said)
        case Retry():
            if not allows(task.status, TaskRetried):
                return NotAllowed(status=task.status, wanted="retry")
            return TaskRetried(expires_at=_expiry(task.policy, now, _deadline(task.policy, now)), **said)
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
        correlation=event.correlation,
        rerun_of=event.rerun_of,
        schedule=event.schedule,
        slot=event.slot,
        on_finish=event.on_finish,
        submitted_at=at,
        run_at=event.run_at,
        deadline_at=_deadline(event.policy, event.run_at or at),
        expires_at=event.expires_at,
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
        rerun_of=command.rerun_of,
        schedule=command.schedule,
        slot=command.slot,
        on_finish=command.on_finish,
        expires_at=None if command.run_at else _expiry(command.policy, now, _deadline(command.policy, now)),
        actor=command.actor,
        reason=command.reason,
        correlation=command.correlation,
        causation=command.causation,
    )


def _cancel(task: Task, said: dict[str, Any]) -> TaskCancelled | TaskCancelRequested | Refusal:
    if task.status is Status.CANCELLED or (task.cancel_requested and task.status is Status.RUNNING):
        return AlreadyDone()
    if task.status in TERMINAL:
        return NotAllowed(status=task.status, wanted="cancel")
    return TaskCancelRequested(**said) if task.status is Status.RUNNING else TaskCancelled(attempt=task.attempt, **said)


def _rescheduled(task: Task, command: Reschedule, now: datetime, said: dict[str, Any]) -> TaskRescheduled | Refusal:
    if not allows(task.status, TaskRescheduled):
        return NotAllowed(status=task.status, wanted="reschedule")
    if command.run_at < now - PAST_TOLERANCE:
        return InThePast()
    if task.status is Status.SCHEDULED and task.run_at == command.run_at:
        return AlreadyDone()
    return TaskRescheduled(run_at=command.run_at, **said)


def _failed(task: Task, command: Fail, now: datetime, said: dict[str, Any]) -> TaskFailed:
    retry_at = None
    failures = task.failures + 1
    # A task that somebody wanted stopped is not begun anew.
    if not task.cancel_requested and is_worth_retrying(task.policy, command.error_type, failures, retryable=command.retryable):
        retry_at = now + pause_before_retry(task.policy, failures, command.seed, command.retry_after_seconds)
        if task.deadline_at is not None and retry_at >= task.deadline_at:
            retry_at = None
    if retry_at is not None:
        said = {**said, "reason": "retry_backoff"}
    return TaskFailed(attempt=command.attempt, error=command.error, error_type=command.error_type, retry_at=retry_at, **said)


def _lost(task: Task, command: Lose, now: datetime, said: dict[str, Any]) -> TaskLost | TaskCancelled:
    if task.cancel_requested:
        return _stopped(task, said)
    losses = task.losses + 1
    lost = partial(TaskLost, attempt=task.attempt, runner=task.runner, **said)
    if task.policy.delivery == "at_most_once" or losses > task.policy.max_losses:
        return lost(final=True)
    if losses == 1:
        return lost(expires_at=_expiry(task.policy, now, task.deadline_at))
    # What loses one runner after the other may be what kills them.
    retry_at = now + pause_before_retry(task.policy, losses - 1, command.seed)
    return lost(final=True) if task.deadline_at is not None and retry_at >= task.deadline_at else lost(retry_at=retry_at)


def _released(task: Task, now: datetime, said: dict[str, Any]) -> TaskReleased | TaskCancelled | TaskLost:
    if task.cancel_requested:
        # Queued again it would start anew, and nobody would ask that runner to stop.
        return _stopped(task, said)
    if task.policy.delivery == "at_most_once":
        return TaskLost(attempt=task.attempt, runner=task.runner, final=True, **said)
    return TaskReleased(attempt=task.attempt, expires_at=_expiry(task.policy, now, task.deadline_at), **said)


def _stopped(task: Task, said: dict[str, Any]) -> TaskCancelled:
    """A running task stops because it was asked to: with the reason of whoever asked."""
    return TaskCancelled(attempt=task.attempt, requested_by=task.cancel_actor, **{**said, "reason": task.cancel_reason or said["reason"]})


def _expired(task: Task, now: datetime, said: dict[str, Any]) -> TaskExpired | Refusal:
    late = task.deadline_at is not None and now >= task.deadline_at
    stale = task.status is Status.QUEUED and task.expires_at is not None and now >= task.expires_at
    if not (late or stale) or not allows(task.status, TaskExpired):
        return NotAllowed(status=task.status, wanted="expire")
    # Clocks differ by a little: without a limit of its own for the queue, what has expired is the deadline.
    return TaskExpired(**{**said, "reason": "deadline" if late or task.policy.queue_ttl_seconds is None else "queue_ttl"})


def _deadline(policy: Policy, since: datetime) -> datetime | None:
    return None if policy.deadline_seconds is None else since + timedelta(seconds=policy.deadline_seconds)


def _expiry(policy: Policy, now: datetime, deadline_at: datetime | None) -> datetime | None:
    """Until when a task that is queued now may be started."""
    if policy.queue_ttl_seconds is None:
        return deadline_at
    stale_at = now + timedelta(seconds=policy.queue_ttl_seconds)
    return stale_at if deadline_at is None else min(stale_at, deadline_at)


def _overdue(task: Task, now: datetime) -> datetime | None:
    """When an attempt that starts now must have reported."""
    if task.policy.timeout_seconds is None:
        return None if task.deadline_at is None else task.deadline_at + OVERDUE_GRACE
    ends_at = now + timedelta(seconds=task.policy.timeout_seconds)
    return (ends_at if task.deadline_at is None else min(ends_at, task.deadline_at)) + OVERDUE_GRACE


def _fenced(task: Task, attempt: int, wanted: str) -> Refusal | None:
    if attempt != task.attempt:
        return StaleAttempt(attempt=attempt, current=task.attempt)
    return None if task.status is Status.RUNNING else NotAllowed(status=task.status, wanted=wanted)


def _said(command: Command, task: Task) -> dict[str, Any]:
    return {
        "actor": command.actor,
        "reason": command.reason,
        # What led to the task led to all that becomes of it: whoever waits for that need not know the task.
        "correlation": command.correlation or task.correlation,
        "causation": command.causation,
    }
