"""Functions that run in processes of their own, for `test_process_executor.py`: how they come to their end."""

import ctypes
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from daybook import App, Context

app = App("p")


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What a function may take whole."""

    width: int
    name: str = ""


@app.task(process=True)
def area(size: Size, height: int = 2) -> dict[str, Any]:
    """Return something, and where that was."""
    return {"area": size.width * height, "pid": os.getpid(), "name": size.name}


@app.task(process=True)
def give(value: Any) -> Any:
    """Return what came."""
    return value


@app.task(process=True)
def give_bytes() -> bytes:
    """Return what is no text."""
    return b"\x00\xff"


@app.task(process=True)
def give_nothing_that_is_json() -> Any:
    """Return what has no JSON form."""
    return object()


@app.task(process=True)
def give_much(size: int) -> str:
    """Return a long text."""
    return "x" * size


@app.task(process=True)
def say(ctx: Context) -> str:
    """Say something in every way there is."""
    ctx.progress(1, total=2, message="half\x00way")
    ctx.chunk("piece")
    ctx.log.info("page.fetched", n=3)
    threading.Thread(target=ctx.chunk, args=("from a thread",)).run()
    print("printed")
    print("mistaken", file=sys.stderr)
    logging.getLogger("theirs").warning("logged %d", 1)
    return f"{ctx.task_id} {ctx.attempt} {ctx.deadline is not None} {ctx.cancelled}"


@app.task(process=True)
def raise_it(kind: str) -> None:
    """Raise something."""
    raise {"value": ValueError("no \x00 such\ud800 thing"), "exit": SystemExit(3), "interrupt": KeyboardInterrupt()}[kind]


@app.task(process=True)
def crash(manner: str) -> None:
    """End without an outcome."""
    if manner == "segfault":
        ctypes.string_at(0)
    elif manner == "exit":
        os._exit(7)
    else:
        os.kill(os.getpid(), int(manner))


@app.task(process=True)
def leave_children(ctx: Context) -> str:
    """Return, and leave a process and a thread behind."""
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return str(child.pid)


@app.task(process=True)
def wait_and_look(ctx: Context) -> None:
    """Wait for the cancel and take leave."""
    assert not ctx.cancelled
    ctx.chunk("ready")
    while not ctx.cancelled:
        time.sleep(0.005)
    print("looked")


@app.task(process=True)
def wait_and_speak(ctx: Context) -> None:
    """Wait for the cancel, which speaking brings."""
    assert not ctx.cancelled  # to be one who looks
    try:
        ctx.chunk("ready")
        while True:
            time.sleep(0.005)
            ctx.progress(1)
    finally:
        print("spoke")


@app.task(process=True)
def wait_deaf(ctx: Context) -> None:
    """Wait, and neither look nor speak."""
    try:
        ctx.chunk("ready")
        time.sleep(60)
    finally:
        print("interrupted")


@app.task(process=True)
def wait_stubbornly(ctx: Context) -> None:
    """Do not let go, and have a child that does not either."""
    child = subprocess.Popen(["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"], start_new_session=True)
    ctx.chunk(f"{os.getpid()} {child.pid}")
    while True:
        try:
            time.sleep(60)
        except BaseException:  # noqa: BLE001 - the very worst
            continue


@app.task(process=True)
def read(path: str) -> str:
    """See the runner's files, as any function does."""
    return Path(path).read_text(encoding="utf-8")
