"""The options that commands about schedules share, each group as one value: what was given, and nothing else."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias

from cyclopts import Parameter

from daybook.domain.cadence import Fold, Gap
from daybook.domain.schedule_events import CatchUp, Overlap

from .options import given_of
from .wording import parse_instant

Note: TypeAlias = Annotated[str | None, Parameter(help="Why; it is kept with the schedule.")]
Outcome: TypeAlias = Literal["fired", "skipped"]
Removable: TypeAlias = Literal[
    "seconds",
    "start-at",
    "end-at",
    "max-runs",
    "pause-after-errors",
    "jitter",
    "labels",
    "queue",
    "priority",
    "timeout",
    "retry",
    "queue-ttl",
    "deadline",
]


@Parameter(name="*", group="When it is due")
@dataclass(frozen=True, kw_only=True)
class When:
    """What an expression means."""

    timezone: str | None = None
    """An IANA time zone such as Europe/Berlin; without it UTC."""
    seconds: Annotated[bool | None, Parameter(negative=())] = None
    """The expression has six fields, the first of them seconds."""
    dst_gap: Gap | None = None
    """A time that clocks leave out: due right after the gap, or not at all."""
    dst_fold: Fold | None = None
    """A time that clocks show twice: due the first time, or both times."""
    start_at: str | None = None
    """Not before this time; without an offset it is local time."""
    end_at: str | None = None
    """Not after this time."""

    def given(self) -> dict[str, Any]:
        """What was given, by its names in the API."""
        return given_of(
            timezone=self.timezone,
            seconds=self.seconds,
            dst_gap=self.dst_gap,
            dst_fold=self.dst_fold,
            start_at=None if self.start_at is None else parse_instant(self.start_at),
            end_at=None if self.end_at is None else parse_instant(self.end_at),
        )


@Parameter(name="*", group="At a bad time")
@dataclass(frozen=True, kw_only=True)
class Manners:
    """What becomes of slots that come at a bad time."""

    overlap: Overlap | None = None
    """While an earlier task has not ended; without it skip."""
    catch_up: CatchUp | None = None
    """Slots that nobody was there to fire; without it latest."""
    catch_up_window: str | None = None
    """How long ago a slot may be that is caught up: 1h, 30m."""
    jitter: str | None = None
    """Fire up to so much later, always the same for one slot: 30s, 5m."""
    max_runs: int | None = None
    """It is over after so many."""
    pause_after_errors: int | None = None
    """Pause after so many tasks in a row that ended with an error."""

    def given(self) -> dict[str, Any]:
        """What was given, by its names in the API."""
        return given_of(
            overlap=self.overlap,
            catch_up=self.catch_up,
            catch_up_window=self.catch_up_window,
            jitter=self.jitter,
            max_runs=self.max_runs,
            pause_after_errors=self.pause_after_errors,
        )


WHEN: Final = When()
MANNERS: Final = Manners()
