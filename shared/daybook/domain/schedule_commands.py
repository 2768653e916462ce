"""What somebody wants to happen to a schedule, in the imperative. `schedule.decide` answers each with one event or one refusal."""

from datetime import datetime
from typing import TypeAlias

from .commands import Command
from .schedule_events import Rule, Work


class CreateSchedule(Command, frozen=True, kw_only=True):
    """Accept a schedule."""

    owner: str
    rule: Rule
    work: Work
    paused: bool = False
    fingerprint: str = ""


class ChangeSchedule(Command, frozen=True, kw_only=True):
    """Let the schedule be this from now on."""

    rule: Rule
    work: Work


class PauseSchedule(Command, frozen=True, kw_only=True):
    """Let no slot fire, until a time or until told otherwise."""

    until: datetime | None = None


class ResumeSchedule(Command, frozen=True, kw_only=True):
    """Let slots fire again."""


class DeleteSchedule(Command, frozen=True, kw_only=True):
    """End the schedule for good."""


class TriggerSchedule(Command, frozen=True, kw_only=True):
    """Submit its task once, now, whatever else is due. `task` names it."""

    at: datetime
    task: str


class BackfillSchedule(Command, frozen=True, kw_only=True):
    """Fire these past slots after all."""

    slots: tuple[datetime, ...]


AnyScheduleCommand: TypeAlias = CreateSchedule | ChangeSchedule | PauseSchedule | ResumeSchedule | DeleteSchedule | TriggerSchedule | BackfillSchedule
