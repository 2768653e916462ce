"""Waiting for something that nobody announces, such as the end of somebody else's process.

The only place where a test may poll. Refuses to wait without a deadline; whoever can be told instead should be.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

_POLL_SECONDS = 0.01
_Found = TypeVar("_Found")


@overload
async def eventually(condition: Callable[[], Awaitable[_Found]], timeout_seconds: float = 5.0) -> _Found: ...


@overload
async def eventually(condition: Callable[[], _Found], timeout_seconds: float = 5.0) -> _Found: ...


async def eventually(condition: Callable[[], Awaitable[_Found] | _Found], timeout_seconds: float = 5.0) -> _Found:
    """The first true value that the condition gives, asked every 10 ms.

    Raises AssertionError with the last value when there is none in time. What the condition raises is not caught.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_seconds
    while True:
        answer = condition()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if loop.time() >= deadline:
            raise AssertionError(f"not so within {timeout_seconds} s; the last answer was {value!r}")
        await asyncio.sleep(_POLL_SECONDS)
