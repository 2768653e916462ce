"""When it is too late: to start what waited in its queue, to try again, to report, or to do anything at all.

A deadline counts from when the task was due. The tasks here have noon as their time, so that the deadline stays where it
is whenever the story is told.
"""

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace
from tests.domain.stories import (
    ENDED,
    FAILED,
    LATER,
    LOST,
    MUCH_LATER,
    POSTPONED,
    RELEASED,
    START,
    STARTED,
    STOPPED,
    SUBMIT,
    SUBMITTED,
    SUCCEEDED,
    state,
    succeed,
)

from daybook.domain.commands import Expire, Fail, Lose, MarkDue, Release, Reschedule, Retry, Submit
from daybook.domain.events import Policy, TaskDue, TaskEvent, TaskExpired, TaskRescheduled, TaskRetried, TaskSubmitted
from daybook.domain.refusals import NotAllowed
from daybook.domain.retry import pause_before_retry
from daybook.domain.status import Status
from daybook.domain.task import OVERDUE_GRACE, decide, fold
from daybook.testing import NOON, Story, given

SECOND = timedelta(seconds=1)
MOMENT = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)
TTL = Policy(queue_ttl_seconds=60.0)
DEADLINE = Policy(max_attempts=9, deadline_seconds=600.0)
BOTH = Policy(max_attempts=9, queue_ttl_seconds=60.0, deadline_seconds=90.0)
EXPIRE = Expire(actor="s", reason="ignored")
STALE = TaskExpired(actor="s", reason="queue_ttl")
LATE = TaskExpired(actor="s", reason="deadline")


def submit(policy: Policy) -> Submit:
    return replace(SUBMIT, policy=policy)


def due(policy: Policy) -> Story:
    """A task that was due at noon, and was queued then."""
    return given(replace(SUBMITTED, run_at=NOON, policy=policy)).when(MarkDue(actor="s")).then(TaskDue(actor="s", expires_at=until(policy)))


def until(policy: Policy, now: datetime = NOON, deadline_from: datetime = NOON) -> datetime | None:
    """Until when a task that is queued now may be started."""
    limits = []
    if policy.queue_ttl_seconds is not None:
        limits.append(now + policy.queue_ttl_seconds * SECOND)
    if policy.deadline_seconds is not None:
        limits.append(deadline_from + policy.deadline_seconds * SECOND)
    return min(limits, default=None)


def running(policy: Policy, *then: TaskEvent) -> Story:
    return given(replace(SUBMITTED, run_at=NOON, policy=policy), TaskDue(), STARTED, *then)


@pytest.mark.parametrize("policy", [Policy(), TTL, DEADLINE, BOTH, replace(BOTH, deadline_seconds=30.0)])
class TestWhatQueuesATaskSaysUntilWhenItMayStart:
    def test_its_submission_unless_it_has_a_time(self, policy: Policy) -> None:
        given().when(submit(policy)).then(replace(SUBMITTED, policy=policy, expires_at=until(policy)))
        given().when(replace(submit(policy), run_at=LATER)).then(replace(SUBMITTED, policy=policy, run_at=LATER))

    def test_its_time_when_it_comes(self, policy: Policy) -> None:
        due(policy)
        late = NOON + 20 * SECOND
        story = given(replace(SUBMITTED, run_at=NOON, policy=policy), now=late)
        story.when(MarkDue(actor="s")).then(TaskDue(actor="s", expires_at=until(policy, late)))

    def test_the_runner_that_hands_it_back(self, policy: Policy) -> None:
        now = NOON + 20 * SECOND
        running(policy).at(now).when(Release(actor="r1", attempt=1)).then(replace(RELEASED, expires_at=until(policy, now)))

    def test_whoever_finds_its_runner_lost(self, policy: Policy) -> None:
        now = NOON + 20 * SECOND
        running(policy).at(now).when(Lose(actor="reaper", attempt=1)).then(replace(LOST, expires_at=until(policy, now)))

    def test_whoever_wants_a_new_round(self, policy: Policy) -> None:
        ended = running(policy, FAILED).at(LATER)
        again = ended.when(Retry(actor="ann")).then(TaskRetried(actor="ann", expires_at=until(policy, LATER, LATER)))
        assert state(again).deadline_at == (None if policy.deadline_seconds is None else LATER + policy.deadline_seconds * SECOND)


