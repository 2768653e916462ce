"""How a task goes on after an error: by itself as its policy says, and in a new round when somebody wants one."""

from datetime import timedelta

import pytest
from msgspec.structs import replace
from tests.domain.stories import (
    CANCEL_REQUESTED,
    CANCELLED_TASK,
    CANCELLING_TASK,
    ERROR,
    FAILED,
    FAILED_TASK,
    LATER,
    LOST,
    QUEUED_TASK,
    RELEASED,
    RESTARTED,
    RUNNING_TASK,
    SCHEDULED_TASK,
    START,
    STARTED,
    STOPPED,
    SUBMITTED,
    SUCCEEDED,
    SUCCESSFUL_TASK,
    reports,
    state,
    succeed,
)

from daybook.domain.commands import Cancel, Expire, Fail, Lose, MarkDue, Reschedule, Retry
from daybook.domain.events import Policy, TaskCancelled, TaskDue, TaskEvent, TaskExpired, TaskRescheduled, TaskRetried
from daybook.domain.refusals import NotAllowed, StaleAttempt
from daybook.domain.retry import pause_before_retry
from daybook.domain.status import Status
from daybook.testing import NOON, Story, given

SEED = "tsk_1"
RETRYING = Policy(max_attempts=3, backoff_seconds=60.0, non_retryable=("Hopeless",))
AT_MOST_ONCE = Policy(max_attempts=3, delivery="at_most_once")
FAIL = Fail(actor="r1", attempt=1, error=ERROR, error_type="ValueError", seed=SEED)
BACK_SOON = replace(FAILED, retry_at=NOON + pause_before_retry(RETRYING, 1, SEED), reason="retry_backoff")
RETRY = Retry(actor="ann", reason="mended")
RETRIED = TaskRetried(actor="ann", reason="mended")


def running(policy: Policy, *then: TaskEvent) -> Story:
    """A task with this policy in its first attempt."""
    return given(replace(SUBMITTED, policy=policy), STARTED, *then)


class TestByItself:
    def test_a_failed_attempt_is_followed_by_another_after_the_backoff(self) -> None:
        waiting = running(RETRYING).when(FAIL).then(BACK_SOON)
        assert (state(waiting).status, state(waiting).run_at) == (Status.SCHEDULED, BACK_SOON.retry_at)
        assert BACK_SOON.retry_at
        assert timedelta(seconds=45) <= BACK_SOON.retry_at - NOON <= timedelta(seconds=60)
        again = waiting.at(LATER).when(MarkDue(actor="s")).then(TaskDue(actor="s")).when(START)
        again.then(replace(STARTED, attempt=2))

    def test_each_pause_is_longer_and_the_last_failure_is_final(self) -> None:
        story = given(replace(SUBMITTED, policy=RETRYING))
        for attempt in (1, 2):
            story = story.when(START).then(replace(STARTED, attempt=attempt))
            retry_at = NOON + pause_before_retry(RETRYING, attempt, SEED)
            story = story.when(replace(FAIL, attempt=attempt)).then(replace(BACK_SOON, attempt=attempt, retry_at=retry_at))
            story = story.at(retry_at).when(MarkDue(actor="s")).then(TaskDue(actor="s")).at(NOON)
        ended = story.when(START).then(replace(STARTED, attempt=3)).when(replace(FAIL, attempt=3)).then(replace(FAILED, attempt=3))
        assert (state(ended).status, state(ended).failures) == (Status.ERROR, 3)

    def test_the_reason_of_a_retry_is_that_it_waits_and_that_of_an_end_is_the_runners(self) -> None:
        running(RETRYING).when(replace(FAIL, reason="timeout")).then(BACK_SOON)
        running(Policy()).when(replace(FAIL, reason="timeout")).then(replace(FAILED, reason="timeout"))

    def test_two_tasks_wait_differently_and_one_task_always_the_same(self) -> None:
        retry_at = NOON + pause_before_retry(RETRYING, 1, "tsk_2")
        assert retry_at != BACK_SOON.retry_at
        running(RETRYING).when(replace(FAIL, seed="tsk_2")).then(replace(BACK_SOON, retry_at=retry_at))

    def test_the_other_side_may_ask_for_more_time(self) -> None:
        asked = replace(FAIL, retry_after_seconds=3600.0)
        running(RETRYING).when(asked).then(replace(BACK_SOON, retry_at=LATER))
        running(Policy()).when(asked).then(FAILED)

    @pytest.mark.parametrize(
        ("policy", "fail"),
        [
            (Policy(), FAIL),
            (RETRYING, replace(FAIL, retryable=False)),
            (RETRYING, replace(FAIL, retryable=False, retry_after_seconds=5.0)),
            (RETRYING, replace(FAIL, error_type="Hopeless")),
            (RETRYING, replace(FAIL, error_type="books.Hopeless")),
            (AT_MOST_ONCE, FAIL),
        ],
        ids=["once", "not retryable", "not retryable, later", "hopeless", "hopeless in a module", "at most once"],
    )
    def test_what_is_hopeless_or_not_wanted_ends_at_once(self, policy: Policy, fail: Fail) -> None:
        ended = running(policy).when(fail).then(replace(FAILED, error_type=fail.error_type))
        assert state(ended).status is Status.ERROR

    def test_what_somebody_wanted_stopped_is_not_begun_anew(self) -> None:
        ended = running(RETRYING, CANCEL_REQUESTED).when(replace(FAIL, retry_after_seconds=5.0)).then(FAILED)
        assert state(ended).status is Status.ERROR

    def test_what_was_handed_back_or_lost_was_no_failure(self) -> None:
        for end in (RELEASED, LOST):
            again = running(RETRYING, end, RESTARTED)
            again.when(replace(FAIL, attempt=2)).then(replace(BACK_SOON, attempt=2))

    def test_while_it_waits_it_can_be_cancelled_and_moved(self) -> None:
        waiting = running(RETRYING, BACK_SOON)
        waiting.when(Cancel(actor="ann")).then(TaskCancelled(actor="ann", attempt=1))
        moved = waiting.when(Reschedule(actor="ann", run_at=NOON)).then(TaskRescheduled(actor="ann", run_at=NOON))
        moved.when(MarkDue(actor="s")).then(TaskDue(actor="s"))


