"""What the benchmarks run: an app that does nothing."""

from daybook import App

app = App("bench")


@app.task()
async def noop() -> None:
    """Does nothing."""
