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
from daybook.domain.status import Status, allows
from daybook.domain.task import Task, evolve, fold
from daybook.testing import NOON

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
LATER = NOON + timedelta(hours=1)
MUCH_LATER = NOON + timedelta(days=1)
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
LOST = TaskLost(attempt=1, runner="r1", reason="lost_runner")
LOST_AGAIN = replace(LOST, attempt=2, runner="r2", retry_at=LATER)
LOST_FOR_GOOD = replace(LOST, final=True)
HURRIED = replace(SUBMITTED, policy=Policy(deadline_seconds=60.0))

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
ERRED = replace(RUNNING, version=3, status=Status.ERROR, failures=1, error=ERROR, error_type="ValueError", finished_at=NOON + 2 * SECOND)
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
        LOST,
        TaskExpired(),
        TaskRetried(),
        TaskCancelRequested(),
        TaskCancelled(),
    )
}


def story(*events: TaskEvent) -> Task | None:
    """The fold of these events, the first of them at noon and each one second after the one before it."""
    return fold((event, NOON + number * SECOND) for number, event in enumerate(events))


def told(*events: TaskEvent) -> Task:
    """The same, of at least one event."""
    task = story(*events)
    assert task is not None
    return task


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
        failures=1,
        error=ERROR,
        error_type="ValueError",
    )
    assert story(SUBMITTED, STARTED, TO_BE_RETRIED) == waiting


def test_a_cancelled_task_has_finished() -> None:
    assert story(SUBMITTED, TaskCancelled()) == CANCELLED
    request = TaskCancelRequested(actor="bob", reason="enough")
    asked = replace(RUNNING, version=3, reason="enough", cancel_requested=True, cancel_actor="bob", cancel_reason="enough")
    assert story(SUBMITTED, STARTED, request) == asked
    stopped = replace(asked, version=4, status=Status.CANCELLED, reason="", finished_at=NOON + 3 * SECOND)
    assert story(SUBMITTED, STARTED, request, TaskCancelled(attempt=1, requested_by="bob")) == stopped


def test_a_new_attempt_was_not_asked_to_stop() -> None:
    asked_once = told(SUBMITTED, STARTED, TaskCancelRequested(reason="enough"), TaskReleased(attempt=1))
    assert asked_once.cancel_requested
    assert not evolve(asked_once, RESTARTED, LATER).cancel_requested


def test_a_lost_task_is_queued_again_or_waits_or_ends() -> None:
    lost = replace(RUNNING, version=3, reason="lost_runner", losses=1, error_type="RunnerLost")
    assert story(SUBMITTED, STARTED, LOST) == replace(lost, status=Status.QUEUED)
    assert story(SUBMITTED, STARTED, replace(LOST, retry_at=LATER)) == replace(lost, status=Status.SCHEDULED, run_at=LATER)
    assert story(SUBMITTED, STARTED, LOST_FOR_GOOD) == replace(lost, status=Status.ERROR, finished_at=NOON + 2 * SECOND)


def test_a_loss_takes_the_place_of_an_earlier_error_and_of_an_earlier_time() -> None:
    before = told(SUBMITTED, STARTED, TO_BE_RETRIED, TaskDue(), RESTARTED)
    after = told(SUBMITTED, STARTED, TO_BE_RETRIED, TaskDue(), RESTARTED, replace(LOST, attempt=2))
    assert (before.error, before.error_type, before.run_at, before.failures, before.losses) == (ERROR, "ValueError", LATER, 1, 0)
    assert (after.error, after.error_type, after.run_at, after.failures, after.losses) == (None, "RunnerLost", None, 1, 1)


def test_failures_and_losses_are_counted_apart() -> None:
    events = [SUBMITTED, STARTED, LOST, RESTARTED, LOST_AGAIN, TaskDue(), replace(STARTED, attempt=3), replace(TO_BE_RETRIED, attempt=3)]
    task = told(*events, TaskDue(), replace(STARTED, attempt=4), replace(FAILED, attempt=4))
    assert (task.status, task.attempt, task.failures, task.losses) == (Status.ERROR, 4, 2, 2)


