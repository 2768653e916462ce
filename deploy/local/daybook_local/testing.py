"""For tests of processes: little services that report to a beacon, and the ends of processes.

A beacon is a socket that the test listens on. A service connects to it and says what it does, so the test waits for a
word and never for time. Refuses to be used outside tests.
"""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from daybook_local.services import Service

# Says "<name> <pid>", and "<name> ends" when it is asked to stop.
POLITE = """
import os, signal, socket, sys
name, port = sys.argv[1:3]
beacon = socket.create_connection(("127.0.0.1", int(port)))
def end(*_):
    # When a parent with several threads dies, the kernel may tell its children once per thread.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    beacon.sendall(f"{name} ends\\n".encode()); sys.exit(0)
signal.signal(signal.SIGTERM, end)
beacon.sendall(f"{name} {os.getpid()}\\n".encode())
while True: signal.pause()
"""
# Does not stop when asked to.
STUBBORN = POLITE.replace("signal.SIGTERM, end", "signal.SIGTERM, signal.SIG_IGN")
# Has a child of its own, and says "<name> <pid of the child>".
PARENT = """
import os, signal, socket, subprocess, sys
name, port = sys.argv[1:3]
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
beacon = socket.create_connection(("127.0.0.1", int(port)))
beacon.sendall(f"{name} {child.pid} {os.getpid()}\\n".encode())
while True: signal.pause()
"""


class Beacon:
    """Where services report. `heard()` is the next word, in the order of arrival."""

    def __init__(self) -> None:
        self.port = 0
        self._words: asyncio.Queue[str] = asyncio.Queue()

    async def heard(self, timeout_seconds: float = 10.0) -> str:
        async with asyncio.timeout(timeout_seconds):
            return await self._words.get()

    async def listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self._words.put_nowait(line.decode().strip())
        except ConnectionResetError:
            return  # The service was killed.
        finally:
            writer.close()


@asynccontextmanager
async def lit_beacon() -> AsyncIterator[Beacon]:
    beacon = Beacon()
    async with await asyncio.start_server(beacon.listen, "127.0.0.1", 0) as server:
        beacon.port = server.sockets[0].getsockname()[1]
        yield beacon
        server.close()


def service(name: str, code: str, beacon: Beacon, *, grace_seconds: float = 10.0) -> Service:
    """A service that runs some Python."""
    argv = (sys.executable, "-c", code, name, str(beacon.port))
    return Service(name=name, argv=argv, env=dict(os.environ), grace_seconds=grace_seconds)


def outlived_its_parent(code: str, folder: Path) -> Watched:
    """Run some Python that prints the pid of a child of its own, then kill it with signal 9; returns that child."""
    argv = [sys.executable, "-c", f"{code}\nimport signal; signal.pause()", str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = Watched(int(parent.stdout.readline()))
        parent.kill()
    return child


class Watched:
    """A process that may be nobody's child here. Opened while it lives, it cannot be mistaken for a later one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)

    def is_gone(self) -> bool:
        return bool(select.select([self._descriptor], [], [], 0)[0])
