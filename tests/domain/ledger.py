"""The ledger of a schedule, audited from its history alone: which slots there were, and what became of each.

It asks the cadence and nothing else: which rule held when is read from the events, not from the folded state.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice, takewhile

from daybook.domain import cadence
from daybook.domain.schedule_events import Rule, ScheduleChanged, ScheduleCreated, ScheduleDeleted, ScheduleEvent, SlotFired, SlotsSkipped

History = Sequence[tuple[ScheduleEvent, datetime]]


class Audit:
    """The slots of a history up to a time, and how each was decided: the task, or the reason why there is none."""

    def __init__(self, history: History, now: datetime) -> None:
        self.outcomes: dict[datetime, SlotFired | SlotsSkipped] = {}
        self.undecided: list[datetime] = []
        upcoming = iter(_slots(history, now))
        for event, at in history:
            if isinstance(event, SlotFired) and event.cause == "slot":
                self._note(event, list(islice(upcoming, 1)), event.slot, event.slot, 1)
                assert event.slot <= (event.due_at or event.slot) <= at, f"{event} was early at {at}"
            elif isinstance(event, SlotsSkipped):
                assert event.first <= at, f"{event} was early at {at}"
                self._note(event, list(islice(upcoming, event.count)), event.first, event.last, event.count)
        self.undecided = list(upcoming)

    def _note(self, event: SlotFired | SlotsSkipped, slots: list[datetime], first: datetime, last: datetime, count: int) -> None:
        assert len(slots) == count > 0, f"{event} decides slots that are not there: only {slots[:3]}"
        assert (slots[0], slots[-1]) == (first, last), f"{event} is not about the next undecided slots, from {slots[0]} to {slots[-1]}"
        assert not self.outcomes.keys() & set(slots), f"{event} decides a slot for the second time"
        self.outcomes.update(dict.fromkeys(slots, event))

    def fired(self) -> list[datetime]:
        return [slot for slot, event in self.outcomes.items() if isinstance(event, SlotFired)]

    def skipped(self, reason: str) -> list[datetime]:
        return [slot for slot, event in self.outcomes.items() if isinstance(event, SlotsSkipped) and event.reason == reason]

    def counts(self) -> dict[str, int]:
        """By what became of them."""
        counted: dict[str, int] = {}
        for event in self.outcomes.values():
            what = "fired" if isinstance(event, SlotFired) else event.reason
            counted[what] = counted.get(what, 0) + 1
        return counted


def slots_between(rule: Rule, after: datetime, until: datetime) -> Iterable[datetime]:
    """The slots of a rule after an instant and up to another, whatever the schedule thinks about them."""
    begin = after if rule.start_at is None else max(after, rule.start_at - timedelta(microseconds=1))
    end = until if rule.end_at is None else min(until, rule.end_at)
    return takewhile(lambda slot: slot <= end, cadence.slots(rule.cadence, begin))


def _slots(history: History, now: datetime) -> Iterable[datetime]:
    """Each rule has slots from when it was told until another one is, or the schedule is no more, or has fired often enough."""
    rule: Rule | None = None
    begin, runs = now, 0
    for event, at in history:
        if isinstance(event, SlotFired) and event.cause == "slot":
            runs += 1
        told = event.rule if isinstance(event, ScheduleCreated | ScheduleChanged) else None
        if isinstance(event, ScheduleChanged) and rule is not None and told is not None and _is_due_alike(rule, told):
            continue
        is_over = told is not None or isinstance(event, ScheduleDeleted)
        if rule is not None and (is_over or _is_used_up(rule, runs)):
            yield from slots_between(rule, begin, at)
            rule = None
        if told is not None:
            rule, begin = None if _is_used_up(told, runs) else told, at
    if rule is not None:
        yield from slots_between(rule, begin, now)


def _is_used_up(rule: Rule, runs: int) -> bool:
    return rule.max_runs is not None and runs >= rule.max_runs


def _is_due_alike(one: Rule, other: Rule) -> bool:
    fields = ("cadence", "jitter_seconds", "start_at", "end_at", "max_runs")
    return all(getattr(one, field) == getattr(other, field) for field in fields)
