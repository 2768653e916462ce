"""What must be true of the slots of schedules, whatever was done to the schedulers. Pure: evidence in, violations out.

Which slots there should be is counted here by arithmetic, from when a schedule was created and when it ends, and not by the
product's cadence; what became of them is read from the raw log, and the ledger must say the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from daybook import ids

from .slot_evidence import Fact, Planned, Row, SlotEvidence, every, instant

LATE: Final = timedelta(seconds=10)
"""Only after so long a slot may count as missed."""
HELD: Final = timedelta(seconds=6)
"""So long a scheduler that was frozen keeps to itself what it was at: then the database ends its transaction, and that takes a moment."""
_CALM: Final = {"none": timedelta(seconds=3), "latest": timedelta(seconds=3)}
"""So long a scheduler must have been at work to have had a chance."""
_MOST_WAITING: Final = 100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ENDS: Final = frozenset({"task.succeeded.v1", "task.cancelled.v1", "task.failed.v1"})


class Firing(NamedTuple):
    """A slot that fired."""

    slot: datetime
    due_at: datetime
    task: str
    at: datetime


class Skip(NamedTuple):
    """A run of slots that did not."""

    slots: list[datetime]
    reason: str
    at: datetime


class Story:
    """One schedule: what it was to do, and what became of its slots."""

    def __init__(self, planned: Planned, evidence: SlotEvidence) -> None:
        self.planned = planned
        self.facts = evidence.streams.get(planned.stream, [])
        self.rows = evidence.ledger.get(planned.stream, [])
        self.counts = evidence.counts.get(planned.stream, {})
        self.fired = [
            Firing(instant(fact.data["slot"]), instant(fact.data.get("due_at") or fact.data["slot"]), fact.data["task"], fact.at)
            for fact in self.facts
            if fact.kind == "slot.fired.v1"
        ]
        self.skips = [
            Skip(every(planned.period_seconds, instant(fact.data["first"]), instant(fact.data["last"])), fact.data["reason"], fact.at)
            for fact in self.facts
            if fact.kind == "slots.skipped.v1"
        ]
        self._ended = {each.slot: _ended_at(evidence.tasks.get(each.task, [])) for each in self.fired}

    def expected(self) -> list[datetime]:
        """Every slot that there should be."""
        period, zero = timedelta(seconds=self.planned.period_seconds), _EPOCH + timedelta(seconds=self.planned.offset_seconds)
        first, last = (self.planned.begun_at - zero) // period + 1, (self.planned.end_at - zero) // period
        return [zero + number * period for number in range(first, last + 1)]

    def open_before(self, slot: datetime, moment: datetime) -> list[datetime]:
        """The earlier slots whose tasks had not ended at that moment."""
        return [each.slot for each in self.fired if each.slot < slot and ((ended := self._ended[each.slot]) is None or ended > moment)]


def slot_violations(evidence: SlotEvidence) -> dict[str, list[str]]:
    """What is not as it must be, by the name of the invariant; empty when all is well."""
    stories = [Story(planned, evidence) for planned in evidence.planned]
    found = {check.__name__: [f"{story.planned.name} ({_kind(story)}): {wrong}" for story in stories for wrong in check(story, evidence)] for check in OF_EACH}
    found |= {check.__name__: list(check(evidence)) for check in OF_ALL}
    return {name: each for name, each in found.items() if each}


def versions_have_no_gaps(story: Story, _: SlotEvidence) -> Iterator[str]:
    """The stream's versions are 1, 2, 3 …"""
    if [fact.version for fact in story.facts] != list(range(1, len(story.facts) + 1)):
        yield f"versions {[fact.version for fact in story.facts]}"


def each_slot_is_decided_once(story: Story, _: SlotEvidence) -> Iterator[str]:
    """Fired, or skipped, once; and nothing is decided that is no slot."""
    fired, skipped = Counter(each.slot for each in story.fired), Counter(slot for skip in story.skips for slot in skip.slots)
    expected = set(story.expected())
    for slot in sorted(expected | fired.keys() | skipped.keys()):
        if slot not in expected or fired[slot] + skipped[slot] != 1:
            yield f"{slot:%H:%M:%S} {'is' if slot in expected else 'is no'} slot, fired {fired[slot]} times, skipped {skipped[slot]} times"


