"""One watched task in this process: its facts, its words, and one wake-up for all who watch it.

It lives as long as somebody watches. The task is loaded once; from then on the hub tells it what happens. A client is a
cursor into it and a coroutine that waits for the wake-up: a thousand clients of one task cost one query, one
subscription, and each fact and the snapshot are encoded once. Nothing in here waits for a client.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from daybook import ids
from daybook.bus import subjects
from daybook.bus.jetstream import Bus
from daybook.domain.events import TaskCancelled, TaskEvent, TaskFailed, TaskLost, TaskReleased, TaskStarted, TaskSubmitted, TaskSucceeded
from daybook.domain.status import TERMINAL, Status, status_after
from daybook.log.connections import Pool
from daybook.log.envelope import Recorded
from daybook.relay import verb_of

from ..views import event_view
from .memory import Memory
from .stores import Stores
from .words import Words

ENDINGS: Final = (TaskSucceeded, TaskFailed, TaskLost, TaskReleased, TaskCancelled)
"""Events after which an attempt says no more."""

_ENCODE: Final = msgspec.json.Encoder().encode


class Sources(NamedTuple):
    """Where words come from, and the room for them that all channels share."""

    bus: Bus
    pool: Pool
    memory: Memory


class Snapshot(NamedTuple):
    """The task as it was at a version, spelled as an event less its id."""

    version: int
    tail: bytes


Load = Callable[[UUID], Awaitable[list[Recorded]]]
"""All events of a stream, with payloads, in order; empty when there is no such stream."""

Picture = Callable[[list[Recorded]], Awaitable[bytes]]
"""Makes the data of a snapshot from a task's events with their payloads."""


class Fact:
    """One event of the task, and how it is told. What cannot be read, or is none of a task's, is not told."""

    __slots__ = ("_tail", "event", "name", "recorded", "status")

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded
        self.event = recorded.event if isinstance(recorded.event, TaskEvent) else None
        self.name = "" if self.event is None else f"task.{verb_of(self.event)}"
        self.status = None if self.event is None else status_after(self.event)
        self._tail = b""

    @property
    def tail(self) -> bytes:
        """The event less its id, which depends on who is told. Encoded when somebody is."""
        if not self._tail:
            data = _ENCODE({**msgspec.to_builtins(event_view(self.recorded)), "status": self.status})
            self._tail = b"event: %b\ndata: %b\n\n" % (self.name.encode(), data)
        return self._tail


class Channel:
    """What all who watch one task share. Made by `channels`."""

    def __init__(self, stream: UUID, load: Load, sources: Sources) -> None:
        self.stream = stream
        self.users = 0
        self.stirred = asyncio.Event()
        """Set when something is new, and another from then on: take it before looking, and wait for it afterwards."""
        self.closing = False
        """Whether this process is about to stop."""
        self.facts: list[Fact] = []
        self.words: Words | None = None
        self._load = load
        self._sources = sources
        self._early: list[Recorded] = []
        self._snapshot: Snapshot | None = None
        self._drawing: asyncio.Task[Snapshot] | None = None
        self._loading: asyncio.Task[list[Recorded]] | None = None
        self._recorded: list[Recorded] | None = None

    @property
    def version(self) -> int:
        """The last version that is known; 0 before it was loaded, and for a task that is not there."""
        return len(self.facts)

    @property
    def submitted(self) -> TaskSubmitted | None:
        """The first event; None where there is no such task."""
        event = self.facts[0].event if self.facts else None
        return event if isinstance(event, TaskSubmitted) else None

    @property
    def status(self) -> Status | None:
        """The status that the events so far have led to."""
        return next((fact.status for fact in reversed(self.facts) if fact.status is not None), None)

    async def load(self) -> None:
        """Learn what the log holds, if nothing is known yet: once for all who come, since the hub tells what happens meanwhile."""
        if not self.facts:
            if self._loading is None or self._loading.done():
                self._loading = asyncio.create_task(self.look())
            await asyncio.shield(self._loading)

    async def look(self) -> list[Recorded]:
        """Learn what the log holds now: the task's events with their payloads."""
        recorded = await self._load(self.stream)
        self._learn(recorded)
        self._recorded = recorded
        return recorded

    def tell(self, recorded: Recorded | None) -> None:
        """The hub has read an event of this task; or it is closing."""
        if recorded is None:
            self.closing = True
            self.stir()
        elif self.facts:
            self._learn([recorded])
        else:
            self._early.append(recorded)

    def stir(self) -> None:
        """Wake everybody."""
        self.stirred.set()
        self.stirred = asyncio.Event()

    async def listen(self) -> Words:
        """The words of the task; listening to what is said from now on, where anything may be."""
        submitted = self.submitted
        assert submitted is not None
        if self.words is None:
            subject = subjects.live(self.facts[0].recorded.namespace, submitted.owner, submitted.app, ids.spell("tsk", self.stream))
            bus, pool, memory = self._sources
            self.words = Words(bus, subject, Stores(bus, pool, memory, self.stream, subject), memory, self.stir)
            self._note_ends()
        if self.status not in TERMINAL:
            await self.words.listen()
        return self.words

    async def snapshot(self, picture: Picture) -> Snapshot:
        """The task as it is now, drawn once for all who ask before it changes."""
        wanted = self.version
        known = self._snapshot
        while known is None or known.version < wanted:
            if self._drawing is None:
                self._drawing = asyncio.create_task(self._draw(picture))
            known = await asyncio.shield(self._drawing)
        return known

    def forget(self) -> None:
        """Let go of what holds payloads, which somebody may have erased meanwhile, and may be large."""
        self._snapshot = self._recorded = None

    async def _draw(self, picture: Picture) -> Snapshot:
        try:
            known = self._recorded
            recorded = known if known is not None and len(known) == self.version else await self.look()
            data = await picture(recorded)
            self._snapshot = Snapshot(len(recorded), b"event: snapshot\ndata: %b\n\n" % data)
            return self._snapshot
        finally:
            self._drawing = None

    def _learn(self, recorded: list[Recorded]) -> None:
        before = self.version
        for each in (*recorded, *self._early):
            if each.version == self.version + 1:
                # A payload is for the snapshot alone.
                self.facts.append(Fact(each if each.payload is None else msgspec.structs.replace(each, payload=None)))
        if self.facts:
            self._early.clear()
        if self.version != before:
            self._note_ends()
            self.stir()

    def _note_ends(self) -> None:
        """Tell the words which attempts say no more."""
        if self.words is None:
            return
        attempt = 0
        for fact in self.facts:
            if isinstance(fact.event, TaskStarted):
                attempt = fact.event.attempt
            elif isinstance(fact.event, ENDINGS):
                self.words.over = max(self.words.over, attempt)
        self.words.changed()
