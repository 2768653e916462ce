"""A handler that notes what it was told in a table of its own, and can be told what it is not to digest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from daybook.domain.events import Event
from daybook.log.connections import Connection, connect
from daybook.log.envelope import Recorded, Unreadable
from daybook.log.followers import Follower
from daybook.log.postgres import Log
from daybook.log.reader import LogReader
from daybook.testing import eventually

TABLE = "CREATE TABLE public.noted (stream uuid, version int, follower text, at bigserial, PRIMARY KEY (follower, stream, version))"


class Notes:
    """A `Handler`. Noting one event twice is an error of the database, so it can only be noted once."""

    def __init__(self, name: str = "notes", *, in_transaction: bool = True) -> None:
        self.name = name
        self.in_transaction = in_transaction
        self.poison: set[UUID] = set()
        self.begun = 0
        self.before_noting = ""
        """What the database is to do in between, for one time."""

    def concerns(self, event: Event) -> bool:
        return True

    async def begin(self, connection: Connection) -> None:
        self.begun += 1

    async def apply(self, connection: Connection, events: list[Recorded]) -> bool:
        for recorded in events:
            if recorded.stream in self.poison:
                raise RuntimeError("cannot digest this")
            assert isinstance(recorded.event, Event | Unreadable)
            await connection.execute("INSERT INTO public.noted VALUES ($1, $2, $3)", recorded.stream, recorded.version, self.name)
        if self.before_noting:
            statement, self.before_noting = self.before_noting, ""
            await connection.execute(statement)
        return bool(events)


class Host:
    """A process that hosts followers: its log, its reader, its name."""

    def __init__(self, url: str, log: Log, reader: LogReader, name: str) -> None:
        self.url = url
        self.log = log
        self.reader = reader
        self.name = name

    def follower(self, handler: Notes, *, save_every_seconds: float = 0.0) -> Follower:
        """A follower of this handler's name, hosted here."""
        return Follower(
            handler.name,
            handler,
            log=self.log,
            reader=self.reader,
            connect=lambda: connect(self.url, None),
            holder=self.name,
            save_every_seconds=save_every_seconds,
        )


@asynccontextmanager
async def hosted(url: str, name: str = "here") -> AsyncIterator[Host]:
    """A host, for as long as the context lasts."""
    log = await Log.open(url, "owner", pool_size=2, writers=1)
    reader = LogReader(lambda: connect(url, None))
    try:
        yield Host(url, log, reader, name)
    finally:
        await reader.close()
        await log.close()


@asynccontextmanager
async def running(follower: Follower) -> AsyncIterator["asyncio.Task[None]"]:
    """The follower at work, stopped in order at the end. Its task, which ends early only by an error."""
    task = asyncio.create_task(follower.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def noted(owner: Connection, name: str = "notes") -> list[tuple[UUID, int]]:
    """What was noted, in the order in which it was."""
    rows = await owner.fetch("SELECT stream, version FROM public.noted WHERE follower = $1 ORDER BY at", name)
    return [(row["stream"], row["version"]) for row in rows]


async def until_noted(owner: Connection, count: int, name: str = "notes") -> list[tuple[UUID, int]]:
    """The same, once there is so much of it."""

    async def enough() -> list[tuple[UUID, int]]:
        found = await noted(owner, name)
        return found if len(found) >= count else []

    return await eventually(enough)


async def until_caught_up(owner: Connection, log: Log, name: str = "notes") -> None:
    """Return when the stored cursor of the follower has passed all there is now."""
    head = await log.head()

    async def passed() -> bool:
        cursor = await owner.fetchval("SELECT positions FROM log.cursor WHERE follower = $1", name)
        return cursor is not None and all(mine >= theirs for mine, theirs in zip(cursor, head, strict=True))

    await eventually(passed)
