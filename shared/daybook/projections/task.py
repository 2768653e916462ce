"""The read model `task`: one row per task with its current state, for lists and filters. Dropped and rebuilt at will.

A page's events are folded into rows in memory and written by one statement for the new rows and one for the others, so a task that ran within one
page costs one row write. Rows of tasks that go on are remembered, up to a bound; nobody else writes them.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from .. import ids
from ..domain.events import TaskEvent, TaskExpired, TaskFailed, TaskLost, TaskRescheduled, TaskRetried, TaskStarted, TaskSubmitted, TaskSucceeded
from ..domain.status import TERMINAL, Status, status_after
from ..log.connections import Connection
from ..log.envelope import Recorded
from ..log.sql import statements

_SQL: Final = statements("daybook.projections")
_ENCODE: Final = msgspec.json.Encoder().encode
_CHANGING: Final = 9
_MOST_REMEMBERED: Final = 50_000


class TaskRow(msgspec.Struct, kw_only=True):
    """A row of `read.task`. Mutable: it is built up within one page and written at its end. The first nine fields are those that change."""

    id: UUID
    version: int
    attempt: int
    status: str
    reason: str
    error_type: str
    run_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    priority: int
    namespace: str
    owner: str
    app: str
    app_version: str
    queue: str
    labels: bytes
    submitted_at: datetime
    schedule: UUID | None


class TaskProjection:
    """Keeps `read.task`."""

    def __init__(self) -> None:
        self._remembered: dict[UUID, TaskRow] = {}

    def forget(self) -> None:
        """What is remembered may not be what was written."""
        self._remembered = {}

    async def apply(self, connection: Connection, events: list[Recorded]) -> bool:
        """Fold these events into their rows; false when none of them is about a task."""
        ours = [recorded for recorded in events if isinstance(recorded.event, TaskEvent)]
        if not ours:
            return False
        try:
            await self._digest(connection, ours)
        except BaseException:
            # What was folded into remembered rows will not be written.
            self.forget()
            raise
        return True

    async def _digest(self, connection: Connection, ours: list[Recorded]) -> None:
        rows = await self._known(connection, ours)
        begun: dict[UUID, TaskRow] = {}
        changed: dict[UUID, TaskRow] = {}
        for recorded in ours:
            row = fold_into(rows.get(recorded.stream), recorded)
            if row is not None:
                rows[recorded.stream] = row
                (begun if recorded.version == 1 or recorded.stream in begun else changed)[recorded.stream] = row
        if begun:
            await connection.execute(_SQL["put_tasks"], *_columns(begun))
        if changed:
            await connection.execute(_SQL["change_tasks"], *_columns(changed)[:_CHANGING])
        self._remember(rows)

    def _remember(self, rows: dict[UUID, TaskRow]) -> None:
        for stream, row in rows.items():
            if row.finished_at is None:
                self._remembered[stream] = row
            else:
                self._remembered.pop(stream, None)
        if len(self._remembered) > _MOST_REMEMBERED:
            self.forget()

    async def _known(self, connection: Connection, events: list[Recorded]) -> dict[UUID, TaskRow]:
        remembered = self._remembered
        rows: dict[UUID, TaskRow] = {}
        begun: set[UUID] = set()
        needed: set[UUID] = set()
        for recorded in events:
            row = remembered.get(recorded.stream)
            if row is not None:
                rows[recorded.stream] = row
            elif recorded.version == 1:
                begun.add(recorded.stream)
            elif recorded.stream not in begun:
                needed.add(recorded.stream)
        if needed:
            for record in await connection.fetch(_SQL["known_tasks"], list(needed)):
                rows[record["id"]] = TaskRow(**dict(record))
        return rows


def fold_into(row: TaskRow | None, recorded: Recorded) -> TaskRow | None:
    """The row after this event; None when the row has it already. Raises ValueError when an event in between is missing."""
    known = 0 if row is None else row.version
    if recorded.version <= known:
        return None
    event: Any = recorded.event
    if recorded.version != known + 1:
        raise ValueError(f"version {recorded.version} of {recorded.stream} follows {known}")
    status = status_after(event)
    if row is None:
        return _begun(event, recorded, status)
    row.version = recorded.version
    row.status = status.value
    row.reason = event.reason
    if status in TERMINAL:
        row.finished_at = recorded.at
    match event:
        case TaskStarted():
            row.attempt, row.started_at = event.attempt, recorded.at
        case TaskFailed() | TaskLost():
            row.error_type, row.run_at = event.error_type, event.retry_at
        case TaskSucceeded():
            row.error_type = ""
        case TaskExpired():
            row.error_type = event.error_type
        case TaskRescheduled():
            row.run_at = event.run_at
        case TaskRetried():
            row.finished_at = row.run_at = None
    return row


def _begun(event: TaskSubmitted, recorded: Recorded, status: Status) -> TaskRow:
    return TaskRow(
        id=recorded.stream,
        version=1,
        attempt=0,
        priority=event.priority,
        namespace=recorded.namespace,
        owner=event.owner,
        app=event.app,
        app_version=event.app_version,
        queue=event.queue,
        status=status.value,
        reason=event.reason,
        error_type="",
        labels=_ENCODE(event.labels),
        run_at=event.run_at,
        submitted_at=recorded.at,
        schedule=ids.parse("sch", event.schedule) if event.schedule else None,
        started_at=None,
        finished_at=None,
    )


def _columns(rows: dict[UUID, TaskRow]) -> list[tuple[Any, ...]]:
    """The rows' values, column by column, sorted by id: whoever else locks rows here locks them in the same order."""
    return list(zip(*map(msgspec.structs.astuple, sorted(rows.values(), key=_by_id)), strict=True))


def _by_id(row: TaskRow) -> bytes:
    return row.id.bytes
