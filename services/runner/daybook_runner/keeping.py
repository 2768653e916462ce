"""Keeps what attempts say: about once a second, and at each attempt's end, everything new goes to Postgres, in one
statement for all attempts of this runner.

Messages gather in one open page per attempt. Pages are closed every second, when they are full, or when an end is
waiting for them; closed ones are folded and stored in their order, each until the database has said that it has it.
While the database is away they wait in memory, up to a bound; what comes then is refused, and whoever spoke says so.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias
from uuid import UUID

import asyncpg
import structlog

from daybook.log.connections import LOST, TRANSIENT
from daybook.stored_output import LARGEST_CHUNK_BYTES, Chunk, folded

EVERY_SECONDS: Final = 1.0
MOST_WAITING_BYTES: Final = 64 * 1024 * 1024

_MOST_ROWS: Final = 500
_MOST_BYTES: Final = 4 * 1024 * 1024
_IN_LOOP_BYTES: Final = 64 * 1024
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 2.0

Store: TypeAlias = Callable[[Sequence[Chunk]], Awaitable[None]]
Speaker: TypeAlias = tuple[UUID, int]
"""An attempt: its task's stream and its number."""

log = structlog.get_logger()


class Keeper:
    """The memory between the attempts of a runner and the table of outputs."""

    def __init__(self, store: Store) -> None:
        """`store` stores chunks, all of them or none."""
        self._store = store
        self._open: dict[Speaker, _Page] = {}
        self._closed: deque[_Page] = deque()
        self._ready: deque[Chunk] = deque()
        self._closed_ever = 0
        self._stored_ever = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._due = 0.0
        self._wanted = asyncio.Event()
        self.waiting_bytes = 0
        """What is in memory."""

    def add(self, speaker: Speaker, number: int, message: bytes, *, is_log: bool, must: bool = False) -> bool:
        """Take one message; false when there is no room for it, unless it `must` be taken."""
        if self.waiting_bytes >= MOST_WAITING_BYTES and not must:
            return False
        if not self._open:
            self._due = asyncio.get_running_loop().time() + EVERY_SECONDS
            self._wanted.set()
        page = self._open.get(speaker)
        if page is None:
            page = self._open[speaker] = _Page(speaker, number)
        page.add(number, message, is_log=is_log)
        self.waiting_bytes += len(message)
        if page.size_bytes >= LARGEST_CHUNK_BYTES:
            self._close(speaker)
            self._wanted.set()
        return True

    async def kept(self, speaker: Speaker) -> None:
        """Wait until everything that this attempt has said is stored; for as long as that takes."""
        self._close(speaker)
        await self._stored()

    async def all_kept(self) -> None:
        """The same for all attempts."""
        self._close_all()
        await self._stored()

    async def run(self) -> None:
        """Store what is said, for ever. A duty."""
        while True:
            self._wanted.clear()
            self._close_due()
            await self._fold()
            await self._store_all()
            await self._something_to_do()

    async def _something_to_do(self) -> None:
        left = self._due - asyncio.get_running_loop().time() if self._open else None
        try:
            async with asyncio.timeout(left):
                await self._wanted.wait()
        except TimeoutError:
            pass  # the open pages are due

    def _close_due(self) -> None:
        # Ends come at any time, and each closes its own page alone: those who go on speaking get one row a second all the same.
        if asyncio.get_running_loop().time() >= self._due or self.waiting_bytes >= MOST_WAITING_BYTES // 4:
            self._close_all()

    def _close(self, speaker: Speaker) -> None:
        page = self._open.pop(speaker, None)
        if page is not None:
            self._closed.append(page)
            self._closed_ever += 1

    def _close_all(self) -> None:
        for speaker in list(self._open):
            self._close(speaker)

    async def _stored(self) -> None:
        # Pages are stored in the order in which they were closed, so it is enough to count.
        if self._stored_ever >= self._closed_ever:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((self._closed_ever, future))
        self._wanted.set()
        await future

    async def _fold(self) -> None:
        """Make chunks of the closed pages; many bytes of them in a thread, so that the loop goes on meanwhile."""
        while self._closed:
            page = self._closed[0]
            if page.size_bytes <= _IN_LOOP_BYTES:
                content = folded(page.messages)
            else:
                content = await asyncio.to_thread(folded, page.messages)
            self._closed.popleft()
            self._ready.append(page.chunk(content))
            self.waiting_bytes += len(content) - page.size_bytes

    async def _store_all(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while self._ready:
            batch = self._batch()
            try:
                await self._store(batch)
            except (*LOST, *TRANSIENT) as error:
                log.warning("output.storing_delayed", chunks=len(self._ready), error=type(error).__name__)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
                # What was said meanwhile takes less room when it is folded.
                self._close_due()
                await self._fold()
                continue
            except asyncpg.PostgresError as error:
                await self._store_singly(batch, error)
            pause = _FIRST_PAUSE_SECONDS
            self._done(batch)

    def _batch(self) -> list[Chunk]:
        batch: list[Chunk] = []
        size = 0
        for chunk in self._ready:
            size += len(chunk.content)
            if batch and (size > _MOST_BYTES or len(batch) == _MOST_ROWS):
                break
            batch.append(chunk)
        return batch

    async def _store_singly(self, batch: Sequence[Chunk], error: Exception) -> None:
        """One of them is refused, and would be for ever: it is dropped, and the others are stored."""
        for chunk in batch:
            try:
                await self._store([chunk])
            except (asyncpg.InsufficientPrivilegeError, asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as refusal:
                log.error("output.refused", task=str(chunk.stream), attempt=chunk.attempt, error=type(refusal).__name__)
        log.debug("output.stored_singly", chunks=len(batch), error=type(error).__name__)

    def _done(self, batch: Sequence[Chunk]) -> None:
        for chunk in batch:
            self._ready.popleft()
            self.waiting_bytes -= len(chunk.content)
        self._stored_ever += len(batch)
        waiting, self._waiting = self._waiting, []
        for goal, future in waiting:
            if goal > self._stored_ever:
                self._waiting.append((goal, future))
            elif not future.done():
                future.set_result(None)


class _Page:
    """Messages of one attempt that follow each other."""

    __slots__ = ("_first", "_last", "_logs", "_speaker", "messages", "size_bytes")

    def __init__(self, speaker: Speaker, first: int) -> None:
        self._speaker = speaker
        self._first = self._last = first
        self._logs = 0
        self.messages: list[bytes] = []
        self.size_bytes = 0

    def add(self, number: int, message: bytes, *, is_log: bool) -> None:
        self.messages.append(message)
        self._last = number
        self._logs += is_log
        self.size_bytes += len(message)

    def chunk(self, content: bytes) -> Chunk:
        stream, attempt = self._speaker
        unfolded = self.size_bytes + len(self.messages) - 1
        return Chunk(stream, attempt, self._first, self._last, self._logs, unfolded, content)
