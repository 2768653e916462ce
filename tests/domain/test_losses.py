"""What becomes of a task whose runner is gone: queued again, a little later, or ended, so that nothing kills runners for ever."""

from datetime import timedelta

import pytest
from msgspec.structs import replace
from tests.domain.stories import (
    CANCEL_REQUESTED,
    ERROR,
    FAILED,
    LATER,
    LOST,
    NOT_RUNNING,
    RELEASED,
    RESTARTED,
    START,
    STARTED,
    STOPPED,
    SUBMITTED,
    state,
    succeed,
)

from daybook.domain.commands import ConfirmCancel, Fail, Lose, MarkDue, Release
from daybook.domain.events import Policy, TaskCancelled, TaskDue, TaskEvent, TaskFailed, TaskLost
from daybook.domain.refusals import NotAllowed, StaleAttempt
from daybook.domain.retry import pause_before_retry
from daybook.domain.status import Status
from daybook.testing import NOON, Story, given

SEED = "tsk_1"
LOSE = Lose(actor="reaper", reason="lost_runner", attempt=1, seed=SEED)
GONE = TaskLost(actor="reaper", reason="lost_runner", attempt=1, runner="r1")


def running(policy: Policy, *then: TaskEvent) -> Story:
    """A task with this policy in its first attempt."""
    return given(replace(SUBMITTED, policy=policy), STARTED, *then)


def lost_again(story: Story, losses: int) -> Story:
    """The same after so many more losses, none of them final; then it runs once more."""
    for _ in range(losses):
        attempt = state(story).attempt
        said = story.when(replace(LOSE, attempt=attempt)).said
        assert isinstance(said, TaskLost)
        assert not said.final
        due = [TaskDue()] if said.retry_at else []
        story = given(*story.events, said, *due, replace(STARTED, attempt=attempt + 1))
    return story


def test_the_first_loss_puts_the_task_back_into_its_queue_at_once() -> None:
    again = running(Policy()).when(LOSE).then(GONE)
    assert (state(again).status, state(again).reason, state(again).losses) == (Status.QUEUED, "lost_runner", 1)
    again.when(START).then(replace(STARTED, attempt=2))


def test_a_loss_names_the_runner_that_was_lost() -> None:
    second = running(Policy(), LOST, RESTARTED)
    retry_at = NOON + pause_before_retry(Policy(), 1, "")
    second.when(Lose(actor="reaper", attempt=2)).then(TaskLost(actor="reaper", attempt=2, runner="r2", retry_at=retry_at))


@pytest.mark.parametrize("losses", [2, 3, 4])
def test_from_the_second_loss_on_the_task_waits_longer_each_time(losses: int) -> None:
    policy = Policy(max_losses=9, backoff_seconds=60.0)
    story = lost_again(running(policy), losses - 1)
    retry_at = NOON + pause_before_retry(policy, losses - 1, SEED)
    waiting = story.when(replace(LOSE, attempt=losses)).then(replace(GONE, attempt=losses, retry_at=retry_at))
    assert (state(waiting).status, state(waiting).run_at, state(waiting).losses) == (Status.SCHEDULED, retry_at, losses)
    seconds = 60 * 2 ** (losses - 2)
    assert timedelta(seconds=0.75 * seconds) <= retry_at - NOON <= timedelta(seconds=seconds)
    waiting.when(MarkDue(actor="s")).refused(NotAllowed)
    waiting.at(retry_at).when(MarkDue(actor="s")).then(TaskDue(actor="s"))


@pytest.mark.parametrize("most", [0, 1, 2, 3])
def test_one_loss_more_than_the_policy_bears_is_the_end(most: int) -> None:
    story = lost_again(running(Policy(max_losses=most)), most)
    ended = story.when(replace(LOSE, attempt=most + 1)).then(replace(GONE, attempt=most + 1, final=True))
    assert (state(ended).status, state(ended).error_type) == (Status.ERROR, "RunnerLost")


