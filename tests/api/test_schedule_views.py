"""What nobody has recorded: which slots are to come, and which are due and wait for what. Between the two of them, and what is decided, there is no gap."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest

from daybook.domain.cadence import Cadence
from daybook.domain.events import Content
from daybook.domain.schedule import Schedule, evolve
from daybook.domain.schedule_events import (
    Rule,
    ScheduleBackfilled,
    ScheduleChanged,
    ScheduleCreated,
    ScheduleDeleted,
    ScheduleEvent,
    SchedulePaused,
    ScheduleResumed,
    SlotFired,
    Work,
)
from daybook.domain.slots import due
from daybook_api.schedule_views import pending_slots, planned

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WORK = Work(app="hello", app_version="1", input=Content(digest="00", size_bytes=2))


def told(*events: tuple[ScheduleEvent, float], **rule: Any) -> Schedule:
    """A schedule that was made at noon, and what happened so many minutes later."""
    made = ScheduleCreated(owner="ann", rule=_rule(**rule), work=WORK)
    schedule = evolve(None, made, NOON)
    for event, minutes in events:
        schedule = evolve(schedule, event, NOON + minutes * MINUTE)
    return schedule


def _rule(cron: str = "* * * * *", **rule: Any) -> Rule:
    return Rule(cadence=Cadence(cron=cron), **rule)


def ahead(schedule: Schedule, minutes: float) -> list[float]:
    """The planned slots, in minutes after noon, so many minutes after noon."""
    return [(each.slot - NOON) / MINUTE for each in planned(schedule, "sch_x", NOON + minutes * MINUTE)]


def behind(schedule: Schedule, minutes: float, *, has_live: bool = False) -> list[tuple[float, str]]:
    """The pending ones, and why."""
    return [((each.slot - NOON) / MINUTE, each.why) for each in pending_slots(schedule, "sch_x", NOON + minutes * MINUTE, has_live=has_live)]


def test_five_slots_are_planned_unless_fewer_are_left() -> None:
    assert ahead(told(), 0) == [1, 2, 3, 4, 5]
    assert ahead(told(), 2) == [3, 4, 5, 6, 7]
    assert ahead(told(max_runs=2), 0) == [1, 2]
    fired = SlotFired(slot=NOON + MINUTE, task="tsk_x")
    assert ahead(told((fired, 1), max_runs=2), 1) == [2]
    assert ahead(told((fired, 1), max_runs=1), 1) == []
    assert ahead(told(end_at=NOON + 3 * MINUTE), 1) == [2, 3]
    assert ahead(told(start_at=NOON + 30 * MINUTE), 1) == [30, 31, 32, 33, 34]
    assert ahead(told((ScheduleDeleted(), 1)), 1) == []


def test_a_pause_plans_nothing_before_it_ends() -> None:
    assert ahead(told((SchedulePaused(), 1)), 1) == []
    timed = told((SchedulePaused(until=NOON + 10 * MINUTE), 1))
    assert ahead(timed, 1) == [11, 12, 13, 14, 15]
    assert ahead(timed, 12) == [13, 14, 15, 16, 17]
    jittered = told((SchedulePaused(until=NOON + 10 * MINUTE), 1), jitter_seconds=30.0)
    assert ahead(jittered, 10)[0] == 11


@pytest.mark.parametrize("minutes", [0, 0.2, 0.9, 1, 1.01, 1.5, 7, 7.7])
@pytest.mark.parametrize("jitter", [0.0, 20.0, 60.0])
def test_each_slot_is_pending_or_planned(minutes: float, jitter: float) -> None:
    schedule = told(jitter_seconds=jitter)
    found = [slot for slot, _ in behind(schedule, minutes)] + ahead(schedule, minutes)
    assert found == [(each.slot - NOON) / MINUTE for each in islice(due(schedule, "sch_x"), len(found))]
    assert all(each.at > NOON + minutes * MINUTE for each in planned(schedule, "sch_x", NOON + minutes * MINUTE))


def test_a_slot_may_lie_behind_us_and_be_to_come() -> None:
    schedule = told(cron="*/10 * * * *", jitter_seconds=600.0)
    first = planned(schedule, "sch_x", NOON)[0]
    assert first.at > first.slot
    just_before = first.at - timedelta(microseconds=1)
    assert planned(schedule, "sch_x", just_before)[0] == first
    assert pending_slots(schedule, "sch_x", just_before, has_live=False) == []
    assert [slot.due_at for slot in pending_slots(schedule, "sch_x", first.at, has_live=False)] == [first.at]


@pytest.mark.parametrize(
    ("overlap", "has_live", "why"),
    [
        ("skip", False, ("late", "due")),
        ("skip", True, ("overlap", "overlap")),
        ("queue_one", True, ("waiting for an earlier task",) * 2),
        ("queue_all", True, ("waiting for an earlier task",) * 2),
        ("queue_all", False, ("late", "due")),
        ("allow", True, ("late", "due")),
        ("cancel_previous", True, ("late", "due")),
    ],
)
def test_a_pending_slot_says_why(overlap: str, has_live: bool, why: tuple[str, str]) -> None:
    assert behind(told(overlap=overlap), 2.1, has_live=has_live) == [(1, why[0]), (2, why[1])]


def test_a_pause_is_why_until_it_is_over() -> None:
    assert behind(told((SchedulePaused(), 1.5)), 3, has_live=True) == [(1, "paused"), (2, "paused"), (3, "paused")]
    assert behind(told((SchedulePaused(until=NOON + 2 * MINUTE), 1.5)), 3) == [(1, "paused"), (2, "paused"), (3, "due")]


def test_what_a_rule_left_behind_is_pending_with_its_reason() -> None:
    changed = told((ScheduleChanged(rule=_rule("*/5 * * * *"), work=WORK), 2))
    assert behind(changed, 2) == [(1, "changed"), (2, "changed")]
    assert ahead(changed, 2)[0] == 5
    assert behind(told((SchedulePaused(), 1.5), (ScheduleResumed(), 3.5)), 4) == [(1, "paused"), (2, "paused"), (3, "paused"), (4, "due")]
    assert behind(told((ScheduleDeleted(), 2)), 9) == [(1, "ended"), (2, "ended")]


def test_what_is_to_be_made_up_for_comes_last_and_no_more_than_fifty_are_shown() -> None:
    wanted = ScheduleBackfilled(slots=(NOON - 2 * MINUTE, NOON - MINUTE))
    assert behind(told((wanted, 0)), 1) == [(1, "due"), (-2, "backfill"), (-1, "backfill")]
    assert len(behind(told((wanted, 0)), 200)) == 50
