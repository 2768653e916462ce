"""Questions that are shared: by those who ask together, and by nobody who asks later."""

import asyncio

import pytest

from daybook_api.watching.looking import Looks


class Source:
    """Answers how often it was asked so far, once it may."""

    def __init__(self) -> None:
        self.asked = 0
        self.under_way = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def ask(self, question: str) -> str:
        self.asked += 1
        number = self.asked
        self.under_way.set()
        await self.may_answer.wait()
        if question == "bad":
            raise LookupError(question)
        return f"{question} {number}"


async def test_who_asks_together_asks_once_and_who_asks_later_anew() -> None:
    source = Source()
    looks = Looks(source.ask)
    first = [asyncio.create_task(looks("who")) for _ in range(3)]
    await source.under_way.wait()
    later = [asyncio.create_task(looks("who")), asyncio.create_task(looks("else"))]
    source.may_answer.set()
    assert await asyncio.gather(*first) == ["who 1"] * 3
    assert await asyncio.gather(*later) == ["who 2", "else 3"]


async def test_who_goes_away_takes_the_answer_from_nobody_and_an_error_is_everybodys() -> None:
    source = Source()
    looks = Looks(source.ask)
    stays, leaves = asyncio.create_task(looks("who")), asyncio.create_task(looks("who"))
    await source.under_way.wait()
    leaves.cancel()
    source.may_answer.set()
    assert await stays == "who 1"
    for outcome in await asyncio.gather(looks("bad"), looks("bad"), return_exceptions=True):
        with pytest.raises(LookupError):
            raise outcome if isinstance(outcome, BaseException) else AssertionError(outcome)
    assert source.asked == 2
