"""A feed over a real log with many writers, without HTTP in between, so that a test can stop reading where it likes. Import
it by its full name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from itertools import cycle
from typing import Any
from uuid import UUID

import msgspec
from tests.log.samples import RESCHEDULED, SUBMITTED

from daybook import ids
from daybook.access import Principal
from daybook.domain.events import TaskCancelled, TaskRetried, TaskSubmitted
from daybook.lifecycle import Duties
from daybook.log import codec
from daybook.log.connections import connect
from daybook.log.envelope import START, Cursor, covers
from daybook.log.postgres import Log
from daybook.log.reader import LogReader
from daybook.testing import eventually
from daybook_api.feed import cursor as feed_cursor
from daybook_api.feed.filter import wanted_of
from daybook_api.feed.stream import FeedStream
from daybook_api.feed.tail import Feed
from daybook_api.watching.hub import Hub

ANN = Principal(token=ids.new_id(), namespace="default", owner="ann", scopes=frozenset({"read"}))
PAGES = 7
"""Pages of the past are this short here, so that a few events are many pages."""


class House:
    """A log that several connections write to, and a feed over it."""

    def __init__(self, log: Log, writers: list[Log], hub: Hub, tail: Feed, duties: Duties) -> None:
        self.log = log
        self._writers = cycle(writers)
        self.hub = hub
        self.feed = tail
        self.duties = duties
        self.queries: list[str] = []

    def stream(self, cursor: Cursor = START, who: Principal = ANN, **asked: str) -> FeedStream:
        """The feed for one reader."""
        return FeedStream(self.feed, wanted_of(who, asked), cursor, who)

    async def happen(self, tasks: int, events: int = 3, owner: str = "ann") -> list[UUID]:
        """So many tasks, each with so many events, all at once and so in several lanes."""
        submitted = msgspec.structs.replace(SUBMITTED, owner=owner)
        return await asyncio.gather(*(self._task(submitted, events) for _ in range(tasks)))

    async def _task(self, submitted: TaskSubmitted, events: int) -> UUID:
        stream = ids.new_id()
        for version, event in enumerate([submitted, RESCHEDULED, TaskCancelled(), TaskRetried()][:events], 1):
            await next(self._writers).append(stream, version, event, namespace="default")
        return stream

    async def told(self) -> None:
        """Wait until the tail has told of everything that there is now."""
        head = await self.log.head()
        await eventually(lambda: covers(self.feed.tail, head))


@asynccontextmanager
async def house(url: str, *, runs: bool = True) -> AsyncIterator[House]:
    """Put one together."""
    log = await Log.open(url, "api", pool_size=4, writers=1)
    writers = [log, *[await Log.open(url, "api", pool_size=1, writers=1) for _ in range(3)]]
    for writer in writers:
        await writer.open_writer()
    reader = LogReader(partial(connect, url, "daybook_api"), page=PAGES)
    for writer in writers:
        writer.on_commit(lambda position, _: reader.wake(position))
    hub = Hub(log, reader)
    tail = Feed(log, reader, hub)
    duties = Duties()
    duties.add("feed", tail.run)
    if runs:
        duties.start()
    made = House(log, writers, hub, tail, duties)
    connections: list[Any] = [await log.pool.acquire() for _ in range(4)]
    for connection in connections:
        connection._con.add_query_logger(lambda sent: made.queries.append(sent.query))
        await log.pool.release(connection)
    try:
        yield made
    finally:
        await duties.stop()
        await reader.close()
        for writer in writers:
            await writer.close()


class Reader:
    """Reads frames of a feed as fast as a test says."""

    def __init__(self, frames: AsyncIterator[bytes]) -> None:
        self._frames = frames
        self._ready: list[dict[str, str]] = []
        self.pieces: list[bytes] = []

    async def next(self) -> dict[str, str]:
        """The next event."""
        while not self._ready:
            async with asyncio.timeout(10):
                piece = await anext(self._frames)
            self.pieces.append(piece)
            lines = (frame.splitlines() for frame in piece.decode().split("\n\n") if frame)
            self._ready = [dict(line.partition(": ")[::2] for line in frame) for frame in lines]
        return self._ready.pop(0)

    async def take(self, count: int) -> list[dict[str, str]]:
        """So many events, past `begin` and heartbeats."""
        found: list[dict[str, str]] = []
        while len(found) < count:
            frame = await self.next()
            if frame["event"] not in {"begin", "heartbeat"}:
                found.append(frame)
        return found


@asynccontextmanager
async def reading(stream: FeedStream, silence_seconds: float = 30) -> AsyncIterator[Reader]:
    """Read a stream."""
    async with aclosing(stream.frames(silence_seconds)) as frames:
        yield Reader(frames)


def data(frame: dict[str, str]) -> dict[str, Any]:
    """What an event says."""
    said: dict[str, Any] = msgspec.json.decode(frame["data"])
    return said


def whole(frames: list[dict[str, str]], tasks: list[UUID], events: int = 3) -> bool:
    """Whether these are all events of these tasks, each once, and those of each task in order."""
    versions: dict[str, list[int]] = {}
    for frame in frames:
        said = data(frame)
        versions.setdefault(said["subject"], []).append(said["version"])
    return versions == {ids.spell("tsk", task): list(range(1, events + 1)) for task in tasks}


def cursor_of(frame: dict[str, str]) -> Cursor:
    """The place behind an event."""
    cursor = feed_cursor.parse(frame["id"], "default")
    assert cursor is not None
    return cursor


async def write(url: str, lanes: tuple[int, ...]) -> list[int]:
    """An event of a task of its own into each of these lanes; their positions."""
    connection = await connect(url, None)
    try:
        statement = (
            "INSERT INTO log.event (lane, version, position, stream, id, kind, namespace, data)"
            " VALUES ($1, 1, nextval('log.position'), $2, $2, 'task.submitted.v1', 'default', $3) RETURNING position"
        )
        facts = [codec.encode(msgspec.structs.replace(SUBMITTED, reason=str(number))) for number, _ in enumerate(lanes, 1)]
        return [await connection.fetchval(statement, lane, ids.new_id(), fact) for lane, fact in zip(lanes, facts, strict=True)]
    finally:
        await connection.close()
