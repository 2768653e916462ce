"""What commands make of a schedule: which event follows, what it changes, and what is refused."""

from datetime import datetime
from typing import Any, Final

import msgspec
import pytest
from tests.domain.schedules import HOUR, MINUTE, NAME, OTHER_INPUT, SECOND, WORK, created, fired, given, rule, told

from daybook.domain.events import Policy, TaskSubmitted
from daybook.domain.refusals import AlreadyDone, AlreadyExists, NotFound
from daybook.domain.schedule import MOST_LIVE, Schedule, Tail, evolve, submission
from daybook.domain.schedule_commands import (
    AnyScheduleCommand,
    BackfillSchedule,
    ChangeSchedule,
    CreateSchedule,
    DeleteSchedule,
    PauseSchedule,
    ResumeSchedule,
    TriggerSchedule,
)
from daybook.domain.schedule_events import (
    Rule,
    ScheduleBackfilled,
    ScheduleChanged,
    ScheduleDeleted,
    SchedulePaused,
    ScheduleResumed,
    SlotFired,
    SlotsSkipped,
)
from daybook.testing import NOON

ANN: Final[dict[str, Any]] = {"actor": "ann", "reason": "asked for", "correlation": "req_7", "causation": "evt_1"}
SLOT: Final = NOON - MINUTE
PAUSED: Final = SchedulePaused(actor="ann", reason="holidays")
RESUMED: Final = ScheduleResumed(actor="ann")
DELETED: Final = ScheduleDeleted(actor="ann")
HOURLY: Final = rule("0 * * * *")
OTHERS: Final[list[AnyScheduleCommand]] = [
    ChangeSchedule(actor="ann", rule=HOURLY, work=WORK),
    PauseSchedule(actor="ann"),
    ResumeSchedule(actor="ann"),
    TriggerSchedule(actor="ann", at=NOON, task="tsk_1"),
    BackfillSchedule(actor="ann", slots=(SLOT,)),
]


def skipped(last: datetime, reason: str, count: int = 1) -> SlotsSkipped:
    return SlotsSkipped(actor="scheduler", first=last - (count - 1) * MINUTE, last=last, count=count, reason=reason)


# What follows


def test_a_schedule_is_created_once() -> None:
    create = CreateSchedule(owner="ann", rule=HOURLY, work=WORK, paused=True, fingerprint="f", **ANN)
    event = msgspec.structs.replace(created(HOURLY, paused=True, fingerprint="f"), **ANN)
    given().when(create).then(event).when(create).refused(AlreadyExists(fingerprint="f"))
    given(event, DELETED).when(create).refused(AlreadyExists(fingerprint="f"))


@pytest.mark.parametrize("command", [*OTHERS, DeleteSchedule(actor="ann")])
def test_what_is_not_there_cannot_be_told_anything(command: AnyScheduleCommand) -> None:
    given().when(command).refused(NotFound)


@pytest.mark.parametrize("command", OTHERS)
def test_nothing_follows_deletion(command: AnyScheduleCommand) -> None:
    given(created(), DELETED).when(command).refused(NotFound)


def test_commands_become_events_that_say_who_and_why() -> None:
    story = given(created())
    story.when(ChangeSchedule(rule=HOURLY, work=WORK, **ANN)).then(ScheduleChanged(rule=HOURLY, work=WORK, **ANN))
    story.when(PauseSchedule(until=NOON + HOUR, **ANN)).then(SchedulePaused(until=NOON + HOUR, **ANN)).when(ResumeSchedule(**ANN)).then(ScheduleResumed(**ANN))
    story.when(BackfillSchedule(slots=(SLOT,), **ANN)).then(ScheduleBackfilled(slots=(SLOT,), **ANN))
    story.when(TriggerSchedule(at=NOON, task="tsk_1", **ANN)).then(SlotFired(slot=NOON, task="tsk_1", cause="trigger", **ANN))
    story.when(DeleteSchedule(**ANN)).then(ScheduleDeleted(**ANN))


