"""What the dispatcher's tests look at and lean on: the bells as they lie on the work stream, and runners that exist on paper only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import nats
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from tests.bus.parts import open_log

from daybook import ids
from daybook.bus import subjects, topology
from daybook.bus.messages import decode_bell
from daybook.domain.events import TaskReleased, TaskStarted
from daybook.log.postgres import Log
from daybook.testing import eventually


class Bells:
    """The work stream, seen from outside. Each look is a connection of its own: the server may have been killed since the last."""

    def __init__(self, url: str) -> None:
        self._url = url

    @asynccontextmanager
    async def jetstream(self) -> AsyncIterator[JetStreamContext]:
        """For a test that wants to do something to the stream."""
        connection = await nats.connect(self._url)
        try:
            yield connection.jetstream()
        finally:
            await connection.close()

    async def rung(self, queue: str = "default") -> list[list[UUID]]:
        """Every bell that was rung for a queue, in order, with its tasks."""
        async with self.jetstream() as js:
            try:
                state = (await js.stream_info(topology.WORK)).state
            except NotFoundError:
                return []
            numbers = range(state.first_seq, state.last_seq + 1) if state.messages else range(0)
            messages = [await js.get_msg(topology.WORK, number) for number in numbers]
        return [decode_bell(message.data or b"") for message in messages if message.subject == subjects.work(queue)]

    async def tasks(self, queue: str = "default") -> list[UUID]:
        """The tasks of all those bells."""
        return [task for bell in await self.rung(queue) for task in bell]

    async def ring_for(self, tasks: list[UUID], queue: str = "default", timeout_seconds: float = 5.0) -> None:
        """Wait until the bells have rung for exactly these tasks, in this order."""

        async def rung() -> bool:
            return await self.tasks(queue) == tasks

        try:
            await eventually(rung, timeout_seconds)
        except AssertionError:
            assert await self.tasks(queue) == tasks


class PaperRunner:
    """A runner that has a lease, and claims what the test tells it to."""

    def __init__(self, log: Log, runner: str) -> None:
        self.log = log
        self.runner = runner

    async def claim(self, task: UUID, version: int = 1, attempt: int = 1) -> None:
        """Start this task, whose stream has so many events."""
        await self.log.append(task, version + 1, TaskStarted(attempt=attempt, runner=self.runner), namespace="default")

    async def release(self, task: UUID, version: int, attempt: int = 1) -> None:
        """Hand it back."""
        await self.log.append(task, version + 1, TaskReleased(attempt=attempt, actor="a test"), namespace="default")


@asynccontextmanager
async def paper_runner(
    database_url: str, *, slots: int, queues: tuple[str, ...] = ("default",), apps: tuple[str, ...] = ("hello",)
) -> AsyncIterator[PaperRunner]:
    """A runner with so many free slots, for as long as this context lasts."""
    runner, secret = ids.spell("run", ids.new_id()), ids.new_secret()
    async with open_log(database_url, "runner", runner, secret) as log:
        take = "SELECT daybook.take_lease($1, $2, 'default', $3, $6, $4, 'paper', $5)"
        await log.pool.execute(take, runner, secret, list(queues), slots, timedelta(minutes=1), list(apps))
        yield PaperRunner(log, runner)
