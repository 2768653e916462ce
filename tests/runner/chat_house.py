"""A runner's executors and apps, as a chat app's model finds them: tools that work, fail, speak, and hang."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.runner.chat_endpoint import DONE, asked, calling, chat_app, counted, piece, rounds

from daybook import App, Context
from daybook_runner.executors import Call, Executors, Outcome, Success
from daybook_runner.executors.chat import ChatExecutor

if TYPE_CHECKING:
    from tests.runner.conftest import LocalServer

ANSWER = [piece("So it is."), piece(None, "stop"), counted(prompt_tokens=20, total_tokens=22), DONE]
math = App("math")
bench = App("bench")


@math.task
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@math.task
def root(x: float) -> float:
    """The square root."""
    if x < 0:
        raise ValueError(f"{x} has no root\x00")
    return float(x**0.5)


@bench.task
async def speak(ctx: Context) -> str:
    """Say all that a tool can say."""
    ctx.log.info("spoke")
    await ctx.progress(1, total=2, message="half")
    await ctx.chunk("c" * 5000)
    return "spoken"


@bench.task
def speak_in_thread(ctx: Context) -> bool:
    """The same in a thread."""
    ctx.progress(1)
    return ctx.attempt == 3


@bench.task
async def who(ctx: Context) -> list[str]:
    """Say whose attempt this is."""
    return [ctx.task_id, ctx.idempotency_key]


@bench.task
async def much() -> str:
    """Say too much."""
    return "x" * 100_000


@bench.task
async def binary() -> bytes:
    """No text."""
    return b"\x00\xff"


@bench.task(timeout="50ms")
async def hang() -> None:
    """Take too long."""
    await asyncio.Event().wait()


class Meeting:
    """A tool whose calls wait until as many have come as are expected."""

    def __init__(self, expected: int) -> None:
        self.app = App("meeting")
        self.app.task(self.come)
        self.here = self.most = 0
        self.expected = expected
        self._all = asyncio.Event()

    async def come(self, number: int) -> int:
        """Wait for the others."""
        self.here += 1
        self.most = max(self.most, self.here)
        if self.here == self.expected:
            self._all.set()
        await self._all.wait()
        await asyncio.sleep(0)  # whoever else is let in comes before anybody leaves
        self.here -= 1
        return number


class House:
    """A runner's executors and apps, with one chat app that has them all as tools."""

    def __init__(self, executors: Executors, folder: Path) -> None:
        self.executors = executors
        self.folder = folder
        self.served = {**math.definitions, **bench.definitions}

    async def run(self, *, context: Context | None = None, attempt: int = 3, **changes: Any) -> Outcome:
        say = chat_app(self.folder, **({"tools": list(self.served)} | changes))
        chat = ChatExecutor(self.executors.execute, self.served)
        call = Call(task_id="tsk_7", attempt=attempt, definition=say, input={"text": "x", "language": "y"})
        try:
            return await chat.execute(call, context or Context.for_test(attempt=attempt))
        finally:
            await chat.aclose()

    async def told(self, server: LocalServer, name: str, arguments: str) -> str:
        """What the model is told of this one call."""
        server.answer = rounds(server, calling((name, arguments)), ANSWER)
        outcome = await self.run()
        assert isinstance(outcome, Success), outcome
        content: str = asked(server, 2)["messages"][-1]["content"]
        return content
