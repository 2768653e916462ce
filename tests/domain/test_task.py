"""What each command does in each status, as sentences."""

from datetime import datetime, timedelta

import msgspec
import pytest
from msgspec.structs import replace

from daybook.domain.commands import (
    AnyCommand,
    Cancel,
    ConfirmCancel,
    Fail,
    MarkDue,
    Release,
    Reschedule,
    Start,
    Submit,
    Succeed,
)
from daybook.domain.events import (
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
from daybook.domain.refusals import AlreadyExists, InThePast, NotAllowed, NotFound, StaleAttempt
from daybook.domain.status import Status
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
    """Everything that a runner may say about an attempt."""
    release, confirm = Release(actor="r1", attempt=attempt), ConfirmCancel(actor="r1", attempt=attempt)
    return [succeed(attempt), fail(attempt), release, confirm]


def state(story: Story) -> Task:
    task = story.task()
    assert task is not None
    return task


class TestSubmit:
    def test_everything_that_was_asked_for_becomes_the_fact(self) -> None:
        command = Submit(
            actor="bob",
            reason="nightly",
            correlation="c1",
            causation="c2",
            owner="ann",
            app="hello",
            app_version="v1",
            input=INPUT,
            queue="slow",
            priority=1,
            run_at=LATER,
            policy=Policy(max_attempts=3, timeout_seconds=60.0, delivery="at_most_once"),
            labels={"team": "blue"},
            fingerprint="print",
        )
        given().when(command).then(TaskSubmitted(**msgspec.structs.asdict(command)))

    def test_without_a_time_it_is_queued_and_with_one_it_is_scheduled(self) -> None:
        assert state(QUEUED_TASK).status is Status.QUEUED
        assert state(SCHEDULED_TASK).status is Status.SCHEDULED

    @pytest.mark.parametrize("run_at", [NOON - PAST_TOLERANCE, NOON, LATER])
    def test_up_to_a_minute_ago_will_do_as_a_time(self, run_at: datetime) -> None:
        given().when(replace(SUBMIT, run_at=run_at)).then(replace(POSTPONED, run_at=run_at))

    def test_more_than_a_minute_ago_will_not(self) -> None:
        given().when(replace(SUBMIT, run_at=JUST_TOO_OLD)).refused(InThePast())

    @pytest.mark.parametrize("story", [QUEUED_TASK, RUNNING_TASK, SUCCESSFUL_TASK])
    def test_an_id_is_submitted_once_and_the_refusal_tells_what_that_request_was(self, story: Story) -> None:
        story.when(replace(SUBMIT, fingerprint="another")).refused(AlreadyExists(fingerprint="print"))


def test_nothing_but_submit_meets_a_task_that_does_not_exist() -> None:
    for command in [CANCEL, START, MarkDue(actor="s"), Reschedule(actor="ann", run_at=LATER), *reports(0), *reports(1)]:
        given().when(command).refused(NotFound())


class TestReschedule:
    @pytest.mark.parametrize("story", WAITING.values(), ids=WAITING)
    def test_before_the_start_the_task_gets_another_time(self, story: Story) -> None:
        moved = story.when(Reschedule(actor="ann", run_at=MUCH_LATER)).then(TaskRescheduled(actor="ann", run_at=MUCH_LATER))
        assert (state(moved).status, state(moved).run_at) == (Status.SCHEDULED, MUCH_LATER)

    @pytest.mark.parametrize("story", [RUNNING_TASK, CANCELLING_TASK, *ENDED.values()])
    def test_after_the_start_it_does_not(self, story: Story) -> None:
        refusal = NotAllowed(status=state(story).status, wanted="reschedule")
        story.when(Reschedule(actor="ann", run_at=MUCH_LATER)).refused(refusal)

    def test_a_task_that_was_handed_back_or_waits_for_its_retry_can_be_moved(self) -> None:
        for story in [given(SUBMITTED, STARTED, RELEASED), given(SUBMITTED, STARTED, TO_BE_RETRIED)]:
            story.when(Reschedule(actor="ann", run_at=MUCH_LATER)).then(TaskRescheduled(actor="ann", run_at=MUCH_LATER))

    def test_the_past_begins_a_minute_ago(self) -> None:
        edge = NOON - PAST_TOLERANCE
        SCHEDULED_TASK.when(Reschedule(actor="ann", run_at=edge)).then(TaskRescheduled(actor="ann", run_at=edge))
        SCHEDULED_TASK.when(Reschedule(actor="ann", run_at=JUST_TOO_OLD)).refused(InThePast())

    def test_a_task_that_may_not_move_says_so_even_when_the_time_is_wrong_too(self) -> None:
        RUNNING_TASK.when(Reschedule(actor="ann", run_at=JUST_TOO_OLD)).refused(NotAllowed)

    def test_a_runner_that_heard_of_the_task_before_it_moved_does_not_get_it(self) -> None:
        moved = QUEUED_TASK.when(Reschedule(actor="ann", run_at=LATER)).then(TaskRescheduled(actor="ann", run_at=LATER))
        moved.when(START).refused(NotAllowed(status=Status.SCHEDULED, wanted="start"))


class TestMarkDue:
    @pytest.mark.parametrize("now", [LATER, MUCH_LATER])
    def test_at_its_time_or_after_a_scheduled_task_is_queued(self, now: datetime) -> None:
        due = SCHEDULED_TASK.at(now).when(MarkDue(actor="scheduler")).then(DUE)
        assert state(due).status is Status.QUEUED

    def test_not_a_moment_before(self) -> None:
        early = SCHEDULED_TASK.at(LATER - timedelta(microseconds=1))
        early.when(MarkDue(actor="scheduler")).refused(NotAllowed(status=Status.SCHEDULED, wanted="mark due"))

    def test_a_timer_that_has_not_heard_of_the_new_time_changes_nothing(self) -> None:
        moved = given(POSTPONED, TaskRescheduled(actor="ann", run_at=MUCH_LATER)).at(LATER)
        moved.when(MarkDue(actor="scheduler")).refused(NotAllowed)
        moved.at(MUCH_LATER).when(MarkDue(actor="scheduler")).then(DUE)

    def test_a_retry_becomes_due_at_its_time(self) -> None:
        waiting = given(SUBMITTED, STARTED, TO_BE_RETRIED)
        waiting.when(MarkDue(actor="scheduler")).refused(NotAllowed)
        waiting.at(LATER).when(MarkDue(actor="scheduler")).then(DUE).when(START).then(TaskStarted(actor="r1", attempt=2, runner="r1"))

    @pytest.mark.parametrize("story", [QUEUED_TASK, RUNNING_TASK, *ENDED.values()])
    def test_only_a_scheduled_task_becomes_due(self, story: Story) -> None:
        refusal = NotAllowed(status=state(story).status, wanted="mark due")
        story.at(MUCH_LATER).when(MarkDue(actor="scheduler")).refused(refusal)


class TestStart:
    def test_the_first_runner_gets_the_task_and_the_second_does_not(self) -> None:
        claimed = QUEUED_TASK.when(START).then(STARTED)
        claimed.when(Start(actor="r2", runner="r2")).refused(NotAllowed(status=Status.RUNNING, wanted="start"))

    @pytest.mark.parametrize("story", [SCHEDULED_TASK, RUNNING_TASK, CANCELLING_TASK, *ENDED.values()])
    def test_only_a_queued_task_starts(self, story: Story) -> None:
        story.when(START).refused(NotAllowed(status=state(story).status, wanted="start"))

    def test_every_start_is_a_new_attempt(self) -> None:
        story = QUEUED_TASK
        for attempt in (1, 2, 3):
            story = story.when(Start(actor="r", runner="r")).then(TaskStarted(actor="r", runner="r", attempt=attempt))
            assert (state(story).attempt, state(story).runner) == (attempt, "r")
            story = story.when(Release(actor="r", attempt=attempt)).then(TaskReleased(actor="r", attempt=attempt))


class TestReports:
    def test_of_the_running_attempt_are_recorded(self) -> None:
        assert state(RUNNING_TASK.when(succeed()).then(SUCCEEDED)).status is Status.SUCCESS
        assert state(RUNNING_TASK.when(fail()).then(FAILED)).status is Status.ERROR
        assert state(RUNNING_TASK.when(Release(actor="r1", attempt=1)).then(RELEASED)).status is Status.QUEUED
        confirmed = CANCELLING_TASK.when(ConfirmCancel(actor="r1", attempt=1)).then(TaskCancelled(actor="r1", attempt=1))
        assert state(confirmed).status is Status.CANCELLED

    @pytest.mark.parametrize("attempt", [1, 0, 3, -1])
    @pytest.mark.parametrize("cancel", [(), (CANCEL_REQUESTED,)], ids=["", "cancelling"])
    def test_of_any_other_attempt_meet_the_fence(self, attempt: int, cancel: tuple[TaskEvent, ...]) -> None:
        second = given(SUBMITTED, STARTED, RELEASED, RESTARTED, *cancel)
        for report in reports(attempt):
            second.when(report).refused(StaleAttempt(attempt=attempt, current=2))

    @pytest.mark.parametrize("end", [SUCCEEDED, FAILED, TO_BE_RETRIED, RELEASED, TaskCancelled(actor="r1", attempt=1)])
    def test_come_once_for_an_attempt(self, end: TaskEvent) -> None:
        told = given(SUBMITTED, STARTED, end)
        for report in reports(1):
            told.when(report).refused(NotAllowed)

    @pytest.mark.parametrize("story", NOT_RUNNING.values(), ids=NOT_RUNNING)
    def test_need_a_running_task(self, story: Story) -> None:
        for report in reports(state(story).attempt):
            story.when(report).refused(NotAllowed)

    def test_of_a_runner_that_was_replaced_count_for_nothing_even_after_the_end(self) -> None:
        ended = given(SUBMITTED, STARTED, RELEASED, RESTARTED, TaskSucceeded(attempt=2, result=RESULT))
        for report in reports(1):
            ended.when(report).refused(StaleAttempt(attempt=1, current=2))

    def test_say_which_status_was_in_the_way(self) -> None:
        for report, wanted in zip(reports(1), ["succeed", "fail", "release", "confirm cancel"], strict=True):
            SUCCESSFUL_TASK.when(report).refused(NotAllowed(status=Status.SUCCESS, wanted=wanted))


class TestCancel:
    @pytest.mark.parametrize("story", WAITING.values(), ids=WAITING)
    def test_a_task_that_does_not_run_is_cancelled_at_once(self, story: Story) -> None:
        assert state(story.when(CANCEL).then(CANCELLED)).status is Status.CANCELLED

    def test_a_task_that_ran_before_says_which_attempt_was_its_last(self) -> None:
        handed_back = given(SUBMITTED, STARTED, RELEASED)
        handed_back.when(CANCEL).then(TaskCancelled(actor="ann", attempt=1))

    def test_a_running_task_is_asked_to_stop_and_says_when_it_did(self) -> None:
        asked = RUNNING_TASK.when(CANCEL).then(CANCEL_REQUESTED)
        assert (state(asked).status, state(asked).cancel_requested) == (Status.RUNNING, True)
        asked.when(ConfirmCancel(actor="r1", attempt=1)).then(TaskCancelled(actor="r1", attempt=1))

    @pytest.mark.parametrize("story", [CANCELLING_TASK, CANCELLED_TASK])
    def test_twice_is_once(self, story: Story) -> None:
        story.when(CANCEL).nothing()

    @pytest.mark.parametrize("story", [SUCCESSFUL_TASK, FAILED_TASK])
    def test_what_has_ended_by_itself_cannot_be_cancelled_any_more(self, story: Story) -> None:
        story.when(CANCEL).refused(NotAllowed(status=state(story).status, wanted="cancel"))

    def test_a_task_that_finishes_before_it_hears_of_the_cancel_has_finished(self) -> None:
        done = CANCELLING_TASK.when(succeed()).then(SUCCEEDED)
        assert state(done).status is Status.SUCCESS
        done.when(ConfirmCancel(actor="r1", attempt=1)).refused(NotAllowed)
        assert state(CANCELLING_TASK.when(fail()).then(FAILED)).status is Status.ERROR

    def test_a_task_that_stopped_cannot_finish(self) -> None:
        stopped = CANCELLING_TASK.when(ConfirmCancel(actor="r1", attempt=1)).then(TaskCancelled(actor="r1", attempt=1))
        stopped.when(succeed()).refused(NotAllowed(status=Status.CANCELLED, wanted="succeed"))

    def test_a_cancelled_task_does_not_start(self) -> None:
        QUEUED_TASK.when(CANCEL).then(CANCELLED).when(START).refused(NotAllowed(status=Status.CANCELLED, wanted="start"))

    def test_a_cancelling_task_that_is_handed_back_ends_instead_of_starting_anew(self) -> None:
        ended = CANCELLING_TASK.when(Release(actor="r1", attempt=1)).then(TaskCancelled(actor="r1", attempt=1))
        assert state(ended).status is Status.CANCELLED


def test_who_asked_and_why_becomes_part_of_every_fact() -> None:
    who = {"actor": "bob", "reason": "because", "correlation": "c1", "causation": "c2"}
    QUEUED_TASK.when(Cancel(**who)).then(TaskCancelled(**who, attempt=0))
    RUNNING_TASK.when(Cancel(**who)).then(TaskCancelRequested(**who))
    RUNNING_TASK.when(Release(**who, attempt=1)).then(TaskReleased(**who, attempt=1))
    CANCELLING_TASK.when(Release(**who, attempt=1)).then(TaskCancelled(**who, attempt=1))
    CANCELLING_TASK.when(ConfirmCancel(**who, attempt=1)).then(TaskCancelled(**who, attempt=1))
    RUNNING_TASK.when(Succeed(**who, attempt=1, result=RESULT)).then(TaskSucceeded(**who, attempt=1, result=RESULT))
    QUEUED_TASK.when(Start(**who, runner="r")).then(TaskStarted(**who, attempt=1, runner="r"))
    QUEUED_TASK.when(Reschedule(**who, run_at=LATER)).then(TaskRescheduled(**who, run_at=LATER))
    SCHEDULED_TASK.at(LATER).when(MarkDue(**who)).then(TaskDue(**who))
