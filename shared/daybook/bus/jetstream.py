"""The connection to NATS: made in the background, never waited for, never trusted to be there.

The API accepts tasks while NATS is away, so nothing here blocks a caller: a poke that cannot be sent is dropped
(everyone polls besides), and whoever really needs NATS waits for `connected` in a duty of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final
from uuid import UUID

import nats.errors
import structlog
from nats.aio.client import Client as Connection
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from . import subjects, topology
from .connection import SteadyConnection
from .messages import CancelAttempt, Poke, encode_control, encode_poke

_CONNECT_TIMEOUT_SECONDS: Final = 2.0
_HEAL_SECONDS: Final = 3.0
_TELL_SECONDS: Final = 1.0
_PENDING_BYTES: Final = 32 * 1024 * 1024

log = structlog.get_logger()


class Bus:
    """One NATS connection of a process. Run `run()` as a duty; use the rest at any time."""

    def __init__(self, url: str, name: str, *, queues: tuple[str, ...] = ()) -> None:
        self._url = url
        self._name = name
        self._queues = queues
        self._connection: Connection | None = None
        self._subscriptions: list[tuple[str, Callable[[Msg], Awaitable[None]]]] = []
        self._newcomers: list[Callable[[Connection], Awaitable[None]]] = []
        self._ready = asyncio.Event()
        self._look = asyncio.Event()
        self._last_said = ""
        self._poking: set[asyncio.Task[None]] = set()
        self._made_at: tuple[datetime, ...] = ()
        self.losses = 0
        """Rises whenever what was published before may be gone: after a reconnection, and when streams were made anew."""

    @property
    def is_connected(self) -> bool:
        """Whether a publish would go out now, and find its stream."""
        return self._ready.is_set() and self._connection is not None and self._connection.is_connected

    async def connected(self) -> Connection:
        """The connection, as soon as there is one that works and the streams exist."""
        await self._ready.wait()
        assert self._connection is not None
        return self._connection

    async def jetstream(self, timeout_seconds: float = 5.0) -> JetStreamContext:
        """JetStream of that connection."""
        return (await self.connected()).jetstream(timeout=timeout_seconds, publish_async_max_pending=8192)

    def on_message(self, subject: str, callback: Callable[[Msg], Awaitable[None]]) -> None:
        """Have `callback` called for each message on a subject, from the first connection on. Call before `run`."""
        self._subscriptions.append((subject, callback))

    def on_connection(self, callback: Callable[[Connection], Awaitable[None]]) -> None:
        """Have `callback` called with each new connection, before anybody else has it. One that was interrupted and comes
        back is not new: it still has its subscriptions. Call before `run`."""
        self._newcomers.append(callback)

    def poke(self, lane: int, position: int, kinds: set[str]) -> None:
        """Tell everyone that this lane of the log grew to a position, if that can be told, without waiting for it."""
        if self.is_connected and self._connection is not None:
            body = encode_poke(Poke(kinds=kinds, lane=lane, position=position))
            poking = asyncio.create_task(self._connection.publish(subjects.POKE, body))
            self._poking.add(poking)
            poking.add_done_callback(self._poking.discard)

    async def ask_to_cancel(self, runner: str, task: UUID) -> None:
        """Tell a runner that somebody wants an attempt of its to stop, if it can be told within a second. The wish is
        recorded, and the runner looks in the log besides."""
        if not self.is_connected:
            return
        try:
            async with asyncio.timeout(_TELL_SECONDS):
                await (await self.connected()).publish(subjects.control(runner), encode_control(CancelAttempt(task=task)))
        except (nats.errors.Error, TimeoutError) as error:
            log.warning("cancel.untold", runner=runner, error=type(error).__name__)

    async def run(self) -> None:
        """Connect, keep streams and consumers in being, for ever. An error of NATS ends the duty; its supervisor starts it again."""
        while True:
            self._look.clear()
            # The client gives up for good on some errors of the server, a refused password for one: then a new one takes its place.
            if self._connection is None or self._connection.is_closed:
                self._connection = await self._connect()
            if self._connection.is_connected:
                await self.heal()
            try:
                async with asyncio.timeout(_HEAL_SECONDS):
                    await self._look.wait()
            except TimeoutError:
                continue

    async def heal(self) -> None:
        """Make at once what is missing: for whoever just found out that something is."""
        if self._connection is None:
            return
        made, made_at = await topology.ensure(self._connection.jetstream(timeout=_CONNECT_TIMEOUT_SECONDS), self._queues)
        if made:
            log.info("topology.made", names=made)
        if made_at != self._made_at:
            self._made_at = made_at
            self.losses += 1
        if self._connection.is_connected:
            self._ready.set()

    async def close(self) -> None:
        """Send what is buffered and disconnect; gives up after a second."""
        if self._connection is not None:
            if self._connection.is_connected:
                try:
                    await self._connection.flush(timeout=1)
                except (nats.errors.Error, TimeoutError):
                    log.warning("bus.flush_failed")
            await self._connection.close()

    async def _connect(self) -> Connection:
        connection = SteadyConnection()
        await connection.connect(
            self._url,
            name=self._name,
            error_cb=self._told,
            disconnected_cb=self._lost,
            reconnected_cb=self._regained,
            closed_cb=self._closed,
            connect_timeout=2,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.25,  # type: ignore[arg-type]
            ping_interval=10,
            max_outstanding_pings=2,
            pending_size=_PENDING_BYTES,
        )
        try:
            for subject, callback in self._subscriptions:
                await connection.subscribe(subject, cb=callback)
            for newcomer in self._newcomers:
                await newcomer(connection)
        except BaseException:
            # The next start of the duty makes another, and this one would go on hearing half of everything.
            await connection.close()
            raise
        return connection

    async def _lost(self) -> None:
        self._ready.clear()

    async def _closed(self) -> None:
        self._look.set()

    async def _regained(self) -> None:
        self.losses += 1
        self._look.set()

    async def _told(self, error: Exception) -> None:
        # While the server is away the client says so four times a second; once per change is enough.
        said = f"{type(error).__name__}: {error}"
        if said != self._last_said:
            self._last_said = said
            log.warning("nats.error_told", error=type(error).__name__, detail=str(error))