def none_fires_early(story: Story, _: SlotEvidence) -> Iterator[str]:
    """By the database's clock."""
    for each in story.fired:
        if each.at < max(each.slot, each.due_at):
            yield f"{each.slot:%H:%M:%S} fired at {each.at}, and was due at {each.due_at}"
    for skip in story.skips:
        if skip.at < skip.slots[-1]:
            yield f"{skip.slots[-1]:%H:%M:%S} was skipped at {skip.at}"


def jitter_is_kept(story: Story, _: SlotEvidence) -> Iterator[str]:
    """A slot is due when it says, or later by no more than the jitter."""
    for each in story.fired:
        if not timedelta() <= each.due_at - each.slot <= timedelta(seconds=story.planned.jitter_seconds):
            yield f"{each.slot:%H:%M:%S} was due at {each.due_at}"


def ledger_is_the_log(story: Story, _: SlotEvidence) -> Iterator[str]:
    """Row by row, and in its sums."""
    expected = [row for fact in story.facts if (row := _row(fact)) is not None]
    if story.rows != expected:
        yield f"the ledger has {len(story.rows)} rows, the log {len(expected)}; they differ first at {_first_difference(story.rows, expected)}"
    counts = Counter({"fired": len(story.fired)})
    for skip in story.skips:
        counts[skip.reason] += len(skip.slots)
    if story.counts != {name: count for name, count in counts.items() if count}:
        yield f"the schedule counts {story.counts}, the log {dict(counts)}"
    for fact, skip in zip((fact for fact in story.facts if fact.kind == "slots.skipped.v1"), story.skips, strict=True):
        if fact.data["count"] != len(skip.slots):
            yield f"version {fact.version} counts {fact.data['count']} slots, and there are {len(skip.slots)}"


def each_fired_slot_has_its_task(story: Story, evidence: SlotEvidence) -> Iterator[str]:
    """Under the id that this slot alone has; submitted once, after the slot fired, and saying whose it is."""
    name = story.planned.name
    for each in story.fired:
        spelled = each.slot.isoformat().replace("+00:00", "Z")
        if each.task != ids.spell("tsk", ids.derive_id("slot", name, spelled)):
            yield f"{spelled} fired as {each.task}, which is another's name"
        facts = evidence.tasks.get(each.task)
        if facts is None:
            yield f"{spelled} fired and has no task"
        elif [fact.version for fact in facts if fact.kind == "task.submitted.v1"] != [1] or facts[0].at < each.at:
            yield f"{spelled} fired at {each.at}, and its task was not submitted once, afterwards"
        elif (facts[0].data["schedule"], instant(facts[0].data["slot"])) != (name, each.slot):
            yield f"the task of {spelled} says that it is of {facts[0].data['schedule']}, {facts[0].data['slot']}"


def slots_overlap_as_they_may(story: Story, _: SlotEvidence) -> Iterator[str]:
    """None fires beside a task that it was to wait for, or to yield to."""
    for each in story.fired:
        if story.planned.overlap == "skip" and (live := story.open_before(each.slot, each.due_at)):
            yield f"{each.slot:%H:%M:%S} fired although the task of {live[0]:%H:%M:%S} had not ended when it was due"
        if story.planned.overlap in {"queue_one", "queue_all"} and (live := story.open_before(each.slot, each.at)):
            yield f"{each.slot:%H:%M:%S} fired at {each.at} although the task of {live[0]:%H:%M:%S} had not ended"


def skips_are_honest(story: Story, evidence: SlotEvidence) -> Iterator[str]:
    """Each reason was so."""
    for skip in story.skips:
        for slot in skip.slots:
            if not _is_honest(story, evidence, slot, skip):
                yield f"{slot:%H:%M:%S} was skipped at {skip.at:%H:%M:%S.%f}, for a reason that was none: {skip.reason}"


def none_is_caught_up_unasked(story: Story, _: SlotEvidence) -> Iterator[str]:
    """Where nothing is to be caught up, none fires late by itself."""
    if story.planned.catch_up == "none" and story.planned.overlap in {"allow", "skip", "cancel_previous"}:
        # Between the decision and its record lie an append and, for `cancel_previous`, the end of the task before.
        yield from (f"{each.slot:%H:%M:%S} fired at {each.at}" for each in story.fired if each.at - each.due_at > 2 * LATE)


