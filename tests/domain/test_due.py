"""What time alone does to a task: each moment that an event announces means something when it comes, and afterwards nothing more."""

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace
from tests.domain.stories import CANCELLED, DUE, ENDED, FAILED, LATER, LOST, POSTPONED, RELEASED, STARTED, SUBMITTED, TO_BE_RETRIED, state

from daybook.domain.due import due_at, what_is_due
from daybook.domain.events import Policy, TaskDue, TaskEvent, TaskExpired, TaskLost, TaskRescheduled, TaskRetried
from daybook.domain.task import decide
from daybook.testing import NOON, Story, given

SOON = NOON + timedelta(minutes=1)
HASTY = replace(SUBMITTED, policy=Policy(deadline_seconds=60.0))


@pytest.mark.parametrize(
    ("events", "at", "comes"),
    [
        ([POSTPONED], LATER, TaskDue),
        ([replace(SUBMITTED, expires_at=SOON, policy=Policy(queue_ttl_seconds=60.0))], SOON, TaskExpired),
        ([SUBMITTED, TaskRescheduled(run_at=LATER)], LATER, TaskDue),
        ([replace(HASTY, run_at=NOON), replace(DUE, expires_at=SOON)], SOON, TaskExpired),
        ([HASTY, replace(STARTED, overdue_at=SOON)], SOON, TaskLost),
        ([SUBMITTED, STARTED, TO_BE_RETRIED], LATER, TaskDue),
        ([SUBMITTED, STARTED, replace(LOST, retry_at=LATER)], LATER, TaskDue),
        ([HASTY, STARTED, replace(LOST, expires_at=SOON)], SOON, TaskExpired),
        ([HASTY, STARTED, replace(RELEASED, expires_at=SOON)], SOON, TaskExpired),
        ([HASTY, STARTED, FAILED, TaskRetried(expires_at=SOON)], SOON, TaskExpired),
    ],
)
def test_what_was_announced_comes(events: list[TaskEvent], at: datetime, comes: type[TaskEvent]) -> None:
    assert due_at(events[-1]) == at
    task = state(given(*events))
    command = what_is_due(task, at, actor="scheduler", seed="tsk_1")
    assert command is not None
    assert isinstance(decide(task, command, at), comes)


@pytest.mark.parametrize("event", [SUBMITTED, STARTED, FAILED, LOST, RELEASED, DUE, CANCELLED, TaskRetried()])
def test_without_a_bound_nothing_is_announced(event: TaskEvent) -> None:
    assert due_at(event) is None


@pytest.mark.parametrize("story", [*ENDED.values(), given(SUBMITTED, STARTED), given(HASTY, replace(STARTED, overdue_at=LATER))])
def test_a_moment_that_means_nothing_any_more(story: Story) -> None:
    assert what_is_due(state(story), SOON, actor="scheduler", seed="tsk_1") is None


def test_a_deadline_comes_before_the_time_to_begin() -> None:
    task = state(given(replace(POSTPONED, run_at=NOON, policy=Policy(deadline_seconds=60.0))))
    command = what_is_due(task, SOON, actor="scheduler", seed="tsk_1")
    assert command is not None
    assert isinstance(decide(task, command, SOON), TaskExpired)
