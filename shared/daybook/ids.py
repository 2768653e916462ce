"""The only place where identity is made: minted ids, derived ids, and their public spelling.

Minted ids are UUIDv7 (RFC 9562), so that fresh rows sit side by side in an index. Derived ids are the first 16 bytes of a
SHA-256 over their parts, marked as UUIDv8: whatever must happen once gets the same id from everybody who tries, and the unique
index of the log does the rest. The SQL function `daybook.derive_id` computes the same value.

In public an id is a TypeID: a prefix and 26 characters of Crockford's base32 (`tsk_01jd…`): safe in a subject, a URL and a
double-click.
"""

import os
import secrets
from hashlib import sha256
from typing import Final, Literal, TypeAlias
from uuid import UUID

import uuid_utils.compat

Prefix: TypeAlias = Literal["tsk", "sch", "app", "evt", "tok", "run", "whk"]

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS: Final = [high + low for high in _ALPHABET for low in _ALPHABET]
_TRIPLES: Final = [pair + low for pair in _PAIRS for low in _ALPHABET]
_VALUES: Final = {pair: number for number, pair in enumerate(_PAIRS)}
_LENGTH: Final = 26
_salts: Final[list[bytes]] = []
os.register_at_fork(after_in_child=_salts.clear)


def new_id() -> UUID:
    """A fresh, time-ordered id (UUIDv7)."""
    return uuid_utils.compat.uuid7()


def derive_id(*parts: str) -> UUID:
    """The id that these parts always have (UUIDv8). Parts may hold any text without U+001F, which separates them."""
    digest = bytearray(sha256("\x1f".join(parts).encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return UUID(bytes=bytes(digest))


def new_secret(size_bytes: int = 20) -> str:
    """A random secret in base32, 160 bits unless told otherwise."""
    return "".join(_ALPHABET[byte & 31] for byte in secrets.token_bytes(size_bytes * 8 // 5))


def new_salt() -> bytes:
    """16 random bytes that make a payload's digest useless for guessing the payload."""
    try:
        return _salts.pop()
    except IndexError:
        # Fetched many at a time: the system call costs more than all the rest of it.
        block = secrets.token_bytes(16 * 256)
        _salts.extend(block[start : start + 16] for start in range(0, len(block), 16))
        return _salts.pop()


def spell(prefix: Prefix, value: UUID) -> str:
    """`tsk_` and 26 characters: the public spelling of an id."""
    # 10 bits and 8 times 15, from the top; in two halves, since small integers are quicker to shift.
    number, triples = value.int, _TRIPLES
    high, low = number >> 60, number & 0xFFF_FFFF_FFFF_FFFF
    return (
        f"{prefix}_{_PAIRS[high >> 60]}{triples[high >> 45 & 32767]}{triples[high >> 30 & 32767]}{triples[high >> 15 & 32767]}{triples[high & 32767]}"
        f"{triples[low >> 45]}{triples[low >> 30 & 32767]}{triples[low >> 15 & 32767]}{triples[low & 32767]}"
    )


def parse(prefix: Prefix, text: str) -> UUID | None:
    """The id behind a public spelling, or None when the text is not one of this kind."""
    head, _, body = text.partition("_")
    if head != prefix or len(body) != _LENGTH:
        return None
    number = 0
    for start in range(0, _LENGTH, 2):
        value = _VALUES.get(body[start : start + 2])
        if value is None:
            return None
        number = number << 10 | value
    return UUID(int=number) if number < 1 << 128 else None
