"""Which slots there are, and when each of them fires: jitter, start, end, and how often."""

from datetime import datetime, timedelta
from itertools import islice, pairwise
from typing import Any

import pytest
from tests.domain.schedules import (
    DAY,
    FIRST,
    FOURTH,
    HOUR,
    MINUTE,
    NAME,
    SECOND,
    SECOND_SLOT,
    THIRD,
    created,
    decided,
    ended,
    every_second,
    fired,
    rule,
    skip,
    told,
)

from daybook.domain.schedule_events import Rule
from daybook.domain.slots import Wait, due, next_look
from daybook.testing import NOON


def test_jitter_is_the_same_for_everybody_and_never_early() -> None:
    of = rule(jitter_seconds=45.0)
    found = list(islice(due(told(created(of)), NAME), 200))
    later = list(islice(due(told(created(of), (fired(NOON + 50 * MINUTE), NOON + 51 * MINUTE)), NAME), 150))
    assert later == found[50:]
    assert [each.slot for each in found] == [NOON + (1 + index) * MINUTE for index in range(200)]
    delays = [each.at - each.slot for each in found]
    assert all(timedelta(0) <= delay < 45 * SECOND for delay in delays)
    assert len(set(delays)) == 200
    assert 18 * SECOND < sum(delays, timedelta(0)) / 200 < 27 * SECOND
    assert [each.at for each in islice(due(told(created(of)), "sch_2"), 200)] != [each.at for each in found]


def test_jitter_keeps_the_order() -> None:
    found = list(islice(due(told(created(every_second(jitter_seconds=3600.0))), NAME), 500))
    assert all(one.slot <= one.at <= other.slot <= other.at for one, other in pairwise(found))


def test_the_end_of_a_schedule_changes_no_jitter() -> None:
    endless = list(islice(due(told(created(rule(jitter_seconds=45.0))), NAME), 3))
    assert list(due(told(created(rule(jitter_seconds=45.0, end_at=THIRD + SECOND))), NAME)) == endless


@pytest.mark.parametrize("end_at", [FIRST, FIRST + SECOND])
def test_a_single_slot_that_is_left_is_due_too(end_at: datetime) -> None:
    schedule = told(created(rule(jitter_seconds=45.0, end_at=end_at)))
    [only] = due(schedule, NAME)
    assert only.slot == FIRST
    assert decided(schedule, only.at) == fired(FIRST, due_at=only.at)
    assert decided(schedule, only.at - timedelta(microseconds=1)) == Wait(until=only.at) == Wait(until=next_look(schedule, NAME))


# Start, end, and how often


def test_slots_lie_between_start_and_end() -> None:
    schedule = told(created(rule(start_at=THIRD, end_at=FOURTH)))
    assert [each.slot for each in due(schedule, NAME)] == [THIRD, FOURTH]
    between = told(created(rule(start_at=THIRD + SECOND, end_at=FOURTH + MINUTE - SECOND)))
    assert [each.slot for each in due(between, NAME)] == [FOURTH]


@pytest.mark.parametrize("of", [rule(end_at=NOON), rule(start_at=THIRD, end_at=SECOND_SLOT), rule("0 0 29 2 *", end_at=NOON + DAY)])
def test_nothing_is_ever_due_of_a_schedule_at_its_end(of: Rule) -> None:
    schedule = told(created(of))
    assert decided(schedule, NOON + HOUR) == Wait()
    assert next_look(schedule, NAME) is None


def test_it_fires_as_often_as_it_may() -> None:
    events: list[Any] = [created(rule(max_runs=2)), (fired(FIRST), FIRST)]
    assert decided(told(*events), SECOND_SLOT, {FIRST: ended(FIRST)}) == fired(SECOND_SLOT)
    spent = told(*events, (fired(SECOND_SLOT), SECOND_SLOT))
    assert decided(spent, NOON + DAY) == Wait()
    assert next_look(spent, NAME) is None


def test_what_waited_behind_the_last_run_is_told_and_what_comes_later_is_no_slot() -> None:
    schedule = told(created(rule(max_runs=1)), (fired(FIRST), FOURTH + SECOND))
    assert decided(schedule, NOON + DAY) == skip(SECOND_SLOT, FOURTH, 3, "limit")
    done = told(created(rule(max_runs=1)), (fired(FIRST), FOURTH + SECOND), (skip(SECOND_SLOT, FOURTH, 3, "limit"), FOURTH + MINUTE))
    assert decided(done, NOON + DAY) == Wait()


def test_what_is_not_a_run_does_not_count_as_one() -> None:
    schedule = told(created(rule(max_runs=1)), (fired(NOON + SECOND, cause="trigger"), NOON + SECOND))
    assert decided(schedule, FIRST, {NOON + SECOND: ended(NOON + SECOND)}) == fired(FIRST)
