"""Programs that belong to one attempt: started under a warden (`warden.py`), listened to, and ended with all they
started.

    async with running(order) as program:
        program.beside(lines.read(program.stderr))
        how = await program.ended()

At the end of the block nothing of the program is left, however the block ends: one that still runs gets SIGTERM, the
order's grace, and SIGKILL. When the runner itself dies, the warden ends it at once. It refuses to wait for ever, for a
program that cannot be killed for instance: then it says so and goes on.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from daybook.safe_json import safe_text

_WARDEN: Final = Path(__file__).with_name("warden.py")
_PATIENCE_SECONDS: Final = 5.0
_LAST_WORDS_SECONDS: Final = 2.0
_NUDGE_SECONDS: Final = 2.0

log = structlog.get_logger()


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to start. `limits` are named as in the module `resource`; the program inherits the file descriptors `keep`;
    `remove` is a folder to remove should the runner not be there to do so."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    grace: float
    limits: dict[str, int] = {}
    keep: tuple[int, ...] = ()
    remove: str | None = None


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a program ended: by itself with a `code`, or by a `signal`."""

    code: int = 0
    signal: str = ""

    def __str__(self) -> str:
        return f"was ended by {self.signal}" if self.signal else f"ended with exit code {self.code}"


class NotStarted(Exception):
    """The program could not be started; `kind` is the name of the error that says why."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Program:
    """A program that runs, or did."""

    def __init__(self, warden: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, order: Order) -> None:
        self._warden = warden
        self._reader = reader
        self._writer = writer
        self._order = order
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: asyncio.Task[Ended] | None = None
        self.pid = 0

    @property
    def stdin(self) -> asyncio.StreamWriter:
        """What the program reads."""
        assert self._warden.stdin is not None
        return self._warden.stdin

    @property
    def stdout(self) -> asyncio.StreamReader:
        """What the program prints."""
        assert self._warden.stdout is not None
        return self._warden.stdout

    @property
    def stderr(self) -> asyncio.StreamReader:
        """What it has to say besides."""
        assert self._warden.stderr is not None
        return self._warden.stderr

    def beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do this while the program runs and until it has had its last words."""
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def ended(self) -> Ended:
        """Wait until nothing of the program is left."""
        if self._ended is None:
            self._ended = asyncio.create_task(self._read_end())
        # Many may wait, and whoever stops waiting takes the answer from nobody.
        return await asyncio.shield(self._ended)

    async def begin(self) -> None:
        """Hand over the order. Raises NotStarted."""
        send(self._writer, msgspec.json.encode(self._order) + b"\n")
        word, rest = await self._hear()
        if word != "started":
            kind, _, message = rest.partition(" ")
            raise NotStarted(kind or "WardenDied", safe_text(message or "its warden died"))
        self.pid = int(rest)

    async def finish(self) -> None:
        """End whatever still runs, and wait for what was read beside."""
        try:
            await self._stop()
            if self._tasks:
                # All who could write are gone, so every stream has an end.
                await asyncio.wait(self._tasks, timeout=_LAST_WORDS_SECONDS)
        finally:
            self.abandon()

    def check(self) -> None:
        """Raise what was raised beside."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    def abandon(self) -> None:
        """Let go of everything at once; the warden, left alone, ends what still runs."""
        self._writer.close()
        self.stdin.close()
        for task in (*self._tasks, self._ended):
            if task is not None and not task.done():
                task.cancel()

    async def _stop(self) -> None:
        if self.pid and not (self._ended is not None and self._ended.done()):
            send(self._writer, b"T")
            try:
                async with asyncio.timeout(self._order.grace + _PATIENCE_SECONDS):
                    await self.ended()
            except TimeoutError:
                # It cannot be killed, which takes a hostile program or a broken device.
                log.warning("program.survived", pid=self.pid)
                _signal_group(self.pid, signal.SIGKILL)

    async def _read_end(self) -> Ended:
        listening = asyncio.create_task(self._hear())
        try:
            while not (await asyncio.wait([listening], timeout=_NUDGE_SECONDS))[0]:
                # A hostile program can stop its warden; it must not stop us from hearing of the end.
                self._nudge()
        finally:
            listening.cancel()
        word, rest = listening.result()
        if word == "exited":
            return Ended(code=int(rest))
        if word == "killed":
            return Ended(signal=_name_of(int(rest)))
        # Somebody killed the warden. The kernel killed the program then; the group is left to us.
        _signal_group(self.pid, signal.SIGKILL)
        return Ended(signal="SIGKILL")

    def _nudge(self) -> None:
        if self._warden.returncode is None:
            with suppress(ProcessLookupError):  # it has ended, and the loop does not know yet
                self._warden.send_signal(signal.SIGCONT)

    async def _hear(self) -> tuple[str, str]:
        """The warden's next word and what follows it; nothing when it is dead."""
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return "", ""
        word, _, rest = line.decode(errors="replace").rstrip("\n").partition(" ")
        return word, rest


@asynccontextmanager
async def running(order: Order) -> AsyncIterator[Program]:
    """A program for as long as the block runs. Raises NotStarted when there is no such program, and OSError when there
    can be no process at all."""
    program = await _open(order)
    try:
        await program.begin()
        yield program
    finally:
        await program.finish()
    program.check()


async def _open(order: Order) -> Program:
    ours, theirs = socket.socketpair()
    try:
        warden = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-X", "utf8", str(_WARDEN), str(theirs.fileno()), str(os.getpid())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd="/",
            env={},
            start_new_session=True,
            pass_fds=(theirs.fileno(), *order.keep),
        )
        reader, writer = await asyncio.open_unix_connection(sock=ours)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Program(warden, reader, writer, order)


def send(writer: asyncio.StreamWriter, content: bytes) -> None:
    """Write, unless the other end is closed: whoever reads from there finds out what that means. A transport of uvloop
    that knows of it raises RuntimeError, and nothing that one would expect."""
    if not writer.transport.is_closing():
        writer.write(content)


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # a real-time signal


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return
