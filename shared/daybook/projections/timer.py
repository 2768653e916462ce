"""The read model `timer`: one row per task that something will happen to at a time: it is due, its time in the queue is
over, or its attempt is overdue. It has its own follower, in the scheduler, so that an outage of the API delays nothing.

A row carries the version that made it: whoever fires it decides on the task as it is then. So a row that has become
pointless (the attempt ended in time) costs nothing but a look when its time comes, and most of them are left to that.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

from ..domain.due import due_at
from ..domain.events import Event, TaskCancelled, TaskDue, TaskEvent, TaskExpired
from ..log.connections import Connection
from ..log.envelope import Recorded
from ..log.sql import statements

FOLLOWER: Final = "timer"
_ENDING: Final = (TaskDue, TaskExpired, TaskCancelled)
_SQL: Final = statements("daybook.projections")


class TimerProjection:
    """Keeps `read.timer`; a `Handler` of its own follower."""

    in_transaction = True

    def concerns(self, event: Event) -> bool:
        """What sets a timer, and what ends one."""
        return isinstance(event, TaskEvent) and (isinstance(event, _ENDING) or due_at(event) is not None)

    async def begin(self, connection: Connection) -> None:
        """Nothing is remembered between pages."""

    async def apply(self, connection: Connection, events: list[Recorded]) -> bool:
        """Set and remove timers; false when no event concerns one."""
        wanted: dict[UUID, tuple[int, datetime]] = {}
        gone: dict[UUID, int] = {}
        for recorded in events:
            at = due_at(recorded.event) if isinstance(recorded.event, TaskEvent) else None
            if at is not None:
                wanted[recorded.stream] = (recorded.version, at)
                gone.pop(recorded.stream, None)
            elif isinstance(recorded.event, _ENDING):
                wanted.pop(recorded.stream, None)
                gone[recorded.stream] = recorded.version
        if gone:
            await connection.execute(_SQL["drop_timers"], list(gone), list(gone.values()))
        if wanted:
            streams = sorted(wanted)
            versions, times = zip(*(wanted[stream] for stream in streams), strict=True)
            await connection.execute(_SQL["put_timers"], streams, versions, times)
        return bool(wanted or gone)