def test_asking_again_for_what_is_so_changes_nothing() -> None:
    given(created(HOURLY)).when(ChangeSchedule(actor="bob", rule=HOURLY, work=WORK)).refused(AlreadyDone)
    given(created()).when(ResumeSchedule(actor="bob")).refused(AlreadyDone)
    given(created(), PAUSED).when(PauseSchedule(actor="bob", reason="holidays")).refused(AlreadyDone)
    given(created(), ScheduleBackfilled(slots=(SLOT,))).when(BackfillSchedule(actor="bob", slots=(SLOT,))).refused(AlreadyDone)
    given(created()).when(BackfillSchedule(actor="bob", slots=())).refused(AlreadyDone)
    given(created(), DELETED).when(DeleteSchedule(actor="bob")).refused(AlreadyDone)


def test_a_pause_can_be_told_anew() -> None:
    later = PauseSchedule(actor="bob", reason="longer", until=NOON + HOUR)
    story = given(created(), PAUSED).at(NOON + SECOND).when(later).then(SchedulePaused(actor="bob", reason="longer", until=NOON + HOUR))
    schedule = story.schedule()
    assert (schedule.paused_at, schedule.paused_until, schedule.paused_by, schedule.note) == (NOON, NOON + HOUR, "bob", "longer")


def test_a_pause_that_was_over_ended_then_whoever_says_so_first() -> None:
    story = given(created(), SchedulePaused(actor="ann", until=NOON + MINUTE)).at(NOON + HOUR)
    resumed = story.when(ResumeSchedule(actor="bob")).then(ScheduleResumed(actor="bob", since=NOON + MINUTE)).schedule()
    assert resumed.decided_until == NOON + MINUTE


def test_a_trigger_changes_nothing_about_what_the_schedule_knew() -> None:
    story = given(created(), fired(SLOT, live=(SLOT - MINUTE,), errors=2))
    live = (SLOT - MINUTE, SLOT)
    event = SlotFired(actor="ann", slot=NOON, task="tsk_1", cause="trigger", live=live, errors=2)
    after = story.when(TriggerSchedule(actor="ann", at=NOON, task="tsk_1")).then(event).schedule()
    assert (after.live, after.errors, after.runs, after.served_at) == ((*live, NOON), 2, 1, NOON)
    assert (after.decided_until, after.last_slot, after.last_task, after.counts) == (NOON, NOON, "tsk_1", {"fired": 2})


@pytest.mark.parametrize("event", [PAUSED, None])
def test_a_trigger_asks_neither_pause_nor_end(event: SchedulePaused | None) -> None:
    story = given(created(rule(max_runs=1)), fired(SLOT), *([event] if event else []))
    schedule = story.when(TriggerSchedule(actor="ann", at=NOON, task="tsk_1")).then(
        SlotFired(actor="ann", slot=NOON, task="tsk_1", cause="trigger", live=(SLOT,))
    )
    assert schedule.schedule().runs == 1


# What it makes of the schedule


def test_a_new_schedule_owes_nothing() -> None:
    schedule = told(created(HOURLY, reason="no note"))
    assert schedule == Schedule(version=1, owner="ann", rule=HOURLY, work=WORK, input_version=1, created_at=NOON, decided_until=NOON)


def test_a_schedule_may_begin_paused() -> None:
    schedule = told(created(paused=True, reason="not yet"))
    assert (schedule.paused_at, schedule.paused_by, schedule.note) == (NOON, "ann", "not yet")


def test_a_slot_that_fires_is_a_run() -> None:
    schedule = told(created(), (fired(SLOT, live=(SLOT - HOUR,), errors=3), NOON + SECOND))
    assert (schedule.version, schedule.runs, schedule.live, schedule.errors) == (2, 1, (SLOT - HOUR, SLOT), 3)
    assert (schedule.last_slot, schedule.last_task, schedule.last_fired_at) == (SLOT, fired(SLOT).task, NOON + SECOND)
    assert (schedule.decided_until, schedule.served_at, schedule.counts) == (NOON, NOON + SECOND, {"fired": 1})


def test_what_is_remembered_of_tasks_is_bounded() -> None:
    live = tuple(NOON + index * SECOND for index in range(MOST_LIVE))
    schedule = told(created(), fired(NOON + HOUR, live=live))
    assert schedule.live == (*live[1:], NOON + HOUR)


def test_slots_that_are_skipped_are_counted_by_reason() -> None:
    later = NOON + 5 * MINUTE
    schedule = told(created(), (skipped(later, "overlap", 5), later), (skipped(later + MINUTE, "missed"), later + MINUTE), fired(later + 2 * MINUTE))
    assert schedule.counts == {"overlap": 5, "missed": 1, "fired": 1}
    assert (schedule.last_skipped_at, schedule.last_skip_reason, schedule.decided_until) == (later + MINUTE, "missed", later + 2 * MINUTE)