class TestNewRound:
    @pytest.mark.parametrize("story", [FAILED_TASK, CANCELLED_TASK, running(Policy(), replace(LOST, final=True)), given(SUBMITTED, TaskExpired())])
    def test_an_error_and_a_cancelled_task_can_be_tried_again(self, story: Story) -> None:
        again = story.when(RETRY).then(RETRIED)
        assert (state(again).status, state(again).finished_at) == (Status.QUEUED, None)
        attempt = state(story).attempt + 1
        again.when(START).then(replace(STARTED, attempt=attempt))

    @pytest.mark.parametrize("story", [SCHEDULED_TASK, QUEUED_TASK, RUNNING_TASK, CANCELLING_TASK, SUCCESSFUL_TASK, running(RETRYING, BACK_SOON)])
    def test_what_has_not_ended_and_what_ended_well_cannot(self, story: Story) -> None:
        story.when(RETRY).refused(NotAllowed(status=state(story).status, wanted="retry"))

    def test_twice_is_once(self) -> None:
        FAILED_TASK.when(RETRY).then(RETRIED).when(RETRY).refused(NotAllowed(status=Status.QUEUED, wanted="retry"))

    def test_it_has_all_attempts_before_it_and_counts_on(self) -> None:
        policy = replace(RETRYING, max_attempts=2)
        events = [BACK_SOON, TaskDue(), RESTARTED, replace(FAILED, attempt=2), RETRIED, replace(STARTED, attempt=3)]
        third = running(policy, *events)
        assert (state(third).failures, state(third).attempt) == (0, 3)
        fourth = third.when(replace(FAIL, attempt=3)).then(replace(BACK_SOON, attempt=3))
        story = fourth.at(LATER).when(MarkDue(actor="s")).then(TaskDue(actor="s")).when(START).then(replace(STARTED, attempt=4))
        story.when(replace(FAIL, attempt=4)).then(replace(FAILED, attempt=4))

    def test_its_losses_begin_at_none(self) -> None:
        policy = Policy(max_losses=1)
        lose = Lose(actor="reaper", attempt=3)
        lost = running(policy, LOST, RESTARTED, replace(LOST, attempt=2, final=True), RETRIED, replace(STARTED, attempt=3)).when(lose)
        lost.then(replace(LOST, attempt=3))

    def test_even_what_may_run_at_most_once_runs_again_when_somebody_says_so(self) -> None:
        running(AT_MOST_ONCE, FAILED).when(RETRY).then(RETRIED).when(START).then(replace(STARTED, attempt=2))

    def test_an_old_runner_has_no_say_in_it(self) -> None:
        again = FAILED_TASK.when(RETRY).then(RETRIED)
        again.when(succeed(1)).refused(NotAllowed(status=Status.QUEUED, wanted="succeed"))
        second = again.when(START).then(replace(STARTED, attempt=2))
        second.when(succeed(1)).refused(StaleAttempt(attempt=1, current=2))
        second.when(succeed(2)).then(replace(SUCCEEDED, attempt=2))

    def test_a_wish_to_cancel_belonged_to_the_round_before(self) -> None:
        again = running(RETRYING, CANCEL_REQUESTED, FAILED, RETRIED)
        again.when(Cancel(actor="ann")).then(TaskCancelled(actor="ann", attempt=1))
        second = again.when(START).then(replace(STARTED, attempt=2))
        second.when(Cancel(actor="ann")).then(CANCEL_REQUESTED)
        second.when(replace(FAIL, attempt=2)).then(replace(BACK_SOON, attempt=2))

    def test_no_event_but_a_new_round_follows_an_end(self) -> None:
        wishes = [START, MarkDue(actor="s"), Expire(actor="s"), Reschedule(actor="ann", run_at=LATER), *reports(1)]
        for story in (FAILED_TASK, SUCCESSFUL_TASK, running(RETRYING, STOPPED), running(RETRYING, replace(LOST, final=True))):
            for wish in wishes:
                story.when(wish).refused(NotAllowed)