def test_unless_said_otherwise_the_fourth_loss_is_the_end() -> None:
    lost_again(running(Policy()), 3).when(replace(LOSE, attempt=4)).then(replace(GONE, attempt=4, final=True))


def test_losses_use_up_no_attempts_and_failures_no_losses() -> None:
    policy = Policy(max_attempts=2, max_losses=1)
    again = running(policy, GONE, RESTARTED)
    waiting = again.when(Fail(actor="r1", attempt=2, error=ERROR, error_type="E")).then(
        TaskFailed(actor="r1", reason="retry_backoff", attempt=2, error=ERROR, error_type="E", retry_at=NOON + pause_before_retry(policy, 1, ""))
    )
    failed_first = running(policy, replace(FAILED, retry_at=LATER), TaskDue(), RESTARTED)
    failed_first.when(replace(LOSE, attempt=2)).then(replace(GONE, attempt=2, runner="r2"))
    assert (state(waiting).failures, state(waiting).losses) == (1, 1)


class TestAtMostOnce:
    policy = Policy(max_attempts=5, max_losses=5, delivery="at_most_once")

    def test_a_loss_is_the_end(self) -> None:
        ended = running(self.policy).when(LOSE).then(replace(GONE, final=True))
        assert state(ended).status is Status.ERROR

    @pytest.mark.parametrize("end", [Release, ConfirmCancel])
    def test_so_is_an_attempt_that_was_handed_back(self, end: type[Release] | type[ConfirmCancel]) -> None:
        ended = (
            running(self.policy)
            .when(end(actor="r1", reason="draining", attempt=1))
            .then(TaskLost(actor="r1", reason="draining", attempt=1, runner="r1", final=True))
        )
        assert state(ended).status is Status.ERROR

    @pytest.mark.parametrize("end", [Release, ConfirmCancel, Lose])
    def test_unless_somebody_wanted_it_stopped(self, end: type[Release] | type[ConfirmCancel] | type[Lose]) -> None:
        running(self.policy, CANCEL_REQUESTED).when(end(actor="r1", attempt=1)).then(STOPPED)


class TestCancelling:
    asked = replace(CANCEL_REQUESTED, actor="bob", reason="enough")
    ended = TaskCancelled(actor="reaper", reason="enough", attempt=1, requested_by="bob")

    @pytest.mark.parametrize("policy", [Policy(), Policy(max_losses=0), Policy(delivery="at_most_once")])
    def test_a_lost_task_that_somebody_wanted_stopped_has_stopped(self, policy: Policy) -> None:
        assert state(running(policy, self.asked).when(LOSE).then(self.ended)).status is Status.CANCELLED

    def test_without_a_reason_of_who_asked_it_is_that_of_who_tells(self) -> None:
        nameless = replace(self.asked, actor="", reason="")
        running(Policy(), nameless).when(LOSE).then(replace(self.ended, reason="lost_runner", requested_by=""))


@pytest.mark.parametrize("attempt", [0, 1, 3])
def test_who_is_lost_is_the_current_attempt_and_no_other(attempt: int) -> None:
    second = running(Policy(), RELEASED, RESTARTED)
    second.when(replace(LOSE, attempt=attempt)).refused(StaleAttempt(attempt=attempt, current=2))


@pytest.mark.parametrize("story", NOT_RUNNING.values(), ids=NOT_RUNNING)
def test_what_does_not_run_cannot_be_lost(story: Story) -> None:
    story.when(replace(LOSE, attempt=state(story).attempt)).refused(NotAllowed(status=state(story).status, wanted="lose"))


def test_a_runner_that_comes_back_finds_its_attempt_closed() -> None:
    lost = running(Policy()).when(LOSE).then(GONE)
    lost.when(succeed(1)).refused(NotAllowed(status=Status.QUEUED, wanted="succeed"))
    lost.when(START).then(replace(STARTED, attempt=2)).when(succeed(1)).refused(StaleAttempt(attempt=1, current=2))
