"""Intentions, in the imperative: what somebody wants to happen to a task. `task.decide` answers each with one event or one refusal.

Who asks is part of every command, since it becomes part of the fact.
"""

from datetime import datetime
from typing import TypeAlias

import msgspec

from .events import Content, Policy


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What every command carries: who asks, why, and what led to it."""

    actor: str
    reason: str = ""
    correlation: str = ""
    causation: str = ""


class Submit(Command, frozen=True, kw_only=True):
    """Accept a task: now, or at `run_at`."""

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
    schedule: str = ""
    slot: datetime | None = None
    on_finish: str = ""


class Reschedule(Command, frozen=True, kw_only=True):
    """Give a task that has not started another time."""

    run_at: datetime


class MarkDue(Command, frozen=True, kw_only=True):
    """Say that a scheduled task's time has come."""


class Start(Command, frozen=True, kw_only=True):
    """Claim the task for a runner."""

    runner: str


class Release(Command, frozen=True, kw_only=True):
    """Hand a running attempt back."""

    attempt: int


class Succeed(Command, frozen=True, kw_only=True):
    """Report that an attempt ended well."""

    attempt: int
    result: Content


class Fail(Command, frozen=True, kw_only=True):
    """Report that an attempt ended badly, whether the same could go well another time, and when at the earliest. `seed`
    (the task's id) is what the jitter of the next retry is made of."""

    attempt: int
    error: Content
    error_type: str
    retryable: bool = True
    retry_after_seconds: float | None = None
    seed: str = ""


class Lose(Command, frozen=True, kw_only=True):
    """Say that an attempt will never report."""

    attempt: int
    seed: str = ""


class Expire(Command, frozen=True, kw_only=True):
    """End a task that has waited too long, if it has."""


class Retry(Command, frozen=True, kw_only=True):
    """Try an ended task again."""


class Cancel(Command, frozen=True, kw_only=True):
    """Stop the task: at once where it does not run yet, by asking its runner where it does."""


class ConfirmCancel(Command, frozen=True, kw_only=True):
    """Report that a running attempt stopped because it was asked to."""

    attempt: int


AnyCommand: TypeAlias = Submit | Reschedule | MarkDue | Start | Release | Succeed | Fail | Lose | Expire | Retry | Cancel | ConfirmCancel