@pytest.mark.parametrize("before", [(SUBMITTED,), (POSTPONED,), (SUBMITTED, STARTED, TO_BE_RETRIED)], ids=["queued", "scheduled", "failed"])
def test_an_expired_task_has_finished_and_not_because_of_an_earlier_error(before: tuple[TaskEvent, ...]) -> None:
    task = told(*before, TaskExpired(reason="deadline"))
    assert (task.status, task.reason, task.error, task.error_type) == (Status.ERROR, "deadline", None, "Expired")
    assert task.finished_at == NOON + len(before) * SECOND


def test_a_retried_task_begins_a_new_round_with_all_attempts_before_it() -> None:
    ended = told(SUBMITTED, STARTED, LOST, RESTARTED, replace(TO_BE_RETRIED, attempt=2), TaskDue(), TaskExpired())
    assert (ended.attempt, ended.failures, ended.losses, ended.run_at) == (2, 1, 1, LATER)
    again = evolve(ended, TaskRetried(reason="mended", expires_at=MUCH_LATER), LATER)
    fresh = {"failures": 0, "losses": 0, "finished_at": None, "run_at": None, "expires_at": MUCH_LATER}
    assert again == replace(ended, version=8, status=Status.QUEUED, reason="mended", **fresh)
    assert evolve(again, replace(STARTED, attempt=3), LATER).attempt == 3


def test_the_deadline_counts_from_when_the_task_is_due() -> None:
    assert told(SUBMITTED).deadline_at is None
    assert told(HURRIED).deadline_at == NOON + MINUTE
    assert told(replace(HURRIED, run_at=LATER)).deadline_at == LATER + MINUTE
    assert told(replace(HURRIED, run_at=LATER), TaskRescheduled(run_at=MUCH_LATER)).deadline_at == MUCH_LATER + MINUTE
    retried = told(HURRIED, TaskCancelled(), TaskRetried())
    assert retried.deadline_at == NOON + 2 * SECOND + MINUTE
    assert told(SUBMITTED, TaskCancelled(), TaskRetried()).deadline_at is None


def test_the_deadline_stays_where_it_is_while_a_round_lasts() -> None:
    events = [HURRIED, STARTED, LOST, RESTARTED, replace(TO_BE_RETRIED, attempt=2), TaskDue(), replace(STARTED, attempt=3), TaskReleased(attempt=3)]
    for length in range(1, len(events) + 1):
        assert told(*events[:length]).deadline_at == NOON + MINUTE


@pytest.mark.parametrize(
    "events",
    [
        (replace(SUBMITTED, expires_at=MUCH_LATER),),
        (POSTPONED, TaskDue(expires_at=MUCH_LATER)),
        (SUBMITTED, STARTED, TaskReleased(attempt=1, expires_at=MUCH_LATER)),
        (SUBMITTED, STARTED, replace(LOST, expires_at=MUCH_LATER)),
        (SUBMITTED, TaskCancelled(), TaskRetried(expires_at=MUCH_LATER)),
    ],
    ids=lambda events: type(events[-1]).__name__,
)
def test_what_queues_a_task_says_until_when_it_may_start(events: tuple[TaskEvent, ...]) -> None:
    assert told(*events).expires_at == MUCH_LATER
    # Nothing lingers from the queue before: who queues it again without a limit has lifted it.
    if len(events) > 1:
        earlier = replace(events[0], expires_at=LATER)
        assert told(earlier, *events[1:-1], replace(events[-1], expires_at=None)).expires_at is None


def test_an_attempt_says_when_it_is_overdue() -> None:
    first = told(SUBMITTED, replace(STARTED, overdue_at=LATER), TaskReleased(attempt=1))
    assert first.overdue_at == LATER
    assert evolve(first, RESTARTED, NOON).overdue_at is None


def test_a_rerun_knows_what_it_repeats() -> None:
    assert told(SUBMITTED).rerun_of == ""
    assert told(replace(SUBMITTED, rerun_of="tsk_1")).rerun_of == "tsk_1"


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
