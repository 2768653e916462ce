"""The system under test: `daybook up` in a folder of its own, started as a user would and stopped at the end."""

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import msgspec

from daybook.log.connections import Connection

_READY_SECONDS = 60


class House(msgspec.Struct, frozen=True, kw_only=True):
    """A running system: where it listens, and a connection to its database as the owner."""

    port: int
    token: str
    database_url: str
    nats_url: str
    database: Connection
    processor_seconds: "ProcessorTime"


class ProcessorTime:
    """Processor time, and memory, of all processes below one process, by what they are."""

    def __init__(self, root: int) -> None:
        self._root = root

    def read(self) -> dict[str, float]:
        """Seconds so far, by service; threads and children included."""
        return self._summed(lambda stat: (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK"))

    def resident_mb(self) -> dict[str, float]:
        """Megabytes in memory now, by service."""
        return self._summed(lambda stat: int(stat[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6)

    def _summed(self, figure: Callable[[list[str]], float]) -> dict[str, float]:
        """This figure of each process' `stat` (the fields after its name), summed by service."""
        parents: dict[int, int] = {}
        figures: dict[int, float] = {}
        names: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                    names[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
                except OSError:
                    continue
                parents[int(entry.name)] = int(fields[1])
                figures[int(entry.name)] = figure(fields)
        found: dict[str, float] = {}
        for pid, value in figures.items():
            if self._is_ours(pid, parents):
                name = _service_of(names[pid])
                found[name] = found.get(name, 0.0) + value
        return found

    def _is_ours(self, pid: int, parents: dict[int, int]) -> bool:
        while pid in parents and pid != self._root:
            pid = parents[pid]
        return pid == self._root


@asynccontextmanager
async def house(database_url: str | None = None) -> AsyncIterator[House]:
    """Bring a system up in a temporary folder, or over a database that is there already; take it down at the end."""
    with tempfile.TemporaryDirectory(prefix="daybook-bench-", dir="/var/tmp") as folder:
        # PostgreSQL never runs as root; where this does, its user must be able to enter.
        Path(folder).chmod(0o711)
        data = Path(folder) / "data"
        environment = {**os.environ, "DAYBOOK_LOG_LEVEL": "warning"} | ({} if database_url is None else {"DAYBOOK_DATABASE_URL": database_url})
        arguments = ("-m", "daybook", "up", str(Path(__file__).parent / "apps.py"), "--data", str(data), "--port", str(_free_port()))
        log = (Path(folder) / "up.log").open("wb")
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=log, stderr=log, env=environment)
        try:
            known = await _announced(process, data / "env.json", Path(folder) / "up.log")
            database = await asyncpg.connect(known["database_url"])
            yield House(
                port=int(known["url"].rsplit(":", 1)[1]),
                token=known["token"],
                database_url=known["database_url"],
                nats_url=known["nats_url"],
                database=database,
                processor_seconds=ProcessorTime(process.pid),
            )
            await database.close()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


async def _announced(process: asyncio.subprocess.Process, path: Path, log: Path) -> dict[str, str]:
    for _ in range(_READY_SECONDS * 20):
        if path.exists():
            return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        if process.returncode is not None:
            break
        await asyncio.sleep(0.05)
    raise RuntimeError(f"daybook up did not come up:\n{log.read_text()[-4000:]}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _service_of(command: str) -> str:
    for name in ("serve api", "serve scheduler", "serve runner", "nats-server", "postgres"):
        if name in command:
            return name.removeprefix("serve ")
    return "supervisor"