def test_resuming_leaves_what_the_pause_covered() -> None:
    schedule = told(created(), (PAUSED, NOON + HOUR), (RESUMED, NOON + 2 * HOUR))
    assert (schedule.paused_at, schedule.paused_by, schedule.note) == (None, "", "")
    assert schedule.decided_until == NOON + 2 * HOUR
    assert schedule.tails == (Tail(rule=rule(), after=NOON, until=NOON + 2 * HOUR, reason="paused"),)


def test_pauses_one_after_another_are_remembered_as_one() -> None:
    events = [(event, NOON + number * HOUR) for number in range(20) for event in (PAUSED, RESUMED)]
    assert told(created(), *events).tails == (Tail(rule=rule(), after=NOON, until=NOON + 19 * HOUR, reason="paused"),)


def test_resuming_forgives() -> None:
    schedule = told(created(), fired(SLOT, errors=2), PAUSED, (RESUMED, NOON + HOUR))
    assert (schedule.errors, schedule.forgiven_at) == (0, NOON + HOUR)


def test_a_schedule_that_paused_by_itself_begins_to_count_anew() -> None:
    by_itself = SchedulePaused(actor="scheduler", live=(NOON,))
    schedule = told(created(), fired(SLOT, errors=2), (by_itself, NOON + HOUR))
    assert (schedule.errors, schedule.live, schedule.paused_at) == (0, (NOON,), NOON + HOUR)
    somebody = told(created(), fired(SLOT, errors=2), PAUSED)
    assert (somebody.errors, somebody.live) == (2, (SLOT,))


def test_another_rule_begins_where_it_is_told_and_the_old_one_ends_there() -> None:
    schedule = told(created(), (ScheduleChanged(rule=HOURLY, work=WORK), NOON + 90 * SECOND))
    assert (schedule.rule, schedule.decided_until) == (HOURLY, NOON + 90 * SECOND)
    assert schedule.tails == (Tail(rule=rule(), after=NOON, until=NOON + 90 * SECOND, reason="changed"),)


def test_what_changes_during_a_pause_was_paused() -> None:
    schedule = told(created(), PAUSED, (ScheduleChanged(rule=HOURLY, work=WORK), NOON + MINUTE))
    assert [tail.reason for tail in schedule.tails] == ["paused"]


@pytest.mark.parametrize("fields", [{"overlap": "allow"}, {"catch_up": "none"}, {"catch_up_window_seconds": 1.0}, {"pause_after_errors": 3}])
def test_a_change_that_makes_no_slot_another_leaves_none(fields: dict[str, Any]) -> None:
    schedule = told(created(), (ScheduleChanged(rule=rule(**fields), work=WORK), NOON + HOUR))
    assert (schedule.tails, schedule.decided_until) == ((), NOON)


@pytest.mark.parametrize("fields", [{"cron": "0 * * * *"}, {"jitter_seconds": 1.0}, {"start_at": NOON}, {"end_at": NOON}, {"max_runs": 1}])
def test_a_change_of_when_it_is_due_does(fields: dict[str, Any]) -> None:
    assert len(told(created(), (ScheduleChanged(rule=rule(**fields), work=WORK), NOON + HOUR)).tails) == 1


def test_the_input_is_the_payload_of_the_event_that_brought_another() -> None:
    other = msgspec.structs.replace(WORK, input=OTHER_INPUT)
    schedule = told(created(), ScheduleChanged(rule=rule(), work=msgspec.structs.replace(WORK, queue="slow")), ScheduleChanged(rule=rule(), work=other))
    assert schedule.input_version == 3
    assert told(created(), ScheduleChanged(rule=rule(), work=msgspec.structs.replace(WORK, queue="slow"))).input_version == 1


@pytest.mark.parametrize(("before", "reason"), [((), "ended"), ((PAUSED,), "paused")])
def test_deletion_leaves_what_was_due_and_forgets_what_was_to_be_filled_in(before: tuple[SchedulePaused, ...], reason: str) -> None:
    schedule = told(created(), ScheduleBackfilled(slots=(SLOT,)), *before, (DELETED, NOON + HOUR))
    assert (schedule.deleted_at, schedule.backlog) == (NOON + HOUR, ())
    assert schedule.tails == (Tail(rule=rule(), after=NOON, until=NOON + HOUR, reason=reason),)


