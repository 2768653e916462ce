"""What each command does to a task until it runs, as sentences. How a running task ends is told in `test_endings`, how it
goes on after an error in `test_attempts`, after a loss in `test_losses`, and when it is too late in `test_deadlines`.
"""

from datetime import datetime, timedelta

import msgspec
import pytest
from msgspec.structs import replace
from tests.domain.stories import (
    CANCEL,
    CANCELLING_TASK,
    DUE,
    ENDED,
    INPUT,
    JUST_TOO_OLD,
    LATER,
    MUCH_LATER,
    POSTPONED,
    QUEUED_TASK,
    RELEASED,
    RUNNING_TASK,
    SCHEDULED_TASK,
    START,
    STARTED,
    SUBMIT,
    SUBMITTED,
    SUCCESSFUL_TASK,
    TO_BE_RETRIED,
    WAITING,
    reports,
    state,
)

from daybook.domain.commands import AnyCommand, Expire, MarkDue, Release, Reschedule, Retry, Start, Submit
from daybook.domain.events import Policy, TaskReleased, TaskRescheduled, TaskStarted, TaskSubmitted
from daybook.domain.refusals import AlreadyExists, InThePast, NotAllowed, NotFound
from daybook.domain.status import Status
from daybook.domain.task import PAST_TOLERANCE
from daybook.testing import NOON, Story, given


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
            rerun_of="tsk_1",
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
    others: list[AnyCommand] = [CANCEL, START, MarkDue(actor="s"), Reschedule(actor="ann", run_at=LATER), Expire(actor="s"), Retry(actor="ann")]
    for command in [*others, *reports(0), *reports(1)]:
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

    def test_to_the_time_that_it_has_already_is_nothing_new(self) -> None:
        SCHEDULED_TASK.when(Reschedule(actor="ann", run_at=LATER)).nothing()
        given(SUBMITTED, STARTED, TO_BE_RETRIED).when(Reschedule(actor="ann", run_at=LATER)).nothing()

    def test_a_task_that_was_due_already_waits_once_more_for_the_time_that_it_had(self) -> None:
        edge = NOON - PAST_TOLERANCE
        due = given(replace(POSTPONED, run_at=edge), DUE)
        due.when(Reschedule(actor="ann", run_at=edge)).then(TaskRescheduled(actor="ann", run_at=edge))

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
