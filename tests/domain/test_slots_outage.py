"""Nobody looked for three hours: what then fires is what `catch_up` says, no more, not all at once; and the ledger knows of
every slot."""

from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

import pytest
from tests.domain.clockwork import World
from tests.domain.schedules import HOUR, MINUTE, NAME, RUNNING, SECOND, created, decided, ended, every_second, fired, rule, task_of, told

from daybook.domain.schedule import Schedule
from daybook.domain.schedule_events import CatchUp, Overlap, Rule, ScheduleCreated, SlotFired, SlotsSkipped
from daybook.domain.slots import LATE, View, Wait, decide_slots
from daybook.domain.status import Status
from daybook.testing import NOON

OUTAGE: Final = 3 * HOUR
BACK: Final = NOON + OUTAGE + 0.25 * SECOND
CATCH_UPS: Final[tuple[CatchUp, ...]] = ("none", "latest", "all")
SCHEDULES: Final = 1000
CRONS: Final = ("* * * * *", *3 * ("*/5 * * * *",), *3 * ("7-59/10 * * * *",), *3 * ("0,30 * * * *",))


def missed(first: datetime, last: datetime, count: int, reason: str = "missed") -> SlotsSkipped:
    return SlotsSkipped(actor="scheduler", first=first, last=last, count=count, reason=reason)


def minutely(catch_up: CatchUp, *events: Any, overlap: Overlap = "allow", window: float = 3600.0) -> Schedule:
    return told(created(rule(catch_up=catch_up, overlap=overlap, catch_up_window_seconds=window)), *events)


def worlds(catch_up: CatchUp, count: int = SCHEDULES, crons: tuple[str, ...] = CRONS) -> list[World]:
    """Schedules that slept for three hours, and a minute later."""
    found = []
    for number in range(count):
        of = rule(crons[number % len(crons)], overlap="allow", catch_up=catch_up)
        world = World(ScheduleCreated(owner="ann", rule=of, work=created().work), NOON + 0.25 * SECOND, name=f"sch_{number}")
        world.down(OUTAGE)
        world.up(50 * SECOND)
        found.append(world)
    return found


# One look after the other


@pytest.mark.parametrize("catch_up", CATCH_UPS)
def test_a_slot_is_not_missed_before_it_is_late(catch_up: CatchUp) -> None:
    schedule = minutely(catch_up)
    assert decided(schedule, NOON + MINUTE + LATE) == fired(NOON + MINUTE)
    assert decided(schedule, NOON + MINUTE + LATE + SECOND, planned_at=NOON + MINUTE) != fired(NOON + MINUTE)


def test_none_is_none() -> None:
    assert decided(minutely("none"), BACK, planned_at=NOON + MINUTE) == missed(NOON + MINUTE, NOON + OUTAGE - MINUTE, 179)


@pytest.mark.parametrize("catch_up", ["latest", "all"])
def test_what_is_missed_waits_for_the_turn_of_its_schedule(catch_up: CatchUp) -> None:
    schedule = minutely(catch_up)
    wait = decided(schedule, BACK, planned_at=NOON + MINUTE)
    assert isinstance(wait, Wait)
    assert wait.until is not None
    assert BACK < wait.until < BACK + 5 * SECOND
    assert decided(schedule, BACK, planned_at=NOON + MINUTE, name="sch_2") != wait
    assert decide_slots(schedule, View({}, BACK, None, NAME, task_of)) == wait, "and so does what nobody has planned"


@pytest.mark.parametrize(("window", "old"), [(0.0, 179), (60.0, 179), (60.25, 178), (3600.0, 120), (3600.25, 119), (3660.0, 119), (3660.25, 118), (6059.5, 79)])
def test_what_is_older_than_the_window_is_missed_and_the_wait_counts_for_nothing(window: float, old: int) -> None:
    schedule = minutely("all", window=window)
    wait = decided(schedule, BACK, planned_at=NOON + MINUTE)
    assert isinstance(wait, Wait)
    assert wait.until is not None
    for slow in (timedelta(0), SECOND, LATE):
        assert decided(schedule, wait.until + slow, planned_at=wait.until) == missed(NOON + MINUTE, NOON + old * MINUTE, old)


