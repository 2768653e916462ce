"""Apps for the API's tests. What an app does while a test looks on is governed by a gate: an event that says that it
has come so far, and one that it waits for."""

import asyncio
from typing import Annotated, Any

import msgspec

from daybook import App, Context, Retry

app = App("t")


class Gate:
    """Where an app and a test meet."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.opened = asyncio.Event()
        self._reached = asyncio.Event()

    async def reached(self) -> None:
        """Called by the test: wait until the app is here."""
        async with asyncio.timeout(10):
            await self._reached.wait()

    async def pass_through(self) -> None:
        """Called by the app: say that it is here, and wait to be let through."""
        self._reached.set()
        await self.opened.wait()


gates: dict[str, Gate] = {}


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """Something with a schema to violate."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    count: Annotated[int, msgspec.Meta(ge=0)] = 1
    lines: list[int] = []


@app.task
async def echo(value: Any = None) -> Any:
    """Return what came."""
    return value


@app.task
async def order(input: Order) -> str:  # noqa: A002
    """Return a name."""
    return input.name


@app.task
async def gated(gate: str) -> str:
    """Wait at a gate."""
    await gates[gate].pass_through()
    return gate


@app.task
async def speaks(gate: str, ctx: Context) -> str:
    """Say three things, wait at a gate, and say another."""
    await ctx.progress(1, total=4, message="first")
    ctx.log.info("second", n=2)
    await ctx.chunk("third")
    await gates[gate].pass_through()
    await ctx.progress(4, total=4, message="last")
    return "said"


@app.task
async def counts(upto: int, ctx: Context) -> int:
    """Say every number."""
    for number in range(1, upto + 1):
        await ctx.progress(number, total=upto)
    return upto


@app.task
async def fails(message: str) -> None:
    """Raise an error."""
    raise ValueError(message)


@app.task
async def flaky(good: int, ctx: Context) -> int:
    """Fail until the attempt of this number."""
    if ctx.attempt < good:
        raise ConnectionError(f"attempt {ctx.attempt} is too early")
    return ctx.attempt


@app.task(
    timeout="1m",
    queue_ttl="1h",
    deadline="1d",
    retry=Retry(max_attempts=4, backoff="10ms", max_backoff="1s", factor=3.0, non_retryable=("LookupError",)),
)
async def careful(good: int, ctx: Context) -> int:
    """The same, with a policy of its own."""
    return await flaky(good, ctx)


@app.task
async def large(size: int) -> str:
    """Return a long text."""
    return "x" * size


@app.task
async def raw() -> bytes:
    """Return bytes that are no text."""
    return b"\x00\xff"
