"""A load generator that costs little: HTTP/1.1 over keep-alive connections, each with one request under way, requests rendered once."""

import asyncio
from collections.abc import Iterator
from typing import Final, cast

_END: Final = b"\r\n\r\n"


def render(method: str, path: str, *, token: str = "", body: bytes = b"", headers: tuple[str, ...] = ()) -> bytes:
    """One request, ready to send."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", *headers]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + _END + body


class Connection(asyncio.Protocol):
    """One keep-alive connection: `exchange` sends a request and gives the answer's status line, head and body."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._answer: asyncio.Future[tuple[bytes, bytes]] | None = None

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connect to this machine."""
        _, protocol = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return protocol

    async def exchange(self, request: bytes) -> tuple[bytes, bytes]:
        """Send, and wait for the whole answer: head and body."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(_END)
        if end < 0:
            return
        head = bytes(self._buffer[:end])
        start = head.lower().find(b"content-length: ") + 16
        length = int(head[start : head.find(b"\r\n", start) if b"\r\n" in head[start:] else None])
        whole = end + len(_END) + length
        if len(self._buffer) >= whole and self._answer is not None:
            body = bytes(self._buffer[end + len(_END) : whole])
            del self._buffer[:whole]
            answer, self._answer = self._answer, None
            answer.set_result((head, body))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the server hung up"))


async def flood(port: int, requests: Iterator[bytes], *, in_flight: int, expect: bytes) -> None:
    """Send all requests, `in_flight` of them at any time; every answer must have the status `expect`."""

    async def worker() -> None:
        connection = await Connection.open(port)
        for request in requests:
            head, body = await connection.exchange(request)
            if not head.startswith(b"HTTP/1.1 " + expect):
                raise RuntimeError(f"{head[:60]!r} {body[:500]!r}")
        connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(worker())
