"""A witness: follows a log that is being written, by whatever way of reading it is given, and says what it missed or saw out of order."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple
from uuid import UUID

from daybook.log.connections import Connection
from daybook.log.envelope import START, Cursor
from daybook.log.postgres import read_page
from daybook.log.reader import LogReader

SLOW_COMMITS = """
CREATE FUNCTION public.dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF random() < 0.5 THEN PERFORM pg_sleep(random() * 0.006); END IF;
    RETURN NULL;
END $$;
-- Between the drawing of positions and the commit some time passes: more than usual, so that what can go wrong does.
CREATE TRIGGER dawdle AFTER INSERT ON log.event FOR EACH STATEMENT EXECUTE FUNCTION public.dawdle();
"""

UNSTEADY_CLOCK = "ALTER TABLE log.event ALTER COLUMN at SET DEFAULT clock_timestamp() - random() * interval '1 hour'"

_EVERYTHING = "SELECT id, stream, version, position FROM log.event"


class Seen(NamedTuple):
    """What is looked at of an event."""

    id: UUID
    stream: UUID
    version: int


class Witness:
    """Notes every event it is shown, in order."""

    def __init__(self) -> None:
        self.seen: set[UUID] = set()
        self.violations: list[str] = []
        self._versions: dict[UUID, int] = {}

    def see(self, events: Iterable[Any]) -> None:
        """Be shown these events."""
        for event in events:
            known = self._versions.get(event.stream, 0)
            if event.id in self.seen:
                self.violations.append(f"version {event.version} of {event.stream} came twice")
            elif event.version != known + 1:
                self.violations.append(f"version {event.version} of {event.stream} came after {known}")
            self.seen.add(event.id)
            self._versions[event.stream] = max(known, event.version)

    async def missed(self, connection: Connection) -> int:
        """How many events there are that this witness has not seen. Asked once all is quiet."""
        there = {row["id"] for row in await connection.fetch(_EVERYTHING)}
        assert self.seen <= there, "saw what is not there"
        return len(there - self.seen)


class PageReading:
    """The product's way: from a cursor, page by page."""

    def __init__(self, connection: Connection, limit: int) -> None:
        self._connection = connection
        self._limit = limit
        self.cursor: Cursor = START

    async def next(self) -> list[Any]:
        """The next events; none when there are none now."""
        page = await read_page(self._connection, self.cursor, self._limit)
        self.cursor = page.after
        return list(page.events)


class SharedReading:
    """The product's way for several followers of a process: through one reader."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self.cursor: Cursor = START

    async def next(self) -> list[Any]:
        """The next events; none when there are none now."""
        page = await self._reader.page_after(self.cursor, 0)
        self.cursor = page.after
        return list(page.events)


class GlobalPositionReading:
    """A mutant: everything behind the highest position that was seen, whichever lane it is in."""

    def __init__(self, connection: Connection, limit: int) -> None:
        self._connection = connection
        self._limit = limit
        self._position = 0

    async def next(self) -> list[Any]:
        """The next events, as this mutant sees it."""
        rows = await self._connection.fetch(
            "SELECT id, stream, version, position FROM log.event WHERE position > $1 ORDER BY position LIMIT $2", self._position, self._limit
        )
        self._position = max((row["position"] for row in rows), default=self._position)
        return [Seen(row["id"], row["stream"], row["version"]) for row in rows]


class MutantPageReading:
    """A mutant: the product's cursor, but the page put together in another order."""

    _PAGE = """
        SELECT e.lane, e.position, e.stream, e.version, e.id FROM unnest($1::bigint[]) WITH ORDINALITY AS c (after, n)
        CROSS JOIN LATERAL (
            SELECT * FROM log.event i WHERE i.lane = (c.n - 1)::int AND i.position > c.after ORDER BY i.position LIMIT $2
        ) e ORDER BY {order} LIMIT $2
    """

    def __init__(self, connection: Connection, limit: int, order: str) -> None:
        self._connection = connection
        self._limit = limit
        self._page = self._PAGE.format(order=order)
        self._cursor: Cursor = START

    async def next(self) -> list[Any]:
        """The next events, as this mutant sees it."""
        rows = await self._connection.fetch(self._page, self._cursor, self._limit)
        cursor = list(self._cursor)
        for row in rows:
            cursor[row["lane"]] = row["position"]
        self._cursor = tuple(cursor)
        return [Seen(row["id"], row["stream"], row["version"]) for row in rows]


async def follow(witness: Witness, reading: Callable[[], Awaitable[list[Any]]], *, until: Callable[[], bool]) -> None:
    """Follow until nothing more comes after `until` has become true, or something was wrong."""
    while not witness.violations:
        over = until()
        events = await reading()
        witness.see(events)
        if over and not events:
            return
