"""What attempts said, as Postgres keeps it: numbered messages in compressed chunks, and the ways in and out.

A chunk is a run of one attempt's live messages in order, as JSON lines. A runner stores about one a second for each
attempt that speaks; whoever reads unfolds a few of them at a time. Words are no facts: nothing in here decides anything.
"""

import re
import zlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from .log.connections import Pool
from .log.sql import statements

LARGEST_CHUNK_BYTES: Final = 256 * 1024
"""How much a chunk unfolds to, but for its last message, which may go beyond."""
TYPES: Final = frozenset({"progress", "log", "chunk", "action"})
LEVELS: Final = ("debug", "info", "warning", "error")

_MOST_BYTES: Final = 2 * 1024 * 1024
_ALL: Final = 2**31 - 1
# Sequences that move a terminal's cursor, paint, or set its title; then what is left of control characters, but for the line break and the tab.
_ESCAPES: Final = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b\n]*(?:\x07|\x1b\\\\)?|\x1b[PX^_][^\x1b\n]*(?:\x1b\\\\)?|\x1b[ -/]*[0-~]|\x9b[0-?]*[ -/]*[@-~]"
)
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_SQL: Final = statements("daybook", "stored_output.sql")


class Place(NamedTuple):
    """Where a message stands: the attempt that said it, and its number in there."""

    attempt: int = 0
    number: int = 0

    def leads_to(self, other: "Place") -> bool:
        """Whether nothing lies between."""
        return other.number == (self.number + 1 if other.attempt == self.attempt else 1)


class Word(NamedTuple):
    """One thing that was said: its place, its type, and the message as it was told."""

    place: Place
    type: str
    data: bytes


class Chunk(NamedTuple):
    """A run of messages of one attempt, on its way in."""

    stream: UUID
    attempt: int
    first: int
    last: int
    logs: int
    size_bytes: int
    content: bytes


class _Said(msgspec.Struct):
    type: str
    attempt: int
    n: int


_SAID: Final = msgspec.json.Decoder(_Said)
_ENCODE: Final = msgspec.json.Encoder().encode


def folded(messages: Sequence[bytes]) -> bytes:
    """The messages as a chunk's content."""
    return zlib.compress(b"\n".join(messages), 3)


async def store(pool: Pool, credentials: tuple[str, str], chunks: Sequence[Chunk]) -> None:
    """Store chunks of the runner's own attempts in one statement; storing one again changes nothing. Raises
    InsufficientPrivilegeError for all of them when one is not the runner's own."""
    await pool.execute(_SQL["store"], *credentials, *zip(*chunks, strict=True))


def word_of(message: bytes) -> Word | None:
    """The word that a live message is, or None for anything else. Its data is free of line breaks."""
    try:
        said = _SAID.decode(message)
    except msgspec.DecodeError:
        return None
    if said.type not in TYPES:
        return None
    whole = message if b"\n" not in message and b"\r" not in message else _ENCODE(msgspec.json.decode(message))
    return Word(Place(said.attempt, said.n), said.type, whole)


async def read(pool: Pool, stream: UUID, after: Place, *, attempt: int | None = None, only_logs: bool = False, chunks: int = 4) -> tuple[list[Word], bool]:
    """The stored words after a place, from a few chunks, and whether there are more. With `attempt` only that one's;
    `only_logs` skips chunks that hold none (the others come whole)."""
    start = after if attempt is None or after.attempt >= attempt else Place(attempt)
    rows = await pool.fetch(_SQL["forwards"], stream, start.attempt, start.number + 1, _ALL if attempt is None else attempt, only_logs, chunks)
    words = [word for row in rows for word in _unfolded(row) if word.place > start]
    return words, len(rows) == chunks


async def read_back(pool: Pool, stream: UUID, before: Place, *, attempt: int | None = None, chunks: int = 4) -> tuple[list[Word], Place | None]:
    """The stored words of the last few chunks with log lines that begin before a place, in order, and where the first of
    them begins: None when there is none further back."""
    rows = await pool.fetch(_SQL["backwards"], stream, before.attempt, before.number, attempt or 0, chunks)
    words = [word for row in reversed(rows) for word in _unfolded(row)]
    return words, Place(rows[-1]["attempt"], rows[-1]["first"]) if len(rows) == chunks else None


async def end_of(pool: Pool, stream: UUID, attempt: int | None = None) -> tuple[Place, datetime | None]:
    """The last place that is stored, and when it was, by the database's clock."""
    row = await pool.fetchrow(_SQL["end"], stream, attempt or 0, _ALL if attempt is None else attempt)
    return (Place(), None) if row is None else (Place(row["attempt"], row["last"]), row["at"])


def plain_text(text: str) -> str:
    """The text without what would drive a terminal: its escape sequences are gone, other control characters replaced."""
    return _CONTROLS.sub("\ufffd", _ESCAPES.sub("", text))


def _unfolded(row: Any) -> list[Word]:
    # A runner that lies about the size unfolds to no more than this.
    content = zlib.decompressobj().decompress(row["content"], _MOST_BYTES)
    return [word for line in content.split(b"\n") if (word := word_of(line)) is not None and word.place.attempt == row["attempt"]]
