"""Reads one task from the log, once for all who ask in the same moment.

Whoever asks is told what the log holds at a time after the question, never what somebody else was told before. So a
thousand clients that one event has woken cost one query, and none of them sees less than the event that woke it. What
is given out is shared: nobody may change it.
"""

import asyncio
from uuid import UUID

from daybook.log.envelope import Recorded
from daybook.log.postgres import Log


class Looks:
    """Answers of the log, shared by those who asked for them together."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._asked: dict[UUID, asyncio.Task[list[Recorded]]] = {}
        self._under_way: set[asyncio.Task[list[Recorded]]] = set()

    async def load(self, stream: UUID) -> list[Recorded]:
        """All events of a stream, with payloads, in order; empty when there is no such stream."""
        looking = self._asked.get(stream)
        if looking is None:
            looking = self._asked[stream] = asyncio.create_task(self._load(stream))
            self._under_way.add(looking)
            looking.add_done_callback(self._under_way.discard)
        return await asyncio.shield(looking)

    async def _load(self, stream: UUID) -> list[Recorded]:
        del self._asked[stream]  # who asks from here on may know of more than the query will find
        return await self._log.load(stream)
