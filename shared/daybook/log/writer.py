"""Group commit: the appends of one process travel together, as many as gathered while the previous commit ran.

There is no timer: an append that finds the writer idle goes at once. Each batch is one call of an append function of
the log, rows sorted by stream (unsorted batches of several processes deadlock), at most one row per stream.

What can go wrong, and what happens then:
- a row does not come back: it lost its race, `Conflict`;
- one row is bad (a data error, a right it lacks): the batch is halved until only the guilty append fails;
- a deadlock, a serialization failure, a lock not had in time: the batch is sent again, while the appends have patience;
- the connection dies: the whole batch is in doubt. Each append looks at its (stream, version): its own event id there
  is success, another's is `Conflict`, nothing there is appended again. The unique index makes that safe against an old
  backend that is still committing.
"""

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg
import structlog

from .connections import LOST, TRANSIENT, Connection
from .envelope import Append, Appended, Conflict, LogUnavailable, Position
from .sql import statements

BATCH: Final = 256
PATIENCE_SECONDS: Final = 12.0
"""How long an append waits for a database that has gone away, or for a lock, before it fails with `LogUnavailable`
(within half a second more)."""

_WATCH_SECONDS: Final = 0.5

# What one row can be guilty of. What the client already cannot encode is a DataError as well.
_GUILTY: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.InsufficientPrivilegeError,
                  asyncpg.ProgramLimitExceededError, asyncpg.RaiseError)  # fmt: skip
_SQL: Final = statements("daybook.log")

log = structlog.get_logger()


