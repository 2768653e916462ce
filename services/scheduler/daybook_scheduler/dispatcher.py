"""The dispatcher: knows which tasks are queued, and rings for them.

What it knows is in memory, and is nothing but a fold over the log: it starts from the read model's queued tasks, as of
the read model's own cursor, and follows the log from there. So a dispatcher that takes over needs nothing from the one
before, and the hot path writes nothing.

Each queue's work stream is kept shallow, about twice the slots of its live runners, and is filled by priority, then
age, over all apps that somebody serves there. A bell that was rung and led to no claim is rung again: bells live in
NATS' memory and may be lost with it. Several tasks share one bell when there are many.
"""

import asyncio
import heapq
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

import structlog

from daybook.bus import subjects
from daybook.bus.jetstream import Bus
from daybook.bus.messages import encode_bell
from daybook.domain.events import Event, TaskCancelRequested, TaskEvent, TaskSubmitted
from daybook.domain.status import Status, status_after
from daybook.log.connections import Connection
from daybook.log.envelope import START, Cursor, Recorded
from daybook.log.postgres import Log
from daybook.log.sql import statements
from daybook.projections.projector import FOLLOWER as PROJECTOR

_PUMP_SECONDS: Final = 0.25
_IDLE_TURNS: Final = 8
_RING_AGAIN_SECONDS: Final = 2.0
_LONGEST_PAUSE_SECONDS: Final = 15.0
_LARGEST_BELL: Final = 32
_DEPTH: Final = 2
_SQL: Final = statements("daybook.projections")
_LOG_SQL: Final = statements("daybook.log")

log = structlog.get_logger()


@dataclass(slots=True)
class _Rung:
    """A task whose bell was rung: when to ring again unless it was claimed by then."""

    again_at: float
    pause: float


class _Line(NamedTuple):
    """Tasks that the same runners can claim. Those of an app that nobody serves keep no other app's tasks waiting."""

    namespace: str
    queue: str
    app: str


@dataclass(slots=True)
class _Queue:
    """The queued tasks of one line: those waiting for room, by priority and age, and those whose bell was rung."""

    slots: int = 0
    bell: int = 1
    heap: list[tuple[int, float, UUID]] = field(default_factory=list)
    waiting: set[UUID] = field(default_factory=set)
    rung: dict[UUID, _Rung] = field(default_factory=dict)

    def head(self) -> tuple[int, float, UUID] | None:
        """The first of those that wait for room; None when none does."""
        while self.heap and self.heap[0][2] not in self.waiting:
            heapq.heappop(self.heap)
        return self.heap[0] if self.heap else None

    def late(self, now: float) -> list[UUID]:
        """The tasks whose bell led to nothing for too long."""
        return [task for task, rung in self.rung.items() if rung.again_at <= now]

    def forget_bells(self) -> None:
        """Have every bell that was rung be late."""
        for task in self.rung:
            self.rung[task] = _Rung(0.0, _RING_AGAIN_SECONDS / 2)

    def note_rung(self, task: UUID, now: float) -> None:
        """The bell of this task was rung: the first time, or again, and then with a longer pause."""
        before = self.rung.get(task)
        pause = min(before.pause * 2, _LONGEST_PAUSE_SECONDS) if before else _RING_AGAIN_SECONDS
        self.rung[task] = _Rung(now + pause, pause)


