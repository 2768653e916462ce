"""Reads the read model `task` page by page, newest first."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from ..domain.events import BUILT_IN
from ..log.connections import Connection, Pool
from .paging import Key, Query, digest_of, fetch_page, parse, spell


class ListedTask(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the list."""

    id: UUID
    version: int
    attempt: int
    priority: int
    owner: str
    app: str
    app_version: str
    queue: str
    status: str
    reason: str
    error_type: str
    labels: bytes
    schedule: UUID | None
    run_at: datetime | None
    submitted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class TaskFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to list. None means any (of the apps, any but those that are built in); `namespace` is always given, by whoever
    knows the caller."""

    namespace: str
    owner: str | None = None
    app: str | None = None
    status: tuple[str, ...] = ()
    queue: str | None = None
    labels: dict[str, str] = {}
    schedule: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    def digest(self) -> str:
        """Binds a cursor to its filter; of the window only whether it has a beginning and an end, since "the last 24
        hours" begin later for each page."""
        window = self.since is not None, self.until is not None
        return digest_of((msgspec.structs.replace(self, since=None, until=None), window))


async def list_tasks(source: Connection | Pool, wanted: TaskFilter, *, limit: int, cursor: str | None) -> tuple[list[ListedTask], str | None]:
    """A page of tasks and the cursor of the next one (None at the end). Raises `BadCursor`."""
    key = None if cursor is None else parse(cursor, Key[UUID], wanted.digest())
    if key is not None:
        wanted = msgspec.structs.replace(wanted, since=key.since, until=key.until)
    query = Query(ListedTask.__struct_fields__, "read.task", _conditions(wanted), ("submitted_at", "id"))
    rows, has_more = await fetch_page(source, query, key, limit)
    tasks = [ListedTask(**dict(row)) for row in rows]
    if not has_more:
        return tasks, None
    return tasks, spell(Key(digest=wanted.digest(), at=tasks[-1].submitted_at, id=tasks[-1].id, since=wanted.since, until=wanted.until))


def _conditions(wanted: TaskFilter) -> list[tuple[str, Any]]:
    given: list[tuple[str, Any]] = [("namespace = ${n}", wanted.namespace)]
    for column in ("owner", "app", "queue", "schedule"):
        value = getattr(wanted, column)
        if value is not None:
            given.append((f"{column} = ${{n}}", value))
    if wanted.app is None:
        # What the house does for itself is listed when it is asked for by its name.
        given.append(("NOT starts_with(app, ${n})", BUILT_IN))
    if wanted.status:
        given.append(("status = ANY (${n})", list(wanted.status)))
    if wanted.labels:
        given.append(("labels @> ${n}", msgspec.json.encode(wanted.labels)))
    if wanted.since is not None:
        given.append(("submitted_at >= ${n}", wanted.since))
    if wanted.until is not None:
        given.append(("submitted_at < ${n}", wanted.until))
    return given
