"""THE transition table of a task: which event is allowed in which status, and which status it leads to.

Everything that needs to know what a task may do next reads this table: `decide` refuses by it, `evolve` moves by it, the
diagram in the docs is made from it. A row names its event, the condition under which the row applies (an event with a
`run_at` leads elsewhere than one without), the statuses in which it may happen, and the status after it.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, NamedTuple

from .events import (
    TaskCancelled,
    TaskCancelRequested,
    TaskDue,
    TaskEvent,
    TaskExpired,
    TaskFailed,
    TaskLost,
    TaskReleased,
    TaskRescheduled,
    TaskRetried,
    TaskStarted,
    TaskSubmitted,
    TaskSucceeded,
)


class Status(StrEnum):
    """The six statuses, in the users' words. Nuance is a reason, never a seventh status."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    ERROR = "error"
    CANCELLED = "cancelled"


TERMINAL: Final = frozenset({Status.SUCCESS, Status.ERROR, Status.CANCELLED})
BEGINNING: Final = None
"""What a task is in before its first event."""


class Transition(NamedTuple):
    """One row: in one of `allowed`, `event` (when `condition` holds, in words `label`) leads to `to`."""

    event: type[TaskEvent]
    allowed: frozenset[Status | None]
    to: Status
    condition: Callable[[Any], bool] | None = None
    label: str = ""


_S = Status

TABLE: Final[tuple[Transition, ...]] = (
    Transition(TaskSubmitted, frozenset({BEGINNING}), _S.SCHEDULED, lambda event: event.run_at is not None, "run_at given"),
    Transition(TaskSubmitted, frozenset({BEGINNING}), _S.QUEUED, lambda event: event.run_at is None, "now"),
    Transition(TaskRescheduled, frozenset({_S.SCHEDULED, _S.QUEUED}), _S.SCHEDULED),
    Transition(TaskDue, frozenset({_S.SCHEDULED}), _S.QUEUED),
    Transition(TaskStarted, frozenset({_S.QUEUED}), _S.RUNNING),
    Transition(TaskReleased, frozenset({_S.RUNNING}), _S.QUEUED),
    Transition(TaskSucceeded, frozenset({_S.RUNNING}), _S.SUCCESS),
    Transition(TaskFailed, frozenset({_S.RUNNING}), _S.SCHEDULED, lambda event: event.retry_at is not None, "to be retried"),
    Transition(TaskFailed, frozenset({_S.RUNNING}), _S.ERROR, lambda event: event.retry_at is None, "for good"),
    Transition(TaskLost, frozenset({_S.RUNNING}), _S.ERROR, lambda event: event.final, "for good"),
    Transition(TaskLost, frozenset({_S.RUNNING}), _S.SCHEDULED, lambda event: event.retry_at is not None, "to be retried"),
    Transition(TaskLost, frozenset({_S.RUNNING}), _S.QUEUED, label="at once"),
    Transition(TaskExpired, frozenset({_S.SCHEDULED, _S.QUEUED}), _S.ERROR),
    Transition(TaskRetried, frozenset({_S.ERROR, _S.CANCELLED}), _S.QUEUED),
    Transition(TaskCancelRequested, frozenset({_S.RUNNING}), _S.RUNNING),
    Transition(TaskCancelled, frozenset({_S.SCHEDULED, _S.QUEUED, _S.RUNNING}), _S.CANCELLED),
)

_ROWS: Final[dict[type[TaskEvent], tuple[Transition, ...]]] = {
    event: tuple(row for row in TABLE if row.event is event) for event in {row.event for row in TABLE}
}
_ALLOWED: Final = {event: frozenset().union(*(row.allowed for row in rows)) for event, rows in _ROWS.items()}


ENDINGS: Final = frozenset(row.event for row in TABLE if row.to in TERMINAL)
"""Events that may end a task: whoever submitted it may be waiting for them."""
WAITING_EVENTS: Final = frozenset(row.event for row in TABLE if row.to in {Status.QUEUED, Status.SCHEDULED})
"""Events after which a task waits for somebody to run or wake it."""


def status_after(event: TaskEvent) -> Status:
    """The status that the event leads to; it depends on the event alone."""
    for row in _ROWS[type(event)]:
        if row.condition is None or row.condition(event):
            return row.to
    raise LookupError(f"no row of the table fits {event!r}")


def allows(status: Status | None, event: type[TaskEvent]) -> bool:
    """Whether a task in this status may see this event."""
    return status in _ALLOWED[event]


def diagram() -> str:
    """The table as a Mermaid state diagram, one arrow a row and status."""
    lines = ["stateDiagram-v2"]
    for row in TABLE:
        label = row.event.__name__ + (f" ({row.label})" if row.label else "")
        starts = ["[*]" if start is None else str(start) for start in sorted(row.allowed, key=str)]
        lines += [f"    {start} --> {row.to}: {label}" for start in starts]
    lines += [f"    {status} --> [*]" for status in Status if status in TERMINAL]
    return "\n".join(lines) + "\n"
