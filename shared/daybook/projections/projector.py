"""The projector: the only writer of the read models that lists are made of. All of them share one follower, so that
they agree with each other."""

from typing import Final

from ..log.connections import Connection, connect
from ..log.envelope import START, Cursor, Position, Recorded
from ..log.postgres import read_page
from ..log.sql import statements
from .app import AppProjection
from .task import TaskProjection

FOLLOWER: Final = "projector"
_SQL: Final = statements("daybook.projections")
_REBUILD_PAGE: Final = 2000


class Projector:
    """A `Handler` that feeds every projection from the same pages, in one transaction with the cursor."""

    in_transaction = True

    def __init__(self) -> None:
        self._projections = (TaskProjection(), AppProjection())

    async def begin(self, connection: Connection) -> None:
        """Nothing is remembered between pages."""

    async def apply(self, connection: Connection, events: list[Recorded]) -> bool:
        """Have every projection digest these events."""
        effects = [await projection.apply(connection, events) for projection in self._projections]
        return any(effects)


async def rebuild(url: str) -> int:
    """Drop what the read models hold and make them again from the log; returns how many events were read.

    It happens in one transaction that also moves the cursor: readers see the old state until it is done (so DELETE, not
    TRUNCATE, which would make them wait), and the running projector, fenced, goes on from the new cursor.
    """
    connection = await connect(url, "daybook_projector")
    projector = Projector()
    read = 0
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '30s'")
            await connection.execute("UPDATE log.cursor SET epoch = epoch + 1, until = '-infinity' WHERE follower = $1", FOLLOWER)
            await connection.execute("DELETE FROM read.task; DELETE FROM read.app")
            cursor: Cursor = START
            while True:
                page = await read_page(connection, cursor, _REBUILD_PAGE)
                if not page.events:
                    break
                await projector.apply(connection, page.events)
                cursor, read = page.after, read + len(page.events)
            await connection.execute("UPDATE log.cursor SET positions = $2 WHERE follower = $1", FOLLOWER, cursor)
    finally:
        await connection.close()
    return read


def has_passed(cursor: Cursor, positions: list[Position]) -> bool:
    """Whether a read model at this cursor shows everything written at these positions."""
    return all(cursor[position.lane] >= position.position for position in positions)
