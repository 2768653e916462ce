"""Server-sent events on the wire: how a frame is spelled, and how a stream of them is answered.

What is in a stream is decided elsewhere: `stream` tells of one task, `feed` of everything that the caller may see. Here
it is decided how long a client may keep us waiting. What it has not read yet waits in buffers that do not grow; when
nothing moves for half a minute it is cut off, and when it comes back it is told the rest. One that is gone is noticed
at once if it said goodbye, and else when what it was sent is not acknowledged for as long.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final, cast

from litestar import Litestar, Request, Response
from litestar.response.streaming import ASGIStreamingResponse, Stream
from litestar.types import Receive, Scope, Send

from daybook import ids

HEARTBEAT: Final = b"event: heartbeat\ndata: {}\n\n"
SLOWEST_SECONDS: Final = 30.0
"""How long a client may read nothing of what waits for it."""
PIECE_BYTES: Final = 64 * 1024
"""About how much is sent in one piece."""
TRANSPORT: Final = "daybook.transport"
"""Where `serving` leaves a connection's transport, among the extensions of its scope: ASGI has no way to hang up."""

_RETRY_MILLISECONDS: Final = 1000
_KERNEL_BYTES: Final = 256 * 1024
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def frame(event: str, data: bytes, id_: object = None) -> bytes:
    """One server-sent event. `data` is JSON without line breaks; an event without `id_` leaves the client where it was."""
    name = f"event: {event}\n" if id_ is None else f"id: {id_}\nevent: {event}\n"
    return name.encode() + b"data: " + data + b"\n\n"


def heartbeat(id_: object) -> bytes:
    """A heartbeat that takes the client further, past what it does not want to be told."""
    return f"id: {id_}\n".encode() + HEARTBEAT


def retry() -> bytes:
    """Tells a client how long to wait before it comes back. Each is told another pause, so that those of a server that
    ends do not all come back in the same instant."""
    return f"retry: {_RETRY_MILLISECONDS + ids.new_id().int % _RETRY_MILLISECONDS}\n".encode()


def respond(frames: AsyncIterator[bytes]) -> Response[Any]:
    """A stream of frames as an answer. It is read only as fast as the client reads, and closed when that is gone."""
    return _Events(frames, media_type="text/event-stream", headers=_HEADERS)


class _Events(Stream):
    def to_asgi_response(self, app: Litestar | None, request: Request[Any, Any, Any], **named: Any) -> "_Telling":
        """The same response as a stream's, but sent as it is here."""
        return _Telling(
            iterator=cast("AsyncIterator[bytes]", self.iterator),
            headers={**(named.get("headers") or {}), **self.headers},
            cookies=[*self.cookies, *(named.get("cookies") or ())],
            is_head_response=bool(named.get("is_head_response")),
            media_type=self.media_type,
            status_code=self.status_code or named.get("status_code"),
        )


class _Telling(ASGIStreamingResponse):
    _transport: asyncio.WriteTransport | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._transport = (scope.get("extensions") or {}).get(TRANSPORT)  # type: ignore[assignment]
        await super().__call__(scope, receive, send)

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Send the frames until there are no others, or nobody to read them."""
        if self._transport is not None:
            _bound(self._transport)
        client = _Client(send)
        leaving = asyncio.create_task(client.leaves(receive))
        try:
            async with asyncio.timeout(None) as client.patience:
                async for piece in cast("AsyncIterator[bytes]", self.iterator):
                    await client.tell(piece)
                await client.tell(b"", more=False)
        except TimeoutError:
            if not client.patience.expired():
                raise
        finally:
            leaving.cancel()
            if isinstance(self.iterator, AsyncGenerator):
                await self.iterator.aclose()
        if client.patience.expired() and not client.gone:
            await self._hang_up(receive)

    async def _hang_up(self, receive: Receive) -> None:
        """A farewell would have to wait behind all that was not read, for ever."""
        if self._transport is None:
            raise ConnectionError("a client reads nothing, and this server cannot hang up")
        self._transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass


class _Client:
    """Whoever reads a stream, as long as they do."""

    patience: asyncio.Timeout

    def __init__(self, send: Send) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self.gone = False

    async def leaves(self, receive: Receive) -> None:
        """Return when the client is gone; the stream then ends, wherever it is."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self.patience.reschedule(self._loop.time())

    async def tell(self, body: bytes, *, more: bool = True) -> None:
        """Send this in pieces, each within the time that a client has."""
        for start in range(0, len(body) or 1, PIECE_BYTES):
            piece = body if len(body) <= PIECE_BYTES else body[start : start + PIECE_BYTES]
            self._be_patient(self._loop.time() + SLOWEST_SECONDS)
            await self._send({"type": "http.response.body", "body": piece, "more_body": more})
            self._be_patient(None)
            # A server that buffers, or that has nobody left to send to, returns at once; whoever only ever did so would keep the loop for itself.
            await asyncio.sleep(0)

    def _be_patient(self, until: float | None) -> None:
        if not self.gone:
            self.patience.reschedule(until)


def _bound(transport: asyncio.WriteTransport) -> None:
    """Bound what the kernel keeps for this client, and for how long."""
    connection = transport.get_extra_info("socket")
    if connection is not None and not transport.is_closing() and connection.family in {socket.AF_INET, socket.AF_INET6}:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SLOWEST_SECONDS * 1000))
