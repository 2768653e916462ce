"""Stories to begin with: a task in each status, and what is said about it. Told at noon, about attempt 1 on runner r1."""

from datetime import timedelta

from msgspec.structs import replace

from daybook.domain.commands import AnyCommand, Cancel, ConfirmCancel, Fail, Lose, Release, Start, Submit, Succeed
from daybook.domain.events import (
    Content,
    TaskCancelled,
    TaskCancelRequested,
    TaskDue,
    TaskFailed,
    TaskLost,
    TaskReleased,
    TaskStarted,
    TaskSubmitted,
    TaskSucceeded,
)
from daybook.domain.task import PAST_TOLERANCE, Task
from daybook.testing import NOON, Story, given

LATER = NOON + timedelta(hours=1)
MUCH_LATER = NOON + timedelta(days=1)
JUST_TOO_OLD = NOON - PAST_TOLERANCE - timedelta(microseconds=1)
INPUT = Content(digest="aa" * 32, size_bytes=2)
RESULT = Content(digest="bb" * 32, size_bytes=3)
ERROR = Content(digest="cc" * 32, size_bytes=4)

SUBMITTED = TaskSubmitted(actor="ann", owner="ann", app="hello", app_version="v1", input=INPUT, fingerprint="print")
POSTPONED = replace(SUBMITTED, run_at=LATER)
DUE = TaskDue(actor="scheduler")
STARTED = TaskStarted(actor="r1", attempt=1, runner="r1")
RESTARTED = TaskStarted(actor="r2", attempt=2, runner="r2")
RELEASED = TaskReleased(actor="r1", attempt=1)
SUCCEEDED = TaskSucceeded(actor="r1", attempt=1, result=RESULT)
FAILED = TaskFailed(actor="r1", attempt=1, error=ERROR, error_type="ValueError")
TO_BE_RETRIED = TaskFailed(actor="r1", attempt=1, error=ERROR, error_type="ValueError", retry_at=LATER)
CANCEL_REQUESTED = TaskCancelRequested(actor="ann")
CANCELLED = TaskCancelled(actor="ann")
STOPPED = TaskCancelled(actor="r1", attempt=1, requested_by="ann")
LOST = TaskLost(actor="reaper", attempt=1, runner="r1")

SCHEDULED_TASK = given(POSTPONED)
QUEUED_TASK = given(SUBMITTED)
RUNNING_TASK = given(SUBMITTED, STARTED)
CANCELLING_TASK = given(SUBMITTED, STARTED, CANCEL_REQUESTED)
SUCCESSFUL_TASK = given(SUBMITTED, STARTED, SUCCEEDED)
FAILED_TASK = given(SUBMITTED, STARTED, FAILED)
CANCELLED_TASK = given(SUBMITTED, CANCELLED)

WAITING = {"scheduled": SCHEDULED_TASK, "queued": QUEUED_TASK}
ENDED = {"success": SUCCESSFUL_TASK, "error": FAILED_TASK, "cancelled": CANCELLED_TASK}
NOT_RUNNING = WAITING | ENDED

SUBMIT = Submit(actor="ann", owner="ann", app="hello", app_version="v1", input=INPUT, fingerprint="print")
CANCEL = Cancel(actor="ann")
START = Start(actor="r1", runner="r1")


def succeed(attempt: int = 1) -> Succeed:
    return Succeed(actor="r1", attempt=attempt, result=RESULT)


def fail(attempt: int = 1) -> Fail:
    return Fail(actor="r1", attempt=attempt, error=ERROR, error_type="ValueError")


def reports(attempt: int) -> list[AnyCommand]:
    """Everything that may be said about how an attempt ended, by its runner or for it."""
    release, confirm = Release(actor="r1", attempt=attempt), ConfirmCancel(actor="r1", attempt=attempt)
    return [succeed(attempt), fail(attempt), release, confirm, Lose(actor="reaper", attempt=attempt)]


def state(story: Story) -> Task:
    task = story.task()
    assert task is not None
    return task