def test_a_look_that_came_much_too_late_catches_up_no_more_than_the_window() -> None:
    """It was planned after one outage, and came after another."""
    planned_at = NOON + HOUR + 5 * SECOND
    assert decided(minutely("all"), BACK, planned_at=planned_at) == missed(NOON + MINUTE, NOON + 59 * MINUTE, 59)
    schedule = minutely("all", (missed(NOON + MINUTE, NOON + 59 * MINUTE, 59), BACK))
    wait = decided(schedule, BACK, planned_at=planned_at)
    assert isinstance(wait, Wait), "what was missed since then has its own turn"


def test_the_latest_is_the_latest() -> None:
    assert decided(minutely("latest"), BACK + SECOND) == missed(NOON + MINUTE, NOON + 178 * MINUTE, 178)
    schedule = minutely("latest", (missed(NOON + MINUTE, NOON + 178 * MINUTE, 178), BACK + SECOND))
    assert decided(schedule, BACK + SECOND) == fired(NOON + 179 * MINUTE)
    schedule = minutely("latest", (fired(NOON + 179 * MINUTE), BACK + SECOND))
    assert decided(schedule, BACK + SECOND) == fired(NOON + OUTAGE), "which is not missed"
    assert decided(minutely("latest", window=30.0), BACK + SECOND) == missed(NOON + MINUTE, NOON + 179 * MINUTE, 179)


def test_all_fire_a_few_a_second() -> None:
    schedule = minutely("all", (missed(NOON + MINUTE, NOON + 2 * HOUR, 120), BACK))
    assert decided(schedule, BACK + SECOND) == fired(NOON + 121 * MINUTE)
    schedule = minutely("all", (fired(NOON + 121 * MINUTE), BACK + SECOND))
    turn = BACK + 1.25 * SECOND
    assert decided(schedule, BACK + SECOND) == Wait(until=turn)
    assert decided(schedule, turn) == fired(NOON + 122 * MINUTE)


def test_all_are_a_hundred_at_most() -> None:
    schedule = minutely("all", window=86400.0)
    assert decided(schedule, BACK + SECOND) == missed(NOON + MINUTE, NOON + 79 * MINUTE, 79, "limit")


def test_slow_looks_at_a_fast_schedule_end_with_one_that_fires() -> None:
    """Between two decisions slots become late: were they to count, each look would find the latest to be another one."""
    of = every_second(overlap="allow", catch_up="latest")
    world = World(created(of), NOON, slow=3 * SECOND, lag=1.5 * SECOND)
    world.down(OUTAGE)
    world.up(MINUTE)
    assert len([slot for slot in world.audit().fired() if slot > NOON + OUTAGE - LATE]) > 2


def test_a_task_that_ended_in_the_meantime_divides_what_overlaps_from_what_is_missed() -> None:
    schedule = minutely("latest", (fired(NOON + MINUTE), NOON + MINUTE), overlap="skip")
    runs = {NOON + MINUTE: ended(NOON + 2.5 * HOUR)}
    assert decided(schedule, BACK, runs) == missed(NOON + 2 * MINUTE, NOON + 149 * MINUTE, 148, "overlap")
    after = minutely("latest", (fired(NOON + MINUTE), NOON + MINUTE), (missed(NOON + 2 * MINUTE, NOON + 149 * MINUTE, 148, "overlap"), BACK), overlap="skip")
    assert decided(after, BACK, runs) == missed(NOON + 150 * MINUTE, NOON + 178 * MINUTE, 29)
    assert decided(schedule, BACK, {NOON + MINUTE: RUNNING}) == missed(NOON + 2 * MINUTE, NOON + OUTAGE, 179, "overlap")


