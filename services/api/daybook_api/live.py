"""What the attempts of one task say, for one listener: from the beginning, in order, nothing twice, as far as NATS
still has it.

New words are heard on the task's subject; what was said before, and what was missed (a connection cut, a listener too
slow for what came), is read from the stream that stores them, a page at a time and only when the listener is ready for
it. So a listener costs NATS a subscription and no consumer, and memory is bounded whatever is said. When NATS is away
there is nothing to hear, and nobody is told so: words are no facts.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from daybook.bus.jetstream import Bus
from daybook.bus.topology import LIVE
from daybook.stored_output import Place, Word, word_of

_PATIENCE_SECONDS: Final = 2.0
_PAGE: Final = 256
_PAGE_BYTES: Final = 1024 * 1024
_BOUND: Final = 1024
_ENCODE: Final = msgspec.json.Encoder().encode


async def recall(bus: Bus, subject: str, after: Place, since: datetime | None = None) -> AsyncIterator[Word]:
    """What NATS still has of what was said after a place, in order. `since` spares it the search from the beginning: a
    moment before the next word was said, as far as the clocks agree; where they do not, it searches all the same."""
    start: dict[str, Any] = {"seq": 1} if since is None else {"start_time": since.isoformat()}
    while True:
        page = await _page(bus, subject, start)
        for word in page.words:
            if word.place > after:
                if since is not None and not after.leads_to(word.place):
                    break
                since = None
                yield word
                after = word.place
        else:
            if not page.more:
                return
            start = {"seq": page.sequence + 1}
            continue
        since, start = None, {"seq": 1}


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
        for message in await _ask(self._bus, {"last_by_subj": self._subject}, many=False):
            headers: dict[str, Any] = message.headers or {}
            word = None if "Status" in headers else word_of(message.data)
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
        word = word_of(message.data)
        if word is not None:
            if len(self._heard) >= _BOUND:
                self._heard.clear()
                self._must_read = True
            self._heard.append(word)
            self._stirred.set()

    async def _read(self) -> None:
        """Read the next page of the store. `_must_read` is false once there is no more, or no store to be reached."""
        self._must_read = False
        page = await _page(self._bus, self._subject, {"seq": self._sequence + 1})
        self._must_read = page.more
        self._sequence = max(self._sequence, page.sequence)
        self._stored.extend(page.words)


class _Page(NamedTuple):
    words: list[Word]
    sequence: int
    """Of the last of them in the stream; 0 when there is none."""
    more: bool


async def _page(bus: Bus, subject: str, start: dict[str, Any]) -> _Page:
    """The next page of the store; an empty one when it cannot be reached."""
    words: list[Word] = []
    sequence, more = 0, False
    for message in await _ask(bus, {**start, "next_by_subj": subject, "batch": _PAGE, "max_bytes": _PAGE_BYTES}, many=True):
        headers: dict[str, Any] = message.headers or {}
        if "Status" in headers:
            more = headers["Status"] == "204" and int(headers.get("Nats-Num-Pending", "0")) > 0
        else:
            sequence = int(headers["Nats-Sequence"])
            word = word_of(message.data)
            if word is not None:
                words.append(word)
    return _Page(words, sequence, more)


async def _ask(bus: Bus, wanted: dict[str, Any], *, many: bool) -> list[Msg]:
    """A direct get from the store (ADR-31 of NATS): one message, or a batch that ends with one that has a status.
    Nothing when NATS does not answer."""
    messages: list[Msg] = []
    if not bus.is_connected:
        return messages
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            connection = await bus.connected()
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
