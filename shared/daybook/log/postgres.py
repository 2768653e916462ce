"""The log as the rest of the house sees it: append one event, load a stream, read a page.

A `Log` acts as one role of the database and can do what that role may do: the append function it uses fixes which kinds it can write.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from .. import ids
from ..domain.events import Event, kind_of
from . import codec
from .connections import COMMAND_TIMEOUT_SECONDS, Connection, Pool, connect, connect_pool
from .envelope import Append, Appended, Cursor, Page, Position, Recorded, StreamUnreadable, Unreadable, advanced
from .sql import statements
from .writer import Writer

Role: TypeAlias = Literal["api", "scheduler", "runner", "projector", "owner"]

_SQL: Final = statements("daybook.log")
_USUAL_BLOB_BYTES: Final = 1024 * 1024
_SLOWEST_BYTES_PER_SECOND: Final = 2 * 1024 * 1024
_NO_LIMIT: Final = [2**63 - 1] * 64


class Log:
    """The event log, seen by one role. Open it with `Log.open`, close it with `close`."""

    def __init__(self, url: str, role: Role, credentials: tuple[str, ...], writers: int) -> None:
        self.url = url
        self.role = role
        self.database_role = None if role == "owner" else f"daybook_{role}"
        self.writer = Writer(
            lambda: connect(url, self.database_role), f"append_{role}", credentials, connections=writers
        ) if role != "projector" else None  # fmt: skip
        self._pool: Pool | None = None

    @classmethod
    async def open(cls, url: str, role: Role, *, credentials: tuple[str, ...] = (), pool_size: int = 4, writers: int = 2) -> "Log":
        """Connect as `role`. `credentials` is a runner's id and its lease's secret."""
        log = cls(url, role, credentials, writers)
        log._pool = await connect_pool(url, log.database_role, size=pool_size)
        return log

    async def open_writer(self) -> None:
        """Connect the writer too; a log that only reads need not."""
        if self.writer is not None:
            await self.writer.open()

    async def close(self) -> None:
        """Finish the appends under way and disconnect."""
        if self.writer is not None:
            await self.writer.close()
        if self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), 2)
            except TimeoutError:
                self._pool.terminate()

    @property
    def pool(self) -> Pool:
        """Connections for reads."""
        assert self._pool is not None, "the log is not open"
        return self._pool

    def on_commit(self, callback: Callable[[Position, set[str]], None]) -> None:
        """Have `callback` called after each commit of this process, with the newest position that it made and the kinds of
        event."""
        if self.writer is not None:
            self.writer.on_commit = callback

    def append(self, stream: UUID, version: int, event: Event, *, namespace: str, payload: bytes | None = None) -> "asyncio.Future[Appended]":
        """Append `event` as `version` of its stream. Raises `Conflict` when that version is taken, `LogUnavailable` when the database stays away."""
        assert self.writer is not None, "this role does not append"
        return self.writer.append(Append(stream, version, ids.new_id(), kind_of(event), namespace, codec.encode(event), payload))

    async def load(self, stream: UUID) -> list[Recorded]:
        """All events of a stream, with payloads, in order; empty when there is no such stream."""
        return [_recorded(row) for row in await self.pool.fetch(_SQL["load"], stream)]

    async def load_many(self, streams: Sequence[UUID]) -> dict[UUID, list[Recorded]]:
        """Several streams in one query; a stream that does not exist is missing from the answer."""
        found: dict[UUID, list[Recorded]] = {}
        for row in await self.pool.fetch(_SQL["load_many"], streams):
            found.setdefault(row["stream"], []).append(_recorded(row))
        return found

    async def load_first(self, streams: Sequence[UUID]) -> dict[UUID, Recorded]:
        """The first event of each stream, without payload."""
        return {row["stream"]: _recorded(row) for row in await self.pool.fetch(_SQL["load_first"], streams)}

    async def load_after(self, stream: UUID, version: int) -> list[Recorded]:
        """The events of a stream behind a version, without payloads, in order."""
        return [_recorded(row) for row in await self.pool.fetch(_SQL["load_after"], stream, version)]

    async def load_last(self, streams: Sequence[UUID]) -> dict[UUID, Recorded]:
        """The latest event of each stream, without payload; a stream that does not exist is missing from the answer."""
        return {row["stream"]: _recorded(row) for row in await self.pool.fetch(_SQL["load_last"], streams)}

    async def load_payloads(self, events: Sequence[tuple[UUID, int]]) -> dict[tuple[UUID, int], bytes | None]:
        """The payloads of single events, by stream and version; None where one was erased or never was."""
        streams, versions = [stream for stream, _ in events], [version for _, version in events]
        return {(row["stream"], row["version"]): row["payload"] for row in await self.pool.fetch(_SQL["payloads"], streams, versions)}

    async def head(self) -> Cursor:
        """The cursor that has read everything there is now."""
        return tuple(row[0] for row in await self.pool.fetch(_SQL["head"]))

    async def put_blob(self, digest: str, content: bytes) -> None:
        """Store a large payload under its digest; storing it twice is harmless."""
        if len(content) <= _USUAL_BLOB_BYTES:
            await self.pool.execute(_SQL["put_blob"], digest, content)
            return
        # What takes longer than any statement may would otherwise be tried again for ever.
        seconds = COMMAND_TIMEOUT_SECONDS + len(content) / _SLOWEST_BYTES_PER_SECOND
        async with self.pool.acquire() as connection, connection.transaction():
            # Until a long message is written and sent, its transaction counts as idle.
            await connection.execute(f"SET LOCAL statement_timeout = '{seconds:.0f}s'; SET LOCAL idle_in_transaction_session_timeout = '{seconds:.0f}s'")
            await connection.execute(_SQL["put_blob"], digest, content, timeout=seconds)

    async def get_blob(self, digest: str, size_bytes: int = _USUAL_BLOB_BYTES) -> bytes | None:
        """A large payload, of about that size, or None when it was erased."""
        seconds = COMMAND_TIMEOUT_SECONDS + size_bytes / _SLOWEST_BYTES_PER_SECOND
        content: bytes | None = await self.pool.fetchval(_SQL["get_blob"], digest, timeout=seconds)
        return content


async def read_page(connection: Connection | Pool, cursor: Cursor, limit: int, upto: Cursor | None = None) -> Page:
    """The next events after `cursor` (up to `limit`, none beyond `upto`), without payloads, in an order in which every stream's versions rise."""
    rows = await connection.fetch(_SQL["page"], cursor, upto or _NO_LIMIT, limit)
    events = [
        Recorded(lane, position, stream, version, id_, namespace, at, data, codec.decode(kind, data))
        for lane, position, stream, version, id_, namespace, at, data, kind in rows
    ]
    return Page(cursor, events, advanced(cursor, events))


def events_of(recorded: Iterable[Recorded]) -> list[tuple[Any, Any]]:
    """What a fold wants of a loaded stream. Raises `StreamUnreadable` when an event cannot be read: then nothing may be decided."""
    pairs = []
    for each in recorded:
        if isinstance(each.event, Unreadable):
            raise StreamUnreadable(f"{each.event.kind} at version {each.version} of {each.stream}: {each.event.error}")
        pairs.append((each.event, each.at))
    return pairs


def _recorded(row: Any) -> Recorded:
    lane, position, stream, version, id_, namespace, at, data, kind, payload = row
    return Recorded(lane, position, stream, version, id_, namespace, at, data, codec.decode(kind, data), payload)
