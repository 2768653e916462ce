"""Fixtures of the runner's tests: its executors, and a small HTTP server on a real socket, whose answers a test writes out as
they go over the wire, malformed ones too."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest
import pytest_asyncio
from tests.runner.chat_endpoint import chat_app

from daybook.manifest import Definition
from daybook_runner.executors import Executors


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """A request, as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Answer: TypeAlias = Callable[[Received], AsyncIterator[bytes]]


class LocalServer:
    """Answers every connection once, with `answer`, and closes it. `requests` keeps what came."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.closed_early = asyncio.Event()
        self.answer: Answer = self.answering()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _read(reader)
            self.requests.append(request)
            async for part in self.answer(request):
                writer.write(part)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.closed_early.set()
        finally:
            writer.close()

    @staticmethod
    def answering(status: str = "200 OK", body: bytes = b"", *, media_type: str | None = "text/plain", **headers: str) -> Answer:
        """An answer whose length is announced."""
        lines = {"content-length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
        if media_type:
            lines["content-type"] = media_type

        async def answer(request: Received) -> AsyncIterator[bytes]:
            head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
            yield f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body

        return answer

    @staticmethod
    def streaming(*pieces: Any, media_type: str = "text/event-stream") -> Answer:
        """Server-sent events: values become JSON, bytes go out as they are."""

        async def answer(request: Received) -> AsyncIterator[bytes]:
            yield f"HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\nconnection: close\r\n\r\n".encode()
            for piece in pieces:
                yield piece if isinstance(piece, bytes) else LocalServer.event(piece)

        return answer

    @staticmethod
    def event(value: Any) -> bytes:
        return b"data: " + msgspec.json.encode(value) + b"\n\n"


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method=method, target=target, headers=headers, body=body)


@pytest_asyncio.fixture(scope="session")
async def executors() -> AsyncIterator[Executors]:
    """A runner's executors, as they are unless it was told otherwise."""
    async with Executors() as made:
        yield made


@pytest_asyncio.fixture
async def server() -> AsyncIterator[LocalServer]:
    """A server on a free port of this machine."""
    local = LocalServer()
    listening = await asyncio.start_server(local.serve, "127.0.0.1", 0)
    local.port = listening.sockets[0].getsockname()[1]
    yield local
    listening.close()
    await listening.wait_closed()


@pytest.fixture
def say(server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Definition:
    """The chat app `say`, whose endpoint is the server."""
    monkeypatch.setenv("TEST_CHAT_URL", server.url + "/v1")
    monkeypatch.setenv("TEST_CHAT_KEY", "sk-very-secret")
    return chat_app(tmp_path)