class Dispatcher:
    """A `Handler` of its own follower, and a pump that rings between pages."""

    in_transaction = False

    def __init__(self, event_log: Log, bus: Bus) -> None:
        self._log = event_log
        self._bus = bus
        self._queues: dict[_Line, _Queue] = {}
        self._queue_of: dict[UUID, _Line] = {}
        self._slots: Counter[tuple[str, str]] = Counter()
        self._active = False
        self._losses = 0

    def concerns(self, event: Event) -> bool:
        """What changes the status of a task."""
        return isinstance(event, TaskEvent) and not isinstance(event, TaskCancelRequested)

    async def begin(self, connection: Connection) -> Cursor | None:
        """Start from the read model: the tasks it shows as queued, and the cursor as of which it does."""
        self._active = False
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            positions = await connection.fetchval(_LOG_SQL["read_cursor"], PROJECTOR)
            rows = await connection.fetch(_SQL["queued"])
        self._queues = {}
        self._queue_of = {}
        for row in rows:
            line = _Line(row["namespace"], row["queue"], row["app"])
            self._enqueue(row["id"], line, row["priority"], row["submitted_at"].timestamp())
        self._active = True
        return START if positions is None else tuple(positions)

    async def apply(self, connection: Connection, events: list[Recorded]) -> bool:
        """Note who is queued now and who no longer is, then ring."""
        firsts = await self._firsts(events)
        for recorded in events:
            event = recorded.event
            if not isinstance(event, TaskEvent):
                continue
            if status_after(event) is not Status.QUEUED:
                self._forget(recorded.stream)
            elif isinstance(event, TaskSubmitted):
                line = _Line(recorded.namespace, event.queue, event.app)
                self._enqueue(recorded.stream, line, event.priority, recorded.at.timestamp())
            elif (first := firsts.get(recorded.stream)) is not None:
                line = _Line(recorded.namespace, first.queue, first.app)
                self._enqueue(recorded.stream, line, first.priority, recorded.at.timestamp())
        await self._ring()
        return False

    async def pump(self) -> None:
        """Between pages: learn who serves which queue, and ring again what was not claimed. A duty."""
        for turn in itertools.count():
            if self._active:
                # While nobody waits for a runner, nobody is in a hurry to hear of one.
                if self._queue_of or turn % _IDLE_TURNS == 0:
                    await self._learn_slots()
                self._notice_losses()
                await self._ring()
            await asyncio.sleep(_PUMP_SECONDS)

    def rest(self) -> None:
        """Ring no more: what is remembered here is no longer kept up to date. `begin` ends the rest."""
        self._active = False

    def _notice_losses(self) -> None:
        """Bells that may have been lost with NATS' memory are rung again at once, not when their time comes."""
        if self._losses != self._bus.losses:
            self._losses = self._bus.losses
            for queue in self._queues.values():
                queue.forget_bells()

    def _enqueue(self, task: UUID, line: _Line, priority: int, since: float) -> None:
        queue = self._queues.setdefault(line, _Queue())
        self._queue_of[task] = line
        queue.rung.pop(task, None)
        queue.waiting.add(task)
        heapq.heappush(queue.heap, (priority, since, task))

    def _forget(self, task: UUID) -> None:
        line = self._queue_of.pop(task, None)
        if line is not None:
            queue = self._queues[line]
            queue.waiting.discard(task)
            queue.rung.pop(task, None)

    async def _firsts(self, events: Iterable[Recorded]) -> dict[UUID, TaskSubmitted]:
        """What later events do not say: the queue and priority that a task was submitted with."""
        again = [
            recorded.stream
            for recorded in events
            if isinstance(recorded.event, TaskEvent) and not isinstance(recorded.event, TaskSubmitted) and status_after(recorded.event) is Status.QUEUED
        ]
        if not again:
            return {}
        found = await self._log.load_first(again)
        return {stream: first.event for stream, first in found.items() if isinstance(first.event, TaskSubmitted)}

    async def _learn_slots(self) -> None:
        runners = await self._log.pool.fetch(_SQL["live_runners"])
        self._slots = Counter()
        served: Counter[_Line] = Counter()
        smallest: dict[_Line, int] = {}
        for namespace, queues, apps, slots in runners:
            for queue in queues:
                self._slots[namespace, queue] += slots
                for line in (_Line(namespace, queue, app) for app in apps):
                    served[line] += slots
                    smallest[line] = min(slots, smallest.get(line, slots))
        for line in served.keys() | self._queues.keys():
            waiting = self._queues.setdefault(line, _Queue())
            waiting.slots = served[line]
            # A bell must not hold more than any runner can take soon, or its tasks wait behind each other while another runner idles.
            waiting.bell = min(max(smallest.get(line, 1) // 4, 1), _LARGEST_BELL)

    async def _ring(self) -> None:
        if not self._bus.is_connected:
            return
        nats = await self._bus.connected()
        now = asyncio.get_running_loop().time()
        lines: dict[tuple[str, str], list[_Queue]] = {}
        for line, queue in self._queues.items():
            if queue.slots:
                lines.setdefault((line.namespace, line.queue), []).append(queue)
        for place, queues in lines.items():
            for queue in queues:
                for bell in _bells(queue, queue.late(now), now):
                    await nats.publish(subjects.work(place[1]), bell)
            room = _DEPTH * self._slots[place] - sum(len(queue.rung) for queue in queues)
            for queue, tasks in _next(queues, room):
                for bell in _bells(queue, tasks, now):
                    await nats.publish(subjects.work(place[1]), bell)


def _bells(queue: _Queue, tasks: list[UUID], now: float) -> Iterator[bytes]:
    """These tasks of one line in bells; noted as rung."""
    for start in range(0, len(tasks), queue.bell):
        bell = tasks[start : start + queue.bell]
        for task in bell:
            queue.note_rung(task, now)
        yield encode_bell(bell)


def _next(queues: list[_Queue], room: int) -> list[tuple[_Queue, list[UUID]]]:
    """Up to so many tasks to ring for, the most urgent and oldest first, whichever line they wait in. Those of one line
    and priority stay together: they can share a bell, since the same runners serve them."""
    chosen: dict[tuple[int, int], list[UUID]] = {}
    heads = [(head, number) for number, queue in enumerate(queues) if (head := queue.head()) is not None]
    heapq.heapify(heads)
    taken = [len(queue.rung) for queue in queues]
    while heads and room > 0:
        (priority, _, task), number = heads[0]
        queue = queues[number]
        if taken[number] >= _DEPTH * queue.slots:
            heapq.heappop(heads)
            continue
        queue.waiting.discard(task)
        chosen.setdefault((priority, number), []).append(task)
        taken[number] += 1
        room -= 1
        if (head := queue.head()) is not None:
            heapq.heapreplace(heads, (head, number))
        else:
            heapq.heappop(heads)
    return [(queues[number], tasks) for (_, number), tasks in chosen.items()]
