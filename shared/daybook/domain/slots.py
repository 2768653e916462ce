"""What time does to a schedule: each slot is decided, in order, by one event; until there is something to decide, it waits.

A slot is judged by its own time, not by when somebody came to look. Whether it overlaps is whether a task of an earlier
slot had not ended by then; whether it was missed is how long ago that was. So it makes no difference to the ledger how
late, how often, and by how many schedulers a schedule is looked at.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import chain, islice, pairwise, takewhile
from typing import Final, NamedTuple, TypeAlias

import msgspec

from . import cadence
from .schedule import Schedule, Tail
from .schedule_events import AnyScheduleEvent, Cause, Rule, SchedulePaused, ScheduleResumed, SkipReason, SlotFired, SlotsSkipped
from .status import Status

LATE: Final = timedelta(seconds=10)
"""A slot that nobody has decided for so long after it was due is missed: what becomes of it is for `catch_up` to say."""
MOST_CAUGHT_UP: Final = 100
MOST_WAITING: Final = 100
_SPREAD: Final = timedelta(seconds=5)
_PACE: Final = timedelta(milliseconds=250)
_GATHER: Final = timedelta(seconds=10)
_LOOK_SOON: Final = timedelta(seconds=1)
_LOOK_RARELY: Final = timedelta(minutes=1)
_MOST_AT_ONCE: Final = 50_000
_INSTANT: Final = timedelta(microseconds=1)


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the task of an earlier slot so far."""

    status: Status
    ended_at: datetime | None = None


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """There is nothing to decide before `until` (None: until something happens to the schedule). `for_run`: or until one of
    its tasks has ended."""

    until: datetime | None = None
    for_run: bool = False


class Due(NamedTuple):
    """A slot, and when it fires: later by its jitter."""

    slot: datetime
    at: datetime


class View(NamedTuple):
    """What a decision rests on beside the schedule: the tasks of its `live` slots (one that nobody has seen yet is missing),
    the time by the database's clock, for when this look was planned, the schedule's public id, and what names the task of a
    slot."""

    runs: Mapping[datetime, Run]
    now: datetime
    planned_at: datetime | None
    name: str
    task_of: Callable[[datetime], str]


Decision: TypeAlias = AnyScheduleEvent | Wait


def next_look(schedule: Schedule, name: str) -> datetime | None:
    """When the schedule wants to be looked at, by what it says itself; None when nothing will ever be due."""
    if any(next(slots_of(tail.rule, tail.after, tail.until), None) for tail in schedule.tails):
        return schedule.decided_until
    if schedule.deleted_at is not None:
        return None
    if schedule.paused_at is not None:
        return schedule.paused_until
    if _ready(schedule):
        return schedule.created_at
    upcoming = next(due(schedule, name), None)
    return None if upcoming is None else upcoming.at


def due(schedule: Schedule, name: str) -> Iterator[Due]:
    """The undecided slots of the rule, in order, without end."""
    rule = schedule.rule
    if schedule.is_used_up:
        return
    if not rule.jitter_seconds:
        yield from (Due(slot, slot) for slot in slots_of(rule, schedule.decided_until))
        return
    # The last slot is followed by one that will not be, and fires when it would if there were no end.
    endless: Iterator[datetime | None] = chain(slots_of(msgspec.structs.replace(rule, end_at=None), schedule.decided_until), (None,))
    for slot, following in pairwise(endless):
        if slot is None or (rule.end_at is not None and slot > rule.end_at):
            return
        yield Due(slot, slot if following is None else slot + _jitter(rule, name, slot, following))


def slots_of(rule: Rule, after: datetime, until: datetime | None = None) -> Iterator[datetime]:
    """The slots of a rule after an instant, and up to another."""
    if rule.start_at is not None:
        after = max(after, rule.start_at - _INSTANT)
    bounds = [bound for bound in (rule.end_at, until) if bound is not None]
    slots = cadence.slots(rule.cadence, after)
    if not bounds:
        return slots
    end = min(bounds)
    return takewhile(lambda slot: slot <= end, slots)


