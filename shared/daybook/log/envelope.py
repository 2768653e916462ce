"""What goes into the log and what comes out of it: values only, no I/O.

`Append` is one event on its way in; `Recorded` one that is there. A `Position` names a place in one lane, a `Cursor`
one place in every lane: what has been read.
"""

from datetime import datetime
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from ..domain.events import Event, kind_of

LANES: Final = 64

Cursor: TypeAlias = tuple[int, ...]
"""The last position read in each of the 64 lanes; zero where nothing was read."""

START: Final[Cursor] = (0,) * LANES


class Position(NamedTuple):
    """Where an event lies. In public: `lane:position`."""

    lane: int
    position: int

    def __str__(self) -> str:
        return f"{self.lane}:{self.position}"

    @classmethod
    def parse(cls, text: str) -> "Position | None":
        """The position behind its public spelling, or None when this is not one."""
        lane, _, position = text.strip().partition(":")
        if not (lane.isascii() and lane.isdigit() and position.isascii() and position.isdigit()):
            return None
        if int(lane) >= LANES or len(position) > 18:
            return None
        return cls(int(lane), int(position))


class Append(NamedTuple):
    """One event to append as `version` of its stream; `id` names this very attempt to append, so that a cut connection can be settled."""

    stream: UUID
    version: int
    id: UUID
    kind: str
    namespace: str
    data: bytes
    payload: bytes | None = None


class Appended(NamedTuple):
    """Where and when an event was recorded."""

    position: Position
    at: datetime


class Unreadable(NamedTuple):
    """An event of a kind (or shape) that this release does not know. Whoever meets it parks the stream or refuses to decide on it."""

    kind: str
    error: str


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """One event of the log. `data` is the fact as stored (JSON); `event` the same, decoded; `payload` only where it was asked for."""

    lane: int
    position: int
    stream: UUID
    version: int
    id: UUID
    namespace: str
    at: datetime
    data: bytes
    event: Event | Unreadable
    payload: bytes | None = None

    @property
    def kind(self) -> str:
        """The stable name of the event's type, of one that cannot be read too."""
        return self.event.kind if isinstance(self.event, Unreadable) else kind_of(self.event)


class Page(NamedTuple):
    """Consecutive events of all lanes, merged by position: everything between two cursors."""

    before: Cursor
    events: list[Recorded]
    after: Cursor


class Conflict(Exception):
    """The version was taken by another event (or its predecessor is missing). Load, fold and decide again; never just append again."""


class LogUnavailable(Exception):
    """The database could not be reached in time. The append may or may not have happened."""


class StreamUnreadable(Exception):
    """The stream holds an event that this release cannot read, so nothing may be decided on it."""


class Fenced(Exception):
    """Somebody else holds this follower now."""


def covers(cursor: Cursor, other: Cursor) -> bool:
    """Whether everything that `other` has read, `cursor` has read too."""
    return all(mine >= theirs for mine, theirs in zip(cursor, other, strict=True))


def joined(one: Cursor, other: Cursor) -> Cursor:
    """What both together have read."""
    return tuple(map(max, one, other))


def advanced(cursor: Cursor, events: list[Recorded]) -> Cursor:
    """The cursor after these events."""
    positions = list(cursor)
    for recorded in events:
        positions[recorded.lane] = recorded.position
    return tuple(positions)
