"""What NATS has of what attempts say: questions to the stream that stores it, a page or the last message at a time.

New words are heard on a task's subject (`words`); what was said before, and what was missed, is asked for here. So a
listener costs NATS a subscription and no consumer. When NATS is away there is nothing to be had, and nobody is told so:
words are no facts, and they are kept elsewhere besides.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from daybook.bus.jetstream import Bus
from daybook.bus.topology import LIVE
from daybook.stored_output import Place, Word, word_of

PATIENCE_SECONDS: Final = 2.0
AWAY: Final = (nats.errors.Error, RuntimeError)
"""NATS is not there. Until its client has noticed that the connection is gone, it writes to it all the same, and uvloop
refuses that with a RuntimeError."""
_PAGE: Final = 256
_PAGE_BYTES: Final = 256 * 1024
_MANY_BYTES: Final = 8 * 1024 * 1024
_ENCODE: Final = msgspec.json.Encoder().encode


class Page(NamedTuple):
    """Some consecutive words of one task."""

    words: list[Word]
    sequence: int
    """Of the last message in the stream; 0 when there is none."""
    more: bool


class Newest(NamedTuple):
    """The last message about a task; without a word if it is none."""

    word: Word | None
    sequence: int
    """In the stream; 0 when nothing was said."""


async def recall(bus: Bus, subject: str, after: Place, since: datetime | None = None) -> AsyncIterator[Word]:
    """What NATS still has of what was said after a place, in order. `since` spares it the search from the beginning: a
    moment before the next word was said, as far as the clocks agree; where they do not, it searches all the same."""
    start: dict[str, Any] = {"seq": 1} if since is None else {"start_time": since.isoformat()}
    while True:
        found = await page(bus, subject, start)
        for word in found.words:
            if word.place > after:
                if since is not None and not after.leads_to(word.place):
                    break
                since = None
                yield word
                after = word.place
        else:
            if not found.more:
                return
            start = {"seq": found.sequence + 1}
            continue
        since, start = None, {"seq": 1}


async def page(bus: Bus, subject: str, start: dict[str, Any]) -> Page:
    """The next page of the store; an empty one when it cannot be reached."""
    words: list[Word] = []
    sequence, more = 0, False
    for message in await _ask(bus, {**start, "next_by_subj": subject, "batch": _PAGE, "max_bytes": _PAGE_BYTES}):
        headers: dict[str, Any] = message.headers or {}
        if "Status" in headers:
            more = headers["Status"] == "204" and int(headers.get("Nats-Num-Pending", "0")) > 0
        else:
            sequence = int(headers["Nats-Sequence"])
            word = word_of(message.data)
            if word is not None:
                words.append(word)
    return Page(words, sequence, more)


async def newest(bus: Bus, subject: str) -> Newest | None:
    """The last message about one task; None when NATS does not answer."""
    if not bus.is_connected:
        return None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            connection = await bus.connected()
            message = await connection.request(f"$JS.API.DIRECT.GET.{LIVE}", _ENCODE({"last_by_subj": subject}), timeout=2 * PATIENCE_SECONDS)
    except (*AWAY, TimeoutError):
        return None
    headers: dict[str, Any] = message.headers or {}
    if "Nats-Sequence" not in headers:
        return Newest(None, 0) if headers.get("Status") == "404" else None
    return Newest(word_of(message.data), int(headers["Nats-Sequence"]))


async def newest_of(bus: Bus, subjects: Sequence[str]) -> dict[str, Newest]:
    """The same for many tasks at once, by subject; those of which nothing is known are missing."""
    found: dict[str, Newest] = {}
    for message in await _ask(bus, {"multi_last": subjects, "batch": len(subjects), "max_bytes": _MANY_BYTES}):
        headers: dict[str, Any] = message.headers or {}
        if "Status" not in headers:
            found[headers["Nats-Subject"]] = Newest(word_of(message.data), int(headers["Nats-Sequence"]))
    return found


async def _ask(bus: Bus, wanted: dict[str, Any]) -> list[Msg]:
    """A direct get of a batch from the store (ADR-31 of NATS), which ends with a message that has a status. Nothing when
    NATS does not answer."""
    messages: list[Msg] = []
    if not bus.is_connected:
        return messages
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            connection = await bus.connected()
            inbox = connection.new_inbox()
            answers = await connection.subscribe(inbox)
            try:
                await connection.publish(f"$JS.API.DIRECT.GET.{LIVE}", _ENCODE(wanted), reply=inbox)
                while not messages or "Status" not in (messages[-1].headers or {}):
                    messages.append(await answers.next_msg(timeout=None))
            finally:
                unsubscribe(answers)
    except (*AWAY, TimeoutError):
        return []
    return messages


_leaving: set[asyncio.Task[None]] = set()


def unsubscribe(subscription: Subscription) -> None:
    """In a task of its own: whoever leaves may be leaving because it was cancelled, and could not wait."""
    task = asyncio.create_task(_left(subscription))
    _leaving.add(task)
    task.add_done_callback(_leaving.discard)


async def _left(subscription: Subscription) -> None:
    try:
        await subscription.unsubscribe()
    except AWAY:
        return  # the connection is gone, and the subscription with it
