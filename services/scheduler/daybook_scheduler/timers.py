"""Timers: does what is to be done at a time. To a task: `TaskDue` when it is due, `TaskExpired` when it has waited too
long, `TaskLost` when its attempt is overdue. To a schedule: what `slots` decides.

Sleeps until the next timer or until one is set, and looks every two seconds besides: it may have been set through
another scheduler, which is dead by now. Firing is a command like any other: load, fold, decide, append; where the timer's row
says all there is to know, the append alone. Of two schedulers one wins, and a task that was cancelled or rescheduled
meanwhile wins against both.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from daybook import ids
from daybook.domain.due import what_is_due
from daybook.domain.events import TaskDue, TaskEvent
from daybook.domain.task import decide, fold
from daybook.log.connections import Connection, connect
from daybook.log.envelope import Appended, Conflict, Recorded, StreamUnreadable
from daybook.log.postgres import Log, events_of
from daybook.log.sql import statements

from .slots import Slots

_BATCH: Final = 500
_LONGEST_SLEEP_SECONDS: Final = 2.0
_HELD_ELSEWHERE_SECONDS: Final = 0.1
_BREATH_SECONDS: Final = 0.005
_ACTOR: Final = "scheduler"
_DUE: Final = TaskDue(actor=_ACTOR)
_AS_BEFORE: Final = ""
"""The namespace of an event that is not its stream's first is that of the one before."""
_SQL: Final = statements("daybook.projections")

log = structlog.get_logger()


class Timers:
    """The duty that fires what the read model `timer` holds."""

    def __init__(self, event_log: Log, slots: Slots) -> None:
        self._log = event_log
        self._slots = slots
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """A timer was set: it may be earlier than the one this duty sleeps for."""
        self._changed.set()

    async def run(self) -> None:
        """Fire what is due, sleep until the next, for ever."""
        # Timers are made from the log: one that a crash of the database brings back is found to have been fired.
        connection = await connect(self._log.url, self._log.database_role, asynchronous_commit=True)
        try:
            while True:
                self._changed.clear()
                fired = await self._fire(connection)
                if fired == _BATCH:
                    continue
                seconds: float | None = await connection.fetchval(_SQL["next_timer"])
                if seconds is None:
                    seconds = _LONGEST_SLEEP_SECONDS
                elif seconds <= 0:
                    # It is due since a moment ago, and others will be in another. Or it was not for us to fire: another
                    # scheduler is at it, or died at it.
                    seconds = _BREATH_SECONDS if fired else _HELD_ELSEWHERE_SECONDS
                await self._sleep(min(seconds, _LONGEST_SLEEP_SECONDS))
        finally:
            connection.terminate()

    async def _fire(self, connection: Connection) -> int:
        """Do what up to a batch of due timers mean, and set or remove them; returns how many there were."""
        async with connection.transaction():
            rows = await connection.fetch(_SQL["due_timers"], _BATCH)
            if not rows:
                return 0
            now = _clock(rows)
            schedules = [row for row in rows if row["what"] == "schedule"]
            submissions = [row for row in rows if row["what"] == "submission"]
            done = [row for row in rows if row["what"] in {"due", "task"}]
            if schedules:
                await self._slots.decide(connection, schedules, now)
            if done:
                await self._tasks(done)
            if submissions:
                done += await self._slots.submit(connection, submissions, now)
            if done:
                await connection.execute(_SQL["drop_timers"], [row["id"] for row in done], [row["version"] for row in done])
            log.debug("timers.fired", timers=len(rows))
            return len(rows)

    async def _tasks(self, rows: Sequence[asyncpg.Record]) -> None:
        # The clock goes on from row to row: by the first one's time the last would not be due yet.
        now = max(row["now"] for row in rows)
        appends = [self._log.append(row["id"], row["version"] + 1, _DUE, namespace=_AS_BEFORE) for row in rows if row["what"] == "due"]
        if others := [row["id"] for row in rows if row["what"] == "task"]:
            tasks = await self._log.load_many(others)
            appends += [append for stream, recorded in tasks.items() if (append := self._fired(stream, recorded, now)) is not None]
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
        for outcome in outcomes:
            # A conflict is an answer: the task went on without its timer.
            if isinstance(outcome, BaseException) and not isinstance(outcome, Conflict):
                raise outcome

    def _fired(self, stream: UUID, recorded: list[Recorded], now: datetime) -> "asyncio.Future[Appended] | None":
        """Append what this moment means for the task; None when it means nothing any more."""
        try:
            task = fold(events_of(recorded))
        except (StreamUnreadable, ValueError) as error:
            log.error("task.unreadable", task=str(stream), detail=str(error))
            return None
        command = None if task is None else what_is_due(task, now, actor=_ACTOR, seed=ids.spell("tsk", stream))
        event = None if command is None else decide(task, command, now)
        if task is None or not isinstance(event, TaskEvent):
            return None
        return self._log.append(stream, task.version + 1, event, namespace=recorded[0].namespace)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass


def _clock(rows: Sequence[asyncpg.Record]) -> Callable[[], datetime]:
    """The database's clock, from what it said with these rows on: a little slow, never fast."""
    loop = asyncio.get_running_loop()
    now, since = max(row["now"] for row in rows), loop.time()
    return lambda: now + timedelta(seconds=loop.time() - since)
