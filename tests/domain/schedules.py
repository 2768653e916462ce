"""Schedules to begin with, what is said about them, and a way to say it: given these events, when this command comes, then
this event. Told at noon unless they say otherwise."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from daybook.domain.cadence import Cadence
from daybook.domain.events import Content
from daybook.domain.refusals import Refusal
from daybook.domain.schedule import Schedule, decide, fold
from daybook.domain.schedule_commands import AnyScheduleCommand
from daybook.domain.schedule_events import AnyScheduleEvent, Rule, ScheduleCreated, ScheduleEvent, SlotFired, SlotsSkipped, Work
from daybook.domain.slots import Decision, Run, View, decide_slots
from daybook.domain.status import Status
from daybook.testing import NOON

SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
NAME: Final = "sch_1"
INPUT: Final = Content(digest="aa" * 32, size_bytes=2)
OTHER_INPUT: Final = Content(digest="bb" * 32, size_bytes=2)
WORK: Final = Work(app="hello", app_version="v1", input=INPUT)
FIRST, SECOND_SLOT, THIRD, FOURTH = (NOON + number * MINUTE for number in range(1, 5))
RUNNING: Final = Run(status=Status.RUNNING)


def rule(cron: str = "* * * * *", timezone: str = "UTC", **fields: Any) -> Rule:
    """Every minute, unless said otherwise; six fields are a cadence with seconds."""
    return Rule(cadence=Cadence(cron=cron, timezone=timezone, seconds=len(cron.split()) == 6), **fields)


def every_second(**fields: Any) -> Rule:
    return rule("* * * * * *", **fields)


def created(of: Rule | None = None, **fields: Any) -> ScheduleCreated:
    return ScheduleCreated(actor="ann", owner="ann", rule=of or rule(), work=WORK, **fields)


def told(*events: ScheduleEvent | tuple[ScheduleEvent, datetime]) -> Schedule:
    """What these events make: those without a time happened at noon."""
    schedule = fold(event if isinstance(event, tuple) else (event, NOON) for event in events)
    assert schedule is not None
    return schedule


def fired(slot: datetime, **fields: Any) -> SlotFired:
    return SlotFired(actor="scheduler", slot=slot, task=task_of(slot), **fields)


def skip(first: datetime, last: datetime, count: int, reason: str) -> SlotsSkipped:
    return SlotsSkipped(actor="scheduler", first=first, last=last, count=count, reason=reason)


def task_of(slot: datetime) -> str:
    return f"task of {slot.isoformat()}"


def ended(at: datetime, status: Status = Status.SUCCESS) -> Run:
    return Run(status=status, ended_at=at)


def decided(schedule: Schedule, now: datetime, runs: Mapping[datetime, Run] | None = None, *, planned_at: datetime | None = None, name: str = NAME) -> Decision:
    """What is decided at that time, on a look that was planned for then, unless said otherwise."""
    return decide_slots(schedule, View(runs or {}, now, planned_at or now, name, task_of))


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What happened so far to a schedule, and what time it is."""

    events: tuple[tuple[ScheduleEvent, datetime], ...]
    now: datetime

    def at(self, now: datetime) -> "Story":
        return Story(events=self.events, now=now)

    def and_then(self, *events: ScheduleEvent) -> "Story":
        return Story(events=(*self.events, *((event, self.now) for event in events)), now=self.now)

    def when(self, command: AnyScheduleCommand) -> "Answer":
        return Answer(story=self, command=command, said=decide(fold(self.events), command, self.now))

    def schedule(self) -> Schedule:
        return told(*self.events)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules said to a command; to be compared with what they should have said."""

    story: Story
    command: AnyScheduleCommand
    said: AnyScheduleEvent | Refusal

    def then(self, event: ScheduleEvent) -> Story:
        """Exactly this event followed. The story goes on with it."""
        __tracebackhide__ = True
        assert self.said == event, f"when {self.command}\nthen {event}\nbut  {self.said}"
        return self.story.and_then(event)

    def refused(self, refusal: Refusal | type[Refusal]) -> Story:
        """The command was refused, for this. The story stays as it was."""
        __tracebackhide__ = True
        same = isinstance(self.said, refusal) if isinstance(refusal, type) else self.said == refusal
        assert same, f"when {self.command}\nthen {refusal}\nbut  {self.said}"
        return self.story


def given(*events: ScheduleEvent, now: datetime = NOON) -> Story:
    return Story(events=tuple((event, now) for event in events), now=now)
