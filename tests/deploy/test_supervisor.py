"""The supervisor in this process: it restarts what crashes, gives up what was called wrongly, and ends all in order."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from daybook.testing.waiting import eventually
from daybook_local.console import Console
from daybook_local.nats import EmbeddedNats
from daybook_local.postgres import EmbeddedPostgres
from daybook_local.services import Service
from daybook_local.supervisor import StopAsked, Supervisor, wait_ready
from daybook_local.testing import PARENT, POLITE, STUBBORN, Beacon, Watched, lit_beacon, service


@pytest_asyncio.fixture
async def beacon() -> AsyncIterator[Beacon]:
    async with lit_beacon() as lit:
        yield lit


@pytest.fixture
def shown() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def console(shown: io.StringIO) -> Iterator[Console]:
    console = Console(shown)
    yield console
    console.close()


async def pid_heard(beacon: Beacon) -> int:
    return int((await beacon.heard()).split()[1])


async def test_a_service_that_was_killed_is_started_again(beacon: Beacon, console: Console, shown: io.StringIO) -> None:
    async with Supervisor(console) as supervisor:
        supervisor.start(service("api", POLITE, beacon))
        first = await pid_heard(beacon)
        os.kill(first, signal.SIGKILL)
        second = await pid_heard(beacon)
    assert second != first
    assert await beacon.heard() == "api ends"
    assert "api was ended by SIGKILL; starting it again in 0.2 s" in shown.getvalue()
    assert supervisor.exit_code == 0


async def test_one_that_keeps_crashing_is_started_less_and_less_often(console: Console, shown: io.StringIO) -> None:
    async with Supervisor(console) as supervisor:
        supervisor.start(Service(name="api", argv=(sys.executable, "-c", "exit(3)"), env=dict(os.environ)))
        await eventually(lambda: "again in 0.8 s" in shown.getvalue())
    told = [line.split(" | ")[1] for line in shown.getvalue().splitlines()]
    assert told == [f"api ended with status 3; starting it again in {wait} s" for wait in (0.2, 0.4, 0.8)]


async def test_a_service_that_was_called_wrongly_stops_everything(beacon: Beacon, console: Console) -> None:
    async with Supervisor(console) as supervisor:
        supervisor.start(service("api", POLITE, beacon))
        await beacon.heard()
        supervisor.start(Service(name="runner", argv=(sys.executable, "-c", "exit(2)"), env=dict(os.environ)))
        await supervisor.stop_asked()
    assert supervisor.exit_code == 2
    assert await beacon.heard() == "api ends"


async def test_everything_ends_in_reverse_order(beacon: Beacon, console: Console) -> None:
    names = ["api", "scheduler", "runner"]
    async with Supervisor(console) as supervisor:
        for name in names:
            supervisor.start(service(name, POLITE, beacon))
            await beacon.heard()
    assert [await beacon.heard() for _ in names] == [f"{name} ends" for name in reversed(names)]


async def test_one_that_does_not_want_to_end_is_killed_after_its_grace(beacon: Beacon, console: Console) -> None:
    async with Supervisor(console) as supervisor:
        supervisor.start(service("runner", STUBBORN, beacon, grace_seconds=0.1))
        runner = Watched(await pid_heard(beacon))
    assert runner.is_gone()


async def test_what_a_crashed_service_leaves_behind_is_ended(beacon: Beacon, console: Console) -> None:
    async with Supervisor(console) as supervisor:
        supervisor.start(service("runner", PARENT, beacon))
        _, child, runner = (await beacon.heard()).split()
        left_behind = Watched(int(child))
        os.kill(int(runner), signal.SIGKILL)
        await eventually(left_behind.is_gone)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_asks_for_the_end(number: signal.Signals, console: Console) -> None:
    async with Supervisor(console) as supervisor:
        os.kill(os.getpid(), number)
        await supervisor.stop_asked()
    assert supervisor.exit_code == 0


async def test_a_second_signal_ends_everything_at_once(beacon: Beacon, console: Console) -> None:
    async with asyncio.timeout(5):  # Less than the grace of the service.
        async with Supervisor(console) as supervisor:
            supervisor.start(service("runner", STUBBORN, beacon))
            await beacon.heard()
            os.kill(os.getpid(), signal.SIGINT)
            await supervisor.stop_asked()
            asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)


async def test_the_end_interrupts_waiting_for_readiness(console: Console) -> None:
    async def never() -> bool:
        return False

    async with Supervisor(console) as supervisor:
        asyncio.get_running_loop().call_soon(supervisor.ask_stop)
        with pytest.raises(StopAsked):
            await supervisor.unless_stopped(wait_ready(never, 60))


async def test_readiness_is_asked_for_until_it_is_there_or_the_time_is_up() -> None:
    answers = iter([False, False, True])

    async def check() -> bool:
        return next(answers, False)

    await wait_ready(check, 5)
    with pytest.raises(TimeoutError):
        await wait_ready(check, 0.05)


async def test_embedded_servers_that_were_killed_come_back_on_the_same_port(folder: Path, console: Console) -> None:
    postgres, nats = EmbeddedPostgres(folder / "postgres", fast=True), EmbeddedNats(folder / "nats")

    async def postgres_answers() -> bool:
        try:
            connection = await asyncpg.connect(postgres.url())
        except (ConnectionError, asyncpg.CannotConnectNowError):
            return False
        await connection.close()
        return True

    async def nats_greets() -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", nats.port)
        except ConnectionRefusedError:
            return False
        greeting = await reader.readline()
        writer.close()
        return greeting.startswith(b"INFO")

    async with Supervisor(console) as supervisor:
        for server, answers in ((postgres, postgres_answers), (nats, nats_greets)):
            server.start()
            assert server.process is not None
            supervisor.keep(server)
            first = Watched(server.process.pid)
            server.process.kill()
            await eventually(first.is_gone)
            await eventually(answers)
            assert server.process.pid != first.pid
    assert [server.process and server.process.returncode for server in (postgres, nats)] == [0, 0]
