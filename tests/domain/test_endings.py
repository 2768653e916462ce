"""How a running task ends: by a report about its current attempt, once, or because somebody wanted it to stop."""

from typing import Any

import pytest
from msgspec.structs import replace
from tests.domain.stories import (
    CANCEL,
    CANCEL_REQUESTED,
    CANCELLED,
    CANCELLED_TASK,
    CANCELLING_TASK,
    ERROR,
    FAILED,
    FAILED_TASK,
    LATER,
    LOST,
    NOT_RUNNING,
    QUEUED_TASK,
    RELEASED,
    RESTARTED,
    RESULT,
    RUNNING_TASK,
    SCHEDULED_TASK,
    START,
    STARTED,
    STOPPED,
    SUBMITTED,
    SUCCEEDED,
    SUCCESSFUL_TASK,
    TO_BE_RETRIED,
    WAITING,
    fail,
    reports,
    state,
    succeed,
)

from daybook.domain.commands import Cancel, ConfirmCancel, Expire, Fail, Lose, MarkDue, Release, Reschedule, Retry, Start, Succeed
from daybook.domain.events import (
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
    TaskSucceeded,
)
from daybook.domain.refusals import NotAllowed, StaleAttempt
from daybook.domain.status import Status
from daybook.testing import NOON, Story, given


class TestReports:
    def test_of_the_running_attempt_are_recorded(self) -> None:
        assert state(RUNNING_TASK.when(succeed()).then(SUCCEEDED)).status is Status.SUCCESS
        assert state(RUNNING_TASK.when(fail()).then(FAILED)).status is Status.ERROR
        assert state(RUNNING_TASK.when(Release(actor="r1", attempt=1)).then(RELEASED)).status is Status.QUEUED
        assert state(RUNNING_TASK.when(Lose(actor="reaper", attempt=1)).then(LOST)).status is Status.QUEUED
        confirmed = CANCELLING_TASK.when(ConfirmCancel(actor="r1", attempt=1)).then(STOPPED)
        assert state(confirmed).status is Status.CANCELLED

    @pytest.mark.parametrize("attempt", [1, 0, 3, -1])
    @pytest.mark.parametrize("cancel", [(), (CANCEL_REQUESTED,)], ids=["", "cancelling"])
    def test_of_any_other_attempt_meet_the_fence(self, attempt: int, cancel: tuple[TaskEvent, ...]) -> None:
        second = given(SUBMITTED, STARTED, RELEASED, RESTARTED, *cancel)
        for report in reports(attempt):
            second.when(report).refused(StaleAttempt(attempt=attempt, current=2))

    @pytest.mark.parametrize("end", [SUCCEEDED, FAILED, TO_BE_RETRIED, RELEASED, STOPPED, LOST, replace(LOST, final=True)])
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
        for report, wanted in zip(reports(1), ["succeed", "fail", "release", "confirm cancel", "lose"], strict=True):
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
        asked.when(ConfirmCancel(actor="r1", attempt=1)).then(STOPPED)

    def test_the_reason_is_that_of_who_asked_and_not_that_of_who_tells(self) -> None:
        asked = given(SUBMITTED, STARTED, replace(CANCEL_REQUESTED, reason="enough"))
        for end in (ConfirmCancel, Release, Lose):
            asked.when(end(actor="r1", reason="because", attempt=1)).then(replace(STOPPED, reason="enough"))
            CANCELLING_TASK.when(end(actor="r1", reason="because", attempt=1)).then(replace(STOPPED, reason="because"))

    def test_a_runner_that_stops_without_having_been_asked_has_handed_the_task_back(self) -> None:
        RUNNING_TASK.when(ConfirmCancel(actor="r1", attempt=1)).then(RELEASED)

    def test_a_wish_to_cancel_is_about_the_attempt_that_ran_then(self) -> None:
        again = given(SUBMITTED, STARTED, CANCEL_REQUESTED, RELEASED, RESTARTED)
        again.when(Lose(actor="reaper", attempt=2)).then(replace(LOST, attempt=2, runner="r2"))
        again.when(CANCEL).then(CANCEL_REQUESTED)

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
        stopped = CANCELLING_TASK.when(ConfirmCancel(actor="r1", attempt=1)).then(STOPPED)
        stopped.when(succeed()).refused(NotAllowed(status=Status.CANCELLED, wanted="succeed"))

    def test_a_cancelled_task_does_not_start(self) -> None:
        QUEUED_TASK.when(CANCEL).then(CANCELLED).when(START).refused(NotAllowed(status=Status.CANCELLED, wanted="start"))

    def test_a_cancelling_task_that_is_handed_back_ends_instead_of_starting_anew(self) -> None:
        ended = CANCELLING_TASK.when(Release(actor="r1", attempt=1)).then(STOPPED)
        assert state(ended).status is Status.CANCELLED


def test_who_asked_and_why_becomes_part_of_every_fact() -> None:
    who: dict[str, Any] = {"actor": "bob", "reason": "because", "correlation": "c1", "causation": "c2"}
    ended = TaskCancelled(**who, attempt=1, requested_by="ann")
    QUEUED_TASK.when(Cancel(**who)).then(TaskCancelled(**who, attempt=0))
    RUNNING_TASK.when(Cancel(**who)).then(TaskCancelRequested(**who))
    RUNNING_TASK.when(Release(**who, attempt=1)).then(TaskReleased(**who, attempt=1))
    for end in (Release, ConfirmCancel, Lose):
        CANCELLING_TASK.when(end(**who, attempt=1)).then(ended)
    RUNNING_TASK.when(Succeed(**who, attempt=1, result=RESULT)).then(TaskSucceeded(**who, attempt=1, result=RESULT))
    RUNNING_TASK.when(Fail(**who, attempt=1, error=ERROR, error_type="E")).then(TaskFailed(**who, attempt=1, error=ERROR, error_type="E"))
    RUNNING_TASK.when(Lose(**who, attempt=1)).then(TaskLost(**who, attempt=1, runner="r1"))
    QUEUED_TASK.when(Start(**who, runner="r")).then(TaskStarted(**who, attempt=1, runner="r"))
    QUEUED_TASK.when(Reschedule(**who, run_at=LATER)).then(TaskRescheduled(**who, run_at=LATER))
    SCHEDULED_TASK.at(LATER).when(MarkDue(**who)).then(TaskDue(**who))
    FAILED_TASK.when(Retry(**who)).then(TaskRetried(**who))
    given(replace(SUBMITTED, expires_at=NOON)).when(Expire(**who)).then(TaskExpired(**who | {"reason": "deadline"}))
