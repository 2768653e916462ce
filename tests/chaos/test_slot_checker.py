"""The checker of slots, tested like anything else that is trusted: sound evidence passes, and each kind of harm is noticed by the invariant that is
meant to.

The harm is done to evidence that is otherwise sound: a schedule of every second, of which four slots fired and two were missed while the only
scheduler was frozen.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace
from tests.chaos.slot_checker import OF_ALL, OF_EACH, slot_violations
from tests.chaos.slot_evidence import Fact, Planned, Row, SlotEvidence, Trouble

from daybook import ids

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
STREAM = UUID(int=7)
NAME = ids.spell("sch", STREAM)
SECOND = timedelta(seconds=1)
PLANNED = Planned(
    stream=STREAM,
    period_seconds=1,
    offset_seconds=0,
    overlap="allow",
    catch_up="none",
    jitter_seconds=0.0,
    served=True,
    begun_at=NOON + 0.5 * SECOND,
    end_at=NOON + 6.5 * SECOND,
)
FIRED = (1, 2, 5, 6)


def spelled(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def task_of(number: int) -> str:
    return ids.spell("tsk", ids.derive_id("slot", NAME, spelled(NOON + number * SECOND)))


def fired(version: int, number: int, late: timedelta = SECOND / 10) -> Fact:
    slot = NOON + number * SECOND
    return Fact(version=version, kind="slot.fired.v1", data={"slot": spelled(slot), "task": task_of(number)}, at=slot + late)


def skipped(version: int, first: int, last: int, at: datetime, reason: str = "missed") -> Fact:
    data = {"first": spelled(NOON + first * SECOND), "last": spelled(NOON + last * SECOND), "count": last - first + 1, "reason": reason}
    return Fact(version=version, kind="slots.skipped.v1", data=data, at=at)


def task(number: int, begun_at: datetime, ended_at: datetime) -> list[Fact]:
    submitted = {"schedule": NAME, "slot": spelled(NOON + number * SECOND)}
    return [Fact(version=1, kind="task.submitted.v1", data=submitted, at=begun_at), Fact(version=2, kind="task.succeeded.v1", data={}, at=ended_at)]


def sound() -> SlotEvidence:
    back = NOON + 14.5 * SECOND
    events = [
        Fact(version=1, kind="schedule.created.v1", data={}, at=PLANNED.begun_at),
        fired(2, 1),
        fired(3, 2),
        skipped(4, 3, 4, back),
        fired(5, 5, back - NOON - 5 * SECOND),
        fired(6, 6, back - NOON - 6 * SECOND),
    ]
    at = {number: fact.at for number, fact in zip(FIRED, (fact for fact in events if fact.kind == "slot.fired.v1"), strict=True)}
    ended = {number: at[number] + SECOND / 2 for number in FIRED}
    return SlotEvidence(
        planned=[PLANNED],
        schedulers=["scheduler-1"],
        troubles=[Trouble(scheduler="scheduler-1", kind="freeze", since=NOON + 2.5 * SECOND, until=back)],
        streams={STREAM: events},
        ledger={STREAM: [row for fact in events[1:] for row in [row_of(fact)]]},
        counts={STREAM: {"fired": 4, "missed": 2}},
        tasks={task_of(number): task(number, at[number], ended[number]) for number in FIRED},
        timers=[],
    )


def row_of(fact: Fact) -> Row:
    data = fact.data
    first, last = datetime.fromisoformat(data.get("slot") or data["first"]), datetime.fromisoformat(data.get("slot") or data["last"])
    outcome = "fired" if "slot" in data else "skipped"
    return Row(version=fact.version, slot=first, last=last, count=data.get("count", 1), outcome=outcome, reason=data.get("reason", "slot"),
               task=data.get("task", ""))  # fmt: skip


def with_events(change: Callable[[list[Fact]], list[Fact]]) -> SlotEvidence:
    """Other events, numbered anew, and a ledger that says the same."""
    evidence = sound()
    events = [replace(fact, version=number) for number, fact in enumerate(change(evidence.streams[STREAM]), 1)]
    rows = [row_of(fact) for fact in events[1:]]
    counts = {"fired": sum(fact.kind == "slot.fired.v1" for fact in events)}
    for fact in events:
        if "reason" in fact.data:
            counts[fact.data["reason"]] = counts.get(fact.data["reason"], 0) + fact.data["count"]
    return replace(evidence, streams={STREAM: events}, ledger={STREAM: rows}, counts={STREAM: counts})


def with_task(number: int, change: Callable[[list[Fact]], list[Fact]]) -> SlotEvidence:
    evidence = sound()
    return replace(evidence, tasks=evidence.tasks | {task_of(number): change(evidence.tasks[task_of(number)])})


def with_plan(**changes: Any) -> SlotEvidence:
    return replace(sound(), planned=[replace(PLANNED, **changes)])


def without_task() -> SlotEvidence:
    evidence = sound()
    return replace(evidence, tasks={name: facts for name, facts in evidence.tasks.items() if name != task_of(5)})


HARM: dict[str, tuple[SlotEvidence, str]] = {
    "a version is missing": (replace(sound(), streams={STREAM: sound().streams[STREAM][:2] + sound().streams[STREAM][3:]}), "versions_have_no_gaps"),
    "a slot is lost": (with_events(lambda events: [*events[:2], *events[3:]]), "each_slot_is_decided_once"),
    "a slot fires twice": (with_events(lambda events: [*events, events[-1]]), "each_slot_is_decided_once"),
    "one is fired and skipped": (with_events(lambda events: [*events[:3], skipped(0, 2, 4, NOON + 14.5 * SECOND), *events[4:]]), "each_slot_is_decided_once"),
    "one after the end": (with_events(lambda events: [*events, fired(0, 7)]), "each_slot_is_decided_once"),
    "one before the beginning": (with_events(lambda events: [events[0], fired(0, 0, SECOND), *events[1:]]), "each_slot_is_decided_once"),
    "one is early": (with_events(lambda events: [events[0], fired(0, 1, -SECOND / 1000), *events[2:]]), "none_fires_early"),
    "one is skipped before it is due": (with_events(lambda events: [*events[:3], replace(events[3], at=NOON + 3.5 * SECOND), *events[4:]]), "none_fires_early"),
    "jitter that nobody asked for": (
        with_events(lambda events: [events[0], replace(events[1], data=events[1].data | {"due_at": spelled(NOON + 1.05 * SECOND)}), *events[2:]]),
        "jitter_is_kept",
    ),
    "the ledger has a row less": (replace(sound(), ledger={STREAM: sound().ledger[STREAM][:-1]}), "ledger_is_the_log"),
    "the ledger counts otherwise": (replace(sound(), counts={STREAM: {"fired": 4}}), "ledger_is_the_log"),
    "a task is missing": (without_task(), "each_fired_slot_has_its_task"),
    "a task is another slot's": (
        with_task(1, lambda facts: [replace(facts[0], data=facts[0].data | {"slot": spelled(NOON)}), facts[1]]),
        "each_fired_slot_has_its_task",
    ),
    "a task comes before its slot": (with_task(1, lambda facts: [replace(facts[0], at=NOON + SECOND), facts[1]]), "each_fired_slot_has_its_task"),
    "a task of no slot": (replace(sound(), tasks=sound().tasks | {"tsk_x": task(3, NOON, NOON)}), "each_task_has_its_slot"),
    "it fired beside another": (with_plan(overlap="skip"), "slots_overlap_as_they_may"),
    "it did not wait in line": (with_plan(overlap="queue_all"), "slots_overlap_as_they_may"),
    "missed, and somebody was there": (replace(sound(), troubles=[]), "skips_are_honest"),
    "missed too soon": (with_events(lambda events: [*events[:3], replace(events[3], at=NOON + 12.5 * SECOND), *events[4:]]), "skips_are_honest"),
    "missed, and all were to be caught up": (with_plan(catch_up="all"), "skips_are_honest"),
    "an overlap that was none": (
        replace(with_events(lambda events: [*events[:3], skipped(0, 3, 4, events[3].at, "overlap"), *events[4:]]), planned=[replace(PLANNED, overlap="skip")]),
        "skips_are_honest",
    ),
    "caught up unasked": (with_events(lambda events: [*events[:-1], fired(0, 6, 21 * SECOND)]), "none_is_caught_up_unasked"),
    "a timer is left": (replace(sound(), timers=["schedule x"]), "nothing_is_left_undone"),
    "a task has not ended": (with_task(5, lambda facts: facts[:1]), "nothing_is_left_undone"),
}


def test_sound_evidence_passes() -> None:
    assert slot_violations(sound()) == {}


@pytest.mark.parametrize("harm", HARM)
def test_harm_is_noticed(harm: str) -> None:
    evidence, invariant = HARM[harm]
    assert invariant in slot_violations(evidence)


def test_every_invariant_notices_something() -> None:
    assert {invariant for _, invariant in HARM.values()} == {check.__name__ for check in (*OF_EACH, *OF_ALL)}


def test_a_frozen_scheduler_holds_what_it_has_for_some_seconds_only() -> None:
    evidence = sound()
    healthy = replace(evidence, schedulers=["scheduler-1", "scheduler-2"])
    assert "skips_are_honest" in slot_violations(healthy)
    both = [*evidence.troubles, Trouble(scheduler="scheduler-2", kind="kill", since=NOON + 8 * SECOND, until=NOON + 14.5 * SECOND)]
    assert slot_violations(replace(healthy, troubles=both)) == {}