def decide_slots(schedule: Schedule, view: View) -> Decision:
    """The one event that is to be appended next, or how long to wait."""
    for tail in schedule.tails:
        if slots := _slots_of(tail):
            return _skipped(slots, tail.reason)
    if schedule.deleted_at is not None:
        return Wait()
    if schedule.paused_at is not None:
        until = schedule.paused_until
        return Wait(until=until) if until is None or view.now < until else ScheduleResumed(since=until, actor="scheduler")
    errors, live = _observed(schedule, view)
    limit = schedule.rule.pause_after_errors
    if limit is not None and errors >= limit:
        return SchedulePaused(live=live, actor="scheduler", reason=f"{errors} tasks in a row ended with an error")
    looks = due(schedule, view.name)
    pending = list(islice(takewhile(lambda each: each.at <= view.now, looks), _MOST_AT_ONCE))
    decision = _Slots(schedule, view, errors, live).decide(pending) if pending else _until_next(schedule, view)
    if isinstance(decision, Wait) and (ready := _ready(schedule)):
        if schedule.rule.overlap == "allow" or not live:
            return _fired(ready[0], view, errors, live, cause="backfill")
        return Wait(until=_sooner(decision.until, view.now + _LOOK_RARELY), for_run=True)
    return decision


class _Slots:
    """Decides what is due."""

    def __init__(self, schedule: Schedule, view: View, errors: int, live: tuple[datetime, ...]) -> None:
        self._schedule = schedule
        self._rule = schedule.rule
        self._view = view
        self._now = view.now
        self._errors = errors
        self._live = live
        self._queues = schedule.rule.overlap in {"queue_one", "queue_all"}

    def decide(self, pending: list[Due]) -> Decision:
        """What becomes of the first slots of these, all of which are due and undecided."""
        first = pending[0]
        if self._rule.overlap == "skip" and self._overlaps(first):
            return self._overlapping(list(takewhile(self._overlaps, pending)))
        if self._queues and self._is_in_line(first):
            return self._in_line(list(takewhile(self._is_in_line, pending)))
        if self._is_late(first):
            # Nothing overlaps the first, so nothing overlaps those after it.
            return self._missed(list(takewhile(self._is_late, pending)))
        return self._fire(first)

    def _overlaps(self, each: Due) -> bool:
        """Whether a task of an earlier slot had not ended when this one was due."""
        runs = self._view.runs
        return any(slot not in runs or (ended := runs[slot].ended_at) is None or ended > each.at for slot in self._schedule.live)

    def _is_in_line(self, each: Due) -> bool:
        """Whether the slot had to wait for an earlier one: for its task, or for its turn."""
        served_at = self._schedule.served_at
        return self._overlaps(each) or (served_at is not None and each.at <= served_at)

    def _is_late(self, each: Due) -> bool:
        return self._now - each.at > LATE

    def _overlapping(self, pending: list[Due]) -> Decision:
        skipped_at = self._schedule.last_skipped_at
        if self._schedule.last_skip_reason == "overlap" and skipped_at is not None and self._live and self._now < skipped_at + _GATHER:
            # Told together, so that a task of hours does not cost an event for every second of them.
            return Wait(until=skipped_at + _GATHER, for_run=True)
        return _skipped([each.slot for each in pending], "overlap")

    def _in_line(self, pending: list[Due]) -> Decision:
        served_at = self._schedule.served_at
        if self._rule.overlap == "queue_one":
            # One waits. What came due while it did is too late for the only place.
            late_comers = [each.slot for each in pending if served_at is not None and each.at <= served_at]
            if late_comers:
                return _skipped(late_comers, "overlap")
        elif len(pending) > MOST_WAITING:
            return _skipped([each.slot for each in pending[:-MOST_WAITING]], "limit")
        if not self._live:
            return self._fire(pending[0])
        waited = self._now - pending[0].at
        return Wait(until=self._now + min(max(waited, _LOOK_SOON), _LOOK_RARELY), for_run=True)

    def _missed(self, pending: list[Due]) -> Decision:
        """These are missed. Their schedule waits for its turn; what becomes of them is then told as of the time for which that
        look was planned. For a schedule of every second, each decision that follows would else find other slots missed."""
        if self._rule.catch_up == "none":
            return _skipped([each.slot for each in pending], "missed")
        planned_at = self._view.planned_at
        if planned_at is None or planned_at - pending[0].at <= LATE:
            return Wait(until=self._turn(pending[0], self._delay))
        # What was not late when that wait began is not missed by it, unless nobody came at its end either.
        looked_at = planned_at - self._delay if self._now - planned_at <= LATE else planned_at
        waited = list(takewhile(lambda each: looked_at - each.at > LATE, pending))
        if not waited:
            return self._fire(pending[0])
        # That it had to wait costs no slot its place in the window.
        begin = max(planned_at, self._now - LATE) - self._delay - timedelta(seconds=self._rule.catch_up_window_seconds)
        old = sum(1 for _ in takewhile(lambda each: each.at < begin, waited))
        if self._rule.catch_up == "latest":
            count, reason = max(old, len(waited) - 1), "missed"
        else:
            count, reason = (old, "missed") if old else (max(0, len(waited) - MOST_CAUGHT_UP), "limit")
        if count:
            return _skipped([each.slot for each in waited[:count]], reason)
        turn = self._turn(waited[0], timedelta(0))
        return self._fire(waited[0]) if self._now >= turn else Wait(until=turn)

    @property
    def _delay(self) -> timedelta:
        return _SPREAD * _share(self._view.name)

    def _turn(self, each: Due, delay: timedelta) -> datetime:
        """Not all at once: the first of each schedule within seconds, by the schedule's name, and then a few a second."""
        served_at = self._schedule.served_at
        if served_at is not None and served_at >= each.at:
            return max(self._now, served_at + _PACE)
        return self._now + delay

    def _fire(self, each: Due) -> SlotFired:
        return _fired(each.slot, self._view, self._errors, self._live, due_at=None if each.at == each.slot else each.at)


