"""Asks the log something once for all who want to know it in the same moment.

Whoever asks is told what the log holds at a time after the question, never what somebody else was told before. So a
thousand clients that one event has woken cost one query, and none of them sees less than the event that woke it. What
is given out is shared: nobody may change it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")


class Looks(Generic[Question, Answer]):
    """Answers of the log, shared by those who asked for them together."""

    def __init__(self, ask: Callable[[Question], Awaitable[Answer]]) -> None:
        self._ask = ask
        self._asked: dict[Question, asyncio.Task[Answer]] = {}
        self._under_way: set[asyncio.Task[Answer]] = set()

    async def __call__(self, question: Question) -> Answer:
        """The answer. Raises what `ask` raises."""
        looking = self._asked.get(question)
        if looking is None:
            looking = self._asked[question] = asyncio.create_task(self._look(question))
            self._under_way.add(looking)
            looking.add_done_callback(self._under_way.discard)
        return await asyncio.shield(looking)

    async def _look(self, question: Question) -> Answer:
        del self._asked[question]  # who asks from here on may know of more than the query will find
        return await self._ask(question)
