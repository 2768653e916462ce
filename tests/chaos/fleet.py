"""The processes under test, each behind two proxies of its own, and the little supervisor that starts again what has ended.

Each process reaches Postgres through one proxy and NATS through another, so that one runner can be cut from either alone. Nothing but the
supervisor starts a process, and it knows only that one has ended. Whatever a process leaves behind when it dies comes to us, the
reaper of all our descendants: so a grandchild that outlives its runner is seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, Signals
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import httpx2

from daybook import clock
from daybook.testing import eventually
from daybook.testing.proxy import Proxy
from daybook_local import processes

Kind: TypeAlias = Literal["api", "scheduler", "runner"]
ROOT: Final = Path(__file__).parents[2]
_APPS: Final = (str(Path(__file__).with_name("apps.py")), str(Path(__file__).with_name("programs")))
_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 2.0
_HEALTHY_SECONDS: Final = 5.0
_PR_SET_CHILD_SUBREAPER: Final = 36


class Exit(NamedTuple):
    """The end of a process."""

    pid: int
    code: int
    at: float


class Member:
    """One process of the fleet, in all its lives."""

    def __init__(self, name: str, kind: Kind, argv: list[str], env: dict[str, str], log_path: Path, postgres: Proxy, nats: Proxy, port: int = 0) -> None:
        self.name, self.kind, self.log_path, self.port = name, kind, log_path, port
        self.postgres, self.nats = postgres, nats
        self.exits: list[Exit] = []
        self.stopped_at: dict[int, float] = {}
        """When a life was killed or frozen by us."""
        self.process: subprocess.Popen[bytes] | None = None
        self._argv, self._env = argv, env
        self._said_before = 0
        self._closing = False

    @property
    def pid(self) -> int:
        """The number of its present life, or of the last one."""
        assert self.process is not None
        return self.process.pid

    @property
    def url(self) -> str:
        """Where it answers, if it is an API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_alive(self) -> bool:
        """Whether it runs now."""
        return self.process is not None and self.process.poll() is None

    async def keep(self) -> None:
        """Run it, and run it again whenever it has ended, until told to end."""
        pause = _PAUSE_SECONDS
        loop = asyncio.get_running_loop()
        while not self._closing:
            born = loop.time()
            self._spawn()
            assert self.process is not None
            code = await processes.exited(self.process)
            self.exits.append(Exit(self.process.pid, code, clock.now().timestamp()))
            pause = _PAUSE_SECONDS if loop.time() - born > _HEALTHY_SECONDS else min(pause * 2, _LONGEST_PAUSE_SECONDS)
            if not self._closing:
                await asyncio.sleep(pause)

    def signal(self, number: Signals) -> None:
        """Send a signal to its present life, if it has one; when it was killed or frozen is noted."""
        if self.is_alive:
            if number in {SIGKILL, SIGSTOP}:
                self.stopped_at[self.pid] = clock.now().timestamp()
            os.kill(self.pid, number)

    async def is_ready(self) -> bool:
        """Whether it says that it is at work."""
        if not self.is_alive:
            return False
        if self.kind != "api":
            return self._has_said(f"{self.kind}.started")
        try:
            async with httpx2.AsyncClient(base_url=self.url, timeout=2, trust_env=False) as client:
                return (await client.get("/readyz")).status_code == 200
        except httpx2.HTTPError:
            return False

    async def end(self) -> None:
        """Ask it to end, and insist when it does not."""
        self._closing = True
        self.signal(SIGCONT)
        self.signal(SIGTERM)
        try:
            await eventually(lambda: not self.is_alive, 20)
        except AssertionError:
            self.signal(SIGKILL)

    def _spawn(self) -> None:
        with self.log_path.open("ab") as log:
            self._said_before = log.tell()
            self.process = processes.spawn(self._argv, death_signal=SIGKILL, stdout=log, env=self._env, cwd=str(ROOT))

    def _has_said(self, words: str) -> bool:
        return words.encode() in self.log_path.read_bytes()[self._said_before :]


class Fleet:
    """All processes."""

    def __init__(self, members: list[Member]) -> None:
        self.members = members

    def of(self, kind: Kind) -> list[Member]:
        """The processes of one kind."""
        return [member for member in self.members if member.kind == kind]

    async def is_ready(self, kind: Kind | None = None) -> bool:
        """Whether all (of a kind) are at work."""
        return all([await member.is_ready() for member in self.members if kind is None or member.kind == kind])

    def orphans(self) -> list[str]:
        """Processes that some member has left behind: they have become our children, and are none of the members."""
        known = {member.pid for member in self.members if member.process is not None}
        found = []
        for pid in _children_of(os.getpid()):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue  # it is gone, and was none
            if state == "Z" and pid not in known:
                _collect(pid)
            elif state != "Z" and pid not in known and not words[0].endswith((b"postgres", b"nats-server")):
                found.append(f"{pid}: {b' '.join(words).decode(errors='replace')[:120]}")
        return found


@asynccontextmanager
async def open_fleet(database_url: str, nats_url: str, folder: Path, *, ttl_seconds: float, sizes: dict[Kind, int], mutant: str) -> AsyncIterator[Fleet]:
    """Start everything, return when all of it is at work, and end it in order."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    (folder / "logs").mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_")} | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "CHAOS_FOLDER": str(folder),
        "DAYBOOK_LEASE_TTL_SECONDS": str(ttl_seconds),
        "DAYBOOK_LEASE_RENEW_SECONDS": str(ttl_seconds / 4),
    }
    if mutant:
        environment["CHAOS_MUTANT"] = mutant
    async with AsyncExitStack() as stack:
        members = []
        for kind, size in sizes.items():
            for number in range(1, size + 1):
                postgres, nats = [await stack.enter_async_context(_proxy_to(url)) for url in (database_url, nats_url)]
                urls = {"DAYBOOK_DATABASE_URL": _through(database_url, postgres), "DAYBOOK_NATS_URL": _through(nats_url, nats)}
                port = _free_port() if kind == "api" else 0
                argv = _argv(kind, port, launcher=bool(mutant))
                name = f"{kind}-{number}"
                members.append(Member(name, kind, argv, environment | urls, folder / "logs" / f"{name}.log", postgres, nats, port))
        fleet = Fleet(members)
        keepers: list[asyncio.Task[None]] = []
        try:
            # One kind after the other: a start costs a second of a core, and a lease of 2 s does not wait for nine of them.
            for kind in sizes:
                keepers += [asyncio.create_task(member.keep()) for member in fleet.of(kind)]
                await eventually(partial(fleet.is_ready, kind), 60)
            yield fleet
        finally:
            await asyncio.gather(*(member.end() for member in members))
            await asyncio.gather(*keepers)


def _argv(kind: Kind, port: int, *, launcher: bool) -> list[str]:
    start = [sys.executable, "-m", "tests.chaos.launch" if launcher else "daybook", "serve", kind]
    match kind:
        case "api":
            return [*start, "--port", str(port)]
        case "runner":
            return [*start, *_APPS, "--slots", "12"]
        case _:
            return start


def _proxy_to(url: str) -> Proxy:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return Proxy(parts.hostname, parts.port)


def _through(url: str, proxy: Proxy) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{proxy.port}"))


def _children_of(pid: int) -> list[int]:
    return [int(word) for task in Path(f"/proc/{pid}/task").iterdir() for word in (task / "children").read_text().split()]


def _collect(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # somebody was faster
        os.waitpid(pid, os.WNOHANG)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
