"""One task as server-sent events: a snapshot, then every later event and everything its attempts say, until it ends.

Subscribe first, then read the state, then tell only what is newer: nothing can fall in between. Facts come from the
log; words from NATS, from their beginning, and where NATS has lost some, from what is kept of them in Postgres. They
are told in the order in which they happened: what an attempt said comes after the fact that it began and before the
fact that it ended.

An id is `version.attempt.n`: the last fact and the last word that were told. A client that comes back with one gets a
snapshot of the state as it is now, then every fact and every word since, and 204 once it was told the end. On a fresh
start the snapshot stands for the facts so far, and all words are told.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, NamedTuple

import msgspec
from litestar import Response

from daybook import ids
from daybook.access import Principal
from daybook.bus import subjects
from daybook.domain.events import TaskCancelled, TaskEvent, TaskFailed, TaskLost, TaskReleased, TaskStarted, TaskSucceeded
from daybook.domain.status import TERMINAL, status_after
from daybook.log.connections import LOST
from daybook.log.envelope import Recorded
from daybook.relay import verb_of
from daybook.stored_output import Place, Word, read

from . import sse
from .gateway import Found, Gateway
from .hub import Watch
from .live import Live
from .sse import frame
from .views import event_view

_PATIENCE_SECONDS: Final = 3600.0
_ENDINGS: Final = (TaskSucceeded, TaskFailed, TaskLost, TaskReleased, TaskCancelled)
_ENCODE: Final = msgspec.json.Encoder().encode


class Seen(NamedTuple):
    """How far a client has got: the version of the task, and the last word."""

    version: int = 0
    word: Place = Place()

    @classmethod
    def parse(cls, text: str | None) -> "Seen":
        """The place behind an event id; the beginning for anything else."""
        parts = (text or "").strip().split(".")
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
            return cls()
        return cls(int(parts[0]), Place(int(parts[1]), int(parts[2])))

    def __str__(self) -> str:
        return f"{self.version}.{self.word.attempt}.{self.word.number}"


class TaskStream:
    """The stream of one task for one client."""

    def __init__(self, gateway: Gateway, task_id: str, who: Principal) -> None:
        self._gateway = gateway
        self._task_id = task_id
        self._who = who
        self._facts: deque[Recorded | None] = deque()
        self._stirred = asyncio.Event()

    async def respond(self, last_event_id: str | None) -> Response[Any]:
        """The answer: 204 when this client has seen the end, else the stream. Raises `not-found`."""
        found = await self._gateway.find(self._task_id, self._who)
        seen = Seen.parse(last_event_id)
        if seen.version > found.task.version:
            seen = Seen()  # not an id that we gave out
        if found.task.status in TERMINAL and seen.version == found.task.version:
            return Response(b"", status_code=204)
        return sse.respond(self._frames(found, seen))

    async def _frames(self, found: Found, seen: Seen) -> AsyncIterator[bytes]:
        subject = subjects.live(found.recorded[0].namespace, found.task.owner, found.task.app, self._task_id)
        with self._gateway.hub.watch(found.stream) as watch:
            pump = asyncio.create_task(self._pump(watch))
            try:
                async with Live(self._gateway.bus, subject, self._stirred) as live:
                    found = await self._gateway.find(self._task_id, self._who)
                    self._facts.extendleft(reversed(_missed(found, seen)))
                    told = _Told(found, seen)
                    yield sse.retry() + frame("snapshot", _ENCODE({"task": await self._gateway.view(found)}), told.seen)
                    async for piece in self._tell(told, live):
                        yield piece
            finally:
                pump.cancel()

    async def _tell(self, told: "_Told", live: Live) -> AsyncIterator[bytes]:
        while True:
            self._stirred.clear()
            if self._facts:
                fact = self._facts.popleft()
                if fact is None:
                    return  # closing: the client comes back, perhaps elsewhere
                if told.is_new(fact):
                    if isinstance(fact.event, _ENDINGS):
                        # The attempt is over and can say no more, but not all that it said need have arrived.
                        await live.catch_up(told.seen.word)
                    async for piece in self._words(told, live, to_the_last=isinstance(fact.event, _ENDINGS)):
                        yield piece
                    yield told.fact(fact)
                continue
            if told.ended:
                await live.catch_up(told.seen.word)
            async for piece in self._words(told, live, to_the_last=told.ended):
                yield piece
            if told.ended:
                yield told.end(self._task_id)
                return
            if not self._facts and not await self._stir():
                yield sse.HEARTBEAT

    async def _words(self, told: "_Told", live: Live, *, to_the_last: bool) -> AsyncIterator[bytes]:
        """The next words. With `to_the_last` there will be no others from this attempt, and none is left out."""
        while words := await live.words(told.seen.word, told.attempt):
            for word in words:
                if not told.seen.word.leads_to(word.place):
                    async for piece in self._kept(told, word.place):
                        yield piece
                for piece in told.word(word):
                    yield piece
        if to_the_last:
            async for piece in self._kept(told, Place(told.attempt + 1)):
                yield piece

    async def _kept(self, told: "_Told", before: Place) -> AsyncIterator[bytes]:
        """The words up to a place that NATS has lost, as far as they were stored."""
        stream = ids.parse("tsk", self._task_id)
        assert stream is not None
        more = True
        while more:
            try:
                words, more = await read(self._gateway.log.pool, stream, told.seen.word)
            except LOST:
                return  # then they are missing, and a gap says so
            more = more and bool(words)
            for word in words:
                if word.place >= before:
                    return
                for piece in told.word(word):
                    yield piece

    async def _stir(self) -> bool:
        """Wait until something may have happened; false when nothing did for as long as a client should be left in silence."""
        try:
            async with asyncio.timeout(self._gateway.heartbeat_seconds):
                await self._stirred.wait()
        except TimeoutError:
            return False
        return True

    async def _pump(self, watch: Watch) -> None:
        while True:
            try:
                recorded = await watch.next(_PATIENCE_SECONDS)
            except TimeoutError:
                continue
            self._facts.append(recorded)
            self._stirred.set()
            if recorded is None:
                return


class _Told:
    """What one client has been told so far."""

    def __init__(self, found: Found, seen: Seen) -> None:
        resumes = seen.version > 0
        self.seen = seen if resumes else Seen(found.task.version)
        self._attempt = max((each.event.attempt for each in found.recorded[: self.seen.version] if isinstance(each.event, TaskStarted)), default=0)
        told = found.recorded[: self.seen.version] if resumes else ()
        self._lost = max((each.event.attempt for each in told if isinstance(each.event, TaskLost)), default=0)
        last = found.recorded[self.seen.version - 1].event
        assert isinstance(last, TaskEvent)
        self._status = status_after(last)

    @property
    def attempt(self) -> int:
        """The last attempt whose beginning was told: later ones have to wait with their words."""
        return self._attempt

    @property
    def ended(self) -> bool:
        """Whether the end was told."""
        return self._status in TERMINAL

    def is_new(self, recorded: Recorded) -> bool:
        """Whether this is a fact that was not told yet."""
        return recorded.version > self.seen.version and isinstance(recorded.event, TaskEvent)

    def fact(self, recorded: Recorded) -> bytes:
        """Tell a fact."""
        event = recorded.event
        assert isinstance(event, TaskEvent)
        self._status = status_after(event)
        self.seen = Seen(recorded.version, self.seen.word)
        if isinstance(event, TaskStarted):
            self._attempt = event.attempt
        elif isinstance(event, TaskLost):
            self._lost = event.attempt
        data = _ENCODE({**msgspec.to_builtins(event_view(recorded)), "status": self._status})
        return frame(f"task.{verb_of(event)}", data, self.seen)

    def word(self, word: Word) -> Iterator[bytes]:
        """Tell a word, and before it that some were lost, if so. What an attempt says after it was told to be lost counts no
        more."""
        before, self.seen = self.seen.word, Seen(self.seen.version, word.place)
        if word.place.attempt <= self._lost:
            return
        if not before.leads_to(word.place):
            first = before.number + 1 if before.attempt == word.place.attempt else 1
            yield frame("gap", _ENCODE({"attempt": word.place.attempt, "from": first, "to": word.place.number - 1}))
        yield frame(word.type, word.data, self.seen)

    def end(self, task_id: str) -> bytes:
        """Tell the end."""
        return frame("end", _ENCODE({"status": self._status, "result": f"/v1/tasks/{task_id}/result"}), self.seen)


def _missed(found: Found, seen: Seen) -> list[Recorded]:
    """The facts since a client was cut off; for one that comes for the first time the snapshot stands for them."""
    return found.recorded[seen.version :] if seen.version else []
