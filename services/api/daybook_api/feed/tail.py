"""The feed's one tail of the log in this process, and what it leaves behind for those who come back.

While somebody reads the feed, the tail follows the log through the reader that all followers here share. Each fact is
looked up, and encoded, once; it is handed to the listeners who may see it, found by namespace and owner, and to nobody
else. Half a minute after the last reader has left, the tail rests, and costs nothing.

Who is behind reads stretches: the latest are kept here in memory; older ones are read from Postgres, a few readers at a
time, and the last of those are kept too. A stretch serves everybody who stands anywhere in it, so a thousand clients who
come back at once from about the same place read it once. Nobody waits for a listener: one that does not take what it
hears loses it, and reads it again from the log.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from daybook.domain.events import TokenRevoked
from daybook.log.envelope import Cursor, Page, Recorded, covers, joined
from daybook.log.postgres import Log, read_page
from daybook.log.reader import PAGE, LogReader

from ..watching.hub import Hub
from ..watching.looking import Looks
from .facts import Fact, Facts, Stretch, split
from .filter import Wanted

_NO_STREAM: Final = UUID(int=0)
"""Nothing is ever told of it; who asks the hub for it is told only when the hub closes."""
_WAIT_SECONDS: Final = 5.0
_LINGER_SECONDS: Final = 30.0
_HEARD: Final = 1024
_RECENT_FACTS: Final = 4096
_RECENT_STRETCHES: Final = 1024
_OLDER_STRETCHES: Final = 16
_READ_AT_ONCE: Final = 2
_TOLD_AT_ONCE: Final = 50_000


class Listener:
    """What one reader has heard of the tail and not taken yet: a bounded number of facts."""

    def __init__(self, wanted: Wanted, token: UUID) -> None:
        self.wanted: Final = wanted
        self.token: Final = token
        self.closed = False
        self.behind = False
        """It did not take what it heard, which is gone: it has to read the log from where it was."""
        self._heard: list[Fact] = []
        self._stirred = asyncio.Event()

    def hear(self, fact: Fact) -> None:
        """Keep a fact, if it is wanted and there is room."""
        if self.behind or not self.wanted.fits(fact):
            return
        if len(self._heard) >= _HEARD:
            self._heard = []
            self.behind = True
        else:
            self._heard.append(fact)
        self._stirred.set()

    def take(self) -> list[Fact]:
        """What was heard since."""
        self._stirred.clear()
        heard, self._heard = self._heard, []
        return heard

    def tell(self, recorded: Recorded | None) -> None:
        """The hub has closed."""
        if recorded is None:
            self.close()

    def close(self) -> None:
        """It is to end."""
        self.closed = True
        self._stirred.set()

    async def stirred(self, seconds: float) -> bool:
        """Wait until something happens; false when nothing did for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            return self._stirred.is_set()  # it may have been set in the very instant that the time was over
        return True


