"""The data folder: private files, remembered ports, and locks that tell who still lives in it.

Refuses to trust process ids written to files: they are recycled. Who lives here is known by locks, which the kernel
drops when the last process that holds them is gone.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import socket
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from daybook_local.processes import ServerFailed

_POLL_SECONDS = 0.02


def make_folder(folder: Path) -> Path:
    """Make a folder that others may at most pass through, and return its absolute path.

    As root the database runs as another user that must reach its own folder below this one, hence 0711 there.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        folder.mkdir(parents=True)
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return folder


def write_private(path: Path, text: str) -> None:
    """Replace a file that only its owner can read; whoever reads it sees the old text or the new one, never a part."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def find_text(path: Path) -> str | None:
    """The text of a file, without blanks around it; None when there is no such file."""
    return path.read_text(encoding="utf-8").strip() if path.exists() else None


def read_or_write_private(path: Path, make: Callable[[], str]) -> str:
    """The text of a file, which is written first when it is not there yet."""
    if not path.exists():
        write_private(path, make())
    return path.read_text(encoding="utf-8")


def take_lock(path: Path, *, patience_seconds: float, refusal: str) -> int:
    """Take the lock and return its descriptor; ServerFailed(refusal) when another still holds it after the patience.

    The lock belongs to the open file, not to a process: handed to a child (`keep_open`), it lasts as long as the child
    or any of its own children. So waiting for the lock is waiting for everything left over from an earlier run.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise ServerFailed(refusal) from None
            time.sleep(_POLL_SECONDS)


def choose_port(memory: Path, *, first: int, host: str = "127.0.0.1") -> int:
    """The port used last time, written in `memory`, or else the first free one from `first` on; it is remembered."""
    remembered = [int(memory.read_text())] if memory.exists() else []
    for port in itertools.chain(remembered, range(first, first + 200)):
        if is_free(port, host):
            if [port] != remembered:
                write_private(memory, str(port))
            return port
    raise ServerFailed(f"no free port on {host} between {first} and {first + 199}")


def usual_port(folder: Path) -> int:
    """A port that follows from the folder's path, between 20000 and 29999.

    Below every system's range for outgoing connections: a client that keeps calling a server that is down would
    otherwise one day be given the server's port for its own end, connect to itself, and keep the server from returning.
    """
    return 20000 + zlib.crc32(os.fsencode(folder)) % 10000


def is_free(port: int, host: str) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the servers do it: without this, connections that ended a minute ago would still block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
