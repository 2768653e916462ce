"""The end of a supervisor that is a process of its own: by Ctrl-C, by a signal, by signal 9. Nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from daybook.testing.waiting import eventually
from daybook_local.testing import Beacon, Watched, lit_beacon

SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from daybook_local.console import Console
from daybook_local.nats import EmbeddedNats
from daybook_local.postgres import EmbeddedPostgres
from daybook_local.supervisor import Supervisor
from daybook_local.testing import POLITE, Beacon, service

async def main(folder, port):
    beacon = Beacon()
    beacon.port = port
    async with Supervisor(Console(sys.stderr)) as supervisor:
        for server in (EmbeddedPostgres(folder / "postgres", fast=True), EmbeddedNats(folder / "nats")):
            server.start()
            supervisor.keep(server)
            print(server.process.pid, flush=True)
        for name in ("api", "runner"):
            supervisor.start(service(name, POLITE, beacon))
        await supervisor.stop_asked()
    return supervisor.exit_code

sys.exit(asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]))))
"""


@asynccontextmanager
async def supervised(folder: Path, beacon: Beacon) -> AsyncIterator[tuple[Process, list[Watched]]]:
    """A running supervisor and its four children; in a process group of its own, as a shell would start it."""
    process = await asyncio.create_subprocess_exec(*(sys.executable, "-c", SUPERVISOR, str(folder), str(beacon.port)), stdout=subprocess.PIPE, process_group=0)
    assert process.stdout is not None
    pids = [int(await process.stdout.readline()) for _ in range(2)]
    pids += [int((await beacon.heard()).split()[1]) for _ in range(2)]
    try:
        yield process, [Watched(pid) for pid in pids]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_after_kill_9_no_child_and_no_child_of_a_child_is_left(folder: Path) -> None:
    async with lit_beacon() as beacon, supervised(folder, beacon) as (process, children):
        backends = [Watched(pid) for pid in children_of(children[0].pid)]
        assert backends
        process.kill()
        await process.wait()
        for child in (*children, *backends):
            await eventually(child.is_gone)
        assert {await beacon.heard(), await beacon.heard()} == {"api ends", "runner ends"}  # Asked, not killed.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_all_in_order_with_status_0(number: signal.Signals, folder: Path) -> None:
    async with lit_beacon() as beacon, supervised(folder, beacon) as (process, children):
        os.killpg(process.pid, number)  # What a terminal does at Ctrl-C.
        assert await process.wait() == 0
        assert all(child.is_gone() for child in children)
        assert [await beacon.heard(), await beacon.heard()] == ["runner ends", "api ends"]
        assert "database system is shut down" in (folder / "postgres" / "postgres.log").read_text()


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
