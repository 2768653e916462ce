"""What the attempts of one task say, for one listener: from the beginning, in order, nothing twice, as far as NATS
still has it.

New words are heard on the task's subject; what was said before, and what was missed (a connection cut, a listener too
slow for what came), is read from the stream that stores them, a page at a time and only when the listener is ready for
it. So a listener costs NATS a subscription and no consumer, and memory is bounded whatever is said. When NATS is away
there is nothing to hear, and nobody is told so: words are no facts.
"""

import asyncio
from collections import deque
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from daybook.bus.jetstream import Bus
from daybook.bus.topology import LIVE

_PATIENCE_SECONDS: Final = 2.0
_PAGE: Final = 256
_PAGE_BYTES: Final = 1024 * 1024
_BOUND: Final = 1024
_TYPES: Final = frozenset({"progress", "log", "chunk", "action"})


class Place(NamedTuple):
    """Where a word stands: the attempt that said it, and its number in there."""

    attempt: int = 0
    number: int = 0

    def leads_to(self, other: "Place") -> bool:
        """Whether nothing lies between."""
        return other.number == (self.number + 1 if other.attempt == self.attempt else 1)


class Word(NamedTuple):
    """One thing that was said: its place, its type, and the message as it came."""

    place: Place
    type: str
    data: bytes


class _Said(msgspec.Struct):
    type: str
    attempt: int
    n: int


_SAID: Final = msgspec.json.Decoder(_Said)
_ENCODE: Final = msgspec.json.Encoder().encode


class Live:
    """A listener. Use as a context manager."""

    def __init__(self, bus: Bus, subject: str, stirred: asyncio.Event) -> None:
        """`stirred` is set whenever there may be something new."""
        self._bus = bus
        self._subject = subject
        self._stirred = stirred
        self._subscription: Subscription | None = None
        self._joining: asyncio.Task[None] | None = None
        self._stored: deque[Word] = deque()
        self._heard: deque[Word] = deque()
        self._sequence = 0
        self._sought = Place()
        self._must_read = True

    async def __aenter__(self) -> Self:
        self._joining = asyncio.create_task(self._join())
        if self._bus.is_connected:
            await asyncio.wait({self._joining}, timeout=_PATIENCE_SECONDS)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._joining is not None:
            self._joining.cancel()
        if self._subscription is not None:
            _unsubscribe(self._subscription)

    async def _join(self) -> None:
        """Begin to hear, as soon as NATS is there: a process that has just started serves before it is."""
        connection = await self._bus.connected()
        try:
            self._subscription = await connection.subscribe(self._subject, cb=self._hear)
        except nats.errors.Error:
            return  # closing; what is stored can still be read at the end
        self._must_read = True
        self._stirred.set()

    async def catch_up(self, after: Place) -> None:
        """Make sure that everything that was said by now is told, if it is later than `after`: not all of it need have been heard."""
        for message in await self._ask({"last_by_subj": self._subject}, many=False):
            headers: dict[str, Any] = message.headers or {}
            word = None if "Status" in headers else _parsed(message.data)
            if word is not None and word.place > after:
                self._must_read = True
                if int(headers["Nats-Sequence"]) <= self._sequence:
                    self._sequence = 0  # the store was lost and made anew, and counts from the beginning

    async def words(self, after: Place, attempt: int) -> list[Word]:
        """The next words after that place, said by attempts up to `attempt`; empty when there are none now."""
        while True:
            if self._stored:
                ready = _taken(self._stored, after, attempt)
                if ready or self._stored:
                    return ready
            if not self._must_read:
                ready = self._fresh(after, attempt)
                if ready or not self._must_read:
                    return ready
            await self._read()

    def _fresh(self, after: Place, attempt: int) -> list[Word]:
        """What was heard; where something is missing before it, that is sought in the store first, once."""
        while self._heard and self._heard[0].place <= after:
            self._heard.popleft()
        head = self._heard[0].place if self._heard else after
        if head.attempt <= attempt and head not in (after, self._sought) and not after.leads_to(head):
            self._sought = head
            self._must_read = True
            return []
        return _taken(self._heard, after, attempt)

    async def _hear(self, message: Msg) -> None:
        word = _parsed(message.data)
        if word is not None:
            if len(self._heard) >= _BOUND:
                self._heard.clear()
                self._must_read = True
            self._heard.append(word)
            self._stirred.set()

    async def _read(self) -> None:
        """Read the next page of the store. `_must_read` is false once there is no more, or no store to be reached."""
        self._must_read = False
        wanted = {"seq": self._sequence + 1, "next_by_subj": self._subject, "batch": _PAGE, "max_bytes": _PAGE_BYTES}
        for message in await self._ask(wanted, many=True):
            headers: dict[str, Any] = message.headers or {}
            if "Status" in headers:
                self._must_read = headers["Status"] == "204" and int(headers.get("Nats-Num-Pending", "0")) > 0
            else:
                self._sequence = int(headers["Nats-Sequence"])
                word = _parsed(message.data)
                if word is not None:
                    self._stored.append(word)

    async def _ask(self, wanted: dict[str, Any], *, many: bool) -> list[Msg]:
        """A direct get from the store (ADR-31 of NATS): one message, or a batch that ends with one that has a status.
        Nothing when NATS does not answer."""
        messages: list[Msg] = []
        if not self._bus.is_connected:
            return messages
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                connection = await self._bus.connected()
                inbox = connection.new_inbox()
                answers = await connection.subscribe(inbox)
                try:
                    await connection.publish(f"$JS.API.DIRECT.GET.{LIVE}", _ENCODE(wanted), reply=inbox)
                    while not messages or (many and "Status" not in (messages[-1].headers or {})):
                        messages.append(await answers.next_msg(timeout=None))
                finally:
                    _unsubscribe(answers)
        except (nats.errors.Error, TimeoutError):
            return []
        return messages


def _taken(words: deque[Word], after: Place, attempt: int) -> list[Word]:
    """Take from the front what is newer than `after`, up to an attempt, in order."""
    ready: list[Word] = []
    while words and words[0].place.attempt <= attempt:
        word = words.popleft()
        if word.place > after:
            ready.append(word)
            after = word.place
    return ready


def _parsed(data: bytes) -> Word | None:
    try:
        said = _SAID.decode(data)
    except msgspec.DecodeError:
        return None
    if said.type not in _TYPES:
        return None
    # A line break would end a line of an event stream.
    whole = data if b"\n" not in data and b"\r" not in data else _ENCODE(msgspec.json.decode(data))
    return Word(Place(said.attempt, said.n), said.type, whole)


_leaving: set[asyncio.Task[None]] = set()


def _unsubscribe(subscription: Subscription) -> None:
    """In a task of its own: whoever leaves may be leaving because it was cancelled, and could not wait."""
    task = asyncio.create_task(_left(subscription))
    _leaving.add(task)
    task.add_done_callback(_leaving.discard)


async def _left(subscription: Subscription) -> None:
    try:
        await subscription.unsubscribe()
    except nats.errors.Error:
        return  # the connection is gone, and the subscription with it
