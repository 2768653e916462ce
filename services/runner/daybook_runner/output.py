"""What running attempts say: numbered per attempt, told live by NATS, kept in Postgres, and bounded.

Speaking never waits and never fails. Live messages queue up here and one duty sends them, in order; when NATS is away,
or more is said than can be sent, the oldest are dropped and the next message carries the gap in its number. The same
messages are kept (`keeping`). What an attempt says beyond its bounds (`bounds`) is dropped, and a warning among its own
log lines says how much that was.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import nats.errors
import structlog

from daybook import clock
from daybook.bus import subjects
from daybook.bus.jetstream import Bus

from .bounds import DEFAULT_LIMIT_BYTES, Budget, encoded, pieces_of, size_of
from .keeping import Keeper, Speaker

if TYPE_CHECKING:
    from .attempt import Attempt

_BOUND: Final = 20_000
_MOST_BYTES: Final = 64 * 1024 * 1024
_SEND_SECONDS: Final = 1.0
_FLUSH_SECONDS: Final = 30
_TURNS: Final = 500
_QUICK_TURNS: Final = 10
_KEEP_SECONDS: Final = 3.0
_NOTE_SECONDS: Final = 1.0

log = structlog.get_logger()


class Output:
    """The output of all attempts of this runner. Its duties are `run`, and that of its keeper."""

    def __init__(self, bus: Bus, keeper: Keeper | None = None, *, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        """Without a keeper, words are told and not kept. `limit_bytes` is what each attempt may say."""
        self._bus = bus
        self._keeper = keeper
        self._limit_bytes = limit_bytes
        self._queue: deque[tuple[str, bytes]] = deque()
        self._queued_bytes = 0
        self._grown = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._flushing: asyncio.Task[None] | None = None
        self._next_flush: asyncio.Task[None] | None = None

    def voice(self, attempt: "Attempt") -> "Voice":
        """The way for one attempt to speak."""
        return Voice(self, attempt, Budget(self._limit_bytes))

    def tell(self, subject: str, message: bytes) -> None:
        """Queue one message for those who listen now."""
        self._queue.append((subject, message))
        self._queued_bytes += len(message)
        while len(self._queue) > _BOUND or self._queued_bytes > _MOST_BYTES:
            self._queued_bytes -= len(self._queue.popleft()[1])
        self._empty.clear()
        self._grown.set()

    def keep(self, speaker: Speaker, number: int, message: bytes, *, is_log: bool, must: bool) -> bool:
        """Have one message kept; false when there is no room for it."""
        return self._keeper is None or self._keeper.add(speaker, number, message, is_log=is_log, must=must)

    async def sent(self) -> None:
        """Wait, but not for long, until NATS has what was said so far, so that an end is not told before the words that led to it."""
        if not self._bus.is_connected:
            return
        if self._next_flush is None:
            self._next_flush = asyncio.create_task(self._flush(self._flushing))
        # Not under a timeout: the client cannot do without a flush that it has begun, so whoever waits leaves, and the flush goes on.
        await asyncio.wait({self._next_flush}, timeout=_SEND_SECONDS)

    async def _flush(self, earlier: "asyncio.Task[None] | None") -> None:
        """One round trip, for all who came while the one before was under way."""
        if earlier is not None:
            await asyncio.wait({earlier})
        self._flushing, self._next_flush = self._next_flush, None
        await self._empty.wait()
        connection = await self._bus.connected()
        # The client puts its ping before what it has yet to write, which it writes in one of the next turns of the loop.
        for turn in range(_TURNS):
            if connection.pending_data_size:
                await asyncio.sleep(0 if turn < _QUICK_TURNS else 0.001)
        try:
            # Sent is not there yet: the end is told on another connection, which may be quicker.
            await connection.flush(timeout=_FLUSH_SECONDS)
        except nats.errors.Error as error:
            log.debug("output.flush_failed", error=type(error).__name__)

    async def kept(self, speaker: Speaker) -> None:
        """Wait, but not for long, until what this attempt said is stored. Once it has ended nobody else could store it, so it is worth
        waiting for; but a result is worth more than the words beside it."""
        if self._keeper is not None:
            try:
                async with asyncio.timeout(_KEEP_SECONDS):
                    await self._keeper.kept(speaker)
            except TimeoutError:
                return  # it is stored as soon as the database is back, if this runner lives that long

    async def all_kept(self) -> None:
        """The same for everything that was said; for the end of the runner."""
        if self._keeper is not None:
            try:
                async with asyncio.timeout(_KEEP_SECONDS):
                    await self._keeper.all_kept()
            except TimeoutError:
                return

    async def run(self) -> None:
        """Send what is said, for ever. A duty."""
        while True:
            self._grown.clear()
            while self._queue:
                connection = await self._bus.connected()
                if not self._queue:
                    break
                subject, message = self._queue.popleft()
                self._queued_bytes -= len(message)
                await connection.publish(subject, message)
            self._empty.set()
            await self._grown.wait()


class Voice:
    """One attempt's way to speak; `said` counts its messages. To be used in the event loop's thread."""

    __slots__ = ("_attempt", "_budget", "_dropped", "_dropped_bytes", "_ended", "_noting", "_output", "_speaker", "_unkept", "said", "subject")

    def __init__(self, output: Output, attempt: "Attempt", budget: Budget) -> None:
        self._output = output
        self._attempt = attempt
        self._budget = budget
        self._speaker: Speaker = (attempt.stream, attempt.task.attempt)
        self.subject = ""  # most attempts say nothing
        self._dropped = self._dropped_bytes = self._unkept = 0
        self._noting: asyncio.TimerHandle | None = None
        self._ended = False
        self.said = 0

    def emit(self, kind: str, fields: dict[str, Any]) -> None:
        """Say one thing; the shape of a live message is its type, attempt, number and time, and the fields of that type. What is said
        after the end is not heard."""
        if self._ended:
            return
        for piece in pieces_of(kind, fields):
            if self._budget.admits():
                self._say(kind, piece)
            else:
                self._drop(size_of(piece))

    async def end(self) -> None:
        """The attempt says no more. Waits, but not for long, until what it said is on NATS and in Postgres."""
        if self._noting is not None:
            self._noting.cancel()
        self._note()
        self._ended = True
        if self.said:
            await asyncio.gather(self._output.kept(self._speaker), self._output.sent())

    def _say(self, kind: str, fields: dict[str, Any], *, must: bool = False) -> None:
        if not self.subject:
            task = self._attempt.task
            self.subject = subjects.live(self._attempt.namespace, task.owner, task.app, self._attempt.task_id)
        self.said += 1
        head = {"type": kind, "attempt": self._speaker[1], "n": self.said, "at": clock.now()}
        try:
            message = encoded({**head, **fields})
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            kind = "log"
            message = encoded({**head, "type": kind, **_warning(f"a message has no form in JSON and cannot be shown: {error}")})
        self._budget.bytes_left -= len(message)
        self._output.tell(self.subject, message)
        if not self._output.keep(self._speaker, self.said, message, is_log=kind == "log", must=must):
            self._unkept += 1
            self._note_soon()
        if self._budget.is_used_up and not must:
            self._say("log", _warning("the output was cut here: it has reached its limit of bytes, and what follows is dropped"), must=True)

    def _drop(self, size_bytes: int) -> None:
        self._dropped += 1
        self._dropped_bytes += size_bytes
        if not self._budget.is_used_up:
            self._note_soon()

    def _note_soon(self) -> None:
        if self._noting is None:
            self._noting = asyncio.get_running_loop().call_later(_NOTE_SECONDS, self._note)

    def _note(self) -> None:
        """Say how much was not said."""
        self._noting = None
        if self._dropped:
            text = f"the output was cut: {self._dropped} messages, {self._dropped_bytes} bytes dropped"
            self._dropped = self._dropped_bytes = 0
            self._say("log", _warning(text), must=True)
        if self._unkept:
            text = f"the output was cut: {self._unkept} messages could not be kept while the database was away"
            self._unkept = 0
            self._say("log", _warning(text), must=True)


def _warning(text: str) -> dict[str, Any]:
    return {"level": "warning", "message": text, "fields": {}}
