"""Followers: duties that read the log from a stored cursor and make something of it, one holder at a time.

The holder of a follower is whoever has its row in `log.cursor`, until a time by the database's clock. Each page renews
it by compare-and-set on the epoch, so a holder that was stopped and comes back cannot move the cursor (nor, where the
effect is in Postgres too, leave an effect): it is fenced, and gives up.

What becomes of a page, and of what cannot be digested, is told in `digestion`.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from .connections import LOST, Connection
from .digestion import Digestion, Handler
from .envelope import START, Cursor, Fenced, Page, Recorded, Unreadable
from .postgres import Log
from .reader import LogReader
from .sql import statements

LEASE: Final = timedelta(seconds=6)
_RENEW_SECONDS: Final = 2.0
_ACQUIRE_SECONDS: Final = 1.0
_GATHERED: Final = 2000
_SQL: Final = statements("daybook.log")

log = structlog.get_logger()


class Follower:
    """Runs one handler over the whole log, once, wherever the processes that host it live."""

    def __init__(
        self,
        name: str,
        handler: Handler,
        *,
        log: Log,
        reader: LogReader,
        connect: Callable[[], Awaitable[Connection]],
        holder: str,
        save_every_seconds: float = 0.0,
        gather_seconds: float = 0.0,
        on_applied: Callable[[], None] = lambda: None,
    ) -> None:
        """`connect` makes the connection that the effects and the cursor are written with. The cursor is saved with
        each effect in Postgres, and otherwise every `save_every_seconds`. With `gather_seconds`, events that come
        within that time of the last effect wait for its end, so that under load one effect serves many events; the
        first after a pause never waits. `on_applied` is called when an effect is there to see."""
        self.name = name
        self._handler = handler
        self._log = log
        self._reader = reader
        self._connect = connect
        self._holder = holder
        self._save_every = save_every_seconds
        self._on_applied = on_applied
        self._gather = gather_seconds
        self._applied_at = 0.0
        self._digestion = Digestion(name, handler)
        self._epoch = 0

    async def run(self) -> None:
        """Wait to become the holder, then follow until cancelled, fenced, or cut off from the database."""
        connection = await self._connect()
        try:
            cursor = await self._acquire(connection)
            cursor = await self._handler.begin(connection) or cursor
            if self._handler.in_transaction:
                await self._retry_parked(connection, cursor)
            await self._follow(connection, cursor)
        except asyncio.CancelledError:
            # A clean stop: another process, or this one's next start, takes over at once instead of waiting for the lease
            # to run out.
            with contextlib.suppress(*LOST, asyncpg.PostgresError):
                await connection.execute(_SQL["release"], self.name, self._holder, self._epoch, timeout=1)
            raise
        finally:
            connection.terminate()

    async def _acquire(self, connection: Connection) -> Cursor:
        while True:
            row = await connection.fetchrow(_SQL["acquire"], self.name, self._holder, START, LEASE)
            if row is not None:
                self._epoch = row["epoch"]
                log.debug("follower.acquired", follower=self.name, epoch=self._epoch)
                return tuple(row["positions"])
            await asyncio.sleep(_ACQUIRE_SECONDS)

    async def _follow(self, connection: Connection, cursor: Cursor) -> None:
        loop = asyncio.get_running_loop()
        saved_at = loop.time()
        saved = cursor
        while True:
            page = await self._gathered(cursor, self._save_every if saved != cursor else _RENEW_SECONDS)
            effect = await self._apply(connection, page)
            cursor = page.after
            self._applied_at = loop.time()
            due = loop.time() - saved_at >= self._save_every
            if effect and self._handler.in_transaction:
                saved, saved_at = cursor, loop.time()
                self._on_applied()
            elif due or not page.events:
                await self._save(connection, cursor)
                saved, saved_at = cursor, loop.time()

    async def _gathered(self, cursor: Cursor, wait_seconds: float) -> Page:
        page = await self._reader.page_after(cursor, wait_seconds)
        loop = asyncio.get_running_loop()
        ready_at = self._applied_at + self._gather
        while page.events and len(page.events) < _GATHERED and (remaining := ready_at - loop.time()) > 0:
            more = await self._reader.page_after(page.after, remaining)
            page = Page(page.before, page.events + more.events, more.after)
        return page

    async def _apply(self, connection: Connection, page: Page) -> bool:
        events = [recorded for recorded in page.events if isinstance(recorded.event, Unreadable) or self._handler.concerns(recorded.event)]
        if not events:
            return False
        if self._handler.in_transaction:
            return await self._digestion.digest(connection, events, partial(self._save, connection, page.after))
        return await self._handler.apply(connection, events)

    async def _retry_parked(self, connection: Connection, cursor: Cursor) -> None:
        async def load(stream: UUID) -> list[Recorded]:
            return [each for each in await self._log.load(stream) if each.position <= cursor[each.lane]]

        await self._digestion.retry_parked(connection, load, partial(self._save, connection, cursor))

    async def _save(self, connection: Connection, cursor: Cursor) -> None:
        done = await connection.execute(_SQL["advance"], self.name, self._holder, self._epoch, cursor, LEASE)
        if done != "UPDATE 1":
            raise Fenced(f"{self.name} is held by another process")