def each_task_has_its_slot(evidence: SlotEvidence) -> Iterator[str]:
    """No task of a schedule is there but of a slot that fired."""
    fired = {fact.data["task"] for facts in evidence.streams.values() for fact in facts if fact.kind == "slot.fired.v1"}
    yield from (f"{task} is of no slot that fired" for task, facts in evidence.tasks.items() if facts[0].data.get("schedule") and task not in fired)


def nothing_is_left_undone(evidence: SlotEvidence) -> Iterator[str]:
    """No timer is set any more, and every task that somebody serves has ended."""
    yield from (f"a timer is set: {timer}" for timer in evidence.timers)
    served = {planned.name for planned in evidence.planned if planned.served}
    for task, facts in evidence.tasks.items():
        if facts[0].data.get("schedule") in served and _ended_at(facts) is None:
            yield f"{task} has not ended: {' → '.join(fact.kind for fact in facts)}"


OF_EACH: Final[tuple[Callable[[Story, SlotEvidence], Iterator[str]], ...]] = (
    versions_have_no_gaps,
    each_slot_is_decided_once,
    none_fires_early,
    jitter_is_kept,
    ledger_is_the_log,
    each_fired_slot_has_its_task,
    slots_overlap_as_they_may,
    skips_are_honest,
    none_is_caught_up_unasked,
)
OF_ALL: Final[tuple[Callable[[SlotEvidence], Iterator[str]], ...]] = (each_task_has_its_slot, nothing_is_left_undone)


def _is_honest(story: Story, evidence: SlotEvidence, slot: datetime, skip: Skip) -> bool:
    if skip.reason == "missed" and story.planned.catch_up != "all":
        return skip.at - slot > LATE and not _was_calm(evidence, slot, slot + LATE, _CALM[story.planned.catch_up])
    if skip.reason == "overlap" and story.planned.overlap == "skip":
        return bool(story.open_before(slot, slot))
    if skip.reason == "overlap" and story.planned.overlap == "queue_one":
        # Another one was waiting when it came: one that was due before it, and fired after that.
        return any(each.slot < slot <= each.at <= skip.at for each in story.fired)
    return skip.reason == "limit" and story.planned.overlap == "queue_all" and skip.at - slot > _MOST_WAITING * timedelta(seconds=story.planned.period_seconds)


def _was_calm(evidence: SlotEvidence, since: datetime, until: datetime, enough: timedelta) -> bool:
    """Whether somebody could have decided: for long enough some scheduler was at work, and none that was frozen held anything."""
    held = [(trouble.since, min(trouble.until, trouble.since + HELD)) for trouble in evidence.troubles]
    free = _without([(since, until)], held)
    for scheduler in evidence.schedulers:
        down = [(trouble.since, trouble.until) for trouble in evidence.troubles if trouble.scheduler == scheduler]
        if any(end - begin > enough for begin, end in _without(free, down)):
            return True
    return False


def _without(stretches: list[tuple[datetime, datetime]], taken: list[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    for begin, end in taken:
        parts = [((since, min(until, begin)), (max(since, end), until)) for since, until in stretches]
        stretches = [part for pair in parts for part in pair if part[0] < part[1]]
    return stretches


def _ended_at(facts: list[Fact]) -> datetime | None:
    """When a task ended. The app of this suite fails only where it is lost, and then for good."""
    return next((fact.at for fact in facts if fact.kind in _ENDS or fact.data.get("final")), None)


def _row(fact: Fact) -> Row | None:
    if fact.kind == "slot.fired.v1":
        slot = instant(fact.data["slot"])
        cause = fact.data.get("cause", "slot")
        return Row(version=fact.version, slot=slot, last=slot, count=1, outcome="fired", reason=cause, task=fact.data["task"])
    if fact.kind == "slots.skipped.v1":
        first, last, count = instant(fact.data["first"]), instant(fact.data["last"]), fact.data["count"]
        return Row(version=fact.version, slot=first, last=last, count=count, outcome="skipped", reason=fact.data["reason"], task="")
    return None


def _first_difference(rows: list[Row], expected: list[Row]) -> str:
    return next((f"{row} and {other}" for row, other in zip(rows, expected, strict=False) if row != other), "the end of the shorter")


def _kind(story: Story) -> str:
    planned = story.planned
    return f"every {planned.period_seconds} s, {planned.overlap}, {planned.catch_up}"
