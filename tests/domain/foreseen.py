"""The rules in a second book: what must be answered to a command, said from the facts alone.

It knows neither the table nor the folded state, so that a mistake has to be made twice, in two ways, to go unnoticed. What
the jitter decides is foreseen as a stretch of time.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias, assert_never

import msgspec

from daybook.domain.commands import (
    AnyCommand,
    Cancel,
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
from daybook.domain.events import (
    AnyTaskEvent,
    Policy,
    TaskCancelled,
    TaskCancelRequested,
    TaskDue,
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
from daybook.domain.refusals import AlreadyDone, AlreadyExists, InThePast, NotAllowed, NotFound, StaleAttempt

History: TypeAlias = Sequence[tuple[AnyTaskEvent, datetime]]
Report: TypeAlias = Succeed | Fail | Release | ConfirmCancel | Lose

SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)
DAY: Final = timedelta(days=1)


class Between(NamedTuple):
    """An instant from `first` to `last`; or none at all, where `or_none`."""

    first: datetime
    last: datetime
    or_none: bool = False


class Foreseen(NamedTuple):
    """The type of the answer, and what some of its fields have to say."""

    kind: type[msgspec.Struct]
    says: Mapping[str, Any] = MappingProxyType({})

    def fits(self, answer: msgspec.Struct) -> bool:
        """Whether the answer is the one that was foreseen."""
        return type(answer) is self.kind and all(_fits(getattr(answer, field), wanted) for field, wanted in self.says.items())


class Past:
    """What the facts of a task mean, read backwards from the last one."""

    def __init__(self, history: History) -> None:
        facts = [fact for fact, _ in history]
        assert isinstance(facts[0], TaskSubmitted)
        self.policy = facts[0].policy
        self.wish = facts[-1] if isinstance(facts[-1], TaskCancelRequested) else None
        self.last = facts[-2] if self.wish else facts[-1]
        self.attempt = sum(isinstance(fact, TaskStarted) for fact in facts)
        begun = max((number for number, fact in enumerate(facts) if isinstance(fact, TaskRetried)), default=0)
        self.failures = sum(isinstance(fact, TaskFailed) for fact in facts[begun:])
        self.losses = sum(isinstance(fact, TaskLost) for fact in facts[begun:])
        self.deadline = _deadline(self.policy, next(filter(None, map(_due_from, reversed(history)))))

    @property
    def running(self) -> bool:
        return isinstance(self.last, TaskStarted)

    @property
    def ended(self) -> bool:
        match self.last:
            case TaskSucceeded() | TaskCancelled() | TaskExpired():
                return True
            case TaskFailed():
                return self.last.retry_at is None
            case TaskLost():
                return self.last.final
        return False

    @property
    def waits_until(self) -> datetime | None:
        """The time that it waits for, where it waits for one."""
        match self.last:
            case TaskSubmitted() | TaskRescheduled():
                return self.last.run_at
            case TaskFailed() | TaskLost():
                return self.last.retry_at
        return None

    @property
    def may_start_until(self) -> datetime | None:
        """Until when it may be started, where it is in the queue."""
        match self.last:
            case TaskSubmitted() | TaskDue() | TaskReleased() | TaskLost() | TaskRetried():
                return self.last.expires_at
        return None

    @property
    def queued(self) -> bool:
        return not (self.running or self.ended or self.waits_until)


def foresee(history: History, command: AnyCommand, now: datetime) -> Foreseen:
    """What the rules have to answer after these facts."""
    if isinstance(command, Submit):
        if history:
            return Foreseen(AlreadyExists, {"fingerprint": "f"})
        if command.run_at is not None:
            return Foreseen(InThePast if now - command.run_at > MINUTE else TaskSubmitted)
        return Foreseen(TaskSubmitted, {"expires_at": _queue_end(command.policy, now, _deadline(command.policy, now))})
    if not history:
        return Foreseen(NotFound)
    past = Past(history)
    match command:
        case Succeed() | Fail() | Release() | ConfirmCancel() | Lose():
            if command.attempt != past.attempt:
                return Foreseen(StaleAttempt, {"attempt": command.attempt, "current": past.attempt})
            return _of_report(past, command, now) if past.running else Foreseen(NotAllowed)
        case Start():
            in_time = past.may_start_until is None or now < past.may_start_until
            return _started(past, now) if past.queued and in_time else Foreseen(NotAllowed)
        case MarkDue():
            if past.ended or past.waits_until is None or past.waits_until > now:
                return Foreseen(NotAllowed)
            return Foreseen(TaskDue, {"expires_at": _queue_end(past.policy, now, past.deadline)})
        case Reschedule():
            if past.running or past.ended:
                return Foreseen(NotAllowed)
            late = now - command.run_at > MINUTE
            return Foreseen(InThePast if late else AlreadyDone if past.waits_until == command.run_at else TaskRescheduled)
        case Expire():
            return _expired(past, now)
        case Retry():
            well = isinstance(past.last, TaskSucceeded)
            if well or not past.ended:
                return Foreseen(NotAllowed)
            return Foreseen(TaskRetried, {"expires_at": _queue_end(past.policy, now, _deadline(past.policy, now))})
        case Cancel():
            if past.wish or isinstance(past.last, TaskCancelled):
                return Foreseen(AlreadyDone)
            return Foreseen(NotAllowed if past.ended else TaskCancelRequested if past.running else TaskCancelled)
        case _:
            assert_never(command)


def _of_report(past: Past, report: Report, now: datetime) -> Foreseen:
    """What a report of the running attempt becomes."""
    assert isinstance(past.last, TaskStarted)
    once = past.policy.delivery == "at_most_once"
    gone = {"attempt": past.attempt, "runner": past.last.runner, "reason": report.reason}
    back: dict[str, Any] = {"retry_at": None, "expires_at": _queue_end(past.policy, now, past.deadline)}
    match report:
        case Succeed():
            return Foreseen(TaskSucceeded, {"reason": report.reason})
        case Fail():
            return _failed(past, report, now)
        case _ if past.wish:
            return Foreseen(TaskCancelled, {"requested_by": past.wish.actor, "reason": past.wish.reason or report.reason})
        case Lose() if not once and past.losses < past.policy.max_losses:
            if past.losses:
                back = {"retry_at": Between(*_pause(past.policy, past.losses, now)), "expires_at": None}
            return Foreseen(TaskLost, gone | back | {"final": False})
        case Release() | ConfirmCancel() if not once:
            return Foreseen(TaskReleased, {"expires_at": back["expires_at"]})
        case _:
            return Foreseen(TaskLost, gone | {"final": True, "retry_at": None, "expires_at": None})


def _failed(past: Past, report: Fail, now: datetime) -> Foreseen:
    policy, failures = past.policy, past.failures + 1
    final = Foreseen(TaskFailed, {"retry_at": None, "reason": report.reason})
    if past.wish or not report.retryable or failures >= policy.max_attempts or report.error_type in policy.non_retryable:
        return final
    if policy.delivery == "at_most_once":
        return final
    first, last = _pause(policy, failures, now)
    wished = now + min((report.retry_after_seconds or 0) * SECOND, DAY)
    window = Between(max(first, wished), max(last, wished))
    if past.deadline is None or window.last < past.deadline:
        return Foreseen(TaskFailed, {"retry_at": window, "reason": "retry_backoff"})
    return Foreseen(TaskFailed, {"retry_at": window._replace(or_none=True)}) if window.first < past.deadline else final


def _started(past: Past, now: datetime) -> Foreseen:
    ends = [past.deadline] if past.deadline else []
    if past.policy.timeout_seconds is not None:
        ends.append(now + past.policy.timeout_seconds * SECOND)
    return Foreseen(TaskStarted, {"attempt": past.attempt + 1, "overdue_at": min(ends) + 10 * SECOND if ends else None})


def _expired(past: Past, now: datetime) -> Foreseen:
    if past.running or past.ended:
        return Foreseen(NotAllowed)
    if past.deadline and past.deadline <= now:
        return Foreseen(TaskExpired, {"reason": "deadline"})
    if not past.queued or past.may_start_until is None or now < past.may_start_until:
        return Foreseen(NotAllowed)
    # Decided a moment before it was recorded, a task's last start may lie that much before its deadline.
    return Foreseen(TaskExpired, {"reason": "queue_ttl"} if past.policy.queue_ttl_seconds is not None else {})


def _due_from(recorded: tuple[AnyTaskEvent, datetime]) -> datetime | None:
    """What the deadline counts from, where this fact says it."""
    fact, at = recorded
    match fact:
        case TaskSubmitted():
            return fact.run_at or at
        case TaskRescheduled():
            return fact.run_at
        case TaskRetried():
            return at
    return None


def _deadline(policy: Policy, due: datetime) -> datetime | None:
    return due + policy.deadline_seconds * SECOND if policy.deadline_seconds is not None else None


def _queue_end(policy: Policy, now: datetime, deadline: datetime | None) -> datetime | None:
    ends = [deadline] if deadline else []
    if policy.queue_ttl_seconds is not None:
        ends.append(now + policy.queue_ttl_seconds * SECOND)
    return min(ends, default=None)


def _pause(policy: Policy, number: int, now: datetime) -> tuple[datetime, datetime]:
    """When retry `number` comes at the earliest and at the latest."""
    longest = min(policy.backoff_seconds * policy.backoff_factor ** (number - 1), policy.backoff_max_seconds)
    return now + 0.75 * longest * SECOND, now + longest * SECOND


def _fits(value: Any, wanted: Any) -> bool:
    if not isinstance(wanted, Between):
        return bool(value == wanted)
    return wanted.or_none if value is None else wanted.first <= value <= wanted.last
