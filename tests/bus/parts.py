"""Parts of Daybook, put to work one at a time: for tests of the bus, the scheduler and the runner that need less than a whole service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final
from uuid import UUID

from nats.aio.client import Client

from daybook import ids
from daybook.bus.jetstream import Bus
from daybook.domain.events import Policy, TaskSubmitted
from daybook.lifecycle import Duties
from daybook.log import codec
from daybook.log.envelope import START, Recorded
from daybook.log.postgres import Log, Role, read_page

EMPTY_INPUT: Final = codec.seal(b"{}")


@asynccontextmanager
async def running_bus(url: str, *queues: str, ready: bool = True) -> AsyncIterator[Bus]:
    """A bus whose duty runs; yielded when it is connected, or at once."""
    bus = Bus(url, "a test", queues=queues or ("default",))
    duties = Duties()
    duties.add("bus", bus.run)
    duties.start()
    try:
        if ready:
            await bus.connected()
        yield bus
    finally:
        await duties.stop()
        await bus.close()


async def settled(connection: Client) -> None:
    """Return when the server has read everything that was sent so far. The client puts the ping of a flush before what it has
    yet to write; what came before the first is written by the time of the second."""
    for _ in range(2):
        await connection.flush()


@asynccontextmanager
async def open_log(url: str, role: Role = "api", *credentials: str) -> AsyncIterator[Log]:
    """The log, seen by a role."""
    log = await Log.open(url, role, credentials=credentials, pool_size=2, writers=1)
    try:
        yield log
    finally:
        await log.close()


async def submit(
    log: Log,
    app: str = "hello",
    *,
    given: bytes = b"{}",
    queue: str = "default",
    priority: int = 3,
    run_at: datetime | None = None,
    policy: Policy = Policy(),  # noqa: B008 it is frozen
    labels: dict[str, str] | None = None,
    namespace: str = "default",
) -> UUID:
    """A task in the log with this input, as the API would put it there."""
    stream, sealed = ids.new_id(), codec.seal(given)
    event = TaskSubmitted(
        owner="ann",
        app=app,
        app_version="1",
        input=sealed.content,
        queue=queue,
        priority=priority,
        run_at=run_at,
        policy=policy,
        labels=labels or {},
        actor="user:ann",
    )
    if sealed.blob is not None:
        await log.put_blob(sealed.content.digest, sealed.blob)
    await log.append(stream, 1, event, namespace=namespace, payload=sealed.payload)
    return stream


async def everything(log: Log) -> list[Recorded]:
    """All events of the log, in the order of a follower."""
    async with log.pool.acquire() as connection:
        return (await read_page(connection, START, 100_000)).events  # type: ignore[arg-type]


async def kinds_of(log: Log, stream: UUID) -> list[str]:
    """What happened to a task: `submitted`, `started` …"""
    return [str(each.event.__struct_config__.tag).split(".")[1] for each in await log.load(stream)]  # type: ignore[union-attr]
