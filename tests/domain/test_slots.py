"""What becomes of each slot: of one that comes while a task still runs, of one that nobody fired in time, of one that is
paused, changed, filled in. What nobody fired for long is told in `test_slots_outage`."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
from msgspec.structs import replace
from tests.domain.schedules import (
    DAY,
    FIRST,
    FOURTH,
    HOUR,
    MINUTE,
    NAME,
    RUNNING,
    SECOND,
    SECOND_SLOT,
    THIRD,
    WORK,
    created,
    decided,
    ended,
    every_second,
    fired,
    rule,
    skip,
    told,
)

from daybook.domain.schedule import Schedule
from daybook.domain.schedule_events import (
    Overlap,
    Rule,
    ScheduleBackfilled,
    ScheduleChanged,
    ScheduleDeleted,
    SchedulePaused,
    ScheduleResumed,
    SlotFired,
)
from daybook.domain.slots import MOST_WAITING, Run, Wait, due, next_look, slots_of
from daybook.domain.status import Status
from daybook.testing import NOON

POLICIES: Final[tuple[Overlap, ...]] = ("skip", "queue_one", "queue_all", "cancel_previous", "allow")


def running_since_the_first(overlap: Overlap, **fields: Any) -> Schedule:
    """A schedule of every minute whose first slot has fired."""
    return told(created(rule(overlap=overlap, **fields)), (fired(FIRST), FIRST))


# In time


@pytest.mark.parametrize("overlap", POLICIES)
def test_it_waits_for_its_slot_and_fires_it(overlap: Overlap) -> None:
    schedule = told(created(rule(overlap=overlap)))
    assert next_look(schedule, NAME) == FIRST
    assert decided(schedule, FIRST - timedelta(microseconds=1)) == Wait(until=FIRST)
    assert decided(schedule, FIRST) == fired(FIRST)
    assert decided(schedule, FIRST + 10 * SECOND) == fired(FIRST)


@pytest.mark.parametrize("overlap", POLICIES)
@pytest.mark.parametrize("ended_at", [FIRST + SECOND, SECOND_SLOT])
def test_a_task_that_has_ended_by_then_is_in_nobodys_way(overlap: Overlap, ended_at: datetime) -> None:
    schedule = running_since_the_first(overlap)
    assert decided(schedule, SECOND_SLOT, {FIRST: ended(ended_at)}) == fired(SECOND_SLOT)


@pytest.mark.parametrize("runs", [{}, {FIRST: RUNNING}])
@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        ("skip", skip(SECOND_SLOT, SECOND_SLOT, 1, "overlap")),
        ("queue_one", Wait(until=SECOND_SLOT + SECOND, for_run=True)),
        ("queue_all", Wait(until=SECOND_SLOT + SECOND, for_run=True)),
        ("cancel_previous", fired(SECOND_SLOT, live=(FIRST,))),
        ("allow", fired(SECOND_SLOT)),
    ],
)
def test_a_task_that_still_runs_is_seen_to(overlap: Overlap, expected: object, runs: Mapping[datetime, Run]) -> None:
    assert decided(running_since_the_first(overlap), SECOND_SLOT, runs) == expected


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        ("skip", skip(SECOND_SLOT, SECOND_SLOT, 1, "overlap")),
        ("queue_one", fired(SECOND_SLOT)),
        ("queue_all", fired(SECOND_SLOT)),
        ("cancel_previous", fired(SECOND_SLOT)),
        ("allow", fired(SECOND_SLOT)),
    ],
)
def test_a_slot_is_judged_by_its_own_time(overlap: Overlap, expected: object) -> None:
    ended_later = {FIRST: ended(SECOND_SLOT + SECOND)}
    assert decided(running_since_the_first(overlap), SECOND_SLOT + 2 * SECOND, ended_later) == expected


def test_with_jitter_it_is_judged_when_it_fires() -> None:
    schedule = running_since_the_first("skip", jitter_seconds=30.0)
    at = next(due(schedule, NAME)).at
    assert at > SECOND_SLOT
    assert decided(schedule, at, {FIRST: ended(at)}) == fired(SECOND_SLOT, due_at=at)


def test_only_the_allowed_may_run_beside_each_other_and_what_is_counted_is_remembered() -> None:
    schedule = running_since_the_first("allow", pause_after_errors=2)
    assert decided(schedule, SECOND_SLOT, {FIRST: RUNNING}) == fired(SECOND_SLOT, live=(FIRST,))
    assert decided(schedule, SECOND_SLOT, {FIRST: ended(SECOND_SLOT, Status.ERROR)}) == fired(SECOND_SLOT, errors=1)


# In line


def test_all_wait_in_line_and_fire_one_after_the_other() -> None:
    schedule = running_since_the_first("queue_all")
    now = FOURTH + SECOND
    assert decided(schedule, now, {FIRST: RUNNING}) == Wait(until=now + MINUTE, for_run=True)
    assert decided(schedule, now, {FIRST: ended(now)}) == fired(SECOND_SLOT)
    schedule = told(created(rule(overlap="queue_all")), (fired(FIRST), FIRST), (fired(SECOND_SLOT), now))
    assert decided(schedule, now, {SECOND_SLOT: RUNNING}) == Wait(until=now + MINUTE, for_run=True)
    assert decided(schedule, now + HOUR, {SECOND_SLOT: ended(now + SECOND)}) == fired(THIRD)


def test_one_waits_and_what_comes_while_it_does_is_too_late() -> None:
    now = FOURTH + SECOND
    schedule = running_since_the_first("queue_one")
    assert decided(schedule, now, {FIRST: ended(now)}) == fired(SECOND_SLOT)
    schedule = told(created(rule(overlap="queue_one")), (fired(FIRST), FIRST), (fired(SECOND_SLOT), now))
    assert decided(schedule, now, {SECOND_SLOT: RUNNING}) == skip(THIRD, FOURTH, 2, "overlap")


@pytest.mark.parametrize("cause", ["trigger", "backfill"])
@pytest.mark.parametrize("overlap", ["queue_one", "queue_all"])
def test_what_fires_out_of_turn_takes_nobodys_place(overlap: Overlap, cause: str) -> None:
    out_of_turn = fired(SECOND_SLOT + 30 * SECOND, cause=cause, live=(FIRST,))
    schedule = told(created(rule(overlap=overlap)), (fired(FIRST), FIRST), (out_of_turn, out_of_turn.slot))
    now = SECOND_SLOT + 40 * SECOND
    assert decided(schedule, now, {FIRST: ended(now), out_of_turn.slot: RUNNING}) == Wait(until=now + 40 * SECOND, for_run=True)
    assert decided(schedule, now, {FIRST: ended(now), out_of_turn.slot: ended(now)}) == fired(SECOND_SLOT)


def test_a_line_has_an_end() -> None:
    schedule = running_since_the_first("queue_all")
    now = FIRST + (MOST_WAITING + 3) * MINUTE
    assert decided(schedule, now, {FIRST: RUNNING}) == skip(SECOND_SLOT, FOURTH, 3, "limit")
    assert decided(schedule, now - 3 * MINUTE, {FIRST: RUNNING}) == Wait(until=now - 2 * MINUTE, for_run=True)


# Told together


def test_slots_that_overlap_are_told_together() -> None:
    schedule = told(created(every_second(overlap="skip")), (fired(NOON + SECOND), NOON + SECOND))
    runs = {NOON + SECOND: RUNNING}
    first = skip(NOON + 2 * SECOND, NOON + 2 * SECOND, 1, "overlap")
    assert decided(schedule, NOON + 2 * SECOND, runs) == first
    schedule = told(created(every_second()), (fired(NOON + SECOND), NOON + SECOND), (first, NOON + 2 * SECOND))
    assert decided(schedule, NOON + 3 * SECOND, runs) == Wait(until=NOON + 12 * SECOND, for_run=True)
    assert decided(schedule, NOON + 12 * SECOND, runs) == skip(NOON + 3 * SECOND, NOON + 12 * SECOND, 10, "overlap")


def test_they_wait_no_longer_than_for_the_task_that_they_overlap() -> None:
    first = skip(NOON + 2 * SECOND, NOON + 2 * SECOND, 1, "overlap")
    schedule = told(created(every_second()), (fired(NOON + SECOND), NOON + SECOND), (first, NOON + 2 * SECOND))
    runs = {NOON + SECOND: ended(NOON + 4.5 * SECOND)}
    assert decided(schedule, NOON + 5 * SECOND, runs) == skip(NOON + 3 * SECOND, NOON + 4 * SECOND, 2, "overlap")
    schedule = told(*_history(schedule_of=every_second()), (skip(NOON + 3 * SECOND, NOON + 4 * SECOND, 2, "overlap"), NOON + 5 * SECOND))
    assert decided(schedule, NOON + 5 * SECOND, runs) == fired(NOON + 5 * SECOND)


def _history(schedule_of: Rule) -> list[tuple[Any, datetime]]:
    first = skip(NOON + 2 * SECOND, NOON + 2 * SECOND, 1, "overlap")
    return [(created(schedule_of), NOON), (fired(NOON + SECOND), NOON + SECOND), (first, NOON + 2 * SECOND)]


# Errors


@pytest.mark.parametrize("overlap", POLICIES)
def test_errors_in_a_row_pause_it(overlap: Overlap) -> None:
    live = (FIRST, SECOND_SLOT)
    schedule = told(created(rule(overlap=overlap, pause_after_errors=3)), (fired(SECOND_SLOT, live=(FIRST,), errors=1), SECOND_SLOT))
    assert schedule.live == live
    failed = ended(SECOND_SLOT + SECOND, Status.ERROR)
    event = SchedulePaused(actor="scheduler", live=(), reason="3 tasks in a row ended with an error")
    assert decided(schedule, SECOND_SLOT + SECOND, dict.fromkeys(live, failed)) == event
    assert decided(schedule, SECOND_SLOT + SECOND, {FIRST: failed, SECOND_SLOT: RUNNING}) == Wait(until=THIRD)


@pytest.mark.parametrize(("status", "errors"), [(Status.SUCCESS, 0), (Status.CANCELLED, 2), (Status.ERROR, 3)])
def test_success_ends_the_row_and_a_task_that_was_cancelled_is_none_of_it(status: Status, errors: int) -> None:
    schedule = told(created(rule(pause_after_errors=9)), (fired(FIRST, errors=2), FIRST))
    assert decided(schedule, SECOND_SLOT, {FIRST: ended(FIRST, status)}) == fired(SECOND_SLOT, errors=errors)


def test_what_failed_before_it_was_resumed_is_forgiven() -> None:
    by_itself = SchedulePaused(actor="scheduler", live=(FIRST,))
    events: list[Any] = [created(rule(overlap="allow", pause_after_errors=1)), (fired(FIRST), FIRST), (by_itself, FIRST + SECOND)]
    schedule = told(*events, (ScheduleResumed(actor="ann"), FIRST + 9 * SECOND))
    assert decided(schedule, FIRST + 10 * SECOND, {FIRST: ended(FIRST + 8 * SECOND, Status.ERROR)}) == Wait(until=SECOND_SLOT)
    assert isinstance(decided(schedule, FIRST + 10 * SECOND, {FIRST: ended(FIRST + 10 * SECOND, Status.ERROR)}), SchedulePaused)


# Pauses


@pytest.mark.parametrize("until", [None, THIRD])
def test_nothing_fires_during_a_pause(until: datetime | None) -> None:
    schedule = told(created(), SchedulePaused(actor="ann", until=until), ScheduleBackfilled(slots=(NOON - HOUR,)))
    assert decided(schedule, SECOND_SLOT + SECOND) == Wait(until=until)
    assert next_look(schedule, NAME) == until


def test_a_pause_ends_when_it_was_to_end() -> None:
    schedule = told(created(rule("*/2 * * * *")), SchedulePaused(actor="ann", until=THIRD))
    resumed = ScheduleResumed(actor="scheduler", since=THIRD)
    assert decided(schedule, THIRD) == resumed == decided(schedule, NOON + HOUR)
    schedule = told(created(rule("*/2 * * * *")), SchedulePaused(actor="ann", until=THIRD), (resumed, FOURTH + SECOND))
    assert decided(schedule, FOURTH + SECOND) == skip(SECOND_SLOT, SECOND_SLOT, 1, "paused")
    schedule = told(created(rule("*/2 * * * *")), SchedulePaused(until=THIRD), (resumed, FOURTH), (skip(SECOND_SLOT, SECOND_SLOT, 1, "paused"), FOURTH))
    assert decided(schedule, FOURTH) == fired(FOURTH), "what came due after the pause is not of it"


def test_a_long_pause_is_told_in_few_words() -> None:
    schedule = told(created(every_second()), SchedulePaused(actor="ann"), (ScheduleResumed(actor="ann"), NOON + 12 * HOUR))
    assert decided(schedule, NOON + 12 * HOUR) == skip(NOON + SECOND, NOON + 12 * HOUR, 43_200, "paused")
    schedule = told(created(every_second()), SchedulePaused(actor="ann"), (ScheduleResumed(actor="ann"), NOON + DAY))
    assert decided(schedule, NOON + DAY) == skip(NOON + SECOND, NOON + 50_000 * SECOND, 50_000, "paused"), "so many at once"


# Changes and the end


def test_what_the_old_rule_had_due_is_told_before_the_new_one_fires() -> None:
    changed = ScheduleChanged(actor="ann", rule=rule("* * * * *", timezone="Europe/Berlin"), work=WORK)
    schedule = told(created(), (changed, SECOND_SLOT))
    assert next_look(schedule, NAME) == SECOND_SLOT
    assert decided(schedule, THIRD) == skip(FIRST, SECOND_SLOT, 2, "changed")
    schedule = told(created(), (changed, SECOND_SLOT), (skip(FIRST, SECOND_SLOT, 2, "changed"), THIRD))
    assert decided(schedule, THIRD) == fired(THIRD)


def test_a_slot_that_fired_does_not_fire_again_under_another_rule() -> None:
    changed = ScheduleChanged(actor="ann", rule=rule(jitter_seconds=1.0), work=WORK)
    schedule = told(created(), (fired(FIRST), FIRST), (changed, FIRST))
    assert decided(schedule, FIRST + SECOND) == Wait(until=next_look(schedule, NAME))
    assert next(due(schedule, NAME)).slot == SECOND_SLOT


def test_a_clock_that_was_set_back_makes_no_slot_fire_again() -> None:
    schedule = told(created(), (fired(FIRST), FIRST), (ScheduleChanged(actor="ann", rule=rule(jitter_seconds=1.0), work=WORK), NOON))
    assert next(due(schedule, NAME)).slot == SECOND_SLOT


def test_a_deleted_schedule_tells_what_it_had_due_and_is_silent() -> None:
    schedule = told(created(), ScheduleBackfilled(slots=(NOON - HOUR,)), (ScheduleDeleted(), THIRD))
    assert decided(schedule, NOON + DAY) == skip(FIRST, THIRD, 3, "ended")
    done = told(created(), (ScheduleDeleted(), THIRD), (skip(FIRST, THIRD, 3, "ended"), THIRD))
    assert decided(done, NOON + DAY) == Wait()
    assert next_look(done, NAME) is None


def test_what_is_left_of_a_rule_without_slots_is_nothing() -> None:
    schedule = told(created(rule("0 0 1 1 *")), SchedulePaused(), (ScheduleResumed(), NOON + HOUR))
    assert decided(schedule, NOON + HOUR) == Wait(until=next(slots_of(schedule.rule, NOON)))


# What is filled in


PAST: Final = (NOON - 2 * HOUR, NOON - HOUR)


def filled_in(overlap: Overlap, *events: Any) -> Schedule:
    return told(created(rule(overlap=overlap)), ScheduleBackfilled(slots=PAST), *events)


@pytest.mark.parametrize("overlap", POLICIES)
def test_what_is_filled_in_fires_when_nothing_else_does(overlap: Overlap) -> None:
    schedule = filled_in(overlap)
    wanted = next_look(schedule, NAME)
    assert wanted is not None
    assert wanted <= NOON
    assert decided(schedule, NOON) == fired(PAST[0], cause="backfill")
    assert decided(schedule, FIRST) == fired(FIRST), "slots come first"


@pytest.mark.parametrize("overlap", POLICIES)
def test_it_runs_beside_another_only_where_that_is_allowed(overlap: Overlap) -> None:
    schedule = filled_in(overlap, (fired(PAST[0], cause="backfill"), NOON + SECOND))
    now = NOON + 2 * SECOND
    expected = fired(PAST[1], cause="backfill") if overlap == "allow" else Wait(until=FIRST, for_run=True)
    assert decided(schedule, now, {PAST[0]: RUNNING}) == expected
    assert decided(schedule, now, {PAST[0]: ended(now)}) == fired(PAST[1], cause="backfill")


def test_it_looks_again_though_nothing_else_is_due() -> None:
    events: list[Any] = [created(rule("0 0 1 1 *")), ScheduleBackfilled(slots=PAST), (fired(PAST[0], cause="backfill"), NOON)]
    assert decided(told(*events), NOON + SECOND, {PAST[0]: RUNNING}) == Wait(until=NOON + 61 * SECOND, for_run=True)


def test_it_is_filled_in_after_the_last_run_too() -> None:
    schedule = told(created(rule(max_runs=1)), (fired(FIRST), FIRST), (ScheduleBackfilled(slots=PAST), FIRST))
    assert decided(schedule, FIRST, {FIRST: ended(FIRST)}) == fired(PAST[0], cause="backfill")


def test_what_may_still_fire_by_itself_is_not_filled_in() -> None:
    schedule = told(created(rule(jitter_seconds=59.0)), (ScheduleBackfilled(slots=(FIRST,)), FIRST))
    assert decided(schedule, FIRST) == Wait(until=next(due(schedule, NAME)).at) == Wait(until=next_look(schedule, NAME))
    schedule = replace(schedule, decided_until=FIRST)
    assert decided(schedule, FIRST) == SlotFired(actor="scheduler", slot=FIRST, task=fired(FIRST).task, cause="backfill")