class Feed:
    """The tail, and the stretches behind it."""

    def __init__(self, log: Log, reader: LogReader, hub: Hub) -> None:
        self._log = log
        self._reader = reader
        self._hub = hub
        self._facts = Facts(log)
        self._tail: Cursor | None = None
        self._rest_at = 0.0
        self._attended = asyncio.Event()
        self._present: set[Listener] = set()
        self._listening: dict[str, dict[str | None, set[Listener]]] = {}
        self._recent: list[Stretch] = []
        self._recent_facts = 0
        self._older: list[Stretch] = []
        self._room = asyncio.Semaphore(_READ_AT_ONCE)
        self._head = Looks[None, Cursor](lambda _: log.head())

    @property
    def tail(self) -> Cursor:
        """How far the tail has told."""
        assert self._tail is not None, "the tail rests"
        return self._tail

    async def head(self) -> Cursor:
        """The end of the log. Raises the connection's error when the database is away."""
        return await self._head(None)

    async def has(self, cursor: Cursor) -> bool:
        """Whether the log has come as far as this cursor. What a lane ended with may have been archived since, so only the
        latest position of all counts."""
        furthest = max(cursor)
        return (self._tail is not None and furthest <= max(self._tail)) or furthest <= max(await self.head())

    async def begin(self) -> None:
        """See to it that the tail runs. Raises the connection's error when the database is away."""
        self._rest_at = asyncio.get_running_loop().time() + _LINGER_SECONDS
        if self._tail is None:
            head = await self.head()
            self._tail = head if self._tail is None else self._tail
        self._attended.set()

    @contextmanager
    def attended(self, listener: Listener) -> Iterator[None]:
        """Somebody reads: the tail goes on. The reader is told when it has to end."""
        self._present.add(listener)
        self._hub.join(_NO_STREAM, listener)
        try:
            yield
        finally:
            self._hub.leave(_NO_STREAM, listener)
            self._present.discard(listener)
            self._rest_at = asyncio.get_running_loop().time() + _LINGER_SECONDS

    @contextmanager
    def heard(self, listener: Listener) -> Iterator[None]:
        """Have the listener told of what the tail finds from now on."""
        namespace, owner = listener.wanted.namespace, listener.wanted.owner
        listener.behind = False
        self._listening.setdefault(namespace, {}).setdefault(owner, set()).add(listener)
        try:
            yield
        finally:
            owners = self._listening[namespace]
            owners[owner].discard(listener)
            if not owners[owner]:
                del owners[owner]
            if not owners:
                del self._listening[namespace]
            listener.take()

    async def stretch(self, cursor: Cursor, upto: Cursor) -> Stretch:
        """A stretch that begins nowhere behind the cursor and leads beyond it, where `upto` does. Raises the connection's
        error when the database is away."""
        found = self._kept(cursor)
        if found is not None:
            return found
        async with self._room:
            # Those who waited here may have been waiting for the same.
            found = self._kept(cursor)
            if found is not None:
                return found
            bound = joined(cursor, upto)
            page = await read_page(self._log.pool, cursor, PAGE, bound)
            if len(page.events) < PAGE:
                page = page._replace(after=bound)
            stretch = await self._facts.of_page(page)
            self._older = [*self._older[1 - _OLDER_STRETCHES :], stretch]
            return stretch

    async def run(self) -> None:
        """Follow the log while somebody reads the feed. A duty."""
        loop = asyncio.get_running_loop()
        while True:
            await self._attended.wait()
            while self._present or loop.time() < self._rest_at:
                page = await self._reader.page_after(self.tail, _WAIT_SECONDS)
                if page.events:
                    await self._tell(page)
            self._rest()

    async def _tell(self, page: Page) -> None:
        stretch = await self._facts.of_page(page)
        for recorded in page.events:
            if isinstance(recorded.event, TokenRevoked):
                self._end(recorded.stream)
        # In parts, so that thousands of listeners do not hold up everything else.
        for part in split(stretch, max(1, _TOLD_AT_ONCE // (len(self._present) or 1))):
            for fact in part.facts:
                for listeners in self._audience(fact):
                    for listener in listeners:
                        listener.hear(fact)
            self._tail = part.after
            self._keep(part)
            await asyncio.sleep(0)

    def _audience(self, fact: Fact) -> Iterable[set[Listener]]:
        owners = self._listening.get(fact.namespace)
        if owners is None:
            return ()
        if fact.owner is None:
            return owners.values()
        return [owners[owner] for owner in (fact.owner, None) if owner in owners]

    def _end(self, token: UUID) -> None:
        for listener in self._present:
            if listener.token == token:
                listener.close()

    def _keep(self, stretch: Stretch) -> None:
        self._recent.append(stretch)
        self._recent_facts += len(stretch.facts)
        if self._recent_facts > _RECENT_FACTS or len(self._recent) > _RECENT_STRETCHES:
            # A quarter at a time: what is taken from the front of a list costs as much as all that stays.
            gone = max(1, len(self._recent) // 4)
            self._recent_facts -= sum(len(each.facts) for each in self._recent[:gone])
            del self._recent[:gone]

    def _kept(self, cursor: Cursor) -> Stretch | None:
        """A stretch in memory that leads on from here."""
        # The recent ones follow each other: the last that begins nowhere behind the cursor is the one.
        index = bisect_left(self._recent, True, key=lambda each: not covers(cursor, each.before)) - 1
        if index >= 0 and not covers(cursor, self._recent[index].after):
            return self._recent[index]
        for place in range(len(self._older) - 1, -1, -1):
            each = self._older[place]
            if covers(cursor, each.before) and not covers(cursor, each.after):
                # What is asked for stays longest.
                self._older.append(self._older.pop(place))
                return each
        return None

    def _rest(self) -> None:
        self._tail = None
        self._attended.clear()
        self._recent, self._recent_facts = [], 0
        self._older = []
        self._facts = Facts(self._log)
