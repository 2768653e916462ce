"""What a fault may lay its hands on: the processes, the servers, the wires between them, and a seeded chance. And what a fault is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Final, NamedTuple, TypeAlias

import asyncpg

from daybook import ids
from daybook.testing import eventually

from .fleet import Fleet, Kind, Member
from .servers import Servers
from .watcher import Watcher

_LATEST: Final = "SELECT DISTINCT ON (stream) stream, kind, data FROM log.event WHERE kind LIKE 'task.%' ORDER BY stream, version DESC"
_BUSY: Final = f"""
    SELECT r.host, count(latest.stream) AS attempts FROM daybook.runner r
    LEFT JOIN ({_LATEST}) AS latest ON latest.kind = 'task.started.v1' AND latest.data ->> 'runner' = r.id
    WHERE r.until > clock_timestamp() GROUP BY r.host ORDER BY 2 DESC"""
_OPEN: Final = f"""
    SELECT stream FROM ({_LATEST}) AS latest WHERE NOT (
        kind IN ('task.succeeded.v1', 'task.cancelled.v1', 'task.expired.v1', 'task.erased.v1')
        OR kind = 'task.failed.v1' AND data ->> 'retry_at' IS NULL OR kind = 'task.lost.v1' AND data ->> 'final' = 'true')"""
_LOSSES: Final = "SELECT stream, data ->> 'runner' AS runner FROM log.event WHERE kind = 'task.lost.v1'"


class Stage:
    """Where a run happens."""

    def __init__(self, servers: Servers, fleet: Fleet, watcher: Watcher, folder: Path, *, seed: int, ttl_seconds: float, long: bool) -> None:
        self.servers, self.fleet, self.watcher, self.folder = servers, fleet, watcher, folder
        self.chance = Random(f"{seed} faults")
        self.ttl_seconds = ttl_seconds
        self.long = long

    async def lasting(self, long_seconds: float, short_seconds: float) -> None:
        """A fault takes its time: this much in the long tier, and this much in the short one."""
        await asyncio.sleep(long_seconds if self.long else short_seconds)

    def any_of(self, kind: Kind) -> Member:
        """Whom it hits."""
        return self.chance.choice(self.fleet.of(kind))

    async def busiest_runner(self) -> Member:
        """The runner with the most attempts at this moment, as soon as there is one with any."""

        async def found() -> list[Member]:
            hosts = [row["host"] for row in await self.fetch(_BUSY) if row["attempts"]]
            return [member for host in hosts for member in self.fleet.of("runner") if member.is_alive and host.endswith(f":{member.pid}")]

        return (await eventually(found, 20))[0]

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Ask the database, past every proxy."""
        connection = await asyncpg.connect(self.servers.database_url, timeout=10)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    async def open_tasks(self) -> set[str]:
        """The tasks that have not ended."""
        return {ids.spell("tsk", row["stream"]) for row in await self.fetch(_OPEN)}

    async def events(self) -> int:
        """How many events there are."""
        return int((await self.fetch("SELECT count(*) FROM log.event"))[0][0])

    async def losses(self) -> int:
        """How many attempts were lost so far."""
        return len(await self.fetch(_LOSSES))


Strike: TypeAlias = Callable[[Stage], Awaitable[None]]


class Fault(NamedTuple):
    """One thing that goes wrong, and is put right again when `strike` returns."""

    name: str
    strike: Strike
    short: bool
    """Whether it stands for its class in the short tier."""
    loses: bool
    """Whether runners may lose attempts by it. Where they may not, a loss is a false alarm."""