def _observed(schedule: Schedule, view: View) -> tuple[int, tuple[datetime, ...]]:
    """How many tasks in a row have ended with an error by now, and the slots whose tasks have not ended."""
    if schedule.rule.overlap == "allow" and schedule.rule.pause_after_errors is None:
        return schedule.errors, ()
    errors = schedule.errors
    live = []
    for slot in schedule.live:
        run = view.runs.get(slot)
        if run is None or run.ended_at is None:
            live.append(slot)
        elif run.status is Status.ERROR:
            errors += schedule.forgiven_at is None or run.ended_at > schedule.forgiven_at
        elif run.status is Status.SUCCESS:
            errors = 0
    return errors, tuple(live)


def _until_next(schedule: Schedule, view: View) -> Wait:
    upcoming = next(due(schedule, view.name), None)
    return Wait(until=None if upcoming is None else upcoming.at)


def _ready(schedule: Schedule) -> list[datetime]:
    """What can be filled in. A slot that may still fire by itself cannot: it would fire twice."""
    return [slot for slot in schedule.backlog if slot <= schedule.decided_until]


def _slots_of(tail: Tail) -> list[datetime]:
    return list(islice(slots_of(tail.rule, tail.after, tail.until), _MOST_AT_ONCE))


def _skipped(slots: list[datetime], reason: SkipReason | str) -> SlotsSkipped:
    return SlotsSkipped(first=slots[0], last=slots[-1], count=len(slots), actor="scheduler", reason=reason)


def _fired(slot: datetime, view: View, errors: int, live: tuple[datetime, ...], *, cause: Cause = "slot", due_at: datetime | None = None) -> SlotFired:
    return SlotFired(slot=slot, task=view.task_of(slot), due_at=due_at, cause=cause, live=live, errors=errors, actor="scheduler")


def _jitter(rule: Rule, name: str, slot: datetime, following: datetime) -> timedelta:
    """The same for everybody who asks; and never beyond the next slot, so that slots fire in order."""
    return min(timedelta(seconds=rule.jitter_seconds), following - slot) * _share(f"{name}/{slot.isoformat()}")


def _share(seed: str) -> float:
    """From 0 to 1, by hash."""
    return int.from_bytes(sha256(seed.encode()).digest()[:4], "big") / 2**32


def _sooner(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else min(one, other)
