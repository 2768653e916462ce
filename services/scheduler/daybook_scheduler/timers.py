"""Timers: says `TaskDue` when a task's time has come.

Sleeps until the next timer or until one is set, and looks every two seconds besides: it may have been set through
another scheduler, which is dead by now. A timer's row carries the version that set it, so firing is one append of the
next version: of two schedulers one wins, and a task that was cancelled or rescheduled meanwhile wins against both.
"""

import asyncio
from typing import Final
from uuid import UUID

import structlog

from daybook.domain.events import TaskDue
from daybook.log.connections import Connection, connect
from daybook.log.envelope import Conflict
from daybook.log.postgres import Log
from daybook.log.sql import statements

_BATCH: Final = 500
_LONGEST_SLEEP_SECONDS: Final = 2.0
_HELD_ELSEWHERE_SECONDS: Final = 0.1
_SQL: Final = statements("daybook.projections")

log = structlog.get_logger()


class Timers:
    """The duty that fires what the read model `timer` holds."""

    def __init__(self, event_log: Log) -> None:
        self._log = event_log
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """A timer was set: it may be earlier than the one this duty sleeps for."""
        self._changed.set()

    async def run(self) -> None:
        """Fire what is due, sleep until the next, for ever."""
        connection = await connect(self._log.url, self._log.database_role)
        try:
            while True:
                self._changed.clear()
                if await self._fire(connection) == _BATCH:
                    continue
                seconds: float | None = await connection.fetchval(_SQL["next_timer"])
                if seconds is None:
                    seconds = _LONGEST_SLEEP_SECONDS
                elif seconds <= 0:
                    # It is due and was not for us to fire: another scheduler is at it, or died at it a moment ago.
                    seconds = _HELD_ELSEWHERE_SECONDS
                await self._sleep(min(seconds, _LONGEST_SLEEP_SECONDS))
        finally:
            connection.terminate()

    async def _fire(self, connection: Connection) -> int:
        """Append `TaskDue` for up to a batch of due timers and remove them; returns how many there were."""
        async with connection.transaction():
            rows = await connection.fetch(_SQL["due_timers"], _BATCH)
            if not rows:
                return 0
            streams: list[UUID] = [row["id"] for row in rows]
            due = TaskDue(actor="scheduler")
            appends = [self._log.append(row["id"], row["version"] + 1, due, namespace="") for row in rows]
            outcomes = await asyncio.gather(*appends, return_exceptions=True)
            for outcome in outcomes:
                # A conflict is an answer: the task went on without its timer.
                if isinstance(outcome, BaseException) and not isinstance(outcome, Conflict):
                    raise outcome
            await connection.execute(_SQL["drop_timers"], streams, [row["version"] for row in rows])
            log.debug("timers.fired", timers=len(rows))
            return len(rows)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass
