"""The apps that run under chaos. Each says in the ledger what it does, before and after the one thing that matters, its effect.

A line of the ledger is one write to a file opened for appending, so lines of several runners never mix. The suite may lay out a trap
(a file in its folder): the first task to come by takes it away and kills its own runner, exactly there. Everything else about
these apps is ordinary.
"""

import asyncio
import os
import threading
from pathlib import Path
from signal import SIGKILL
from typing import Any, Final, Literal

import msgspec

from daybook import App, Context, Retry, clock

app = App("chaos")
_FOLDER: Final = Path(os.environ.get("CHAOS_FOLDER", "."))
_TRIES: Final = Retry(max_attempts=6)


@app.task(retry=_TRIES)
async def work(ctx: Context, seconds: float) -> dict[str, Any]:
    """Wait, have an effect, and return the attempt that had it."""
    _note(ctx, "begun")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        _note(ctx, "stopped")
        raise
    _trap("mid-effect")
    _note(ctx, "effect")
    _trap("before-report")
    return {"attempt": ctx.attempt}


@app.task(retry=_TRIES)
def plain(ctx: Context, seconds: float) -> dict[str, Any]:
    """The same in a thread."""
    _note(ctx, "begun")
    threading.Event().wait(seconds)
    _note(ctx, "effect")
    return {"attempt": ctx.attempt}


@app.task(retry=_TRIES, process=True)
def apart(ctx: Context, seconds: float) -> dict[str, Any]:
    """The same in a process of its own."""
    _note(ctx, "begun")
    threading.Event().wait(seconds)
    _note(ctx, "effect")
    return {"attempt": ctx.attempt}


@app.task(retry=_TRIES)
async def stumble(ctx: Context, failures: int) -> dict[str, Any]:
    """Fail so many times, then have an effect."""
    _note(ctx, "begun")
    if ctx.attempt <= failures:
        raise RuntimeError(f"attempt {ctx.attempt} stumbles")
    _note(ctx, "effect")
    return {"attempt": ctx.attempt}


def _note(ctx: Context, phase: str) -> None:
    line = {"task": ctx.task_id, "attempt": ctx.attempt, "pid": os.getpid(), "at": clock.now().timestamp(), "phase": phase}
    ledger = os.open(_FOLDER / "ledger.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(ledger, msgspec.json.encode(line) + b"\n")
    os.close(ledger)


def _trap(place: Literal["mid-effect", "before-report"]) -> None:
    try:
        (_FOLDER / f"trap-{place}").unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), SIGKILL)
