"""The reaper: finds the running attempts whose runner is gone, and says so (`TaskLost`).

What runs where is in memory, a fold over the log like the dispatcher's. Each pass looks at all leases, not at what
changed, so nothing slips through. A lease is ended when it has run out by the database's clock and was not renewed for
half of its time while this process watched: a live runner renews more often, so a clock that jumps ends nobody. Ending
it comes first, by compare-and-set, and cannot be undone: a runner that comes back renews nothing.
"""

import asyncio
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import structlog

from daybook import clock, ids
from daybook.domain.commands import Lose
from daybook.domain.events import Event, TaskCancelRequested, TaskEvent, TaskStarted
from daybook.handling import handle
from daybook.log.connections import Connection
from daybook.log.envelope import START, Cursor, Recorded, StreamUnreadable
from daybook.log.postgres import Log
from daybook.log.sql import statements
from daybook.projections.projector import FOLLOWER as PROJECTOR

_PASS_SECONDS: Final = 0.5
_AT_ONCE: Final = 64
_SQL: Final = statements("daybook.projections")
_LOG_SQL: Final = statements("daybook.log")

log = structlog.get_logger()


class _Attempt(NamedTuple):
    runner: str
    number: int


class _Seen(NamedTuple):
    """A lease as it was when it last changed, and since when (by this process' monotonic clock) it is so."""

    until: datetime
    since: float


class Reaper:
    """A `Handler` of its own follower, and a duty that makes the passes."""

    in_transaction = False

    def __init__(self, event_log: Log) -> None:
        self._log = event_log
        self._running: dict[UUID, _Attempt] = {}
        self._seen: dict[str, _Seen] = {}
        self._active = False
        self.looks = 0
        """How many passes were made."""

    def concerns(self, event: Event) -> bool:
        """What begins an attempt, and what ends one."""
        return isinstance(event, TaskEvent) and not isinstance(event, TaskCancelRequested)

    async def begin(self, connection: Connection) -> Cursor | None:
        """Start from the tasks that the read model shows as running, and the cursor as of which it does."""
        self._active = False
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            positions = await connection.fetchval(_LOG_SQL["read_cursor"], PROJECTOR)
            rows = await connection.fetch(_SQL["running"])
        self._running = {row["id"]: _Attempt(row["runner"], row["attempt"]) for row in rows}
        self._active = True
        return START if positions is None else tuple(positions)

    async def apply(self, connection: Connection, events: list[Recorded]) -> bool:
        """Note who runs what."""
        for recorded in events:
            if isinstance(recorded.event, TaskStarted):
                self._running[recorded.stream] = _Attempt(recorded.event.runner, recorded.event.attempt)
            elif isinstance(recorded.event, TaskEvent):
                self._running.pop(recorded.stream, None)
        return False

    def rest(self) -> None:
        """Reap no more: what is remembered here is no longer kept up to date. `begin` ends the rest."""
        self._active = False

    async def watch(self) -> None:
        """Pass after pass, for ever. A duty."""
        while True:
            if self._active:
                await self._pass()
                self.looks += 1
            await asyncio.sleep(_PASS_SECONDS)

    async def _pass(self) -> None:
        running = list(self._running.items())
        rows = await self._log.pool.fetch(_SQL["leases"])
        now = asyncio.get_running_loop().time()
        seen = self._seen
        self._seen = {}
        suspects = {}
        for row in rows:
            before = seen.get(row["id"])
            lease = self._seen[row["id"]] = before if before is not None and before.until == row["until"] else _Seen(row["until"], now)
            if row["expired"] and now - lease.since >= row["ttl"].total_seconds() / 2:
                suspects[row["id"]] = row["until"]
        if suspects:
            for row in await self._log.pool.fetch(_SQL["end_leases"], list(suspects), list(suspects.values())):
                log.warning("runner.lost", runner=row[0])
                del self._seen[row[0]]
        # Whoever holds no lease that could still be renewed will never report. These attempts were known before the
        # leases were read, and a claim comes after its runner's lease: one that is not among them has been ended.
        lost = [stream for stream, attempt in running if attempt.runner not in self._seen]
        for start in range(0, len(lost), _AT_ONCE):
            await asyncio.gather(*map(self._lose, lost[start : start + _AT_ONCE]))

    async def _lose(self, stream: UUID) -> None:
        attempt = self._running.get(stream)
        if attempt is None:
            return
        command = Lose(actor="reaper", reason="lost_runner", attempt=attempt.number, seed=ids.spell("tsk", stream))
        try:
            # A refusal is an answer: it has ended, or runs elsewhere, and the log will tell.
            await handle(self._log, stream, command, clock.now(), permits=lambda *_: None)
        except (StreamUnreadable, ValueError) as error:
            log.error("task.unreadable", task=str(stream), detail=str(error))
        if self._running.get(stream) == attempt:
            del self._running[stream]
