"""DISTURBS. A TCP proxy between a client and a server, that loses, holds back or cuts what passes through it when it is told to.

    async with Proxy("127.0.0.1", 5432) as proxy:
        connect(port=proxy.port)
        cut = proxy.cut_at("answer")     # the server gets the next request; its answer never arrives
        proxy.stall()                    # a black hole: connections stay open and nothing moves
        proxy.heal()

It knows nothing of what is said: a moment is the first bytes that go in one direction. Nothing is lost silently but what
`drop` is told to lose, and nothing is ever reordered.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias

Direction: TypeAlias = Literal["request", "answer"]
"""From the client to the server, or back."""

_CHUNK_BYTES: Final = 1 << 16
_RESET: Final = struct.pack("ii", 1, 0)


class Proxy:
    """Listens on a port of its own and forwards to `host:port`. Use it as a context manager, inside the loop of the test."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = host, port
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._dropping: Direction | None = None
        self._delay_seconds = 0.0
        self._cuts: dict[Direction, asyncio.Future[None]] = {}
        self._lifetime: Callable[[], int] | None = None
        self.cut_short = 0
        """How many connections were reset at their number of bytes."""
        self.accepted = 0
        """How many connections clients have made so far."""
        self.dropped_bytes = 0
        """How much `drop` has lost so far."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        """Where clients are to connect, on 127.0.0.1."""
        assert self._server is not None, "the proxy is not open"
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        """How many connections pass through it now."""
        return len(self._pairs)

    def cut(self) -> None:
        """Reset every connection there is, on both sides. New ones are welcome."""
        for pair in list(self._pairs):
            pair.reset()

    def cut_at(self, moment: Direction) -> "asyncio.Future[None]":
        """Reset the connection that speaks next in this direction, instead of forwarding what it said. Done when that has happened."""
        self._cuts[moment] = asyncio.get_running_loop().create_future()
        return self._cuts[moment]

    def cut_each_after(self, lifetime_bytes: Callable[[], int]) -> None:
        """Reset each connection that is made from now on, until healed, when that many bytes of answers have passed; asked once
        for each. The bytes up to there are forwarded, wherever in a message they end."""
        self._lifetime = lifetime_bytes

    def stall(self) -> None:
        """Forward nothing, and open nothing to the server, until healed; lose nothing either."""
        self._flowing.clear()

    def refuse(self) -> None:
        """Reset every connection, and each new one as soon as it is made, until healed."""
        self._refusing = True
        self.cut()

    def drop(self, direction: Direction) -> None:
        """Lose whatever goes in this direction, until healed."""
        self._dropping = direction

    def delay(self, seconds: float) -> None:
        """Hold back everything for this long, in both directions, until healed."""
        self._delay_seconds = seconds

    def heal(self) -> None:
        """From now on let everything pass, what was held back first."""
        self._refusing, self._dropping, self._delay_seconds, self._lifetime = False, None, 0.0, None
        self._cuts.clear()
        self._flowing.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.create_task(self._serve(_Pair(writer, None if self._lifetime is None else self._lifetime()), reader))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, pair: "_Pair", reader: asyncio.StreamReader) -> None:
        self._pairs.add(pair)
        try:
            if not self._refusing:
                await self._flowing.wait()
                await self._forward(pair, reader)
        finally:
            self._pairs.discard(pair)
            pair.reset()

    async def _forward(self, pair: "_Pair", reader: asyncio.StreamReader) -> None:
        try:
            answers, pair.upstream = await asyncio.open_connection(*self._upstream)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(pair, "request", reader, pair.upstream))
                pumps.create_task(self._pump(pair, "answer", answers, pair.client))
            for writer in (pair.client, pair.upstream):
                writer.close()
        except* OSError:
            pass  # One side is gone. The other learns of it by the reset that follows.

    async def _pump(self, pair: "_Pair", direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one direction of one connection until it ends."""
        while said := await reader.read(_CHUNK_BYTES):
            if self._delay_seconds:
                await asyncio.sleep(self._delay_seconds)
            await self._flowing.wait()
            cut = self._cuts.pop(direction, None)
            if cut is not None:
                pair.reset()
                cut.set_result(None)
                return
            if self._dropping == direction:
                self.dropped_bytes += len(said)
                continue
            if direction == "answer" and pair.bytes_left is not None and pair.bytes_left <= len(said):
                self.cut_short += 1
                writer.write(said[: pair.bytes_left])
                pair.reset()
                return
            writer.write(said)
            if direction == "answer" and pair.bytes_left is not None:
                pair.bytes_left -= len(said)
            await writer.drain()
        if not writer.transport.is_closing():
            writer.write_eof()


class _Pair:
    """One connection: its client's side, and the server's once there is one."""

    def __init__(self, client: asyncio.StreamWriter, bytes_left: int | None) -> None:
        self.client = client
        self.bytes_left = bytes_left
        self.upstream: asyncio.StreamWriter | None = None

    def reset(self) -> None:
        """End both sides at once, without a farewell."""
        for writer in (self.client, self.upstream):
            if writer is not None and not writer.transport.is_closing():
                with contextlib.suppress(OSError):
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                writer.transport.abort()