class TestQueueTimeToLive:
    def test_a_task_that_waited_too_long_does_not_start(self) -> None:
        due(TTL).at(NOON + MINUTE - MOMENT).when(START).then(STARTED)
        for now in (NOON + MINUTE, LATER):
            due(TTL).at(now).when(START).refused(NotAllowed(status=Status.QUEUED, wanted="start"))

    def test_it_expires(self) -> None:
        ended = due(TTL).at(NOON + MINUTE).when(EXPIRE).then(STALE)
        assert (state(ended).status, state(ended).error_type) == (Status.ERROR, "Expired")

    def test_but_not_a_moment_before_nor_without_a_limit(self) -> None:
        refusal = NotAllowed(status=Status.QUEUED, wanted="expire")
        due(TTL).at(NOON + MINUTE - MOMENT).when(EXPIRE).refused(refusal)
        due(Policy()).at(MUCH_LATER).when(EXPIRE).refused(refusal)
        due(Policy()).at(MUCH_LATER).when(START).then(STARTED)

    def test_it_is_about_waiting_in_the_queue_and_not_about_anything_else(self) -> None:
        """A task that runs, waits for its time, or for its retry, has as long as it takes."""
        retried = replace(FAILED, retry_at=LATER)
        for story in (running(TTL), running(TTL, retried), given(replace(POSTPONED, policy=TTL)), *ENDED.values()):
            story.at(MUCH_LATER).when(EXPIRE).refused(NotAllowed(status=state(story).status, wanted="expire"))

    def test_each_stay_in_the_queue_counts_anew(self) -> None:
        back = due(TTL).when(START).then(STARTED).at(LATER).when(Release(actor="r1", attempt=1)).then(replace(RELEASED, expires_at=LATER + MINUTE))
        back.at(LATER + MINUTE - MOMENT).when(START).then(replace(STARTED, attempt=2))
        back.at(LATER + MINUTE).when(EXPIRE).then(STALE)

    def test_a_limit_of_a_stay_that_is_over_is_no_limit_any_more(self) -> None:
        moved = due(TTL).when(Reschedule(actor="ann", run_at=LATER)).then(TaskRescheduled(actor="ann", run_at=LATER))
        moved.at(LATER).when(EXPIRE).refused(NotAllowed(status=Status.SCHEDULED, wanted="expire"))
        again = moved.at(LATER).when(MarkDue(actor="s")).then(TaskDue(actor="s", expires_at=LATER + MINUTE))
        again.when(START).then(STARTED)