def test_what_was_left_is_decided_piece_by_piece() -> None:
    schedule = told(created(), (ScheduleChanged(rule=HOURLY, work=WORK), NOON + 90 * SECOND), (DELETED, NOON + 3 * HOUR))
    assert [tail.reason for tail in schedule.tails] == ["changed", "ended"]
    schedule = evolve(schedule, skipped(NOON + MINUTE, "changed"), NOON + 3 * HOUR)
    assert [(tail.reason, tail.after) for tail in schedule.tails] == [("changed", NOON + MINUTE), ("ended", NOON + 90 * SECOND)]
    schedule = evolve(schedule, skipped(NOON + 2 * HOUR, "ended", 2), NOON + 3 * HOUR)
    assert [(tail.reason, tail.after) for tail in schedule.tails] == [("ended", NOON + 2 * HOUR)]
    assert evolve(schedule, skipped(NOON + 3 * HOUR, "ended"), NOON + 3 * HOUR).tails == ()


def test_the_last_run_leaves_what_was_waiting_behind_it() -> None:
    schedule = told(created(rule(max_runs=1)), (fired(NOON + MINUTE), NOON + 5 * MINUTE))
    assert schedule.is_used_up
    assert schedule.tails == (Tail(rule=rule(), after=NOON + MINUTE, until=NOON + 5 * MINUTE, reason="limit"),)
    assert schedule.decided_until == NOON + 5 * MINUTE


def test_a_schedule_that_is_used_up_leaves_nothing_and_can_be_given_more() -> None:
    spent: list[Any] = [created(rule(max_runs=1)), (fired(NOON + MINUTE), NOON + MINUTE)]
    assert told(*spent, (DELETED, NOON + HOUR)).tails == ()
    more = told(*spent, (ScheduleChanged(rule=rule(max_runs=2), work=WORK), NOON + HOUR))
    assert (more.tails, more.decided_until, more.is_used_up) == ((), NOON + HOUR, False)


def test_what_is_to_be_filled_in_waits_in_order_until_it_fires() -> None:
    schedule = told(created(), ScheduleBackfilled(slots=(SLOT, SLOT - HOUR)), ScheduleBackfilled(slots=(SLOT, SLOT - MINUTE)))
    assert schedule.backlog == (SLOT - HOUR, SLOT - MINUTE, SLOT)
    after = evolve(schedule, fired(SLOT - MINUTE, cause="backfill"), NOON)
    assert (after.backlog, after.runs, after.served_at, after.decided_until) == ((SLOT - HOUR, SLOT), 0, None, NOON)
    assert evolve(schedule, fired(SLOT), NOON).backlog == (SLOT - HOUR, SLOT - MINUTE), "else it would fire twice"


@pytest.mark.parametrize("event", [PAUSED, RESUMED, DELETED, fired(SLOT), skipped(SLOT, "missed"), ScheduleChanged(rule=rule(), work=WORK)])
def test_a_story_begins_with_creation(event: Any) -> None:
    with pytest.raises(ValueError, match="not how a schedule goes on"):
        evolve(None, event, NOON)


def test_nothing_is_created_twice() -> None:
    with pytest.raises(ValueError, match="not how a schedule goes on"):
        told(created(), created())


# What follows from a slot


def test_a_task_is_what_the_schedule_said_when_its_slot_fired() -> None:
    work = msgspec.structs.replace(WORK, queue="slow", priority=1, policy=Policy(queue_ttl_seconds=60.0), labels={"a": "b"})
    schedule = told(msgspec.structs.replace(created(Rule(cadence=HOURLY.cadence)), work=work))
    event = submission(schedule, fired(SLOT, cause="backfill"), NAME, NOON)
    assert event == TaskSubmitted(
        actor="schedule:sch_1",
        reason="backfill",
        correlation=NAME,
        owner="ann",
        app="hello",
        app_version="v1",
        input=WORK.input,
        queue="slow",
        priority=1,
        policy=work.policy,
        labels={"a": "b"},
        expires_at=NOON + MINUTE,
        schedule=NAME,
        slot=SLOT,
    )
