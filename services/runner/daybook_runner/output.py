"""What running attempts say, on its way to `DAYBOOK_LIVE`: numbered per attempt, sent in order, bounded.

Speaking never waits: messages queue up here and one duty sends them. When NATS is away, or an attempt says more than
can be sent, the oldest are dropped and the next message carries the gap in its number.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

from daybook import clock
from daybook.bus import subjects
from daybook.bus.jetstream import Bus

if TYPE_CHECKING:
    from .attempt import Attempt

_BOUND: Final = 20_000
_LARGEST_BYTES: Final = 256 * 1024
_ENCODE: Final = msgspec.json.Encoder().encode


class Output:
    """The live output of all attempts of this runner."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._queue: deque[tuple[str, bytes]] = deque(maxlen=_BOUND)
        self._grown = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def voice(self, attempt: "Attempt") -> "Voice":
        """The way for one attempt to speak."""
        return Voice(self, attempt)

    def push(self, subject: str, message: bytes) -> None:
        """Queue one message."""
        self._queue.append((subject, message))
        self._empty.clear()
        self._grown.set()

    async def sent(self) -> None:
        """Wait, but not for long, until what was said so far has gone out, so that an end is not told before the words that led to it."""
        if not self._empty.is_set() and self._bus.is_connected:
            try:
                async with asyncio.timeout(1):
                    await self._empty.wait()
            except TimeoutError:
                pass

    async def run(self) -> None:
        """Send what is said, for ever. A duty."""
        while True:
            self._grown.clear()
            while self._queue:
                nats = await self._bus.connected()
                subject, message = self._queue.popleft()
                await nats.publish(subject, message)
            self._empty.set()
            await self._grown.wait()


class Voice:
    """One attempt's way to speak; `said` counts its messages."""

    __slots__ = ("_attempt", "_output", "_subject", "said")

    def __init__(self, output: Output, attempt: "Attempt") -> None:
        self._output = output
        self._attempt = attempt
        self._subject = ""  # most attempts say nothing
        self.said = 0

    def emit(self, kind: str, fields: dict[str, Any]) -> None:
        """Say one thing; the shape of a live message is its type, attempt, number and time, and the fields of that type."""
        self.said += 1
        if not self._subject:
            task = self._attempt.task
            self._subject = subjects.live(self._attempt.namespace, task.owner, task.app, self._attempt.task_id)
        number = self._attempt.task.attempt
        message = _ENCODE({"type": kind, "attempt": number, "n": self.said, "at": clock.now(), **fields})
        if len(message) > _LARGEST_BYTES:
            note = {"level": "warning", "message": f"a {kind} of {len(message)} bytes was too large to show", "fields": {}}
            message = _ENCODE({"type": "log", "attempt": number, "n": self.said, "at": clock.now(), **note})
        self._output.push(self._subject, message)
