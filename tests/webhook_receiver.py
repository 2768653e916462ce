"""A receiver of webhooks on a real socket: it reads requests as they come over the wire, answers as the test says, and
checks signatures with the library that receivers use."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from standardwebhooks import Webhook

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nthanks"
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/plain\r\ncontent-length: 4\r\nconnection: close\r\n\r\noops"
GONE = b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
MOVED = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: {url}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
SILENT = b""
"""Never answered."""


class Received(NamedTuple):
    """One request."""

    target: str
    headers: dict[str, str]
    body: bytes

    def opened(self, secret: str) -> Any:
        """What it says. Raises WebhookVerificationError when it was not signed with this secret."""
        return Webhook(secret).verify(self.body, self.headers)


class Receiver:
    """Answers with `answers`, one after the other, and then with 200."""

    def __init__(self) -> None:
        self.port = 0
        self.received: list[Received] = []
        self.left = asyncio.Event()
        self._answers: list[bytes | Iterable[bytes]] = []
        self._came: asyncio.Queue[Received] = asyncio.Queue()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook"

    def will_answer(self, *answers: bytes | Iterable[bytes]) -> None:
        """What comes next."""
        self._answers.extend(answers)

    async def next(self, timeout_seconds: float = 15.0) -> Received:
        """The next request."""
        async with asyncio.timeout(timeout_seconds):
            return await self._came.get()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            request = await _read(reader)
            answer = self._answers.pop(0) if self._answers else OK
            self.received.append(request)
            self._came.put_nowait(request)
            if answer == SILENT:
                await reader.read()
            for part in [answer] if isinstance(answer, bytes) else answer:
                writer.write(part)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the sender has read enough
        finally:
            self.left.set()
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return Received(head[0].split(" ")[1], headers, await reader.readexactly(int(headers.get("content-length", "0"))))


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a free port of this machine."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
