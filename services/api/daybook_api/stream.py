"""One task as server-sent events: a snapshot, then every later event and everything its attempt says, until it ends.

Subscribe first, then read the state, then tell only what is newer: nothing can fall in between. Facts come from the log; what an attempt says comes from NATS, from its
beginning where NATS still has it. An id is `version.attempt.n`; a client that comes back with the last one it saw is told only what is newer, and 204 once the end was told.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

import msgspec
import nats.errors
from litestar import Response
from litestar.response import Stream
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy

from daybook import ids
from daybook.access import Principal
from daybook.bus import subjects
from daybook.domain.events import TaskEvent
from daybook.domain.status import TERMINAL, status_after
from daybook.log.envelope import Recorded
from daybook.relay import verb_of

from .gateway import Found, Gateway
from .hub import Watch
from .schemas import event_view

_HEARTBEAT_SECONDS: Final = 15.0
_LAST_WORDS_SECONDS: Final = 0.5
_BOUND: Final = 1024
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_ENCODE: Final = msgspec.json.Encoder().encode


class Seen(NamedTuple):
    """How far a client has got: the version, and in it the attempt and the number of what it said."""

    version: int = 0
    attempt: int = 0
    number: int = 0

    @classmethod
    def parse(cls, text: str | None) -> "Seen":
        """The place behind an event id; the beginning for anything else."""
        parts = (text or "").strip().split(".")
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
            return cls()
        return cls(*map(int, parts))

    def __str__(self) -> str:
        return f"{self.version}.{self.attempt}.{self.number}"


class _Said(msgspec.Struct):
    """What is looked at of a live message; all of it is passed on."""

    type: str
    attempt: int
    n: int


_SAID: Final = msgspec.json.Decoder(_Said)


def wants_stream(accept: str | None) -> bool:
    """Whether the client asks for server-sent events."""
    return any(part.partition(";")[0].strip().lower() == "text/event-stream" for part in (accept or "").split(","))


class TaskStream:
    """The stream of one task for one client."""

    def __init__(self, gateway: Gateway, task_id: str, who: Principal) -> None:
        self._gateway = gateway
        self._task_id = task_id
        self._who = who
        self._words: asyncio.Queue[bytes | Recorded | None] = asyncio.Queue(_BOUND)

    async def respond(self, last_event_id: str | None) -> Response[Any]:
        """The answer: 204 when this client has seen the end, else the stream. Raises `not-found`."""
        found = await self._gateway.find(self._task_id, self._who)
        seen = Seen.parse(last_event_id)
        if found.task.status in TERMINAL and seen.version >= found.task.version:
            return Response(b"", status_code=204)
        return Stream(self._frames(found, seen), media_type="text/event-stream", headers=_HEADERS)

    async def _frames(self, found: Found, seen: Seen) -> AsyncIterator[bytes]:
        with self._gateway.hub.watch(found.stream) as watch:
            listening = await self._listen(found)
            pump = asyncio.create_task(self._pump(watch))
            try:
                found = await self._gateway.find(self._task_id, self._who)
                task = found.task
                seen = Seen(task.version, seen.attempt, seen.number)
                yield frame("snapshot", _ENCODE({"task": await self._gateway.view(found)}), seen)
                ended = task.status in TERMINAL
                while not ended:
                    try:
                        async with asyncio.timeout(_HEARTBEAT_SECONDS):
                            word = await self._words.get()
                    except TimeoutError:
                        yield frame("heartbeat", b"{}")
                        continue
                    if word is None:
                        return
                    if isinstance(word, bytes):
                        said, seen = self._said(word, seen)
                        if said:
                            yield said
                    elif word.version > seen.version and isinstance(word.event, TaskEvent):
                        ended = status_after(word.event) in TERMINAL
                        if ended:
                            async for said, place in self._last_words(seen):
                                seen = place
                                yield said
                        seen = Seen(word.version, seen.attempt, seen.number)
                        yield frame(f"task.{verb_of(word.event)}", _fact(word), seen)
                async for said, place in self._last_words(seen):
                    seen = place
                    yield said
                found = await self._gateway.find(self._task_id, self._who)
                end = {"status": found.task.status, "result": f"/v1/tasks/{self._task_id}/result"}
                yield frame("end", _ENCODE(end), seen)
            finally:
                pump.cancel()
                if listening is not None:
                    await listening.unsubscribe()

    async def _pump(self, watch: Watch) -> None:
        """Facts and words share one bounded queue, in the order of their arrival."""
        while True:
            try:
                recorded = await watch.next(3600)
            except TimeoutError:
                continue
            await self._words.put(recorded)
            if recorded is None:
                return

    async def _listen(self, found: Found) -> Any:
        if not self._gateway.bus.is_connected:
            return None
        subject = subjects.live(found.recorded[0].namespace, found.task.owner, found.task.app, ids.spell("tsk", found.stream))

        async def heard(message: Msg) -> None:
            await self._words.put(message.data)

        js = await self._gateway.bus.jetstream()
        try:
            return await js.subscribe(subject, cb=heard, ordered_consumer=True, deliver_policy=DeliverPolicy.ALL)
        except (nats.errors.Error, TimeoutError):
            return None  # the facts come all the same

    async def _last_words(self, seen: Seen) -> AsyncIterator[tuple[bytes, Seen]]:
        """What the attempt said before it ended may still be under way: a runner sends it before it reports."""
        while True:
            try:
                async with asyncio.timeout(_LAST_WORDS_SECONDS if self._gateway.bus.is_connected else 0):
                    word = await self._words.get()
            except TimeoutError:
                return
            if isinstance(word, bytes):
                said, seen = self._said(word, seen)
                if said:
                    yield said, seen
            elif word is None:
                return

    def _said(self, word: bytes, seen: Seen) -> tuple[bytes, Seen]:
        try:
            said = _SAID.decode(word)
        except msgspec.DecodeError:
            return b"", seen
        if (said.attempt, said.n) <= (seen.attempt, seen.number):
            return b"", seen
        place = Seen(seen.version, said.attempt, said.n)
        return frame(said.type, word, place), place


def frame(event: str, data: bytes, seen: Seen | None = None) -> bytes:
    """One server-sent event. `data` is JSON and so has no line breaks."""
    name = f"id: {seen}\nevent: {event}\n" if seen is not None else f"event: {event}\n"
    return name.encode() + b"data: " + data + b"\n\n"


def _fact(recorded: Recorded) -> bytes:
    assert isinstance(recorded.event, TaskEvent)
    return _ENCODE({**msgspec.to_builtins(event_view(recorded)), "status": status_after(recorded.event)})
