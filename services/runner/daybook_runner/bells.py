"""Hears doorbells: pulls them from the work stream of each queue, only as many as there are free slots.

A pull asks for a few bells and is repeated before it has run dry; each ends by itself after a few seconds, so that a
server that lost it (or its whole store) is asked again soon.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

import msgspec
from nats.aio.msg import Msg

from daybook.bus.jetstream import Bus
from daybook.bus.messages import decode_bell
from daybook.bus.topology import WORK, consumer_of

_PULL_SECONDS: Final = 4.0
_LARGEST_PULL: Final = 16


class Bells:
    """The bells of some queues. `free` tells how many tasks could begin now; `heard` gets the tasks of a bell and the
    message to acknowledge once they are claimed."""

    def __init__(self, bus: Bus, queues: tuple[str, ...], *, free: Callable[[], int], heard: Callable[[list[UUID], Msg], None]) -> None:
        self._bus = bus
        self._queues = queues
        self._free = free
        self._heard = heard
        self._changed = asyncio.Event()

    def look(self) -> None:
        """There may be more free slots than before."""
        self._changed.set()

    async def run(self) -> None:
        """Pull for ever. A duty."""
        nats = await self._bus.connected()
        pulls = [_Pull(queue, nats.new_inbox()) for queue in self._queues]
        subscriptions = [await nats.subscribe(pull.inbox, cb=self._hear(pull)) for pull in pulls]
        losses = self._bus.losses
        try:
            while True:
                self._changed.clear()
                if losses != self._bus.losses:
                    losses = self._bus.losses
                    for pull in pulls:
                        pull.forget()
                free = self._free()
                for pull in pulls:
                    if free > 0 and pull.wants_more():
                        await nats.publish(*pull.request(min(max(free // 4, 1), _LARGEST_PULL)))
                await self._change(_PULL_SECONDS / 2)
        finally:
            for subscription in subscriptions:
                await subscription.unsubscribe()

    def _hear(self, pull: "_Pull") -> Callable[[Msg], Awaitable[None]]:
        async def hear(message: Msg) -> None:
            if message.data and message.reply:
                pull.received()
                self._heard(decode_bell(message.data), message)
            else:
                pull.ended(message.headers)
            self._changed.set()

        return hear

    async def _change(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass


class _Pull:
    """A standing request for bells of one queue: how many more will come, and until when."""

    def __init__(self, queue: str, inbox: str) -> None:
        self.inbox = inbox
        consumer = consumer_of(queue).durable_name
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{WORK}.{consumer}"
        self._due = 0
        self._batch = 0
        self._until = 0.0
        self._not_before = 0.0

    def wants_more(self) -> bool:
        now = asyncio.get_running_loop().time()
        return now >= self._not_before and (now >= self._until or self._due * 2 <= self._batch)

    def request(self, batch: int) -> tuple[str, bytes, str]:
        """Subject, body and reply subject of a pull for so many bells."""
        self._due = self._batch = batch
        self._until = asyncio.get_running_loop().time() + _PULL_SECONDS
        body = msgspec.json.encode({"batch": batch, "expires": int(_PULL_SECONDS * 1e9)})
        return self._subject, body, self.inbox

    def forget(self) -> None:
        """The server may have forgotten the request."""
        self._until = 0.0

    def received(self) -> None:
        self._due -= 1

    def ended(self, headers: dict[str, str] | None) -> None:
        """The server ended the pull. When it did so because something is missing, asking again at once would only spin."""
        self._due = 0
        if (headers or {}).get("Status") not in {"404", "408"}:
            self._not_before = asyncio.get_running_loop().time() + 0.25
