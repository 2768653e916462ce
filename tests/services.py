"""Real services for tests: an API on a real socket, a scheduler and a runner, in the test's own event loop, over a real
database and a real nats-server.

Nothing in here stands in for anything: each function opens what a process of that kind opens, and closes it as that
process would. Because they share the test's loop, a test can hand an app an event to wait for, and needs no sleep to
know where it is. Import it by its full name, `tests.services`.
"""

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import httpx2

from daybook import App, ids
from daybook.access import issue_token, split
from daybook.domain.events import AppPublished, Event, TokenRevoked
from daybook.log.postgres import Log
from daybook.manifest import Definition
from daybook.settings import Settings
from daybook_api.serving import Server, configuration
from daybook_api.wiring import Api
from daybook_local.postgres import EmbeddedPostgres
from daybook_runner.wiring import Runner
from daybook_scheduler.wiring import Scheduler

_numbers = itertools.count(1)


@asynccontextmanager
async def fresh_database(postgres: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    """The address, as its owner, of a migrated database that lives as long as this context; for fixtures that live longer than one test."""
    name = f"daybook_services_{next(_numbers)}"
    await _execute(postgres.url("postgres"), f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log")
    try:
        yield postgres.url(name)
    finally:
        await _execute(postgres.url("postgres"), f"DROP DATABASE {name} WITH (FORCE)")


class ServedApi:
    """An API that answers at `url`."""

    def __init__(self, api: Api, server: Server, url: str) -> None:
        self.api = api
        self.server = server
        self.url = url


@asynccontextmanager
async def serving_api(settings: Settings) -> AsyncIterator[ServedApi]:
    """An API process' whole inside, on a port of its own."""
    api = await Api.open(settings)
    # The socket listens before the server runs: who connects early waits in its backlog, and nobody has to ask whether it is up.
    with listening() as listener:
        host, port = listener.getsockname()
        server = Server(configuration(api, host, port), api)
        # In a test, signals are pytest's.
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield ServedApi(api, server, f"http://{host}:{port}")
        finally:
            server.handle_exit(2, None)
            await running
            await api.stop()


@asynccontextmanager
async def running_scheduler(settings: Settings) -> AsyncIterator[Scheduler]:
    """A scheduler process' whole inside."""
    scheduler = await Scheduler.open(settings)
    scheduler.start()
    try:
        yield scheduler
    finally:
        await scheduler.stop()


@asynccontextmanager
async def running_runner(settings: Settings, *apps: App, queues: tuple[str, ...] = ("default",), slots: int = 16) -> AsyncIterator[Runner]:
    """A runner process' whole inside, which serves these apps."""
    definitions: dict[str, Definition] = {}
    for app in apps:
        definitions.update(app.definitions)
    runner = await Runner.open(settings, definitions, queues=queues, slots=slots)
    runner.start()
    try:
        yield runner
    finally:
        await runner.stop()


class Services:
    """All three, and what a test asks of them."""

    def __init__(self, settings: Settings, served: ServedApi, scheduler: Scheduler, runner: Runner) -> None:
        self.settings = settings
        self.served = served
        self.scheduler = scheduler
        self.runner = runner

    @property
    def url(self) -> str:
        """Where the API answers."""
        return self.served.url

    @property
    def api(self) -> Api:
        """The API itself."""
        return self.served.api

    async def token(
        self, owner: str = "ann", *, namespace: str = "default", scopes: tuple[str, ...] = ("submit", "read"), expires_at: datetime | None = None
    ) -> str:
        """A fresh token."""
        return await issue_token(self.settings.database_url, namespace, owner, scopes, "for a test", expires_at)

    async def revoke(self, token: str) -> None:
        """Make a token worthless. The API has heard of it a moment later."""
        parts = split(token)
        assert parts is not None
        await self._append(parts[0], 2, TokenRevoked(actor="a test"), "default")

    async def announce(self, app: AppPublished, namespace: str, *, number: int = 1) -> None:
        """Publish version `number` of an app in a namespace that no runner serves."""
        await self._append(ids.derive_id("app", namespace, app.app), number, app, namespace)

    async def events(self, namespace: str) -> int:
        """How many events the log holds for a namespace."""
        count: int = await self.api.gateway.log.pool.fetchval("SELECT count(*) FROM log.event WHERE namespace = $1", namespace)
        return count

    def client(self, token: str | None, **headers: str) -> httpx2.AsyncClient:
        """A client of the API that sends this token."""
        authorization = {} if token is None else {"Authorization": f"Bearer {token}"}
        # `verify` is for certificates, of which there are none; reading the system's takes longer than most tests.
        return httpx2.AsyncClient(base_url=self.url, headers=authorization | headers, timeout=30, trust_env=False, verify=False)

    async def _append(self, stream: UUID, version: int, event: Event, namespace: str) -> None:
        """Write to the log what only the database's owner may."""
        log = await Log.open(self.settings.database_url, "owner", pool_size=1, writers=1)
        try:
            await log.append(stream, version, event, namespace=namespace)
        finally:
            await log.close()


@asynccontextmanager
async def running_services(settings: Settings, *apps: App) -> AsyncIterator[Services]:
    """An API, a scheduler and a runner that serves these apps; yielded once the API knows the apps."""
    async with serving_api(settings) as served, running_scheduler(settings) as scheduler, running_runner(settings, *apps) as runner:
        yield Services(settings, served, scheduler, runner)


@contextmanager
def listening() -> Iterator[socket.socket]:
    """A socket that listens on a free port of this machine."""
    # asyncio turns Nagle's algorithm off only where the protocol is named, and with it every second answer takes 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(2048)
        yield listener


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


class Frame(NamedTuple):
    """A server-sent event."""

    event: str
    id: str
    data: Any


class Watching:
    """An open stream of server-sent events, frame by frame."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> Frame | None:
        """The next frame; None when the stream has ended."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            async for line in self._lines:
                if not line and "event" in fields:
                    return Frame(fields["event"], fields.get("id", ""), json.loads(fields["data"]))
                name, _, value = line.partition(": ")
                fields[name] = value
        return None

    async def until(self, event: str) -> list[Frame]:
        """The frames up to and with the next of this kind."""
        frames = []
        while (frame := await self.next()) is not None:
            frames.append(frame)
            if frame.event == event:
                return frames
        raise AssertionError(f"the stream ended without {event}: {[frame.event for frame in frames]}")


@asynccontextmanager
async def watching(client: httpx2.AsyncClient, task_id: str, last_event_id: str | None = None) -> AsyncIterator[Watching]:
    """Watch a task."""
    headers = {"Accept": "text/event-stream"} | ({} if last_event_id is None else {"Last-Event-ID": last_event_id})
    async with client.stream("GET", f"/v1/tasks/{task_id}/events", headers=headers) as response:
        yield Watching(response)