class Writer:
    """Appends through one SQL function (`statement`, called with `credentials` after the rows) on `connections` connections of its own."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], statement: str, credentials: tuple[str, ...] = (), *, connections: int = 2) -> None:
        self._statement = _SQL[statement]
        self._credentials = credentials
        self._waiting: deque[_Waiting] = deque()
        self._wires = [_Wire(connect) for _ in range(connections)]
        self._idle = list(self._wires)
        self._busy: set[asyncio.Task[None]] = set()
        self._watching = False
        self.on_commit: Callable[[Position, set[str]], None] = lambda *_: None
        """Called after each commit, with the newest position that it made and the kinds of event."""

    async def open(self) -> None:
        """Connect, so that a bad URL or a missing right is told at start and not by the first append."""
        for wire in self._wires:
            await wire.connection()

    async def close(self) -> None:
        """Finish what is under way, then disconnect."""
        while self._busy:
            await asyncio.wait(self._busy)
        for wire in self._wires:
            await wire.close()

    def append(self, append: Append) -> "asyncio.Future[Appended]":
        """Append one event. The future's result says where it lies; it raises `Conflict`, `LogUnavailable`, or the
        database's error for a bad row."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Appended] = loop.create_future()
        self._waiting.append((append, future, loop.time() + PATIENCE_SECONDS))
        if self._idle:
            self._start()
        return future

    def _start(self) -> None:
        wire = self._idle.pop()
        task = asyncio.create_task(self._drain(wire))
        self._busy.add(task)
        task.add_done_callback(self._ended)
        if not self._watching:
            self._watching = True
            asyncio.get_running_loop().call_later(_WATCH_SECONDS, self._watch)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._busy.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("writer.crashed", error=f"{type(error).__name__}: {error}")
            log.debug("writer.crash_traced", exc_info=error)
            if self._waiting and self._idle:
                self._start()

    def _watch(self) -> None:
        """Fail what has waited too long, wherever it waits: a connection whose packets vanish may take longer to fail
        than an append has patience."""
        loop = asyncio.get_running_loop()
        for _, future, deadline in itertools.chain(self._waiting, *(wire.batch for wire in self._wires)):
            if deadline <= loop.time() and not future.done():
                future.set_exception(LogUnavailable("the database did not answer in time"))
        self._watching = bool(self._busy)
        if self._watching:
            loop.call_later(_WATCH_SECONDS, self._watch)

    async def _drain(self, wire: "_Wire") -> None:
        # One turn of the loop, so that appends of the same instant travel together.
        await asyncio.sleep(0)
        try:
            while self._waiting:
                wire.batch = self._gather()
                await self._commit(wire, wire.batch)
        except BaseException as error:
            for _, future, _ in wire.batch:
                if not future.done():
                    future.set_exception(LogUnavailable(f"the writer stopped: {error!r}"))
            raise
        finally:
            wire.batch = []
            self._idle.append(wire)

    def _gather(self) -> "_Batch":
        batch: _Batch = []
        seen: set[UUID] = set()
        later: _Batch = []
        while self._waiting and len(batch) < BATCH:
            waiting = self._waiting.popleft()
            if waiting[1].done():
                continue
            if waiting[0].stream in seen:
                later.append(waiting)
            else:
                seen.add(waiting[0].stream)
                batch.append(waiting)
        self._waiting.extendleft(reversed(later))
        batch.sort(key=_by_stream)
        return batch

    async def _commit(self, wire: "_Wire", batch: "_Batch", *, in_doubt: bool = False) -> None:
        pause = 0.02
        while batch:
            try:
                connection = await wire.connection()
                if in_doubt:
                    batch = await self._settle(connection, batch)
                rows = await self._send(connection, batch) if batch else []
                lost = self._resolve(batch, rows)
                if lost and in_doubt:
                    # A row that was taken may have been taken by ourselves, in the commit that was cut off: look once more.
                    lost = await self._settle(connection, lost)
                for waiting in lost:
                    _lose(waiting)
                return
            except _GUILTY as error:
                await self._split(wire, batch, error, in_doubt=in_doubt)
                return
            except TRANSIENT as error:
                log.debug("append.contended", appends=len(batch), error=type(error).__name__)
            except LOST as error:
                await wire.drop()
                in_doubt = True
                log.warning("append.interrupted", appends=len(batch), error=type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.5)
            batch = [waiting for waiting in batch if not waiting[1].done()]

    async def _send(self, connection: Connection, batch: "_Batch") -> list[asyncpg.Record]:
        columns = zip(*[append for append, _, _ in batch], strict=True)
        return await connection.fetch(self._statement, *columns, *self._credentials)

    def _resolve(self, batch: "_Batch", rows: Sequence[asyncpg.Record]) -> "_Batch":
        """Tell those whose row came back; returns those that lost their race."""
        done = {stream: Appended(Position(lane, position), at) for stream, lane, position, at in rows}
        if done:
            # One commit lies in one lane.
            self.on_commit(max(appended.position for appended in done.values()), {append.kind for append, _, _ in batch})
        lost: _Batch = []
        for waiting in batch:
            append, future, _ = waiting
            appended = done.get(append.stream)
            if appended is None:
                lost.append(waiting)
            elif not future.done():
                future.set_result(appended)
        return lost

    async def _settle(self, connection: Connection, batch: "_Batch") -> "_Batch":
        """Look for what was in doubt: an append whose own event is there has succeeded, one that finds another's has
        lost. Returns those that find nothing."""
        rows = await connection.fetch(_SQL["settle"], [w[0].stream for w in batch], [w[0].version for w in batch])
        found = {row["stream"]: row for row in rows}
        unsettled: _Batch = []
        for waiting in batch:
            append, future, _ = waiting
            row = found.get(append.stream)
            if row is None:
                unsettled.append(waiting)
            elif row["id"] != append.id:
                _lose(waiting)
            elif not future.done():
                position = Position(row["lane"], row["position"])
                self.on_commit(position, {append.kind})
                future.set_result(Appended(position, row["at"]))
        return unsettled

    async def _split(self, wire: "_Wire", batch: "_Batch", error: Exception, *, in_doubt: bool) -> None:
        if len(batch) == 1:
            if not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        middle = len(batch) // 2
        await self._commit(wire, batch[:middle], in_doubt=in_doubt)
        await self._commit(wire, batch[middle:], in_doubt=in_doubt)


_Waiting = tuple[Append, "asyncio.Future[Appended]", float]
_Batch = list[_Waiting]


class _Wire:
    """One connection that is made again when it was lost."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        self._connect = connect
        self._connection: Connection | None = None
        self.batch: _Batch = []

    async def connection(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        return self._connection

    async def drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(*LOST):  # It is gone either way.
                await self._connection.close(timeout=1)


def _by_stream(waiting: tuple[Append, Any, float]) -> tuple[bytes, int]:
    return waiting[0].stream.bytes, waiting[0].version


def _lose(waiting: _Waiting) -> None:
    append, future, _ = waiting
    if not future.done():
        future.set_exception(Conflict(f"version {append.version} of {append.stream} is taken"))
