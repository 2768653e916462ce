"""A runner at work, with no scheduler: the test rings the bells, looks on while apps run, and stands between the runner and its servers.

The runner lives in the test's own loop, so an app waits for the test at a `Bench` without looking at a clock.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import UUID

import nats
from tests.bus.parts import everything, kinds_of, submit
from tests.services import running_runner

from daybook import App, Context, ids
from daybook.bus import subjects, topology
from daybook.bus.messages import encode_bell
from daybook.domain.events import Policy
from daybook.log.envelope import Recorded
from daybook.log.postgres import Log
from daybook.settings import Settings
from daybook.testing import eventually
from daybook.testing.proxy import Proxy
from daybook_runner.wiring import Runner


class Bench:
    """Where tasks lie while they run: the test sees which are there, and lets each go."""

    def __init__(self) -> None:
        self.app = App("bench")
        self.began: list[str] = []
        self.ended: list[str] = []
        self._let_go: dict[str, asyncio.Event] = {}
        self._threads_go = threading.Event()
        self.app.task(self.work)
        self.app.task(self.work_in_thread)
        self.app.task(self.fail)

    async def work(self, ctx: Context) -> str:
        """Lie here until the test lets it go."""
        self.began.append(ctx.task_id)
        try:
            await self._let_go.setdefault(ctx.task_id, asyncio.Event()).wait()
        finally:
            self.ended.append(ctx.task_id)
        return "worked"

    def work_in_thread(self, ctx: Context) -> str:
        """The same in a thread: it looks now and then whether it is to stop."""
        self.began.append(ctx.task_id)
        while not ctx.cancelled and not self._threads_go.wait(0.01):
            pass
        self.ended.append(ctx.task_id)
        return "worked"

    async def fail(self, name: str) -> None:
        """Raise an error with any name at all."""
        raise type(name, (Exception,), {})("no")

    def let_go(self, task: UUID) -> None:
        """Let one end."""
        self._let_go.setdefault(ids.spell("tsk", task), asyncio.Event()).set()

    def let_threads_go(self) -> None:
        """Let everything in threads end."""
        self._threads_go.set()

    async def holds(self, *tasks: UUID) -> None:
        """Wait until exactly these have begun, in whatever order."""
        expected = sorted(ids.spell("tsk", task) for task in tasks)
        await eventually(lambda: sorted(self.began) == expected)


class Workshop:
    """The log, as the API sees it, and the doorbell."""

    def __init__(self, log: Log, bench: Bench, settings: Settings, proxy: Proxy) -> None:
        self.log = log
        self.bench = bench
        self.settings = settings
        self.proxy = proxy
        """Stands between the runner and the database."""

    @asynccontextmanager
    async def runner(self, *, slots: int = 4) -> AsyncIterator[Runner]:
        """A runner."""
        place = urlsplit(self.settings.database_url)
        url = self.settings.database_url.replace(f":{place.port}/", f":{self.proxy.port}/")
        settings = Settings(database_url=url, nats_url=self.settings.nats_url)
        async with running_runner(settings, self.bench.app, slots=slots) as running:
            await running.bus.connected()
            yield running

    async def ring(self, *tasks: UUID) -> None:
        """One bell for these tasks."""
        connection = await nats.connect(self.settings.nats_url)
        try:
            await connection.jetstream().publish(subjects.work("default"), encode_bell(list(tasks)))
        finally:
            await connection.close()

    async def accept(self, app: str = "bench.work", given: bytes = b"{}", *, policy: Policy = Policy()) -> UUID:  # noqa: B008 it is frozen
        """A task, with its bell rung."""
        task = await submit(self.log, app, given=given, policy=policy)
        await self.ring(task)
        return task

    async def becomes(self, task: UUID, *kinds: str, timeout_seconds: float = 5.0) -> list[Recorded]:
        """Wait until exactly this has happened to a task."""

        async def has() -> bool:
            return await kinds_of(self.log, task) == list(kinds)

        try:
            await eventually(has, timeout_seconds)
        except AssertionError:
            assert await kinds_of(self.log, task) == list(kinds)
        return await self.log.load(task)

    async def all_heard(self) -> None:
        """Wait until every bell was heard, and acknowledged."""

        async def none_left() -> bool:
            connection = await nats.connect(self.settings.nats_url)
            try:
                return (await connection.jetstream().stream_info(topology.WORK)).state.messages == 0
            finally:
                await connection.close()

        await eventually(none_left)

    async def events(self) -> list[Recorded]:
        """Everything that happened."""
        return await everything(self.log)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Workshop]:
    """A workshop without a runner."""
    place = urlsplit(settings.database_url)
    assert place.hostname is not None
    assert place.port is not None
    log = await Log.open(settings.database_url, "api", pool_size=2, writers=1)
    bench = Bench()
    try:
        async with Proxy(place.hostname, place.port) as proxy:
            yield Workshop(log, bench, settings, proxy)
    finally:
        bench.let_threads_go()
        await log.close()


@asynccontextmanager
async def claims_blocked(database_url: str, task: UUID, version: int = 2) -> AsyncIterator[None]:
    """Have whoever appends this version of a task wait for the end of this context, and then succeed."""
    import asyncpg

    connection = await asyncpg.connect(database_url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(
        "INSERT INTO log.event (lane, position, stream, version, id, kind, namespace, data)"
        " VALUES (63, nextval('log.position'), $1, $2, uuidv7(), 'task.due.v1', 'default', '{}')",
        task,
        version,
    )
    try:
        yield
    finally:
        await transaction.rollback()
        await connection.close()


async def somebody_waits(database_url: str) -> None:
    """Wait until an append waits for another transaction."""
    import asyncpg

    connection = await asyncpg.connect(database_url)
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    async def waits() -> bool:
        return bool(await connection.fetchval(query))

    try:
        await eventually(waits)
    finally:
        await connection.close()
