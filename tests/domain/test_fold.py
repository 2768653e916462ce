"""What a stream of events makes of a task, and which streams cannot be."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from daybook.domain.events import (
    TASK_EVENTS,
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
from daybook.domain.status import Status, allows
from daybook.domain.task import Task, evolve, fold
from daybook.testing import NOON

SECOND = timedelta(seconds=1)
LATER = NOON + timedelta(hours=1)
INPUT = Content(digest="aa" * 32, size_bytes=2)
RESULT = Content(digest="bb" * 32, size_bytes=3)
ERROR = Content(digest="cc" * 32, size_bytes=4, blob=True)

SUBMITTED = TaskSubmitted(
    reason="asked for",
    owner="ann",
    app="hello",
    app_version="v1",
    input=INPUT,
    queue="slow",
    priority=1,
    policy=Policy(max_attempts=2),
    labels={"team": "blue"},
    fingerprint="print",
)
POSTPONED = replace(SUBMITTED, run_at=LATER)
STARTED = TaskStarted(attempt=1, runner="r1")
RESTARTED = TaskStarted(attempt=2, runner="r2")
SUCCEEDED = TaskSucceeded(attempt=1, result=RESULT)
FAILED = TaskFailed(attempt=1, error=ERROR, error_type="ValueError")
TO_BE_RETRIED = replace(FAILED, retry_at=LATER, reason="retry_backoff")

QUEUED = Task(
    version=1,
    status=Status.QUEUED,
    reason="asked for",
    owner="ann",
    app="hello",
    app_version="v1",
    input=INPUT,
    queue="slow",
    priority=1,
    policy=Policy(max_attempts=2),
    labels={"team": "blue"},
    fingerprint="print",
    submitted_at=NOON,
)
SCHEDULED = replace(QUEUED, status=Status.SCHEDULED, run_at=LATER)
RUNNING = replace(QUEUED, version=2, status=Status.RUNNING, reason="", attempt=1, runner="r1", started_at=NOON + SECOND)
SUCCESS = replace(RUNNING, version=3, status=Status.SUCCESS, result=RESULT, finished_at=NOON + 2 * SECOND)
ERRED = replace(RUNNING, version=3, status=Status.ERROR, error=ERROR, error_type="ValueError", finished_at=NOON + 2 * SECOND)
CANCELLED = replace(QUEUED, version=2, status=Status.CANCELLED, reason="", finished_at=NOON + SECOND)
EXAMPLES = {None: None} | {task.status: task for task in (SCHEDULED, QUEUED, RUNNING, SUCCESS, ERRED, CANCELLED)}

ANY: dict[type[TaskEvent], TaskEvent] = {
    type(event): event
    for event in (
        SUBMITTED,
        TaskRescheduled(run_at=LATER),
        TaskDue(),
        STARTED,
        TaskReleased(attempt=1),
        SUCCEEDED,
        FAILED,
        TaskCancelRequested(),
        TaskCancelled(),
    )
}


def story(*events: TaskEvent) -> Task | None:
    """The fold of these events, the first of them at noon and each one second after the one before it."""
    return fold((event, NOON + number * SECOND) for number, event in enumerate(events))


def test_no_events_make_no_task() -> None:
    assert fold([]) is None


def test_a_submitted_task_is_what_was_asked_for() -> None:
    assert story(SUBMITTED) == QUEUED
    assert story(POSTPONED) == SCHEDULED


def test_a_task_that_is_due_or_moved_keeps_its_last_time() -> None:
    due = replace(SCHEDULED, version=2, status=Status.QUEUED, reason="")
    assert story(POSTPONED, TaskDue()) == due
    tomorrow = LATER + timedelta(days=1)
    moved = replace(due, version=3, status=Status.SCHEDULED, reason="rain", run_at=tomorrow)
    assert story(POSTPONED, TaskDue(), TaskRescheduled(run_at=tomorrow, reason="rain")) == moved


def test_a_started_task_runs_until_it_ends() -> None:
    assert story(SUBMITTED, STARTED) == RUNNING
    assert story(SUBMITTED, STARTED, SUCCEEDED) == SUCCESS
    assert story(SUBMITTED, STARTED, FAILED) == ERRED


def test_a_task_that_was_handed_back_is_queued_and_starts_anew() -> None:
    released = replace(RUNNING, version=3, status=Status.QUEUED, reason="draining")
    assert story(SUBMITTED, STARTED, TaskReleased(attempt=1, reason="draining")) == released
    again = replace(RUNNING, version=4, attempt=2, runner="r2", started_at=NOON + 3 * SECOND)
    assert story(SUBMITTED, STARTED, TaskReleased(attempt=1), RESTARTED) == again


def test_a_failed_task_that_is_to_be_retried_has_not_finished() -> None:
    waiting = replace(
        RUNNING,
        version=3,
        status=Status.SCHEDULED,
        reason="retry_backoff",
        run_at=LATER,
        error=ERROR,
        error_type="ValueError",
    )
    assert story(SUBMITTED, STARTED, TO_BE_RETRIED) == waiting


def test_a_cancelled_task_has_finished() -> None:
    assert story(SUBMITTED, TaskCancelled()) == CANCELLED
    asked = replace(RUNNING, version=3, reason="enough", cancel_requested=True)
    assert story(SUBMITTED, STARTED, TaskCancelRequested(reason="enough")) == asked
    stopped = replace(asked, version=4, status=Status.CANCELLED, reason="", finished_at=NOON + 3 * SECOND)
    assert story(SUBMITTED, STARTED, TaskCancelRequested(reason="enough"), TaskCancelled(attempt=1)) == stopped


@pytest.mark.parametrize("event", ANY.values(), ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("before", EXAMPLES, ids=str)
def test_an_event_that_the_table_does_not_allow_is_no_history(before: Status | None, event: TaskEvent) -> None:
    task = EXAMPLES[before]
    if allows(before, type(event)):
        assert evolve(task, event, LATER).version == (task.version + 1 if task else 1)
    else:
        with pytest.raises(ValueError, match=f"{type(event).__name__} cannot follow status {before}"):
            evolve(task, event, LATER)


def test_every_event_and_every_status_was_tried() -> None:
    assert set(ANY) == set(TASK_EVENTS)
    assert set(EXAMPLES) == {None, *Status}


def test_when_a_fact_was_recorded_comes_from_outside() -> None:
    moment = NOON - timedelta(days=400)
    assert evolve(None, SUBMITTED, moment).submitted_at == moment