class TestDeadline:
    at = NOON + 10 * MINUTE

    def test_a_task_that_is_too_late_neither_starts_nor_waits_any_longer(self) -> None:
        due(DEADLINE).at(self.at - MOMENT).when(START).then(replace(STARTED, overdue_at=self.at + OVERDUE_GRACE))
        due(DEADLINE).at(self.at).when(START).refused(NotAllowed(status=Status.QUEUED, wanted="start"))
        due(DEADLINE).at(self.at - MOMENT).when(EXPIRE).refused(NotAllowed(status=Status.QUEUED, wanted="expire"))
        assert state(due(DEADLINE).at(self.at).when(EXPIRE).then(LATE)).status is Status.ERROR

    def test_it_ends_a_task_that_waits_for_its_retry_too(self) -> None:
        waiting = running(DEADLINE, replace(FAILED, retry_at=LATER))
        waiting.at(self.at - MOMENT).when(EXPIRE).refused(NotAllowed(status=Status.SCHEDULED, wanted="expire"))
        waiting.at(self.at).when(EXPIRE).then(LATE)

    def test_it_is_the_reason_also_where_the_queue_would_be_one(self) -> None:
        due(BOTH).at(NOON + 60 * SECOND).when(EXPIRE).then(STALE)
        due(BOTH).at(NOON + 90 * SECOND).when(EXPIRE).then(LATE)

    def test_a_retry_that_would_come_too_late_does_not_come(self) -> None:
        pause = pause_before_retry(DEADLINE, 1, "")
        failed = Fail(actor="r1", attempt=1, error=FAILED.error, error_type="ValueError")
        in_time = running(DEADLINE).at(self.at - pause - MOMENT).when(failed)
        in_time.then(replace(FAILED, retry_at=self.at - MOMENT, reason="retry_backoff"))
        running(DEADLINE).at(self.at - pause).when(failed).then(FAILED)

    def test_a_wish_for_more_time_than_there_is_ends_it(self) -> None:
        failed = Fail(actor="r1", attempt=1, error=FAILED.error, error_type="ValueError", retry_after_seconds=600.0)
        running(DEADLINE).when(failed).then(FAILED)
        sooner = replace(failed, retry_after_seconds=599.0)
        running(DEADLINE).when(sooner).then(replace(FAILED, retry_at=self.at - SECOND, reason="retry_backoff"))

    def test_it_stops_no_attempt_by_itself(self) -> None:
        """A result that is there is worth more than a rule: until its loss is recorded, an attempt may report."""
        running(DEADLINE).at(MUCH_LATER).when(EXPIRE).refused(NotAllowed(status=Status.RUNNING, wanted="expire"))
        running(DEADLINE).at(MUCH_LATER).when(succeed()).then(SUCCEEDED)

    def test_a_task_that_is_lost_too_late_expires_instead_of_starting(self) -> None:
        lost = running(DEADLINE).at(MUCH_LATER).when(Lose(actor="reaper", attempt=1)).then(replace(LOST, expires_at=self.at))
        lost.when(START).refused(NotAllowed)
        lost.when(EXPIRE).then(LATE)

    def test_what_has_ended_has_ended(self) -> None:
        for end in (SUCCEEDED, FAILED, STOPPED, LATE):
            story = given(replace(SUBMITTED, run_at=NOON, policy=DEADLINE), TaskDue(), *([] if end is LATE else [STARTED]), end)
            story.at(MUCH_LATER).when(EXPIRE).refused(NotAllowed(status=state(story).status, wanted="expire"))

    def test_another_time_is_another_deadline(self) -> None:
        moved = given(replace(SUBMITTED, run_at=NOON, policy=DEADLINE)).when(Reschedule(actor="ann", run_at=LATER))
        waiting = moved.then(TaskRescheduled(actor="ann", run_at=LATER)).at(LATER)
        waiting.when(EXPIRE).refused(NotAllowed)
        waiting.when(MarkDue(actor="s")).then(TaskDue(actor="s", expires_at=LATER + 10 * MINUTE))

    def test_a_submission_that_was_recorded_a_little_later_than_decided_has_one_deadline(self) -> None:
        """The database's clock is read after ours: what the fact says and what is made of it must not contradict each other."""
        fact = decide(None, submit(DEADLINE), NOON)
        assert isinstance(fact, TaskSubmitted)
        task = fold([(fact, NOON + 5 * SECOND)])
        assert decide(task, EXPIRE, self.at) in (LATE, NotAllowed(status=Status.QUEUED, wanted="expire"))


class TestOverdue:
    @pytest.mark.parametrize(
        ("policy", "seconds"),
        [
            (Policy(), None),
            (TTL, None),
            (Policy(timeout_seconds=30.0), 130),
            (Policy(timeout_seconds=0.5), 100.5),
            (Policy(deadline_seconds=600.0), 600),
            (Policy(timeout_seconds=30.0, deadline_seconds=600.0), 130),
            (Policy(timeout_seconds=550.0, deadline_seconds=600.0), 600),
            (Policy(timeout_seconds=30.0, queue_ttl_seconds=5.0), 130),
        ],
    )
    def test_an_attempt_has_until_its_timeout_or_the_deadline_and_a_little_longer(self, policy: Policy, seconds: float | None) -> None:
        """It starts 100 seconds after it was due."""
        overdue_at = None if seconds is None else NOON + seconds * SECOND + OVERDUE_GRACE
        queued = given(replace(SUBMITTED, run_at=NOON, policy=policy), TaskDue(), now=NOON + 100 * SECOND)
        started = queued.when(START).then(replace(STARTED, overdue_at=overdue_at))
        assert state(started).overdue_at == overdue_at

    def test_a_little_longer_is_ten_seconds(self) -> None:
        assert 10 * SECOND == OVERDUE_GRACE
