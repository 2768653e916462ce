"""What was said of one task, as the stores have it: NATS, which forgets, and Postgres, which is a second behind.

What was read for one is held for others who stand nearby, as **runs** without holes. NATS knows its messages by their
place in a stream that all tasks share, and not by their number: **marks** remember where some of them lie, so that no
search begins at the beginning. A store that does not answer has nothing to say.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from daybook.bus.jetstream import Bus
from daybook.log.connections import LOST, Pool
from daybook.stored_output import Place, Word, read

from . import live
from .memory import Memory, Run, Said, follows

AT_ONCE: Final = 256
"""How many words are handed out at once."""

_MARKS: Final = 64
_CHUNKS: Final = 2


class Stores:
    """Both stores, for one task."""

    def __init__(self, bus: Bus, pool: Pool, memory: Memory, stream: UUID, subject: str) -> None:
        self._bus = bus
        self._pool = pool
        self._memory = memory
        self._stream = stream
        self._subject = subject
        self._runs: list[Run] = []
        self._searching = asyncio.Lock()
        self._marks: list[tuple[Place, int]] = []
        self._losses = bus.losses

    def held(self, place: Place) -> Sequence[Said]:
        """The words right after a place, if somebody has read them a moment ago."""
        for run in self._runs:
            if words := run.after(place, AT_ONCE):
                self._memory.used(run)
                return words
        return ()

    def hold(self, words: Sequence[Said]) -> None:
        """Hold these for others."""
        while words:
            run = run_of(words)
            attempt, number = run[0].place
            if not self.held(Place(attempt, number - 1)):
                self._memory.hold(Run(run, self._runs))
            words = words[len(run) :]

    def close(self) -> None:
        """Let go of everything."""
        self._memory.drop(self._runs)

    async def after(self, place: Place) -> tuple[Sequence[Said], bool | None]:
        """The next words after a place that there are, in order, and whether Postgres has gone past what is missing before
        them: a runner stores in order, so where later ones are, all earlier ones are. None when it cannot be asked."""
        words = await self._from_nats(place)
        if words and follows(place, words[0].place):
            return words, True
        kept = await self._from_postgres(place)
        found = {said.place: said for said in (*words, *(kept or ()))}
        return [found[each] for each in sorted(found)], None if kept is None else len(kept) > 0

    def mark(self, newest: live.Newest) -> None:
        """Remember where in the stream a word lies, so that the search for those behind it can begin there."""
        if self._losses != self._bus.losses:
            self._losses = self._bus.losses
            self._marks.clear()  # perhaps it is another stream by now
        if newest.word is None:
            return
        at = bisect_right(self._marks, (newest.word.place, newest.sequence))
        if at and self._marks[at - 1][1] >= newest.sequence:
            return
        if at < len(self._marks) and self._marks[at][1] <= newest.sequence:
            return
        self._marks.insert(at, (newest.word.place, newest.sequence))
        if len(self._marks) > _MARKS:
            del self._marks[1::2]

    async def _from_postgres(self, place: Place) -> Sequence[Said] | None:
        try:
            words, _ = await read(self._pool, self._stream, place, chunks=_CHUNKS)
        except LOST:
            return None
        return _rising(words, place)

    async def _from_nats(self, place: Place) -> Sequence[Said]:
        async with self._searching:
            # Others who stood nearby may have searched just now.
            if held := self.held(place):
                return held
            newest = await live.newest(self._bus, self._subject)
            if newest is None or newest.sequence == 0:
                return ()
            self.mark(newest)
            if newest.word is not None and (newest.word.place <= place or follows(place, newest.word.place)):
                return _rising([newest.word], place)
            later = await self._search(place, self._before(place))
            if not later and newest.word is not None:
                self._marks.clear()  # it is there, so they lead astray: the stream is another one
                later = await self._search(place, 1)
            return later

    async def _search(self, place: Place, start: int) -> Sequence[Said]:
        """The words of the first page that has any after this place."""
        while True:
            page = await live.page(self._bus, self._subject, {"seq": start})
            if page.words:
                self.mark(live.Newest(page.words[-1], page.sequence))
            if (later := _rising(page.words, place)) or not page.more:
                return later
            start = page.sequence + 1

    def _before(self, place: Place) -> int:
        """Where to begin the search for what was said after this place."""
        at = bisect_right(self._marks, place, key=lambda mark: mark[0])
        return self._marks[at - 1][1] + 1 if at else 1


def run_of(words: Sequence[Said]) -> Sequence[Said]:
    """The words up to the first hole."""
    end = 1
    while end < len(words) and follows(words[end - 1].place, words[end].place):
        end += 1
    return words[:end]


def _rising(words: Iterable[Word], after: Place) -> list[Said]:
    """Those later than a place and than each before them."""
    rising = []
    for word in words:
        if word.place > after:
            rising.append(Said.of(word))
            after = word.place
    return rising
