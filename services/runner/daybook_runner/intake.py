"""The intake: learns of queued tasks, claims them in batches, and starts their attempts.

It learns of them from doorbells; while NATS is away it asks Postgres, which is slower and needs nobody. Everything that
one round of bells names is loaded by one query and claimed by one commit. A slot is free again when its attempt has been
executed: the report that follows waits for the database and needs no slot, up to a few times as many.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID
from zlib import crc32

import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg

from daybook import clock, ids
from daybook.bus.jetstream import Bus
from daybook.domain.commands import Start
from daybook.domain.events import TaskEvent
from daybook.domain.task import decide, evolve, fold
from daybook.log import codec
from daybook.log.connections import LOST
from daybook.log.envelope import Conflict, LogUnavailable, Recorded, StreamUnreadable
from daybook.log.postgres import Log, events_of
from daybook.log.sql import statements
from daybook.manifest import Definition

from .attempt import Attempt, Attempts
from .bells import Bells

_REPORTS_PER_SLOT: Final = 3
_MOST_TURNS: Final = 6
_TURN_SECONDS: Final = 0.05
_LOOK_SECONDS: Final = 2.0
_ASK_SECONDS: Final = 0.5
_SETTLE_SECONDS: Final = 0.5
_SQL: Final = statements("daybook_runner")
_READ_SQL: Final = statements("daybook.projections")

log = structlog.get_logger()


class _Running(NamedTuple):
    work: "asyncio.Task[None]"
    started: int
    """The version of the stream at which the attempt began."""


class Intake:
    """Fills the runner's slots from its queues."""

    def __init__(
        self,
        event_log: Log,
        bus: Bus,
        attempts: Attempts,
        definitions: dict[str, Definition],
        *,
        runner: str,
        namespace: str,
        queues: tuple[str, ...],
        slots: int,
    ) -> None:
        self._log = event_log
        self._bus = bus
        self._attempts = attempts
        self._definitions = definitions
        self._runner = runner
        self._start = Start(actor=f"runner:{runner}", runner=runner)
        self._namespace = namespace
        self._queues = queues
        self._slots = slots
        self._running: dict[UUID, _Running] = {}
        self._executing: set[UUID] = set()
        self._waiting: list[tuple[list[UUID], Msg | None]] = []
        self.bells = Bells(bus, queues, free=self._free, heard=self._hear)
        self._changed = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._open = True

    async def run(self) -> None:
        """Claim what is waiting as slots become free, for ever. A duty; `bells.run` and `ask` are the others."""
        while self._open:
            self._changed.clear()
            free = self._free()
            if free > 0 and self._waiting:
                async with self._claiming:
                    await self._claim(free)
            else:
                await self._changed.wait()

    async def ask(self) -> None:
        """While NATS is away, ask Postgres what is queued. A duty."""
        while True:
            await asyncio.sleep(_ASK_SECONDS)
            free = self._free()
            if self._bus.is_connected or free <= 0 or self._waiting:
                continue
            # Several runners ask at once and see the same: each begins somewhere else among the first.
            rows = await self._log.pool.fetch(_READ_SQL["claimable"], self._namespace, list(self._queues), list(self._definitions), 4 * free)
            tasks = [row["id"] for row in rows]
            turn = crc32(self._runner.encode()) % max(len(tasks) - free, 1)
            self._hear(tasks[turn : turn + free], None)

    def _free(self) -> int:
        """How many attempts may begin now. When the database is slow to take reports, they must not pile up without end."""
        if not self._open:
            return 0
        return min(self._slots - len(self._executing), self._slots * (1 + _REPORTS_PER_SLOT) - len(self._running))

    def cancel(self, stream: UUID) -> None:
        """Stop a running attempt whose task is to be cancelled."""
        running = self._running.get(stream)
        if running is not None:
            self._attempts.interrupt(running.work, stream, "cancelled")

    async def watch_log(self) -> None:
        """Look in the log every few seconds whether what runs is still to run: NATS may not have said that it is to be
        cancelled, and nobody says that it counts as lost. A duty."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._running:
                started = [running.started for running in self._running.values()]
                for row in await self._log.pool.fetch(_SQL["unwanted"], list(self._running), started):
                    self.cancel(row["stream"])

    async def drain(self, grace_seconds: float) -> None:
        """Take no more work, let what runs finish for a while, then hand the rest back."""
        self._open = False
        self._changed.set()
        with suppress(TimeoutError):
            # What is being claimed at this moment is ours too, as soon as the log says so.
            async with asyncio.timeout(grace_seconds), self._claiming:
                while self._running:
                    await asyncio.wait(self._works())
        for stream, running in list(self._running.items()):
            self._attempts.interrupt(running.work, stream, "drained")
        if self._running:
            await asyncio.wait(self._works(), timeout=2)

    def _works(self) -> "list[asyncio.Task[None]]":
        return [running.work for running in self._running.values()]

    def _hear(self, tasks: list[UUID], message: Msg | None) -> None:
        self._waiting.append((tasks, message))
        self._changed.set()

    async def _claim(self, free: int) -> None:
        """Claim as many of the tasks rung for as there are free slots; what does not fit stays for the next round."""
        wanted: dict[UUID, None] = {}
        heard: list[tuple[list[UUID], Msg | None]] = []
        others: set[UUID] = set()
        while self._open and self._waiting and len(wanted) < free:
            tasks, message = self._waiting.pop(0)
            fitting, rest = tasks[: free - len(wanted)], tasks[free - len(wanted) :]
            # An attempt of ours that counts as lost is still in the way of the next one.
            others.update(self._running.keys() & fitting)
            wanted.update(dict.fromkeys(task for task in fitting if task not in self._running))
            if rest:
                self._waiting.insert(0, (rest, message))
            else:
                heard.append((tasks, message))
        if wanted:
            streams = await self._log.load_many(list(wanted))
            claims = [claim for recorded in streams.values() if (claim := self._claimable(recorded, others)) is not None]
            await self._claim_all(claims)
        for tasks, message in heard:
            if message is not None:
                with suppress(nats.errors.Error):  # It will be rung again, and found to be claimed.
                    await _answer(message, for_others=not others.isdisjoint(tasks))

    def _claimable(self, recorded: list[Recorded], others: set[UUID]) -> tuple[Attempt, TaskEvent] | None:
        """The attempt that this runner could make of a loaded task, and the event that claims it; None when it is not
        queued, or not for this runner. One that is for others is noted there."""
        try:
            task = fold(events_of(recorded))
        except (StreamUnreadable, ValueError) as error:
            # Whatever is wrong with one stream, the others are not to wait for it.
            log.warning("task.unreadable", task=str(recorded[0].stream), detail=str(error))
            return None
        if task is None or recorded[0].namespace != self._namespace:
            return None
        event = decide(task, self._start, clock.now())
        if not isinstance(event, TaskEvent):
            return None
        definition = self._definitions.get(task.app)
        if definition is None:
            others.add(recorded[0].stream)
            return None
        content = codec.unseal(task.input, recorded[0].payload)
        return (
            Attempt(
                stream=recorded[0].stream,
                task_id=ids.spell("tsk", recorded[0].stream),
                namespace=recorded[0].namespace,
                task=task,
                definition=definition,
                input=content,
            ),
            event,
        )

    async def _claim_all(self, claims: list[tuple[Attempt, TaskEvent]]) -> None:
        """Append all claims at once, and start those that won. One that lost its race is somebody else's now."""
        appends = [self._log.append(attempt.stream, attempt.task.version + 1, event, namespace=attempt.namespace) for attempt, event in claims]
        if appends:
            await asyncio.wait(appends)
        errors = []
        for (attempt, event), append in zip(claims, appends, strict=True):
            match append.exception():
                case None:
                    self._begin(attempt, self._run(_claimed(attempt, event, append.result().at)))
                case Conflict():
                    pass
                case LogUnavailable():
                    self._begin(attempt, self._run_if_claimed(attempt, event))
                case error:
                    errors.append(error)
        if errors:
            raise errors[0]

    async def _run_if_claimed(self, attempt: Attempt, event: TaskEvent) -> None:
        """The database went away in mid-claim, for longer than an append waits. If the claim is there when it is back,
        the attempt is ours, and nobody else would ever run it."""
        while True:
            try:
                recorded = await self._log.load(attempt.stream)
                break
            except LOST:
                await asyncio.sleep(_SETTLE_SECONDS)
        version = attempt.task.version
        if len(recorded) > version and recorded[version].event == event:
            await self._run(_claimed(attempt, event, recorded[version].at))

    async def _run(self, attempt: Attempt) -> None:
        await self._attempts.run(attempt, executed=partial(self._executed, attempt.stream))

    def _executed(self, stream: UUID) -> None:
        self._executing.discard(stream)
        self._changed.set()
        self.bells.look()

    def _begin(self, attempt: Attempt, work: Coroutine[None, None, None]) -> None:
        self._executing.add(attempt.stream)
        running = _Running(asyncio.create_task(work), attempt.task.version + 1)
        self._running[attempt.stream] = running
        running.work.add_done_callback(partial(self._ended, attempt.stream))

    def _ended(self, stream: UUID, done: "asyncio.Task[None]") -> None:
        self._running.pop(stream, None)
        self._executed(stream)
        if not done.cancelled() and done.exception() is not None:
            log.error("attempt.crashed", task=str(stream), exc_info=done.exception())


async def _answer(message: Msg, *, for_others: bool) -> None:
    """Take a bell off the queue; one that is (also) for a runner that serves other apps, or for later, goes round a few
    times more."""
    turn = message.metadata.num_delivered
    if for_others and turn < _MOST_TURNS:
        await message.nak(delay=_TURN_SECONDS * turn)
    else:
        await message.ack()


def _claimed(attempt: Attempt, event: TaskEvent, at: datetime) -> Attempt:
    return msgspec.structs.replace(attempt, task=evolve(attempt.task, event, at))
