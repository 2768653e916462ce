"""Digestion: a page of events goes into a handler in one transaction; what a handler cannot digest is parked.

A page that fails is tried event by event. A stream whose event cannot be read, or cannot be digested, is parked: the
follower goes on without that stream, remembers it in `log.parked`, and tries it again when it starts. What only somebody
else was in the way of, or what the connection is to blame for, is nobody's poison: it is raised, and done again.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol
from uuid import UUID

import structlog

from ..domain.events import Event
from ..safe_json import safe_text
from .connections import LOST, TRANSIENT, Connection
from .envelope import Cursor, Fenced, Recorded, StreamUnreadable, Unreadable
from .sql import statements

_SQL: Final = statements("daybook.log")
_NOT_POISON: Final = (*LOST, *TRANSIENT, Fenced)

log = structlog.get_logger()


class Handler(Protocol):
    """What a follower makes of the events it reads."""

    in_transaction: bool
    """Whether the effect is in Postgres and goes into one transaction with the cursor. If not, the effect comes first
    and may be repeated, nothing is ever parked, and the handler sees `Unreadable` events too."""

    def concerns(self, event: Event) -> bool:
        """Whether this event can have an effect at all. A follower leaves out those that cannot, and a page of nothing else
        opens no transaction."""

    async def begin(self, connection: Connection) -> Cursor | None:
        """This process holds the follower from now on: forget whatever was remembered. May name another cursor to start
        from than the stored one."""

    async def apply(self, connection: Connection, events: list[Recorded]) -> bool:
        """Make something of these events; false when there was nothing to make. An error parks the stream of the event
        it is given alone."""


class Digestion:
    """Feeds a handler for one follower, around the streams that are parked for it."""

    def __init__(self, follower: str, handler: Handler) -> None:
        self._follower = follower
        self._handler = handler
        self._parked: set[UUID] = set()

    async def digest(self, connection: Connection, events: list[Recorded], finish: Callable[[], Awaitable[None]]) -> bool:
        """Make something of these events, in one transaction that ends with `finish` if there was something to make."""
        parked = self._parked.copy()
        try:
            async with connection.transaction():
                digestible, unreadable = self._sort_out(events)
                effect = bool(digestible) and await self._handler.apply(connection, digestible)
                for recorded, error in unreadable:
                    await self._park(connection, recorded, error)
                effect = effect or bool(unreadable)
                if effect:
                    await finish()
                return effect
        except _NOT_POISON:
            raise
        except Exception as error:  # noqa: BLE001 whatever the handler cannot digest is looked for event by event
            log.warning("page.failed", follower=self._follower, error=f"{type(error).__name__}: {error}")
            self._parked = parked
        async with connection.transaction():
            await self._one_by_one(connection, events)
            await finish()
        return True

    async def retry_parked(self, connection: Connection, load: Callable[[UUID], Awaitable[list[Recorded]]], finish: Callable[[], Awaitable[None]]) -> None:
        """Try what is parked again: all that `load` gives of a stream, from its beginning. What can be digested now is
        no longer parked."""
        self._parked = {row["stream"] for row in await connection.fetch(_SQL["parked"], self._follower)}
        for stream in sorted(self._parked):
            events = await load(stream)
            try:
                async with connection.transaction():
                    for recorded in events:
                        _require_readable(recorded)
                    await self._handler.apply(connection, events)
                    await connection.execute(_SQL["unpark"], self._follower, stream)
                    await finish()
            except _NOT_POISON:
                raise
            except Exception as error:  # noqa: BLE001 it stays parked, whatever it was
                await self._handler.begin(connection)
                log.warning("stream.still_parked", follower=self._follower, stream=str(stream), error=str(error))
            else:
                self._parked.discard(stream)

    def _sort_out(self, events: Iterable[Recorded]) -> tuple[list[Recorded], list[tuple[Recorded, StreamUnreadable]]]:
        """What can be tried, and the first event of each stream that cannot be read. What follows such an event has to
        wait with it."""
        digestible: list[Recorded] = []
        unreadable: dict[UUID, tuple[Recorded, StreamUnreadable]] = {}
        for recorded in events:
            if recorded.stream in self._parked or recorded.stream in unreadable:
                continue
            try:
                _require_readable(recorded)
            except StreamUnreadable as error:
                unreadable[recorded.stream] = recorded, error
            else:
                digestible.append(recorded)
        return digestible, list(unreadable.values())

    async def _one_by_one(self, connection: Connection, events: list[Recorded]) -> None:
        await self._handler.begin(connection)
        for recorded in events:
            if recorded.stream in self._parked:
                continue
            try:
                async with connection.transaction():
                    _require_readable(recorded)
                    await self._handler.apply(connection, [recorded])
            except _NOT_POISON:
                raise
            except Exception as error:  # noqa: BLE001 whatever it was, it parks this stream and no other
                await self._park(connection, recorded, error)

    async def _park(self, connection: Connection, recorded: Recorded, error: Exception) -> None:
        self._parked.add(recorded.stream)
        said = f"{type(error).__name__}: {error}"
        log.error("stream.parked", follower=self._follower, stream=str(recorded.stream), version=recorded.version, error=said)
        # What an error says may hold anything, and text in Postgres may not.
        await connection.execute(_SQL["park"], self._follower, recorded.stream, recorded.version, safe_text(said)[:2000])


def _require_readable(recorded: Recorded) -> None:
    if isinstance(recorded.event, Unreadable):
        raise StreamUnreadable(f"{recorded.event.kind}: {recorded.event.error}")
