"""What all lists share: pages by key, newest first; never by offset, and never counting. A cursor names the row that the
page before ended with, and the list that it was given out for; it is good for no other."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import asyncpg
import msgspec

from ..log.connections import Connection, Pool

Id = TypeVar("Id")
Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class BadCursor(Exception):
    """The cursor is not one that this list with this filter gave out."""


class Key(msgspec.Struct, Generic[Id], frozen=True, array_like=True):
    """Where a page ended (`id` tells rows of one instant apart), of which list; that keeps the window of its first page."""

    digest: str
    at: Instant
    id: Id
    since: Instant | None = None
    until: Instant | None = None


class Query(NamedTuple):
    """What to read. All of it is constants of this package but the values of the `conditions`: SQL in which `${n}` stands
    for the value. `order` is the two columns of the key."""

    columns: Sequence[str]
    table: str
    conditions: Sequence[tuple[str, Any]]
    order: tuple[str, str]


async def fetch_page(source: Connection | Pool, query: Query, after: Key[Any] | None, limit: int) -> tuple[list[asyncpg.Record], bool]:
    """Up to `limit` rows behind a key, and whether there are more."""
    conditions = [condition.format(n=number) for number, (condition, _) in enumerate(query.conditions, 1)]
    arguments = [value for _, value in query.conditions]
    at, id_ = query.order
    if after is not None:
        arguments += [after.at, after.id]
        conditions.append(f"({at}, {id_}) < (${len(arguments) - 1}, ${len(arguments)})")
    arguments.append(limit + 1)
    rows = await source.fetch(
        f"SELECT {', '.join(query.columns)} FROM {query.table} WHERE {' AND '.join(conditions)} ORDER BY {at} DESC, {id_} DESC LIMIT ${len(arguments)}",
        *arguments,
    )
    return rows[:limit], len(rows) > limit


def digest_of(said: Any) -> str:
    """Names a list by what it lists."""
    return sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()[:16]


def spell(key: Key[Any]) -> str:
    """The cursor for what lies behind this key."""
    said = msgspec.structs.astuple(key)
    bare = said[:3] if key.since is key.until is None else said
    return urlsafe_b64encode(msgspec.json.encode(bare)).decode().rstrip("=")


def parse(cursor: str, type_: type[Key[Id]], digest: str) -> Key[Id]:
    """The key that a cursor names, of the list with this digest. Raises `BadCursor`."""
    try:
        key = msgspec.json.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=type_)
        for instant in (key.at, key.since, key.until):
            if instant is not None:
                instant.astimezone(UTC)
    except (Base64Error, ValueError, OverflowError, msgspec.DecodeError):
        raise BadCursor("this is not a cursor") from None
    if key.digest != digest:
        raise BadCursor("this cursor belongs to another filter")
    return key
