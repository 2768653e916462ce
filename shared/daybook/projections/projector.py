"""The projector: the only writer of the read models that lists are made of. All of them share one follower, so that
they agree with each other."""

from collections.abc import Callable
from typing import Final

from ..domain.events import AppPublished, Event, TaskEvent, WebhookCreated, WebhookDeleted
from ..domain.schedule_events import ScheduleEvent
from ..log.connections import Connection, connect
from ..log.digestion import Digestion, Handler
from ..log.envelope import START, Cursor, Position, Recorded
from ..log.postgres import read_page
from ..log.sql import statements
from .app import AppProjection
from .schedule import ScheduleProjection
from .task import TaskProjection
from .timer import FOLLOWER as TIMER_FOLLOWER
from .timer import TimerProjection
from .webhook import WebhookProjection

FOLLOWER: Final = "projector"
_SQL: Final = statements("daybook.projections")
_REBUILD_PAGE: Final = 2000
_PATIENCE_SECONDS: Final = 600.0


class Projector:
    """A `Handler` that feeds every projection from the same pages, in one transaction with the cursor."""

    in_transaction = True

    def __init__(self) -> None:
        self._tasks, self._apps, self._schedules = TaskProjection(), AppProjection(), ScheduleProjection()
        self._webhooks = WebhookProjection()

    def concerns(self, event: Event) -> bool:
        """Facts about tasks, apps, schedules and webhooks; there is no read model of tokens."""
        return isinstance(event, TaskEvent | AppPublished | ScheduleEvent | WebhookCreated | WebhookDeleted)

    async def begin(self, connection: Connection) -> None:
        """What is remembered of tasks may be older than what is there."""
        self._tasks.forget()

    async def apply(self, connection: Connection, events: list[Recorded]) -> bool:
        """Have every projection digest these events."""
        projections = self._tasks, self._apps, self._schedules, self._webhooks
        return any([await projection.apply(connection, events) for projection in projections])


_MODELS: Final[tuple[tuple[str, Callable[[], Handler], tuple[str, ...]], ...]] = (
    (FOLLOWER, Projector, ("read.task", "read.app", "read.schedule", "read.slot", "read.webhook")),
    (TIMER_FOLLOWER, TimerProjection, ("read.timer",)),
)


async def rebuild(url: str) -> int:
    """Drop what the read models hold and make them again from the log; returns how many events were read.

    Each follower's models are made in one transaction that also moves its cursor: readers see the old state until it is
    done (so DELETE, not TRUNCATE, which would make them wait), and the running follower, fenced, goes on from the new
    cursor. What cannot be digested is parked anew.
    """
    connection = await connect(url, "daybook_projector")
    read = 0
    try:
        for follower, handler, tables in _MODELS:
            read = await _rebuild(connection, follower, handler(), tables)
    finally:
        await connection.close()
    return read


async def _rebuild(connection: Connection, follower: str, handler: Handler, tables: tuple[str, ...]) -> int:
    digestion = Digestion(follower, handler)
    read, cursor = 0, START
    async with connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '30s'")
        # Tables before the cursor, as the follower takes them; the other way round the two would deadlock.
        await connection.execute(f"LOCK TABLE {', '.join(tables)} IN EXCLUSIVE MODE", timeout=_PATIENCE_SECONDS)
        await connection.execute(_SQL["restart"], follower, START)
        await connection.execute("DELETE FROM log.parked WHERE follower = $1", follower)
        for table in tables:
            await connection.execute(f"DELETE FROM {table}", timeout=_PATIENCE_SECONDS)
        while (page := await read_page(connection, cursor, _REBUILD_PAGE)).events:
            await digestion.digest(connection, page.events, _nothing_more)
            cursor, read = page.after, read + len(page.events)
        await connection.execute(_SQL["restart"], follower, cursor)
    return read


async def _nothing_more() -> None:
    """The cursor is stored once, at the end."""


def has_passed(cursor: Cursor, positions: list[Position]) -> bool:
    """Whether a read model at this cursor shows everything written at these positions."""
    return all(cursor[position.lane] >= position.position for position in positions)
