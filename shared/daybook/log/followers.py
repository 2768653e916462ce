"""Followers: duties that read the log from a stored cursor and make something of it, one holder at a time.

The holder of a follower is whoever has its row in `log.cursor`, until a time by the database's clock. Each page renews
it by compare-and-set on the epoch, so a holder that was stopped and comes back cannot move the cursor (nor, where the
effect is in Postgres too, leave an effect): it is fenced, and gives up.

A page that fails is tried event by event; a stream whose event cannot be digested is parked, and the follower goes on
without it. Parked streams are tried again at start.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, Protocol
from uuid import UUID

import structlog

from .connections import LOST, Connection
from .envelope import START, Cursor, Page, Recorded, StreamUnreadable, Unreadable
from .postgres import Log
from .reader import LogReader
from .sql import statements

LEASE: Final = timedelta(seconds=6)
_RENEW_SECONDS: Final = 2.0
_ACQUIRE_SECONDS: Final = 1.0
_GATHERED: Final = 2000
_SQL: Final = statements("daybook.log")

log = structlog.get_logger()


class Fenced(Exception):
    """Somebody else holds this follower now."""


class Handler(Protocol):
    """What a follower makes of the events it reads."""

    in_transaction: bool
    """Whether the effect is in Postgres and goes into one transaction with the cursor. If not, the effect comes first
    and may be repeated."""

    async def begin(self, connection: Connection) -> Cursor | None:
        """This process holds the follower from now on: forget whatever was remembered. May name another cursor to start
        from than the stored one."""

    async def apply(self, connection: Connection, events: list[Recorded]) -> bool:
        """Make something of these events; false when there was nothing to make. An error parks the stream of the event
        it is given alone."""


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
        self._parked: set[UUID] = set()
        self._epoch = 0

    async def run(self) -> None:
        """Wait to become the holder, then follow until cancelled, fenced, or cut off from the database."""
        connection = await self._connect()
        try:
            cursor = await self._acquire(connection)
            cursor = await self._handler.begin(connection) or cursor
            await self._retry_parked(connection, cursor)
            await self._follow(connection, cursor)
        except asyncio.CancelledError:
            # A clean stop: another process, or this one's next start, takes over at once instead of waiting for the lease to run out.
            with contextlib.suppress(*LOST):
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
            if page.events and self._handler.in_transaction:
                effect = await self._apply_in_transaction(connection, page)
            else:
                effect = bool(page.events) and await self._apply(connection, page)
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

    async def _apply_in_transaction(self, connection: Connection, page: Page) -> bool:
        try:
            async with connection.transaction():
                effect = await self._handler.apply(connection, self._digestible(page.events))
                if effect:
                    await self._save(connection, page.after)
                return effect
        except (*LOST, Fenced):
            raise
        except Exception as error:  # noqa: BLE001 whatever the handler cannot digest is looked for event by event
            log.warning("page.failed", follower=self.name, error=f"{type(error).__name__}: {error}")
            async with connection.transaction():
                await self._one_by_one(connection, page.events)
                await self._save(connection, page.after)
            return True

    async def _apply(self, connection: Connection, page: Page) -> bool:
        return await self._handler.apply(connection, self._digestible(page.events))

    async def _one_by_one(self, connection: Connection, events: list[Recorded]) -> None:
        await self._handler.begin(connection)
        for recorded in events:
            if recorded.stream in self._parked:
                continue
            try:
                async with connection.transaction():
                    _require_readable([recorded])
                    await self._handler.apply(connection, [recorded])
            except (*LOST, Fenced):
                raise
            except Exception as error:  # noqa: BLE001 whatever it was, it parks this stream and no other
                await self._park(connection, recorded, error)

    async def _park(self, connection: Connection, recorded: Recorded, error: Exception) -> None:
        self._parked.add(recorded.stream)
        said = f"{type(error).__name__}: {error}"
        log.error("stream.parked", follower=self.name, stream=str(recorded.stream), version=recorded.version, error=said)
        await connection.execute(_SQL["park"], self.name, recorded.stream, recorded.version, said[:2000])

    async def _retry_parked(self, connection: Connection, cursor: Cursor) -> None:
        self._parked = {row["stream"] for row in await connection.fetch(_SQL["parked"], self.name)}
        for stream in sorted(self._parked):
            events = [each for each in await self._log.load(stream) if each.position <= cursor[each.lane]]
            try:
                async with connection.transaction():
                    _require_readable(events)
                    await self._handler.apply(connection, events)
                    await connection.execute(_SQL["unpark"], self.name, stream)
            except (*LOST, Fenced):
                raise
            except Exception as error:  # noqa: BLE001 it stays parked, whatever it was
                log.warning("stream.still_parked", follower=self.name, stream=str(stream), error=str(error))
            else:
                self._parked.discard(stream)

    def _digestible(self, events: list[Recorded]) -> list[Recorded]:
        if not self._parked:
            return events
        return [each for each in events if each.stream not in self._parked]

    async def _save(self, connection: Connection, cursor: Cursor) -> None:
        done = await connection.execute(_SQL["advance"], self.name, self._holder, self._epoch, cursor, LEASE)
        if done != "UPDATE 1":
            raise Fenced(f"{self.name} is held by another process")


def _require_readable(events: list[Recorded]) -> None:
    for recorded in events:
        if isinstance(recorded.event, Unreadable):
            raise StreamUnreadable(f"{recorded.event.kind}: {recorded.event.error}")
