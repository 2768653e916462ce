"""The intake: hears doorbells, loads the tasks they name, claims them in batches, and starts their attempts.

Bells are pulled only for free slots. A slot is free again when its attempt has been executed: the report that follows
waits for the database and needs no slot, up to a few times as many. A pull asks for a few bells and is repeated before it has run dry; each ends by
itself after a few seconds, so that a server that lost it (or its whole store) is asked again soon. Everything that one
round of bells names is loaded by one query and claimed by one commit.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

import msgspec
import structlog
from nats.aio.msg import Msg

from daybook import clock, ids
from daybook.bus.jetstream import Bus
from daybook.bus.messages import decode_bell
from daybook.bus.topology import WORK, consumer_of
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

_PULL_SECONDS: Final = 4.0
_LARGEST_PULL: Final = 16
_REPORTS_PER_SLOT: Final = 3
_LOOK_SECONDS: Final = 2.0
_SETTLE_SECONDS: Final = 0.5
_SQL: Final = statements("daybook_runner")

log = structlog.get_logger()


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
        self._start = Start(actor=f"runner:{runner}", runner=runner)
        self._namespace = namespace
        self._queues = queues
        self._slots = slots
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._executing: set[UUID] = set()
        self._bells: list[tuple[list[UUID], Msg]] = []
        self._changed = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._open = True

    async def run(self) -> None:
        """Pull and claim, for ever. A duty."""
        nats = await self._bus.connected()
        pulls = [_Pull(queue, nats.new_inbox()) for queue in self._queues]
        subscriptions = [await nats.subscribe(pull.inbox, cb=self._heard(pull)) for pull in pulls]
        losses = self._bus.losses
        try:
            while self._open:
                if losses != self._bus.losses:
                    losses = self._bus.losses
                    for pull in pulls:
                        pull.forget()
                free = self._free()
                if free > 0:
                    for pull in pulls:
                        if pull.wants_more():
                            await nats.publish(*pull.request(min(max(free // 4, 1), _LARGEST_PULL)))
                    if self._bells:
                        async with self._claiming:
                            await self._claim(free)
                        continue
                await self._change(_PULL_SECONDS / 2)
        finally:
            for subscription in subscriptions:
                await subscription.unsubscribe()

    def _free(self) -> int:
        """How many attempts may begin now. When the database is slow to take reports, they must not pile up without end."""
        return min(self._slots - len(self._executing), self._slots * (1 + _REPORTS_PER_SLOT) - len(self._running))

    def cancel(self, stream: UUID) -> None:
        """Stop a running attempt whose task is to be cancelled."""
        running = self._running.get(stream)
        if running is not None:
            self._attempts.interrupt(running, stream, "cancelled")

    async def watch_cancels(self) -> None:
        """Look in the log every few seconds whether a running task is to be cancelled: NATS may not have said so. A duty."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._running:
                for row in await self._log.pool.fetch(_SQL["cancel_requested"], list(self._running)):
                    self.cancel(row["stream"])

    async def drain(self, grace_seconds: float) -> None:
        """Take no more work, let what runs finish for a while, then hand the rest back."""
        self._open = False
        self._changed.set()
        with suppress(TimeoutError):
            # What is being claimed at this moment is ours too, as soon as the log says so.
            async with asyncio.timeout(grace_seconds), self._claiming:
                while self._running:
                    await asyncio.wait(self._running.values())
        for stream, running in list(self._running.items()):
            self._attempts.interrupt(running, stream, "drained")
        if self._running:
            await asyncio.wait(self._running.values(), timeout=2)

    def _heard(self, pull: "_Pull") -> Callable[[Msg], Awaitable[None]]:
        async def heard(message: Msg) -> None:
            if message.data and message.reply:
                pull.received()
                self._bells.append((decode_bell(message.data), message))
            else:
                pull.ended(message.headers)
            self._changed.set()

        return heard

    async def _change(self, seconds: float) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _claim(self, free: int) -> None:
        """Claim as many of the tasks rung for as there are free slots; what does not fit stays for the next round."""
        wanted: dict[UUID, None] = {}
        heard: list[Msg] = []
        while self._open and self._bells and len(wanted) < free:
            tasks, message = self._bells.pop(0)
            fitting, rest = tasks[: free - len(wanted)], tasks[free - len(wanted) :]
            wanted.update(dict.fromkeys(task for task in fitting if task not in self._running))
            if rest:
                self._bells.insert(0, (rest, message))
            else:
                heard.append(message)
        if wanted:
            streams = await self._log.load_many(list(wanted))
            claims = [claim for claim in map(self._claimable, streams.values()) if claim is not None]
            await self._claim_all(claims)
        for message in heard:
            await message.ack()

    def _claimable(self, recorded: list[Recorded]) -> tuple[Attempt, TaskEvent] | None:
        """The attempt that this runner could make of a loaded task, and the event that claims it; None when it is not
        for this runner or not queued."""
        try:
            task = fold(events_of(recorded))
        except StreamUnreadable as error:
            log.warning("task.unreadable", detail=str(error))
            return None
        if task is None or recorded[0].namespace != self._namespace:
            return None
        definition = self._definitions.get(task.app)
        event = decide(task, self._start, clock.now())
        if definition is None or not isinstance(event, TaskEvent):
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
                    self._begin(attempt.stream, self._run(_claimed(attempt, event, append.result().at)))
                case Conflict():
                    pass
                case LogUnavailable():
                    self._begin(attempt.stream, self._run_if_claimed(attempt, event))
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

    def _begin(self, stream: UUID, work: Coroutine[None, None, None]) -> None:
        self._executing.add(stream)
        running = self._running[stream] = asyncio.create_task(work)
        running.add_done_callback(partial(self._ended, stream))

    def _ended(self, stream: UUID, done: "asyncio.Task[None]") -> None:
        self._running.pop(stream, None)
        self._executed(stream)
        if not done.cancelled() and done.exception() is not None:
            log.error("attempt.crashed", task=str(stream), exc_info=done.exception())


def _claimed(attempt: Attempt, event: TaskEvent, at: datetime) -> Attempt:
    return msgspec.structs.replace(attempt, task=evolve(attempt.task, event, at))


class _Pull:
    """A standing request for bells of one queue: how many more will come, and until when."""

    def __init__(self, queue: str, inbox: str) -> None:
        self.inbox = inbox
        consumer = consumer_of(queue).durable_name
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{WORK}.{consumer}"
        self._due = 0
        self._batch = 0
        self._until = 0.0
        self._not_before = 0.0

    def wants_more(self) -> bool:
        now = asyncio.get_running_loop().time()
        return now >= self._not_before and (now >= self._until or self._due * 2 <= self._batch)

    def request(self, batch: int) -> tuple[str, bytes, str]:
        """Subject, body and reply subject of a pull for so many bells."""
        self._due = self._batch = batch
        self._until = asyncio.get_running_loop().time() + _PULL_SECONDS
        body = msgspec.json.encode({"batch": batch, "expires": int(_PULL_SECONDS * 1e9)})
        return self._subject, body, self.inbox

    def forget(self) -> None:
        """The server may have forgotten the request."""
        self._until = 0.0

    def received(self) -> None:
        self._due -= 1

    def ended(self, headers: dict[str, str] | None) -> None:
        """The server ended the pull. When it did so because something is missing, asking again at once would only spin."""
        self._due = 0
        if (headers or {}).get("Status") not in {"404", "408"}:
            self._not_before = asyncio.get_running_loop().time() + 0.25