@pytest.mark.parametrize(
    ("overlap", "catch_up", "expected"),
    [
        ("allow", "none", {"missed": 179, "fired": 1}),
        ("allow", "latest", {"missed": 178, "fired": 2}),
        ("allow", "all", {"missed": 120, "fired": 60}),
        ("cancel_previous", "none", {"missed": 179, "fired": 1}),
        ("cancel_previous", "latest", {"missed": 178, "fired": 2}),
        ("cancel_previous", "all", {"missed": 120, "fired": 60}),
        ("queue_all", "none", {"missed": 179, "fired": 1}),
        ("queue_all", "latest", {"missed": 178, "fired": 2}),
        ("queue_all", "all", {"missed": 120, "fired": 60}),
        # Of many that fire late, the others came due before the first did: they overlap it, or find the only place taken.
        ("skip", "none", {"missed": 179, "fired": 1}),
        ("skip", "latest", {"missed": 178, "fired": 1, "overlap": 1}),
        ("skip", "all", {"missed": 120, "fired": 1, "overlap": 59}),
        ("queue_one", "none", {"missed": 179, "fired": 1}),
        ("queue_one", "latest", {"missed": 178, "fired": 1, "overlap": 1}),
        ("queue_one", "all", {"missed": 120, "fired": 1, "overlap": 59}),
    ],
)
def test_three_hours_of_a_schedule_of_every_minute(overlap: Overlap, catch_up: CatchUp, expected: dict[str, int]) -> None:
    world = World(created(rule(overlap=overlap, catch_up=catch_up)), NOON + 0.25 * SECOND, job=lambda: (0.1 * SECOND, Status.SUCCESS))
    world.down(OUTAGE)
    world.up(55 * SECOND)
    assert world.audit().counts() == expected
    assert not world.left()


# A thousand of them


@pytest.mark.parametrize("catch_up", CATCH_UPS)
def test_a_thousand_schedules_that_slept_do_what_they_were_told(catch_up: CatchUp) -> None:
    every = {"* * * * *": 1, "*/5 * * * *": 5, "7-59/10 * * * *": 10, "0,30 * * * *": 30}
    first_fires = []
    for world in worlds(catch_up):
        audit = world.audit()
        world.check_outages()
        assert not world.left()
        slots = list(audit.outcomes)
        assert len(slots) == 180 // every[world.schedule.rule.cadence.cron]
        late = [slot for slot in slots if BACK - slot > LATE]
        in_window = [slot for slot in late if BACK - slot <= HOUR]
        wanted = {"none": [], "latest": in_window[-1:], "all": in_window}[catch_up]
        assert [slot for slot in audit.fired() if slot in late] == wanted
        assert audit.skipped("missed") == [slot for slot in late if slot not in wanted]
        assert audit.counts().keys() <= {"fired", "missed"}
        caught_up = [at for event, at in world.history if isinstance(event, SlotFired) and event.slot in wanted]
        assert all(other - one >= 0.25 * SECOND for one, other in pairwise(caught_up))
        first_fires += [at - BACK for at in caught_up[:1]]
    if catch_up == "none":
        assert not first_fires
    else:
        check_spread(first_fires)


def check_spread(delays: list[timedelta]) -> None:
    """Within five seconds, and never many at once."""
    assert len(delays) == SCHEDULES
    assert timedelta(0) <= min(delays) < max(delays) < 5 * SECOND
    by_tenth, by_second = (Counter(delay // width for delay in delays) for width in (0.1 * SECOND, SECOND))
    assert max(by_tenth.values()) <= 0.04 * SCHEDULES
    assert all(0.15 * SCHEDULES < many < 0.25 * SCHEDULES for many in by_second.values())


@pytest.mark.parametrize("catch_up", CATCH_UPS)
def test_so_do_those_of_every_second(catch_up: CatchUp) -> None:
    for number in range(3):
        of = every_second(overlap="allow", catch_up=catch_up)
        world = World(created(of), NOON + 0.25 * SECOND, name=f"sch_{number}")
        world.down(OUTAGE)
        world.up(2 * MINUTE)
        world.check_outages()
        audit = world.audit()
        assert not world.left()
        assert len(audit.outcomes) == 10_800 + 120
        fired_late, skipped = [slot for slot in audit.fired() if slot < BACK], audit.counts()
        if catch_up == "none":
            assert (len(fired_late), skipped["missed"]) == (10, 10_790)
        elif catch_up == "latest":
            # The latest that was missed, and those that were not: that it had to wait for its turn made no other slot late.
            assert (len(fired_late), skipped["missed"]) == (11, 10_789)
        else:
            assert 100 < len(fired_late) + skipped["limit"] - 3490 <= 110
            assert skipped["missed"] == 7200


def test_no_rule_catches_up_more_than_its_window() -> None:
    of = Rule(cadence=every_second().cadence, overlap="allow", catch_up="all", catch_up_window_seconds=30.0)
    world = World(created(of), NOON + 0.25 * SECOND, name=NAME)
    world.down(OUTAGE)
    world.up(MINUTE)
    assert min(world.audit().fired()) >= BACK - 30 * SECOND
