"""One reader of the log per process: it reads and decodes each page once and hands it to every follower the process hosts.

Followers ask for the page after their cursor. Those that keep up all stand on the same chain of cursors, so the first
to ask reads and the others find the page in a small cache. One that joins from elsewhere (it was behind, or took over
from another process) reads its own pages, bounded by the newest cursor of the chain, and so lands on it exactly.

A page costs Postgres a look into each of the 64 lanes, whatever it finds. So under load the next one waits until ten
milliseconds' worth of events are there; a page of a few events (nobody is in a hurry but one) makes nobody wait.

Waking: `wake` after a commit of this process and on a poke from others, plus a poll every 250 ms that needs nobody.
Who is told of a position that was read already looks for nothing, and those who wait at one place look once for all.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from .connections import LOST, Connection
from .envelope import Cursor, Page, Position, covers, joined
from .postgres import read_page

PAGE: Final = 500
POLL_SECONDS: Final = 0.25
_CACHED_PAGES: Final = 16
_BUSY_EVENTS: Final = 8
_BUSY_PAUSE_SECONDS: Final = 0.01


class LogReader:
    """Pages of the log, shared by the followers of one process."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], *, page: int = PAGE) -> None:
        self._connect = connect
        self._connection: Connection | None = None
        self._limit = page
        self._lock = asyncio.Lock()
        self._cache: OrderedDict[Cursor, Page] = OrderedDict()
        self._newest: Cursor | None = None
        self._not_before = 0.0
        self._wake = asyncio.Event()
        self._announced: list[Position] = []
        self._patient: asyncio.TimerHandle | None = None
        self._empty: tuple[Cursor, asyncio.Event, float] | None = None

    def wake(self, position: Position | None = None, *, within_seconds: float = 0.0) -> None:
        """The log grew to this position, or may have grown: whoever waits looks again, now or within some seconds, unless
        it was read by then."""
        if position is None:
            self._rouse()
            return
        self._announced.append(position)
        if within_seconds == 0:
            self._look()
        elif self._patient is None:
            self._patient = asyncio.get_running_loop().call_later(within_seconds, self._look_now)

    def _look_now(self) -> None:
        self._patient = None
        self._look()

    def _look(self) -> None:
        """Rouse those who wait, if something was announced that has not been read. A look under way sees to that itself."""
        if not self._lock.locked():
            self._check_announced()

    def _check_announced(self) -> None:
        announced, self._announced = self._announced, []
        if not all(map(self._has_read, announced)):
            self._rouse()

    def _rouse(self) -> None:
        self._wake.set()
        self._wake = asyncio.Event()

    async def page_after(self, cursor: Cursor, wait_seconds: float) -> Page:
        """The next page after the cursor; an empty one when nothing came within the time. Raises the connection's error
        when the database is away."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        while True:
            wake = self._wake
            page = self._cache.get(cursor) or await self._read(cursor, shared=wait_seconds > 0)
            remaining = deadline - loop.time()
            if page.events or remaining <= 0:
                return page
            await _either(wake, min(POLL_SECONDS, remaining))

    async def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def _has_read(self, position: Position) -> bool:
        return self._newest is not None and self._newest[position.lane] >= position.position

    def _is_empty(self, cursor: Cursor) -> bool:
        """Whether somebody looked here and found nothing, and nobody was told of more since."""
        return self._empty is not None and self._empty[:2] == (cursor, self._wake) and asyncio.get_running_loop().time() < self._empty[2]

    async def _read(self, cursor: Cursor, *, shared: bool) -> Page:
        async with self._lock:
            cached = self._cache.get(cursor)
            if cached is not None:
                return cached
            if shared and self._is_empty(cursor):
                return Page(cursor, [], cursor)
            try:
                return await self._read_from(cursor)
            finally:
                self._check_announced()

    async def _read_from(self, cursor: Cursor) -> Page:
        loop = asyncio.get_running_loop()
        bound = None if self._newest is None or covers(cursor, self._newest) else joined(cursor, self._newest)
        if bound is None:
            await asyncio.sleep(self._not_before - loop.time())
        wake, began = self._wake, loop.time()
        page = await self._fetch(cursor, bound)
        if not page.events and bound is not None:
            # What lay between was archived away since: there is nothing left of the chain to land on.
            bound = None
            page = await self._fetch(cursor, None)
        if bound is None:
            self._newest = page.after
            busy = _BUSY_EVENTS <= len(page.events) < self._limit
            self._not_before = loop.time() + (_BUSY_PAUSE_SECONDS if busy else 0)
        if page.events:
            self._cache[cursor] = page
            while len(self._cache) > _CACHED_PAGES:
                self._cache.popitem(last=False)
        else:
            self._empty = cursor, wake, began + POLL_SECONDS
        return page

    async def _fetch(self, cursor: Cursor, bound: Cursor | None) -> Page:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        try:
            return await read_page(self._connection, cursor, self._limit, bound)
        except LOST:
            self._connection.terminate()
            self._connection = None
            # Whatever answers next may be another server, one that has not got the last pages of the one before.
            self._cache.clear()
            self._newest = None
            raise


async def _either(wake: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        pass
