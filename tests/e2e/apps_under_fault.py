"""The apps that the tests of faults run. What they do is seen from outside: a line in a ledger, a knock at a gate.

The gate is a socket of the test (see `house.Gate`): a task that comes to it says its name and waits to be let through,
so a test knows what runs at this instant, and decides when it ends, without looking at a clock.
"""

import asyncio
import os
import socket

from daybook import App, Context

app = App("fault")


@app.task
async def note(ctx: Context, text: str = "") -> str:
    """Leave one line in the ledger."""
    _write(ctx.task_id)
    return text


@app.task
async def hold(ctx: Context) -> str:
    """Leave a line, knock, and wait to be let through."""
    _write(ctx.task_id)
    return await _pass_gate(ctx)


@app.task
def hold_thread(ctx: Context) -> str:
    """The same in a thread, which nothing can stop from outside."""
    with socket.create_connection(("127.0.0.1", _gate())) as connection:
        connection.sendall(f"{ctx.task_id}\n".encode())
        return connection.makefile().readline().strip()


@app.task
async def talk(ctx: Context, words: int, result_bytes: int) -> str:
    """Say a progress, a log line and a chunk for each word, knock and wait after half of them, and return so many bytes."""
    for number in range(1, words + 1):
        await ctx.progress(number, total=words, message=f"word {number}")
        ctx.log.info("word.said", number=number)
        await ctx.chunk(f"word {number} ")
        if number == words // 2:
            await _pass_gate(ctx)
    return "x" * result_bytes


async def _pass_gate(ctx: Context) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", _gate())
    try:
        writer.write(f"{ctx.task_id}\n".encode())
        return (await reader.readline()).decode().strip()
    finally:
        writer.close()


def _write(line: str) -> None:
    # One write to a file opened for appending: lines of several runners never mix.
    ledger = os.open(os.environ["HOUSE_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(ledger, f"{line}\n".encode())
    os.close(ledger)


def _gate() -> int:
    return int(os.environ["HOUSE_GATE"])
