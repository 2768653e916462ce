"""SPECIFIES. What a task does, said as a sentence: given these events, when this command comes, then this event.

    given(SUBMITTED).when(Cancel(actor="ann")).then(TaskCancelled(actor="ann"))
    given(SUBMITTED, STARTED).when(Succeed(actor="r1", attempt=7, result=RESULT)).refused(StaleAttempt)
    given(SUBMITTED, CANCELLED).when(Cancel(actor="ann")).nothing()

Every part is a value. A sentence that is not true raises AssertionError with what was answered instead. A true one
gives back the story so far, so that it can be continued with another `when`. There is no database, no clock and no mock
here: the rules are pure.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec

from ..domain.commands import AnyCommand
from ..domain.events import AnyTaskEvent, TaskEvent
from ..domain.refusals import AlreadyDone, Refusal
from ..domain.task import Task, decide, fold

NOON: Final = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
"""When a story takes place unless it says otherwise."""


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What happened so far, and what time it is. All of it is taken as recorded at `now`."""

    events: tuple[TaskEvent, ...]
    now: datetime

    def at(self, now: datetime) -> "Story":
        """The same story at another time."""
        return Story(events=self.events, now=now)

    def when(self, command: AnyCommand) -> "Answer":
        """Let the rules answer the command. Raises ValueError when the story itself cannot have happened."""
        return Answer(story=self, command=command, said=decide(self.task(), command, self.now))

    def task(self) -> Task | None:
        """What the events have made; None before the first. Raises ValueError when they cannot have happened."""
        return fold((event, self.now) for event in self.events)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules said to a command; to be compared with what they should have said."""

    story: Story
    command: AnyCommand
    said: AnyTaskEvent | Refusal

    def then(self, event: TaskEvent) -> Story:
        """Exactly this event followed. The story goes on with it."""
        __tracebackhide__ = True
        self._expect(self.said == event, event)
        return Story(events=(*self.story.events, event), now=self.story.now)

    def nothing(self) -> Story:
        """What the command wanted was the case already, so nothing happened."""
        __tracebackhide__ = True
        return self.refused(AlreadyDone)

    def refused(self, refusal: Refusal | type[Refusal]) -> Story:
        """The command was refused: for exactly this, or for a reason of this type. The story stays as it was."""
        __tracebackhide__ = True
        same = isinstance(self.said, refusal) if isinstance(refusal, type) else self.said == refusal
        self._expect(same, refusal)
        return self.story

    def _expect(self, satisfied: bool, wanted: object) -> None:
        __tracebackhide__ = True
        if not satisfied:
            wanted = wanted.__name__ if isinstance(wanted, type) else wanted
            happened = "".join(f"\n    {event}" for event in self.story.events) or " nothing"
            raise AssertionError(f"given{happened}\n  when {self.command}\n  then {wanted}\n  but  {self.said}")


def given(*events: TaskEvent, now: datetime = NOON) -> Story:
    """Begin a specification: these events have happened, in this order, and now it is `now`."""
    return Story(events=events, now=now)
