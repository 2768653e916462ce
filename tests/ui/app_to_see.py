"""Apps for the tests of the page: one that says what the test dictates, and one with a form of every kind."""

import asyncio
import json
import os
from typing import Annotated, Any, Literal

import msgspec

from daybook import App, Context

app = App("ui")


@app.task
async def typist(ctx: Context, title: str) -> dict[str, Any]:
    """Type what is dictated."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["DICTATION"]))
    writer.write(f"{ctx.task_id}\n".encode())
    try:
        while line := await reader.readline():
            what, said = json.loads(line)
            if what == "chunk":
                await ctx.chunk(said)
            elif what == "progress":
                await ctx.progress(said, total=100, message=title)
            elif what == "log":
                ctx.log.warning(said)
            else:
                raise ValueError(said)
        return {"title": title, "typed": True}
    finally:
        writer.close()


@app.task
async def order(
    dish: Literal["soup", "bread"],
    guests: Annotated[int, msgspec.Meta(ge=1, le=8, description="How many come.")] = 2,
    notes: list[str] | None = None,
    vegan: bool = False,
    price: float | None = None,
) -> dict[str, Any]:
    """Take an order."""
    return {"dish": dish, "guests": guests, "notes": notes, "vegan": vegan, "price": price}
