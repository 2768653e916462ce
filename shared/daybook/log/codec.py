"""Events to JSON and back, and payloads to bytes and back.

An event of a kind that this release does not know, or cannot read, decodes to `Unreadable` instead of failing: one event from the future must not
stop the reading of all others.

A payload is 16 bytes of salt and the content (or the salt alone, when the content lies in the blob store). The digest in the fact
covers both, so that once the payload is erased nobody can confirm a guess.
"""

from hashlib import sha256
from typing import Final

import msgspec

from .. import ids
from ..domain.events import OTHER_EVENTS, TASK_EVENTS, Content, Event, kind_of
from ..domain.schedule_events import SCHEDULE_EVENTS
from .envelope import Unreadable

INLINE_LIMIT_BYTES: Final = 8192
_SALT_BYTES: Final = 16

_ENCODER: Final = msgspec.json.Encoder()
_DECODERS: Final[dict[str, msgspec.json.Decoder[Event]]] = {
    kind_of(event): msgspec.json.Decoder(event) for event in TASK_EVENTS + SCHEDULE_EVENTS + OTHER_EVENTS
}


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """A payload ready to store: the fact's `content`, the event's `payload`, and what belongs in the blob store, if anything."""

    content: Content
    payload: bytes
    blob: bytes | None = None


def encode(event: Event) -> bytes:
    """The fact as JSON, with its kind in it."""
    return _ENCODER.encode(event)


def decode(kind: str, data: bytes) -> Event | Unreadable:
    """The event behind a fact, or `Unreadable`."""
    decoder = _DECODERS.get(kind)
    if decoder is None:
        return Unreadable(kind, "unknown kind")
    try:
        return decoder.decode(data)
    except Exception as error:  # noqa: BLE001 text that is no UTF-8 and JSON that is too deep raise what they like; no event may stop the reading of all others
        return Unreadable(kind, f"{type(error).__name__}: {error}")


def seal(content: bytes, media_type: str = "application/json") -> Sealed:
    """Salt and digest a payload, and say where it goes: up to 8 KiB beside the fact, larger into the blob store."""
    salt = ids.new_salt()
    digest = sha256(salt + content).hexdigest()
    large = len(content) > INLINE_LIMIT_BYTES
    return Sealed(
        content=Content(digest=digest, size_bytes=len(content), media_type=media_type, blob=large),
        payload=salt if large else salt + content,
        blob=content if large else None,
    )


def unseal(content: Content, payload: bytes | None) -> bytes | None:
    """The inline bytes of a payload; None when it was erased or lies in the blob store."""
    if payload is None or content.blob:
        return None
    return payload[_SALT_BYTES:]
