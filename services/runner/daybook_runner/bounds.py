"""How much an attempt may say: so many bytes in all, so many messages a second, so long a line.

What goes beyond is cut and counted, never an error of whoever speaks; the count is told by `Voice`.
"""

from collections.abc import Iterator
from time import monotonic
from typing import Any, Final

import msgspec

from daybook.safe_json import safe_bytes, safe_value

DEFAULT_LIMIT_BYTES: Final = 8 * 1024 * 1024
LINE_BYTES: Final = 64 * 1024
"""The longest text in one message; a longer chunk becomes several messages, anything else is cut."""
BURST: Final = 10_000
PER_SECOND: Final = 2_000
"""So many messages a second for as long as it likes, and `BURST` at once when it was silent before."""

_SHORT_BYTES: Final = LINE_BYTES // 16


class Budget:
    """What is left of one attempt's allowance."""

    __slots__ = ("_at", "_burst", "bytes_left")

    def __init__(self, limit_bytes: int) -> None:
        self.bytes_left = limit_bytes
        self._burst = float(BURST)
        self._at = monotonic()

    @property
    def is_used_up(self) -> bool:
        """Whether all bytes were said: nothing more will be heard."""
        return self.bytes_left <= 0

    def admits(self) -> bool:
        """Whether one more message may be said now; counts it if so."""
        if self.bytes_left <= 0:
            return False
        if self._burst < 1:
            now = monotonic()
            self._burst = min(self._burst + (now - self._at) * PER_SECOND, BURST)
            self._at = now
            if self._burst < 1:
                return False
        self._burst -= 1
        return True


def pieces_of(kind: str, fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The messages that a chunk of text becomes, each short enough; anything else is one message."""
    text = fields.get("text")
    if kind != "chunk" or not isinstance(text, str) or len(text) * 4 <= LINE_BYTES:
        yield fields
        return
    # A character takes up to four bytes.
    step = LINE_BYTES if text.isascii() else LINE_BYTES // 4
    for start in range(0, len(text), step):
        yield {**fields, "text": text[start : start + step]}


def size_of(fields: dict[str, Any]) -> int:
    """About how many bytes of text there are, without encoding them."""
    return sum(len(value) for value in fields.values() if isinstance(value, str))


def encoded(message: dict[str, Any]) -> bytes:
    """The message as JSON that every reader can hold. What is too long in it is cut, and says so in its place. Raises
    what encoding raises, for what has no JSON form at all."""
    # What is far too long is not encoded only to find that out.
    if size_of(message) <= LINE_BYTES + _SHORT_BYTES:
        data = safe_bytes(message)
        if len(data) <= LINE_BYTES + _SHORT_BYTES:
            return data
    return safe_bytes({name: _shortened(value, _SHORT_BYTES if name == "fields" else LINE_BYTES) for name, value in message.items()})


def _shortened(value: Any, most_bytes: int) -> Any:
    """The value, or what can be shown of it."""
    if isinstance(value, str):
        content = value.encode(errors="replace")
        return value if len(content) <= most_bytes else f"{content[:most_bytes].decode(errors='ignore')}… ({len(content) - most_bytes} bytes were cut)"
    size = len(msgspec.json.encode(safe_value(value)))
    if size <= most_bytes:
        return value
    if not isinstance(value, dict):
        return f"… ({size} bytes were cut)"
    kept = {name: _shortened(item, _SHORT_BYTES // 4) for name, item in list(value.items())[:16]}
    return kept if len(value) <= 16 else {**kept, "…": f"{len(value) - 16} more were cut"}
