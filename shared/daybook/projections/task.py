"""The read model `task`: one row per task with its current state, for lists and filters. Dropped and rebuilt at will.

A page's events are folded into rows in memory and written by one statement, so a task that ran within one page costs one row write.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from ..domain.events import TaskEvent, TaskFailed, TaskRescheduled, TaskStarted, TaskSubmitted
from ..domain.status import TERMINAL, Status, status_after
from ..log.connections import Connection
from ..log.envelope import Recorded
from ..log.sql import statements

_SQL: Final = statements("daybook.projections")
_ENCODE: Final = msgspec.json.Encoder().encode


class TaskRow(msgspec.Struct, kw_only=True):
    """A row of `read.task`, field by field in the order of its columns. Mutable: it is built up and written within one page."""

    id: UUID
    version: int
    attempt: int
    priority: int
    namespace: str
    owner: str
    app: str
    app_version: str
    queue: str
    status: str
    reason: str
    error_type: str
    labels: bytes
    run_at: datetime | None
    submitted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class TaskProjection:
    """Keeps `read.task`."""

    async def apply(self, connection: Connection, events: list[Recorded]) -> bool:
        """Fold these events into their rows; false when none of them is about a task."""
        ours = [recorded for recorded in events if isinstance(recorded.event, TaskEvent)]
        if not ours:
            return False
        rows = await self._known(connection, ours)
        changed: dict[UUID, TaskRow] = {}
        for recorded in ours:
            row = fold_into(rows.get(recorded.stream), recorded)
            if row is not None:
                rows[recorded.stream] = changed[recorded.stream] = row
        if changed:
            ordered = sorted(changed.values(), key=_by_id)
            await connection.execute(_SQL["put_tasks"], *zip(*map(msgspec.structs.astuple, ordered), strict=True))
        return True

    async def _known(self, connection: Connection, events: list[Recorded]) -> dict[UUID, TaskRow]:
        begun: set[UUID] = set()
        needed: set[UUID] = set()
        for recorded in events:
            if recorded.version == 1:
                begun.add(recorded.stream)
            elif recorded.stream not in begun:
                needed.add(recorded.stream)
        if not needed:
            return {}
        found = await connection.fetch(_SQL["known_tasks"], list(needed))
        return {record["id"]: TaskRow(**dict(record)) for record in found}


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
        case TaskFailed():
            row.error_type, row.run_at = event.error_type, event.retry_at
        case TaskRescheduled():
            row.run_at = event.run_at
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
        started_at=None,
        finished_at=None,
    )


def _by_id(row: TaskRow) -> bytes:
    return row.id.bytes
