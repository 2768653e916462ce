"""What the attempts of one task have said, for whoever asks: what is stored, then what is still only live.

While a task runs its last second or so is on NATS alone; once it has ended, everything is stored. Read in order from
any place, or from the end backwards; the reader stops when it has enough.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Final

from daybook.bus import subjects
from daybook.domain.status import TERMINAL
from daybook.stored_output import Place, Word, end_of, read, read_back

from ..gateway import Found, Gateway
from .live import recall

_MARGIN: Final = timedelta(seconds=10)
_MOST_CHUNKS_BACK: Final = 64
_LAST: Final = 2**31 - 1


class Said:
    """The words of one task, or of one of its attempts."""

    def __init__(self, gateway: Gateway, task_id: str, found: Found, attempt: int | None) -> None:
        self._pool = gateway.log.pool
        self._bus = gateway.bus
        self._subject = subjects.live(found.recorded[0].namespace, found.task.owner, found.task.app, task_id)
        self._stream = found.stream
        self._attempt = attempt
        self.goes_on = found.task.status not in TERMINAL and (attempt is None or attempt >= found.task.attempt)
        """Whether more may be said later."""

    async def after(self, place: Place, *, only_logs: bool = False) -> AsyncIterator[Word]:
        """The words after a place, in order. `only_logs` may leave out other words, and need not."""
        more = True
        while more:
            words, more = await read(self._pool, self._stream, place, attempt=self._attempt, only_logs=only_logs)
            more = more and bool(words)
            for word in words:
                yield word
                place = word.place
        async for word in self._only_live(place):
            yield word

    async def last(self, count: int, after: Place, wanted: Callable[[Word], bool]) -> tuple[list[Word], Place]:
        """The last log lines after a place that are wanted, in order, and the last place there is. Does not look further
        back than a few MiB."""
        stored, _ = await end_of(self._pool, self._stream, self._attempt)
        found: deque[Word] = deque(maxlen=count)
        end = max(stored, after)
        async for word in self._only_live(end):
            end = word.place
            if wanted(word):
                found.append(word)
        before: Place | None = Place(_LAST if self._attempt is None else self._attempt + 1)
        chunks = 0
        while len(found) < count and before is not None and before > after and chunks < _MOST_CHUNKS_BACK:
            words, before = await read_back(self._pool, self._stream, before, attempt=self._attempt)
            chunks += 4
            found.extendleft([word for word in reversed(words) if word.place > after and wanted(word)][: count - len(found)])
        return list(found), end

    async def _only_live(self, place: Place) -> AsyncIterator[Word]:
        """What was said after that place and is not stored."""
        if not self.goes_on:
            return
        end, at = await end_of(self._pool, self._stream, self._attempt)
        start = max(place, end, Place(self._attempt or 0))
        async for word in recall(self._bus, self._subject, start, None if at is None else at - _MARGIN):
            if self._attempt is None or word.place.attempt == self._attempt:
                yield word
