"""What a program prints: kept as its result, or passed on line by line as log lines; bounded either way, with a word
about what was cut.

Whatever is beyond the bound is read all the same and forgotten, so that no program waits for a reader.
"""

import asyncio
from typing import Final

from daybook.context import Context, Level
from daybook.stored_output import plain_text

_READ_BYTES: Final = 64 * 1024
_LINE_BYTES: Final = 8 * 1024
_LINES: Final = 10_000


class Kept:
    """The first `most_bytes` of what is printed."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._content = bytearray()
        self.lost_bytes = 0

    @property
    def content(self) -> bytes:
        """What was kept."""
        return bytes(self._content)

    async def read(self, stream: asyncio.StreamReader) -> None:
        """Read to the end."""
        while part := await stream.read(_READ_BYTES):
            kept = part[: self._most_bytes - len(self._content)]
            self._content += kept
            self.lost_bytes += len(part) - len(kept)


class Lines:
    """Says each line that is printed as a line of the task's log, as far as the bounds of bytes and of lines; a line
    that paints over itself, as it looks in the end."""

    def __init__(self, context: Context, most_bytes: int, *, source: str = "stderr", level: Level = "info") -> None:
        self._context = context
        self._left_bytes = most_bytes
        self._left_lines = _LINES
        self._source = source
        self._level = level
        self._line = bytearray()
        self._is_cut = False
        self.last = ""
        """The last line that was not empty."""

    async def read(self, stream: asyncio.StreamReader) -> None:
        """Read to the end."""
        while part := await stream.read(_READ_BYTES):
            if not self._is_cut:
                self._take(part)
        # What was begun is a line as well.
        self._end_line()

    def _take(self, part: bytes) -> None:
        *ended, rest = part[: self._left_bytes].split(b"\n")
        for line in ended:
            self._grow(line)
            self._end_line()
        self._grow(rest)
        if len(part) > self._left_bytes or self._left_lines <= 0:
            self._end_line()
            self._is_cut = True
            self._say("warning", f"{self._source} was cut here: it is too long")
        self._left_bytes -= len(part)

    def _grow(self, piece: bytes) -> None:
        # One byte more than is shown tells that there was more.
        self._line += piece[: max(0, _LINE_BYTES + 1 - len(self._line))]

    def _end_line(self) -> None:
        line = bytes(self._line).rstrip(b"\r").rpartition(b"\r")[2]
        self._line.clear()
        if line.strip() and self._left_lines > 0:
            self._left_lines -= 1
            cut = " … (cut)" if len(line) > _LINE_BYTES else ""
            self.last = plain_text(line[:_LINE_BYTES].decode(errors="replace")) + cut
            self._say(self._level, self.last)

    def _say(self, level: Level, message: str) -> None:
        self._context.say("log", {"level": level, "message": message, "fields": {}})
