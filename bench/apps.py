"""What the benchmarks run: an app that does nothing."""

from daybook import App, Context

app = App("bench")


@app.task()
async def noop() -> None:
    """Does nothing."""


@app.task()
async def talks(chunks: int, size: int, ctx: Context) -> None:
    """Says much."""
    for _ in range(chunks):
        await ctx.chunk("x" * size)
