"""Child processes that do not outlive us, and the ends we put to them.

Every process of this package is born here. It refuses to be called from another thread than the main one: the kernel
ties "tell the child when its parent dies" to the thread that forked, so a child of a worker thread would be stopped as
soon as that thread ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec

_PR_SET_PDEATHSIG = 1
_LOG_LIMIT_BYTES = 10 * 1024 * 1024


class ServerFailed(Exception):
    """A process could not be started or did not become ready. The text is meant for the user."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The user that a child runs as when we are root."""

    uid: int
    gid: int


def spawn(
    argv: Sequence[str | Path],
    *,
    death_signal: signal.Signals,
    stdout: int | IO[bytes],
    env: Mapping[str, str],
    cwd: str | None = None,
    account: Account | None = None,
    keep_open: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own; `death_signal` reaches it when this process is gone, however it went.

    The own session keeps the terminal's Ctrl-C away from the child: the supervisor alone decides the order of the end.
    `keep_open` are descriptors that the child inherits, such as the lock it holds for as long as it lives.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("children are started from the main thread only: the death signal follows the thread")
    return subprocess.Popen(
        [str(part) for part in argv],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
        preexec_fn=_die_with_parent(death_signal),  # noqa: PLW1509  It makes two system calls and takes no lock.
        pass_fds=keep_open,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


def run(argv: Sequence[str | Path], *, account: Account | None = None, keep_open: tuple[int, ...] = (), stdin: bytes = b"") -> str:
    """Run a short command to its end and return what it said, which becomes the error text when it fails."""
    done = subprocess.run(
        [str(part) for part in argv],
        check=False,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=bare_environment(),
        cwd="/",
        start_new_session=True,
        pass_fds=keep_open,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )
    said = done.stdout.decode(errors="replace").strip()
    if done.returncode:
        raise ServerFailed(f"{Path(argv[0]).name} failed with status {done.returncode}:\n{said}")
    return said


def bare_environment() -> dict[str, str]:
    """What a database server needs, and nothing more.

    The user's own environment may hold secrets, and as root the server runs as an account that other programs share:
    they could read it in /proc. It may also hold PG* variables that would redirect the tools.
    """
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def end(process: subprocess.Popen[bytes], *steps: tuple[signal.Signals, float]) -> int:
    """Send each signal in turn and wait its seconds for the end; the last step should be one that cannot be refused."""
    for number, patience_seconds in steps:
        if process.poll() is None:
            process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(patience_seconds)
    raise ServerFailed(f"process {process.pid} did not end after {steps[-1][0].name}")


async def exited(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of a child without polling. Not to be cancelled: end the process instead."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[int] = loop.create_future()

    def wait() -> None:
        code = process.wait()
        loop.call_soon_threadsafe(done.set_result, code)

    threading.Thread(target=wait, name=f"exit-of-{process.pid}", daemon=True).start()
    return await done


def open_log(path: Path) -> IO[bytes]:
    """Open a server's log for appending; one that has grown beyond 10 MiB is set aside as `<name>.1` first."""
    if path.exists() and path.stat().st_size > _LOG_LIMIT_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    return open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab")


def log_tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    with open(path, "rb") as log:
        log.seek(max(0, path.stat().st_size - 8192))
        return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])


def _die_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None  # No such call elsewhere: there a supervisor killed with signal 9 leaves its children running.
    # Resolved before the fork, so that the child does nothing but two system calls.
    prctl = ctypes.CDLL(None).prctl
    number, parent = int(death_signal), os.getpid()

    def arrange() -> None:
        # Runs after the change of user: changing it would clear the arrangement.
        prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:  # The parent died between the fork and the line above; nobody will tell us.
            os._exit(1)

    return arrange
