"""Thousands of clients of event streams in a process of its own, each as little as a client can be: a connection, and a
look at what comes. What they are to do they are told over a pipe."""

import asyncio
import re
import resource
from datetime import datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from statistics import quantiles
from typing import Any, Final, cast

import uvloop

from daybook import clock

from .load import Connection, render

_BEGUN: Final = re.compile(rb"event: (snapshot|begin)\n")
_AT: Final = re.compile(rb'"at":"([^"]+)"')
_FACT: Final = b"event: task.scheduled\n"
_PATIENCE_SECONDS: Final = 60.0


class Crowd:
    """The process, as seen by the one that measures."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()

    async def ask(self, what: str, *arguments: Any) -> Any:
        """Have something done. Raises what went wrong there."""
        self._pipe.send((what, arguments))
        answer = await asyncio.to_thread(self._pipe.recv)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        """End it, with all its connections."""
        self._process.kill()
        self._process.join()


def raise_limit() -> int:
    """Have as many files as this process, and those it starts, may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


class _Client(asyncio.Protocol):
    def __init__(self, crowd: "_Clients", request: bytes) -> None:
        self._crowd = crowd
        self._request = request
        self._head = b""
        self.transport: asyncio.Transport | None = None
        self.begun = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.begun:
            self._head += data
            if _BEGUN.search(self._head):
                self.begun, self._head = True, b""
                self._crowd.begin()
        if _FACT in data:
            self._crowd.hear(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._crowd.lose(self)


class _Clients:
    """All clients here."""

    def __init__(self) -> None:
        self._clients: set[_Client] = set()
        self._waiting = 0
        self._done = asyncio.Event()
        self._heard: list[datetime] = []
        self._at: datetime | None = None

    async def open(self, port: int, token: str, path: str, count: int, last: str = "") -> float:
        """Connect so many clients at once; the seconds until each has its snapshot."""
        raise_limit()
        headers = ("Accept: text/event-stream", *([f"Last-Event-ID: {last}"] if last else []))
        request = render("GET", path, token=token, headers=headers)
        self._waiting = count
        self._done.clear()
        loop = asyncio.get_running_loop()
        started = loop.time()
        await asyncio.gather(*(self._connect(port, request) for _ in range(count)))
        await self._until_done()
        return loop.time() - started

    async def deaf(self, port: int, token: str, path: str, count: int) -> int:
        """The same for clients that never read."""
        request = render("GET", path, token=token, headers=("Accept: text/event-stream",))
        await asyncio.gather(*(self._connect(port, request, reads=False) for _ in range(count)))
        return len(self._clients)

    async def listen(self) -> int:
        """Have everybody read who did not; how many are still connected a while later."""
        for client in self._clients:
            assert client.transport is not None
            client.transport.resume_reading()
        await asyncio.sleep(2)
        return len(self._clients)

    async def fan_out(self, port: int, token: str, task: str, rounds: int) -> dict[str, float]:
        """Change the task and see when everybody is told, several times: milliseconds from the event's record in the log."""
        connection = await Connection.open(port)
        taken: list[float] = []
        for number in range(rounds):
            self._heard, self._at = [], None
            self._waiting = sum(client.begun for client in self._clients)
            self._done.clear()
            body = b'{"delay":"%dh"}' % (number + 2)
            await connection.exchange(render("POST", f"/v1/tasks/{task}/reschedule", token=token, body=body))
            await self._until_done()
            assert self._at is not None
            taken += [(heard - self._at).total_seconds() * 1000 for heard in self._heard]
        connection.close()
        cuts = quantiles(taken, n=100)
        return {"p50_ms": cuts[49], "p99_ms": cuts[98], "max_ms": max(taken)}

    async def abort(self) -> None:
        """Reset every connection."""
        for client in list(self._clients):
            assert client.transport is not None
            client.transport.abort()
        await asyncio.sleep(0)

    def begin(self) -> None:
        """A client has its snapshot."""
        self._count()

    def hear(self, data: bytes) -> None:
        """A client was told."""
        self._heard.append(clock.now())
        if self._at is None and (at := _AT.search(data)) is not None:
            self._at = datetime.fromisoformat(at[1].decode())
        self._count()

    def lose(self, client: _Client) -> None:
        """A client was cut off, or has hung up."""
        self._clients.discard(client)

    def _count(self) -> None:
        self._waiting -= 1
        if self._waiting == 0:
            self._done.set()

    async def _until_done(self) -> None:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await self._done.wait()

    async def _connect(self, port: int, request: bytes, *, reads: bool = True) -> None:
        transport, client = await asyncio.get_running_loop().create_connection(lambda: _Client(self, request), "127.0.0.1", port)
        if not reads:
            transport.pause_reading()
        self._clients.add(client)


def _serve(pipe: Pipe) -> None:
    async def run() -> None:
        clients = _Clients()
        while True:
            what, arguments = await asyncio.to_thread(pipe.recv)
            try:
                answer = await getattr(clients, what)(*arguments)
            except Exception as error:  # noqa: BLE001 it is told to the one who asked
                answer = error
            pipe.send(answer)

    uvloop.run(run())
