"""The hub: this process' own tail of the log. It wakes whoever waits for a task here, and tells the caches what has changed.

It holds no lease and stores no cursor: it starts at the head and goes on from where it was after an interruption, so nothing is missed while the process lives.
Nobody who is told something can make the hub wait: a watcher is told by a call that returns at once, and
a queue that such a call fills is bounded, and closed when it overflows.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol, Self
from uuid import UUID

from daybook.log.envelope import Cursor, Recorded
from daybook.log.postgres import Log
from daybook.log.reader import LogReader

_WAIT_SECONDS: Final = 5.0
_BOUND: Final = 256


class Watcher(Protocol):
    """Whoever wants to be told of one task's events."""

    def tell(self, recorded: Recorded | None) -> None:
        """Take an event, at once; None says that there will be no others."""


class Watch:
    """The events of one task from now on. Use as a context manager; subscribe before reading the state, so that nothing falls in between."""

    def __init__(self, hub: "Hub", stream: UUID) -> None:
        self._hub = hub
        self._stream = stream
        self._queue: asyncio.Queue[Recorded | None] = asyncio.Queue(_BOUND)

    def __enter__(self) -> Self:
        self._hub.join(self._stream, self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._hub.leave(self._stream, self)

    def tell(self, recorded: Recorded | None) -> None:
        """Hand over an event; None closes the watch. One that has not read 256 events is closed instead."""
        if self._queue.full():
            self._queue.get_nowait()
            recorded = None
        self._queue.put_nowait(recorded)

    async def next(self, timeout_seconds: float) -> Recorded | None:
        """The next event. None when the watch was closed. Raises TimeoutError when nothing came in time."""
        if not self._queue.empty():
            return self._queue.get_nowait()
        async with asyncio.timeout(timeout_seconds):
            return await self._queue.get()


class Hub:
    """Follows the log's tail for this process."""

    def __init__(self, log: Log, reader: LogReader) -> None:
        self._log = log
        self._reader = reader
        self._cursor: Cursor | None = None
        self._listeners: list[Callable[[Recorded], None]] = []
        self.watches: dict[UUID, set[Watcher]] = {}
        self.closed = False

    def on_event(self, listener: Callable[[Recorded], None]) -> None:
        """Have `listener` told of every event; it must be quick."""
        self._listeners.append(listener)

    def watch(self, stream: UUID) -> Watch:
        """The events of one task from now on."""
        return Watch(self, stream)

    def join(self, stream: UUID, watcher: Watcher) -> None:
        """Tell this watcher of every event of one task from now on; where the hub is closed, that there will be none."""
        self.watches.setdefault(stream, set()).add(watcher)
        if self.closed:
            watcher.tell(None)

    def leave(self, stream: UUID, watcher: Watcher) -> None:
        """Tell it no more."""
        watchers = self.watches.get(stream, set())
        watchers.discard(watcher)
        if not watchers:
            self.watches.pop(stream, None)

    async def begin(self) -> None:
        """Stand at the head: everything from now on will be told."""
        self._cursor = await self._log.head()

    async def run(self) -> None:
        """Follow the tail. A duty."""
        assert self._cursor is not None, "the hub has not begun"
        while True:
            page = await self._reader.page_after(self._cursor, _WAIT_SECONDS)
            for recorded in page.events:
                for listener in self._listeners:
                    listener(recorded)
                for watch in self.watches.get(recorded.stream, ()):
                    watch.tell(recorded)
            self._cursor = page.after

    def close(self) -> None:
        """End every watch, those to come too: the process is about to stop, and clients should come back elsewhere."""
        self.closed = True
        for watchers in self.watches.values():
            for watch in watchers:
                watch.tell(None)
