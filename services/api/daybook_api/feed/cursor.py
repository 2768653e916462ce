"""The public spelling of a place in the log: a cursor of the feed, which is also the id of each of its events.

It is sent with every event, so it is short: a version byte and the positions of the lanes as varints, without the lanes
at the end in which nothing was read; before it four bytes that tie it to a namespace and tell what was mistyped. It is no
secret and gives no right: what may be seen is decided anew by whoever reads from there. It refuses every text but the one
that `spell` makes of a cursor.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from daybook.log.envelope import LANES, Cursor

PATTERN: Final = "^[A-Za-z0-9_-]{7,800}$"
"""What it looks like, as a JSON Schema pattern; whether it is one, only `parse` knows."""
_VERSION: Final = b"\x01"
_TAG_BYTES: Final = 4
_LONGEST: Final = 800
_BEYOND: Final = 2**63


def spell(cursor: Cursor, namespace: str) -> str:
    """The cursor as a client gets it."""
    end = LANES
    while end and not cursor[end - 1]:
        end -= 1
    body = _VERSION + b"".join(map(_varint, cursor[:end]))
    return urlsafe_b64encode(_tag(body, namespace) + body).rstrip(b"=").decode()


def parse(text: str, namespace: str) -> Cursor | None:
    """The cursor behind a text, or None when it was not given out in this namespace."""
    if len(text) > _LONGEST or not text.isascii():
        return None
    try:
        spelled = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (Base64Error, ValueError):
        return None
    body = spelled[_TAG_BYTES:]
    if not body or body[:1] != _VERSION or spelled[:_TAG_BYTES] != _tag(body, namespace):
        return None
    positions = _positions(body[1:])
    if positions is None or len(positions) > LANES:
        return None
    cursor = (*positions, *(0,) * (LANES - len(positions)))
    return cursor if spell(cursor, namespace) == text else None


@lru_cache(maxsize=8192)
def _varint(position: int) -> bytes:
    """From one event to the next a single lane has moved on."""
    varint = bytearray()
    while position > 127:
        varint.append(position & 127 | 128)
        position >>= 7
    varint.append(position)
    return bytes(varint)


def _tag(body: bytes, namespace: str) -> bytes:
    return blake2b(body, digest_size=_TAG_BYTES, key=namespace.encode()).digest()


def _positions(varints: bytes) -> list[int] | None:
    positions: list[int] = []
    position = shift = 0
    for byte in varints:
        position |= (byte & 127) << shift
        if position >= _BEYOND:
            return None
        if byte & 128:
            shift += 7
        else:
            positions.append(position)
            position = shift = 0
    return None if shift else positions
