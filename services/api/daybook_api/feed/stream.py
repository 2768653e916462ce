"""One reader's way through the feed: from a place, through what is past, into what comes; as server-sent events, or as
pages of JSON.

Behind the tail it reads stretches, and tells of each what it has not told yet. Once it has seen all that the tail has, it
listens to the tail, in the same instant, so that nothing falls in between. The id of an event is the place right behind
it: whoever comes back with it is told exactly what followed. It mostly is the same for everybody. A reader whose place
came from another process may have seen more of some lanes than the tail; until the tail has come as far, it skips what it
has seen, and its ids say so.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from typing import Final, NamedTuple

import msgspec

from daybook import clock
from daybook.access import Principal
from daybook.log.connections import LOST
from daybook.log.envelope import Cursor, Position, covers, joined

from ..watching import sse
from . import cursor as feed_cursor
from .facts import Fact
from .filter import Wanted
from .tail import Feed, Listener

_LONGEST_SEARCH_SECONDS: Final = 2.0
_ENCODE: Final = msgspec.json.Encoder().encode


class Told(NamedTuple):
    """A fact, and the place behind it, where that is another than the fact's own."""

    fact: Fact
    place: str = ""

    @property
    def cursor(self) -> str:
        """The place behind it, as the client gets it."""
        return self.place or self.fact.id


class PageOfFeed(NamedTuple):
    """What a reader was told, the place to go on from, and whether there is more already."""

    items: list[Fact]
    next_cursor: str
    more: bool


class FeedStream:
    """The feed for one reader, from a place on."""

    def __init__(self, feed: Feed, wanted: Wanted, cursor: Cursor, who: Principal) -> None:
        self._feed = feed
        self._wanted = wanted
        self._cursor = cursor
        self._who = who
        self._listener = Listener(wanted, who.token)

    async def frames(self, silence_seconds: float) -> AsyncGenerator[bytes, None]:
        """Server-sent events without an end, but for the server's own, or that of the reader's token; or when the database
        cannot be read. Then the reader comes back, and is answered what the matter is."""
        place = self._place()
        begin = {"cursor": place, "position": ",".join(str(Position(lane, position)) for lane, position in enumerate(self._cursor) if position)}
        yield sse.retry() + sse.frame("begin", _ENCODE(begin), place)
        try:
            async with aclosing(self._follow(silence_seconds)) as batches:
                async for told in batches:
                    if self._who.expires_at is not None and self._who.expires_at <= clock.now():
                        return
                    for chunk in _chunks(told):
                        yield chunk
                    if not told:
                        yield sse.heartbeat(self._place())
        except LOST:
            return

    async def page(self, limit: int, wait_seconds: float | None) -> PageOfFeed:
        """Up to `limit` of what is past; where there is nothing of it, wait so long for something to come. A search that
        finds little ends after a while all the same. Raises the connection's error when the database is away."""
        loop = asyncio.get_running_loop()
        head, deadline = await self._feed.head(), loop.time() + (wait_seconds or 0)
        search_until = loop.time() + _LONGEST_SEARCH_SECONDS
        found: list[Told] = []
        while not covers(self._cursor, head) and len(found) < limit and loop.time() < search_until:
            found += await self._next_stretch(head)
        remaining = deadline - loop.time()
        if not found and covers(self._cursor, head) and remaining > 0:
            async with aclosing(self._follow(remaining)) as batches:
                found = await anext(batches, [])
        place = self._cursor if len(found) <= limit else _parsed(found[limit - 1], self._wanted.namespace)
        more = len(found) > limit or not covers(place, head)
        return PageOfFeed([each.fact for each in found[:limit]], feed_cursor.spell(place, self._wanted.namespace), more)

    async def _follow(self, silence_seconds: float) -> AsyncGenerator[list[Told], None]:
        """Everything from here on, and nothing (an empty list) when there was nothing for so long."""
        loop = asyncio.get_running_loop()
        with self._feed.attended(self._listener):
            await self._feed.begin()
            told_at = loop.time()
            while not self._listener.closed:
                if not covers(self._cursor, self._feed.tail):
                    told = await self._next_stretch(self._feed.tail)
                    if told or loop.time() - told_at >= silence_seconds:
                        told_at = loop.time()
                        yield told
                    continue
                async with aclosing(self._listen(silence_seconds)) as batches:
                    async for told in batches:
                        told_at = loop.time()
                        yield told

    async def _listen(self, silence_seconds: float) -> AsyncGenerator[list[Told], None]:
        """What the tail tells, until this reader falls behind or has to end."""
        level = covers(self._feed.tail, self._cursor)
        with self._feed.heard(self._listener):
            while not (self._listener.behind or self._listener.closed):
                facts = self._listener.take()
                if facts:
                    told = [Told(fact) for fact in facts] if level else self._unseen(facts)
                    last = facts[-1].cursor
                    level = level or covers(last, self._cursor)
                    self._cursor = last if level else joined(self._cursor, last)
                    if told:
                        yield told
                elif not await self._listener.stirred(silence_seconds):
                    # Nothing was heard, so all that the tail has told until now was not for this reader.
                    self._cursor = joined(self._cursor, self._feed.tail)
                    level = covers(self._feed.tail, self._cursor)
                    yield []

    async def _next_stretch(self, upto: Cursor) -> list[Told]:
        """What the next stretch of the past tells."""
        stretch = await self._feed.stretch(self._cursor, upto)
        told = self._unseen(fact for fact in stretch.facts if self._wanted.fits(fact))
        self._cursor = joined(self._cursor, stretch.after)
        # What is found in memory makes nobody wait; without this, a long past would hold up everything else.
        await asyncio.sleep(0)
        return told

    def _unseen(self, facts: Iterable[Fact]) -> list[Told]:
        """Those of them that lie beyond the reader's place, each with the place behind it."""
        seen, level = self._cursor, False
        told = []
        for fact in facts:
            if fact.position > seen[fact.lane]:
                level = level or covers(fact.cursor, seen)
                told.append(Told(fact) if level else Told(fact, feed_cursor.spell(joined(seen, fact.cursor), fact.namespace)))
        return told

    def _place(self) -> str:
        return feed_cursor.spell(self._cursor, self._wanted.namespace)


def _parsed(told: Told, namespace: str) -> Cursor:
    cursor = feed_cursor.parse(told.cursor, namespace)
    assert cursor is not None, "a place that we spelled"
    return cursor


def _chunks(told: list[Told]) -> Iterator[bytes]:
    """Frames in pieces of a size that a connection takes at once."""
    frames: list[bytes] = []
    size = 0
    for each in told:
        frame = each.fact.frame(each.place)
        if frames and size + len(frame) > sse.PIECE_BYTES:
            yield b"".join(frames)
            frames, size = [], 0
        frames.append(frame)
        size += len(frame)
    if frames:
        yield b"".join(frames)
