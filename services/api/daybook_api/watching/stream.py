"""One task as server-sent events: a snapshot, then every later event and everything its attempts say, until it ends.

Subscribe first, then read the state, then tell only what is newer: nothing can fall in between. Facts come from the
log; words from NATS, and where that has lost some, from what is kept of them in Postgres. All of that is shared by those
who watch the task in this process (`channel`); a client is a place in it (`told`).

An id is `version.attempt.n`: the last fact and the last word that were told; that of the end says so besides. A client
that comes back with one gets a snapshot of the state as it is now, then every fact and every word since, and 204 once it
was told the end: who knows the last fact need not know the last word. On a fresh start the snapshot stands for the facts
so far, and all words are told.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Response

from daybook import ids
from daybook.access import Principal
from daybook.domain.refusals import NotFound
from daybook.domain.status import TERMINAL
from daybook.domain.task import fold
from daybook.log.envelope import Recorded
from daybook.log.postgres import events_of
from daybook.stored_output import TYPES

from ..gateway import Found, Gateway
from ..problems import of_refusal
from ..requests import refused
from . import sse
from .channel import Channel, Fact
from .standing import standing
from .told import FACT_NAMES, Seen, Telling, Wanted

_ENCODE: Final = msgspec.json.Encoder().encode


def wanted_of(given: list[str]) -> Wanted:
    """What `?types=` asks for: names of events joined by commas, `task` for all facts. Raises a problem that names what is unknown."""
    if not given:
        return Wanted()
    names = frozenset(given[0].split(","))
    for name in sorted(names - FACT_NAMES - TYPES - {"task"}):
        raise refused("types", f"cannot be {name!r}", hint=f"The types are task, {', '.join(sorted(FACT_NAMES | TYPES))}.")
    return Wanted(names)


def is_wanted(recorded: Recorded, wanted: Wanted) -> bool:
    """Whether this event is among those that were asked for. One that cannot be read has no name but its own."""
    return Fact(recorded).name in wanted


class TaskStream:
    """The stream of one task for one client."""

    def __init__(self, gateway: Gateway, task_id: str, who: Principal, wanted: Wanted) -> None:
        self._gateway = gateway
        self._task_id = task_id
        self._who = who
        self._wanted = wanted

    async def respond(self, last_event_id: str | None) -> Response[Any]:
        """The answer: 204 when this client has seen the end, else the stream. Raises `not-found`."""
        stream = ids.parse("tsk", self._task_id)
        if stream is None:
            raise of_refusal(NotFound())
        seen = Seen.parse(last_event_id)
        async with self._gateway.channels.open(stream) as channel:
            self._check_access(channel)
            if seen.version > channel.version or channel.status in TERMINAL:
                # The client may know more than was told here; and an end is not told before it is certain that it is one.
                await channel.look()
            if seen.version > channel.version:
                seen = Seen()  # not an id that we gave out
            if channel.status in TERMINAL and seen.version == channel.version and seen.end:
                return Response(b"", status_code=204)
        return sse.respond(self._frames(stream, seen))

    def _check_access(self, channel: Channel) -> None:
        submitted = channel.submitted
        may = submitted is not None and (submitted.owner == self._who.owner or "admin" in self._who.scopes)
        if not may or channel.facts[0].recorded.namespace != self._who.namespace:
            raise of_refusal(NotFound())

    async def _frames(self, stream: UUID, seen: Seen) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        # Those who were told of one event would otherwise all be silent until the same moment, and be told so in one burst.
        silence = self._gateway.heartbeat_seconds * (1 - ids.new_id().int % 256 / 1024)
        async with self._gateway.channels.open(stream) as channel, standing(self._gateway.hub, self._who, channel.stir) as reader:
            words = await channel.listen() if self._wanted.words else None
            snapshot = await channel.snapshot(self._draw)
            telling = Telling(channel, words, self._wanted, self._task_id, seen, snapshot.version)
            yield sse.retry() + telling.snapshot(snapshot.tail)
            silent_until = loop.time() + silence
            while not channel.closing and not telling.is_over and not reader.is_lost:
                stirred = channel.stirred
                if news := await telling.news():
                    yield news
                elif not await _happens(stirred, silent_until):
                    yield telling.heartbeat()
                else:
                    continue
                silent_until = loop.time() + silence

    async def _draw(self, recorded: list[Recorded]) -> bytes:
        task = fold(events_of(recorded))
        assert task is not None
        return _ENCODE({"task": await self._gateway.view(Found(recorded[0].stream, recorded, task))})


async def _happens(stirred: asyncio.Event, until: float) -> bool:
    """Wait until something may have happened; false when nothing did for as long as a client should be left in silence."""
    try:
        async with asyncio.timeout_at(until):
            await stirred.wait()
    except TimeoutError:
        return False
    return True
