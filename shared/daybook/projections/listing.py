"""Reads the read model `task` page by page: newest first, by key, never by offset, and never counting."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any
from uuid import UUID

import msgspec

from ..log.connections import Connection, Pool

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


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
    run_at: datetime | None
    submitted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class TaskFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to list. None means any; `namespace` is always given, by whoever knows the caller."""

    namespace: str
    owner: str | None = None
    app: str | None = None
    status: tuple[str, ...] = ()
    queue: str | None = None
    labels: dict[str, str] = {}
    since: datetime | None = None
    until: datetime | None = None

    def digest(self) -> str:
        """Binds a cursor to its filter; of the window only whether it has a beginning and an end, since "the last 24
        hours" begin later for each page."""
        window = self.since is not None, self.until is not None
        said = msgspec.structs.replace(self, since=None, until=None)
        return sha256(msgspec.json.encode((said, window), order="deterministic")).hexdigest()[:16]


class _Key(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended, of which list: a list keeps the window of its first page."""

    digest: str
    submitted_at: Instant
    id: UUID
    since: Instant | None = None
    until: Instant | None = None


class BadCursor(Exception):
    """The cursor is not one that this list with this filter gave out."""


async def list_tasks(source: Connection | Pool, wanted: TaskFilter, *, limit: int, cursor: str | None) -> tuple[list[ListedTask], str | None]:
    """A page of tasks and the cursor of the next one (None at the end). Raises `BadCursor`."""
    key = None if cursor is None else _parse(cursor, wanted)
    if key is not None:
        wanted = msgspec.structs.replace(wanted, since=key.since, until=key.until)
    conditions, arguments = _conditions(wanted)
    if key is not None:
        arguments += [key.submitted_at, key.id]
        conditions.append(f"(submitted_at, id) < (${len(arguments) - 1}, ${len(arguments)})")
    arguments.append(limit + 1)
    rows = await source.fetch(
        f"SELECT {', '.join(ListedTask.__struct_fields__)} FROM read.task WHERE {' AND '.join(conditions)}"
        f" ORDER BY submitted_at DESC, id DESC LIMIT ${len(arguments)}",
        *arguments,
    )
    tasks = [ListedTask(**dict(row)) for row in rows[:limit]]
    if len(rows) <= limit:
        return tasks, None
    window = () if wanted.since is None and wanted.until is None else (wanted.since, wanted.until)
    following = (wanted.digest(), tasks[-1].submitted_at, tasks[-1].id, *window)
    return tasks, urlsafe_b64encode(msgspec.json.encode(following)).decode().rstrip("=")


def _conditions(wanted: TaskFilter) -> tuple[list[str], list[Any]]:
    """SQL composed of constants only; every value is an argument."""
    given: list[tuple[str, Any]] = [("namespace = ${n}", wanted.namespace)]
    for column, value in (("owner", wanted.owner), ("app", wanted.app), ("queue", wanted.queue)):
        if value is not None:
            given.append((f"{column} = ${{n}}", value))
    if wanted.status:
        given.append(("status = ANY (${n})", list(wanted.status)))
    if wanted.labels:
        given.append(("labels @> ${n}", msgspec.json.encode(wanted.labels)))
    if wanted.since is not None:
        given.append(("submitted_at >= ${n}", wanted.since))
    if wanted.until is not None:
        given.append(("submitted_at < ${n}", wanted.until))
    conditions = [condition.format(n=number) for number, (condition, _) in enumerate(given, 1)]
    return conditions, [value for _, value in given]


def _parse(cursor: str, wanted: TaskFilter) -> _Key:
    try:
        key = msgspec.json.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=_Key)
        for instant in (key.submitted_at, key.since, key.until):
            if instant is not None:
                instant.astimezone(UTC)
    except (Base64Error, ValueError, OverflowError, msgspec.DecodeError):
        raise BadCursor("this is not a cursor") from None
    if key.digest != wanted.digest():
        raise BadCursor("this cursor belongs to another filter")
    return key
