"""Server-sent events on the wire: how a frame is spelled, and how a stream of them is answered.

What is in a stream is decided elsewhere: `stream` tells of one task, `feed` of everything that the caller may see.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

from litestar import Response
from litestar.response import Stream

from daybook import ids

HEARTBEAT: Final = b"event: heartbeat\ndata: {}\n\n"
_RETRY_MILLISECONDS: Final = 1000
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def frame(event: str, data: bytes, id_: object = None) -> bytes:
    """One server-sent event. `data` is JSON without line breaks; an event without `id_` leaves the client where it was."""
    name = f"event: {event}\n" if id_ is None else f"id: {id_}\nevent: {event}\n"
    return name.encode() + b"data: " + data + b"\n\n"


def retry() -> bytes:
    """Tells a client how long to wait before it comes back. Each is told another pause, so that those of a server that
    ends do not all come back in the same instant."""
    return f"retry: {_RETRY_MILLISECONDS + ids.new_id().int % _RETRY_MILLISECONDS}\n".encode()


def respond(frames: AsyncIterator[bytes]) -> Response[Any]:
    """A stream of frames as an answer."""
    return Stream(frames, media_type="text/event-stream", headers=_HEADERS)
