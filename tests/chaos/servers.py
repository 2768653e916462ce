"""The two servers that everything stands on, and what is done to them: stopped at once, killed, frozen, wiped, started again.

Nothing here blocks the loop for long, since the proxies of all processes live in it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGQUIT, SIGSTOP, Signals
from typing import Final

import asyncpg

from daybook.log.migrate import migrate
from daybook.testing import eventually
from daybook_local.nats import EmbeddedNats
from daybook_local.postgres import EmbeddedPostgres

_READY_SECONDS: Final = 60.0


class Servers:
    """A PostgreSQL with a migrated database, and a nats-server."""

    def __init__(self, folder: Path) -> None:
        self.postgres = EmbeddedPostgres(folder / "postgres", fast=True)
        self.nats = EmbeddedNats(folder / "nats")

    @property
    def database_url(self) -> str:
        """The database, past every proxy, as its owner."""
        return self.postgres.url()

    async def stop_postgres(self) -> None:
        """An immediate stop: no farewell, no checkpoint; the next start recovers from the log of the server itself."""
        await _end(self.postgres, SIGQUIT)

    async def start_postgres(self) -> None:
        """Start it again, and return when it answers."""
        self.postgres.spawn()
        await _ready(self._postgres_answers)

    async def kill_nats(self) -> None:
        """`kill -9`."""
        await _end(self.nats, SIGKILL)

    async def start_nats(self) -> None:
        """Start it again, and return when it greets."""
        self.nats.spawn()
        await _ready(self._nats_greets)

    def wipe_nats(self) -> None:
        """Delete all that JetStream keeps. Only while the server is down."""
        shutil.rmtree(self.nats.store, ignore_errors=True)

    @asynccontextmanager
    async def frozen_nats(self) -> AsyncIterator[None]:
        """A server that is there and says nothing."""
        assert self.nats.process is not None
        self.nats.process.send_signal(SIGSTOP)
        try:
            yield
        finally:
            self.nats.process.send_signal(SIGCONT)

    def close(self) -> None:
        """Stop both, whatever state they are in."""
        if self.nats.process is not None and self.nats.process.poll() is None:
            self.nats.process.send_signal(SIGCONT)
        self.nats.stop()
        self.postgres.stop()

    async def _postgres_answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.database_url, timeout=2)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        await connection.close()
        return True

    async def _nats_greets(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.nats.port)
        except OSError:
            return False
        try:
            return b'"jetstream":true' in await reader.readline()
        finally:
            writer.close()


@asynccontextmanager
async def open_servers() -> AsyncIterator[Servers]:
    """Both servers, started and migrated, in a folder of their own that goes with them."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="daybook-chaos-", dir=memory if memory.is_dir() else None))
    folder.chmod(0o711)  # PostgreSQL does not run as root, and must pass through
    servers = Servers(folder)
    try:
        servers.postgres.start()
        servers.nats.start()
        await migrate(servers.database_url)
        yield servers
    finally:
        servers.close()
        shutil.rmtree(folder)


async def _end(server: EmbeddedPostgres | EmbeddedNats, number: Signals) -> None:
    process = server.process
    assert process is not None
    os.kill(process.pid, number)
    await eventually(lambda: process.poll() is not None, 30)


async def _ready(answers: Callable[[], Awaitable[bool]]) -> None:
    await eventually(answers, _READY_SECONDS)
