"""What the attempts of one task say, for all who watch it here: heard once, read once, held once.

Words are numbered by attempt, so it is plain what follows on what. The latest of them are held in a **ring**: one run
without holes, as they were heard on one subscription. Whoever stands further back is given what was said from the
`stores`, together with those who ask for the same in the meantime. Nobody is waited for: a client that reads slowly falls
out of the ring, no more.

A hole is one only when both stores have gone past it. A word that was not heard may not be stored yet, so whoever
stands before a hole waits for it, some seconds at most; words of an attempt that has ended are all stored.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from daybook.bus.jetstream import Bus
from daybook.stored_output import Place

from . import live
from .memory import Memory, Said, follows
from .stores import AT_ONCE, Stores, run_of

_RING: Final = 1024
_ASKED: Final = 256
_OVERDUE_SECONDS: Final = 1.0
_AGAIN_SECONDS: Final = 0.25


class Words:
    """The words of one task."""

    patience_seconds = 5.0
    """How long a word may take from a runner to a store before it counts as lost."""

    def __init__(self, bus: Bus, subject: str, stores: Stores, memory: Memory, stir: Callable[[], None]) -> None:
        """`stir` is called whenever there may be something new."""
        self.subject = subject
        self.over = 0
        """Attempts up to this one have ended; whoever sees that in the log says so here."""
        self._bus = bus
        self._stores = stores
        self._memory = memory
        self._stir = stir
        self._subscription: Subscription | None = None
        self._connection: Client | None = None
        self._joining: asyncio.Task[None] | None = None
        self._ring: deque[Said] = deque()
        self._ring_bytes = 0
        self._floor: Place | None = None
        self._asked: dict[Place, asyncio.Task[Sequence[Said]]] = {}
        self._under_way: set[asyncio.Task[Sequence[Said]]] = set()

    @property
    def listens(self) -> bool:
        """Whether somebody wanted to hear what is said from now on."""
        return self._joining is not None

    async def listen(self) -> None:
        """Begin to hear, as soon as NATS is there: a process that has just started serves before it is."""
        if self._joining is None:
            self._joining = asyncio.create_task(self._join())
        if self._bus.is_connected and not self._joining.done():
            await asyncio.wait({self._joining}, timeout=live.PATIENCE_SECONDS)

    def listen_on(self, connection: Client) -> None:
        """Begin anew if this is another connection than the one that was listened on: the client gives up some for good."""
        if self._joining is not None and self._joining.done() and self._connection is not connection:
            self._joining = asyncio.create_task(self._join())

    def leave(self) -> None:
        """Hear no more."""
        for task in (self._joining, *self._under_way):
            if task is not None:
                task.cancel()
        if self._subscription is not None:
            live.unsubscribe(self._subscription)
            self._subscription = None
        self._stores.close()

    def changed(self) -> None:
        """A fact has come: what was not found before is to be looked for again."""
        self._asked.clear()

    def heard(self, place: Place) -> Sequence[Said] | None:
        """The next words after a place that were heard; None when others may lie in between."""
        place = place if place.attempt else Place(1)
        if self._floor is None or place < self._floor:
            return None
        if not self._ring:
            return ()
        first = self._ring[0].place
        skip = max(place.number + 1 - first.number, 0) if place.attempt == first.attempt else 0 if place < first else len(self._ring)
        return [self._ring[index] for index in range(skip, min(skip + AT_ONCE, len(self._ring)))]

    async def stored(self, place: Place) -> Sequence[Said]:
        """The next words after a place, without a hole among them, from whoever has them; empty when there are none now."""
        held = self._stores.held(place)
        if held:
            return held
        asking = self._asked.get(place)
        if asking is None:
            if len(self._asked) >= _ASKED:
                del self._asked[next(iter(self._asked))]
            asking = self._asked[place] = asyncio.create_task(self._recall(place))
            self._under_way.add(asking)
            asking.add_done_callback(self._under_way.discard)
        return (await asyncio.shield(asking))[:AT_ONCE]

    def reported(self, newest: live.Newest) -> None:
        """This is the last that NATS has. If it is not heard within a second, it was missed."""
        self._stores.mark(newest)
        if newest.word is not None and self._last() is not None and newest.word.place > (self._last() or Place()):
            asyncio.get_running_loop().call_later(_OVERDUE_SECONDS, self._begin_at, newest.word.place)
        elif self._last() is None:
            self._begin_with(newest)

    async def _join(self) -> None:
        connection = await self._bus.connected()
        if self._subscription is not None:
            live.unsubscribe(self._subscription)
        try:
            self._subscription = await connection.subscribe(self.subject, cb=self._hear)
        except nats.errors.Error:
            return  # closing; what is stored can still be read
        self._connection = connection
        # Asked for behind the subscription, on the same connection: what is not in the answer will be heard.
        newest = await live.newest(self._bus, self.subject)
        if newest is not None:
            self._stores.mark(newest)
            self._begin_with(newest)

    def _begin_with(self, newest: live.Newest) -> None:
        if newest.word is not None:
            self._begin_at(newest.word.place)
        elif newest.sequence == 0 and self._last() is None:
            self._restart(Place())
            self._stir()

    def _begin_at(self, place: Place) -> None:
        """What was said up to here is to be read from the stores, unless it was heard."""
        last = self._last()
        if last is None or last < place:
            self._restart(place)
            self._stir()

    def _restart(self, floor: Place) -> None:
        self._ring.clear()
        self._ring_bytes = 0
        self._floor = floor
        self._asked.clear()

    def _last(self) -> Place | None:
        return self._ring[-1].place if self._ring else self._floor

    async def _hear(self, message: Msg) -> None:
        said = Said.parse(message.data)
        last = self._last()
        if said is None or (last is not None and said.place <= last):
            return  # no word, or one of somebody who was given up long ago
        if last is None or not follows(last, said.place):
            self._restart(Place(said.place.attempt, said.place.number - 1))
        elif not self._ring:
            self._asked.clear()
        self._ring.append(said)
        self._ring_bytes += len(said.tail)
        bound = self._memory.ring_bytes()
        while len(self._ring) > _RING or (self._ring_bytes > bound and len(self._ring) > 1):
            self._floor = self._ring[0].place
            self._ring_bytes -= len(self._ring.popleft().tail)
        if len(self._ring) == 1:
            self._floor = Place(said.place.attempt, said.place.number - 1)
        self._stir()

    async def _recall(self, place: Place) -> Sequence[Said]:
        """Ask the stores. Waits for what should be there and is not, as long as it may still come."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.patience_seconds
        while True:
            words, is_past = await self._next(place)
            if not words:
                return ()
            if is_past or place.leads_to(words[0].place) or loop.time() >= deadline:
                self._stores.hold(words)
                return run_of(words)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _next(self, place: Place) -> tuple[Sequence[Said], bool]:
        """The next words that there are, in order, and whether what is missing before them is missing for good."""
        words, is_past = await self._stores.after(place)
        if not words or not follows(place, words[0].place):
            found = {said.place: said for said in (*words, *self._ring) if said.place > place}
            words = [found[each] for each in sorted(found)]
        # What an attempt said is all stored when it has ended.
        return words, bool(is_past) or (is_past is not None and bool(words) and words[0].place.attempt <= self.over)
