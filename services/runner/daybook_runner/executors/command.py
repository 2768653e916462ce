"""Runs commands: a program without a shell, in a folder of its own, with the environment that its app declares and
nothing else.

The input is on its stdin as JSON, what it prints is the result, what it says on stderr goes to the task's log, line by
line. It is bounded in CPU time, memory, files, and in what is kept of its output, and nothing of it is left when the
attempt ends. It runs as the runner's user: the bounds protect the machine from accidents, not from a program that you
would not run.

It refuses a value that would be taken for an option, and a result that is not what the app promised.
"""

import asyncio
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from daybook.context import Context
from daybook.durations import parse_duration
from daybook.manifest import CommandApp
from daybook.safe_json import safe_bytes, safe_text

from ..references import MissingSetting, resolve
from ..templates import MissingVariable, render
from .programs import Ended, NotStarted, Order, running, send
from .protocol import Call, Failure, Outcome, Success
from .streams import Kept, Lines

_MESSAGE_LENGTH: Final = 1000
_REASONS: Final = {
    "SIGXCPU": "it used more CPU time than limits.cpu_seconds",
    "SIGXFSZ": "it wrote a file larger than limits.file_bytes",
}

log = structlog.get_logger()


class CommandExecutor:
    """Runs the programs."""

    async def execute(self, call: Call, context: Context) -> Outcome:
        """Fill in the arguments, run the program to its end, and return what it printed."""
        app = call.definition.run
        assert isinstance(app, CommandApp)
        if not isinstance(call.input, dict):
            return Failure(error_type="InvalidInput", message="the input is not an object", retryable=False)
        try:
            argv = _filled(app, call.input)
            env = {name: resolve(value) for name, value in app.env.items()}
        except MissingSetting as error:
            return Failure(error_type="MissingSetting", message=str(error))
        except (MissingVariable, ValueError) as error:
            return Failure(error_type="InvalidInput", message=safe_text(str(error))[:_MESSAGE_LENGTH], retryable=False)
        folder = tempfile.mkdtemp(prefix="daybook-command-")
        try:
            return await _run(app, _order(app, argv, env, folder), call, context)
        finally:
            # A cancel that comes now would stop a thread's work before it began.
            await asyncio.shield(asyncio.to_thread(_remove, Path(folder)))

    async def aclose(self) -> None:
        """There is nothing to let go of: each program is the business of its attempt."""


def _filled(app: CommandApp, values: dict[str, Any]) -> tuple[str, ...]:
    argv = [app.argv[0]]
    for part in app.argv[1:]:
        text = render(part, values)
        if "\0" in text:
            raise ValueError(f"what fills {part!r} holds a NUL")
        if text.startswith("-") and not part.startswith("-") and not app.allow_dashes and "--" not in app.argv[1 : len(argv)]:
            raise ValueError(f"what fills {part!r} begins with '-', which would make it an option")
        argv.append(text)
    return tuple(argv)


def _order(app: CommandApp, argv: tuple[str, ...], env: dict[str, str], folder: str) -> Order:
    limits = {
        "RLIMIT_CPU": app.limits.cpu_seconds,
        "RLIMIT_AS": app.limits.memory_bytes,
        "RLIMIT_FSIZE": app.limits.file_bytes,
        "RLIMIT_NOFILE": app.limits.open_files,
        "RLIMIT_CORE": 0,
    }
    grace = parse_duration(app.grace).total_seconds()
    return Order(argv=argv, env=env, cwd=folder, grace=grace, limits=limits, remove=folder)


async def _run(app: CommandApp, order: Order, call: Call, context: Context) -> Outcome:
    printed, said = Kept(app.limits.output_bytes), Lines(context, app.limits.log_bytes)
    try:
        async with running(order) as program:
            program.beside(_feed(program.stdin, msgspec.json.encode(call.input)))
            program.beside(printed.read(program.stdout))
            program.beside(said.read(program.stderr))
            ended = await program.ended()
    except NotStarted as error:
        message = safe_text(f"{order.argv[0]} cannot be run: {error}")[:_MESSAGE_LENGTH]
        return Failure(error_type="CommandNotStarted", message=message, retryable=error.kind in ("BlockingIOError", "WardenDied", "MemoryError"))
    except OSError as error:
        return Failure(error_type="CommandNotStarted", message=f"no process can be started: {error}")
    if ended != Ended(code=0):
        return _failure(order.argv[0], ended, said.last)
    return _result(app, printed)


async def _feed(stdin: asyncio.StreamWriter, content: bytes) -> None:
    try:
        send(stdin, content)
        await stdin.drain()
        stdin.close()
    except ConnectionError:
        return  # a program need not read its input


def _failure(name: str, ended: Ended, last_words: str) -> Failure:
    message = f"{name} {ended}"
    if reason := _REASONS.get(ended.signal):
        message += f": {reason}"
    elif last_words:
        message += f": {last_words}"
    return Failure(error_type="CommandKilled" if ended.signal else "CommandFailed", message=safe_text(message)[:_MESSAGE_LENGTH])


def _result(app: CommandApp, printed: Kept) -> Outcome:
    if app.result == "text":
        text = safe_text(printed.content.decode(errors="replace"))
        if printed.lost_bytes:
            text += f"\n… (cut: {printed.lost_bytes} bytes more)\n"
        return Success(content=text.encode(), media_type="text/plain; charset=utf-8")
    if printed.lost_bytes:
        most = f"more than {app.limits.output_bytes} bytes, limits.output_bytes"
        return Failure(error_type="ResultTooLarge", message=f"it printed {most}, and cut JSON is no JSON", retryable=False)
    try:
        return Success(content=safe_bytes(msgspec.json.decode(printed.content)))
    except (ValueError, TypeError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        return Failure(error_type="MalformedResult", message=safe_text(f"what it printed is not JSON: {error}")[:_MESSAGE_LENGTH])


def _remove(folder: Path) -> None:
    """Remove the folder, also what the program made unreadable in it. Links are removed and not followed."""
    if not folder.exists():
        return  # the program was faster
    folder.chmod(0o700)
    for place, names, _ in os.walk(folder):
        for each in (Path(place, name) for name in names):
            if not each.is_symlink():
                each.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        log.warning("folder.left", folder=str(folder))
