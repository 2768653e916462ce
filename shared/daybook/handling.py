"""The heart: load, fold, decide, append. Every command of every door goes through here.

A conflict means that somebody else was faster: then the stream is loaded and the command decided again on what is there
now. It is never appended again as it was.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from .domain.commands import AnyCommand
from .domain.events import AnyTaskEvent, TaskEvent
from .domain.refusals import Contended, NotFound, Refusal
from .domain.task import Task, decide, evolve, fold
from .log.envelope import Appended, Conflict, Position, Recorded
from .log.postgres import Log, events_of

_TRIES: Final = 8


class Handled(NamedTuple):
    """A command that was followed: the task after it, the fact, and where the log keeps it."""

    task: Task
    event: AnyTaskEvent
    position: Position


async def handle(
    log: Log,
    stream: UUID,
    command: AnyCommand,
    now: datetime,
    *,
    permits: Callable[[list[Recorded], Task], Refusal | None],
    payload: bytes | None = None,
) -> Handled | Refusal:
    """Carry out a command on an existing task. `permits` sees the loaded stream and may refuse (somebody else's task, a
    version precondition).

    Raises `LogUnavailable` when the database stays away, `StreamUnreadable` for a stream from the future.
    """
    for _ in range(_TRIES):
        recorded = await log.load(stream)
        task = fold(events_of(recorded))
        if task is None:
            return NotFound()
        refusal = permits(recorded, task)
        if refusal is not None:
            return refusal
        outcome = decide(task, command, now)
        if not isinstance(outcome, TaskEvent):
            return outcome
        try:
            appended: Appended = await log.append(stream, task.version + 1, outcome, namespace=recorded[0].namespace, payload=payload)
        except Conflict:
            continue
        return Handled(evolve(task, outcome, appended.at), outcome, appended.position)
    return Contended()
