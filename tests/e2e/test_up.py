"""`daybook up` as a user meets it: from an empty folder to a finished task, again the next day, and after every crash."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import msgspec
import pytest
import pytest_asyncio

from daybook.testing.waiting import eventually
from daybook_local.nats import EmbeddedNats
from daybook_local.testing import Watched

APP = """
from daybook.apps import App
app = App("hello")

@app.task
def greet(name: str) -> str:
    return f"hello {name}"
"""
TASK = {"app": "hello.greet", "input": {"name": "Ada"}}


class Up:
    """A running `daybook up`."""

    def __init__(self, process: Process, folder: Path, said: str) -> None:
        self.process = process
        self.folder = folder
        self.said = said
        here = msgspec.json.decode((folder / ".daybook" / "env.json").read_bytes())
        self.url: str = here["url"]
        self.token: str = here["token"]

    def children(self) -> dict[str, Watched]:
        """Its processes by name: postgres, nats-server, api, scheduler, runner."""
        children = {}
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            argv = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            children[argv[4] if argv[1:4] == ["-m", "daybook", "serve"] else Path(argv[0]).name] = Watched(int(pid))
        return children

    def client(self) -> httpx2.AsyncClient:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=30, trust_env=False)

    async def run_task(self) -> str:
        """Submit a task, wait for its end, and return its id; it must have succeeded."""
        async with self.client() as client:
            answer = await client.post("/v1/tasks", json=TASK, headers={"Prefer": "wait=20"})
            assert (answer.status_code, answer.json().get("status")) == (200, "success"), answer.text
            task_id: str = answer.json()["id"]
            assert (await client.get(f"/v1/tasks/{task_id}/result")).json() == "hello Ada"
            return task_id


async def start(folder: Path, *arguments: str, **environ: str) -> Process:
    """Begin `daybook up` in a folder, as a shell would: in a process group of its own."""
    # Where the binaries are is up to the machine; everything else is up to the test.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_") or name.endswith("_BIN")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "daybook", "up", *arguments),
        cwd=folder,
        env=clean | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    )


@asynccontextmanager
async def running(folder: Path, apps: str = "apps_here:app", **environ: str) -> AsyncIterator[Up]:
    """`daybook up` with an app, from its banner on. Ended by signal 9 if the test did not end it."""
    (folder / "apps_here.py").write_text(APP)
    process = await start(folder, apps, **environ)
    assert process.stdout is not None
    assert process.stderr is not None
    errors = asyncio.create_task(process.stderr.read())
    try:
        async with asyncio.timeout(30):
            try:
                said = await process.stdout.readuntil(b"Ctrl-C stops everything")
            except asyncio.IncompleteReadError:
                raise AssertionError((await errors).decode()) from None
        yield Up(process, folder, said.decode())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await errors


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def first_day(session_folder: Path) -> tuple[Path, Up, str]:
    """A folder in which everything ran once: one task, then Ctrl-C. With what was up, and the task's id."""
    folder = session_folder / "up"
    folder.mkdir()
    async with running(folder) as up:
        task_id = await up.run_task()
        children = up.children()
        assert set(children) == {"postgres", "nats-server", "api", "scheduler", "runner"}
        os.killpg(up.process.pid, signal.SIGINT)
        assert await up.process.wait() == 0
        assert all(child.is_gone() for child in children.values())
    return folder, up, task_id


@pytest.fixture
def next_day(first_day: tuple[Path, Up, str], folder: Path) -> Path:
    """A copy of that folder, for a test to go on with."""
    subprocess.run(["cp", "-a", f"{first_day[0]}/.", folder], check=True)
    return folder


async def test_from_nothing_to_a_finished_task_and_ctrl_c_leaves_nothing_running(
    first_day: tuple[Path, Up, str],
) -> None:
    folder, up, _ = first_day
    data = folder / ".daybook"
    assert (data / "token").read_text() == up.token
    assert not (data / "env.json").exists()  # Nothing runs, so nobody is told that something does.
    assert [path.name for path in data.iterdir() if path.is_file() and path.stat().st_mode & 0o077] == [".gitignore"]


async def test_the_commands_of_the_banner_work(next_day: Path) -> None:
    async with running(next_day) as up:
        curl = up.said.split("  curl ")[1].split("Ctrl-C")[0].replace("\\\n", " ")
        answer = await output_of("curl", *shlex.split(curl), cwd=next_day)
        assert msgspec.json.decode(answer)["app"] == "hello.greet"
        line = up.said.split("Submit a task:")[1].split("curl")[0].strip()
        command = shlex.split(line)[line.startswith("daybook") :]
        program = [sys.executable, "-m", "daybook"] if line.startswith("daybook") else []
        assert "hello text" in await output_of(*program, *command, cwd=next_day)


async def test_the_next_day_address_token_and_history_are_what_they_were(first_day: tuple[Path, Up, str], next_day: Path) -> None:
    _, before, task_id = first_day
    async with running(next_day) as up, up.client() as client:
        assert (up.url, up.token) == (before.url, before.token)
        assert (await client.get(f"/v1/tasks/{task_id}")).json()["status"] == "success"


async def test_with_other_apps_the_banner_names_one_that_is_served_now(next_day: Path) -> None:
    (next_day / "other_apps.py").write_text(APP.replace('"hello"', '"other"').replace("name: str", "name: str, again: int"))
    async with running(next_day, "other_apps:app") as up, up.client() as client:
        assert "daybook run other.greet" in up.said
        answer = await client.post("/v1/tasks", json={"app": "other.greet", "input": {"name": "Ada", "again": 1}})
        assert answer.status_code == 202, answer.text


async def test_a_second_one_in_the_same_folder_is_refused(next_day: Path) -> None:
    async with running(next_day) as up:
        second = await start(next_day)
        _, errors = await second.communicate()
        assert second.returncode == 1
        assert b"another `daybook up` runs" in errors
        await up.run_task()


async def test_kill_9_leaves_nothing_behind_and_the_next_start_goes_on(next_day: Path) -> None:
    async with running(next_day) as up:
        children = up.children()
        up.process.kill()
        async with running(next_day) as again:  # At once: it waits for what is left of the first.
            assert all(child.is_gone() for child in children.values())
            assert (again.url, again.token) == (up.url, up.token)
            await again.run_task()


async def test_every_process_that_is_killed_comes_back(next_day: Path) -> None:
    async with running(next_day) as up:
        before = up.children()
        for child in before.values():
            os.kill(child.pid, signal.SIGKILL)
            await eventually(child.is_gone)

        async def is_ready() -> bool:
            if set(up.children()) != set(before):
                return False
            async with up.client() as client:
                try:
                    return (await client.get("/readyz")).status_code == 200
                except httpx2.TransportError:
                    return False

        await eventually(is_ready, 20)
        await up.run_task()


async def test_an_app_that_does_not_exist_is_told_with_status_2(next_day: Path) -> None:
    process = await start(next_day, "no_such_module:app")
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert b"no_such_module" in errors


async def test_given_servers_replace_the_embedded_ones(folder: Path, database_url: str, nats_server: EmbeddedNats) -> None:
    environ = {"DAYBOOK_DATABASE_URL": database_url, "DAYBOOK_NATS_URL": nats_server.url}
    async with running(folder, **environ) as up:
        assert set(up.children()) == {"api", "scheduler", "runner"}
        await up.run_task()
        up.process.terminate()
        assert await up.process.wait() == 0
    assert nats_server.process is not None
    assert nats_server.process.poll() is None


async def output_of(*argv: str, cwd: Path) -> str:
    process = await asyncio.create_subprocess_exec(*argv, cwd=cwd, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()
