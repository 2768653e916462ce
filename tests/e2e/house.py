"""A house of real processes for the tests of faults: APIs, schedulers and runners, as many of each as a test wants, over
a private database and a private nats-server.

Every process can be killed, frozen, thawed, asked to end and started again. Nothing stands in for anything, and nobody
waits for time: a test waits for an answer, for a line of the log, for a knock at the gate. Whatever a test leaves behind
is killed at its end.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Any, Final, TypeVar

import httpx2

from daybook.access import issue_token
from daybook.testing import eventually
from daybook_local import processes
from daybook_local.nats import EmbeddedNats

Added = TypeVar("Added", bound="Service")
APPS: Final = Path(__file__).with_name("apps_under_fault.py")
_READY_SECONDS: Final = 20.0
_SAYS_STARTED: Final = {"api": "", "scheduler": "scheduler.started", "runner": "runner.started"}


class Service:
    """One service process; `start` it again as often as you like."""

    def __init__(self, kind: str, code: str, env: dict[str, str], log_path: Path) -> None:
        self.kind = kind
        self.log_path = log_path
        self._code = code
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None
        self._said_before = 0

    @property
    def pid(self) -> int:
        """The number of the process as it runs now."""
        assert self._process is not None
        return self._process.pid

    def spawn(self) -> None:
        """Start it, without waiting."""
        assert self._process is None or self._process.poll() is not None, f"{self.kind} runs already"
        with self.log_path.open("ab") as log:
            self._said_before = log.tell()
            self._process = processes.spawn([sys.executable, "-c", self._code], death_signal=SIGKILL, stdout=log, env=self._env)

    async def start(self) -> None:
        """Start it, and return when it is ready."""
        self.spawn()
        await self.ready()

    async def ready(self) -> None:
        """Return when it has said that it started."""
        await eventually(lambda: self._alive() and self.has_said(_SAYS_STARTED[self.kind]), _READY_SECONDS)

    def has_said(self, words: str) -> bool:
        """Whether it has logged these words since its latest start."""
        return words.encode() in self.log_path.read_bytes()[self._said_before :]

    async def kill(self) -> None:
        """`kill -9`."""
        await self._end(SIGKILL)

    async def terminate(self) -> int:
        """Ask it to end, and return its exit status."""
        return await self._end(SIGTERM)

    def signal(self, number: Signals) -> None:
        """Any signal: SIGSTOP freezes it, SIGCONT thaws it."""
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self, timeout_seconds: float = 15.0) -> int:
        """Wait for its end, which comes by itself, and return its exit status."""
        process = self._process
        assert process is not None
        await eventually(lambda: process.poll() is not None, timeout_seconds)
        return int(process.returncode)

    def close(self) -> None:
        """End it whatever it does."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    async def _end(self, number: Signals) -> int:
        self.signal(number)
        return await self.ended()

    def _alive(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"{self.kind} ended with status {self._process.returncode}:\n{self.log_path.read_text()[-4000:]}")
        return True


class ApiService(Service):
    """An API process; `url` stays what it was across restarts, `client` sends a token."""

    def __init__(self, env: dict[str, str], log_path: Path, token: str) -> None:
        port = _free_port()
        super().__init__("api", f"from daybook_api.serving import serve; raise SystemExit(serve('127.0.0.1', {port}))", env, log_path)
        self.url = f"http://127.0.0.1:{port}"
        limits = httpx2.Limits(max_connections=64, max_keepalive_connections=64)
        self.client = httpx2.AsyncClient(
            base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False, verify=False, limits=limits
        )

    async def ready(self) -> None:
        await eventually(self._is_ready, _READY_SECONDS)

    async def status(self) -> int:
        """What /readyz answers; 0 for no answer."""
        try:
            return (await self.client.get("/readyz")).status_code
        except httpx2.TransportError:
            return 0

    async def submit(self, app: str = "fault.note", given: Any = None, **more: Any) -> httpx2.Response:
        """POST one task."""
        return await self.client.post("/v1/tasks", json={"app": app, "input": given or {}, **more})

    async def accepted(self, app: str = "fault.note", given: Any = None, **more: Any) -> str:
        """POST one task that must be accepted, and return its id."""
        answer = await self.submit(app, given, **more)
        assert answer.status_code == 202, answer.text
        task_id: str = answer.json()["id"]
        return task_id

    async def task(self, task_id: str) -> Any:
        """GET one task."""
        answer = await self.client.get(f"/v1/tasks/{task_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def reaches(self, task_id: str, status: str, timeout_seconds: float = 15.0) -> Any:
        """Wait until a task has this status, and return it."""

        async def found() -> Any:
            task = await self.task(task_id)
            return task if task["status"] == status else None

        return await eventually(found, timeout_seconds)

    async def _is_ready(self) -> bool:
        return self._alive() and await self.status() == 200


class Gate:
    """Where running tasks knock. `knock` waits for the next, `open` lets one through, `left` tells which are gone."""

    def __init__(self) -> None:
        self.port = 0
        self.inside: dict[str, asyncio.StreamWriter] = {}
        self.left: Counter[str] = Counter()
        self._knocks: asyncio.Queue[str] = asyncio.Queue()

    async def knock(self, timeout_seconds: float = 15.0) -> str:
        """The id of the next task that comes to the gate."""
        async with asyncio.timeout(timeout_seconds):
            return await self._knocks.get()

    def open(self, task_id: str, word: str = "passed") -> None:
        """Let a task through; `word` becomes its result."""
        self.inside[task_id].write(f"{word}\n".encode())

    async def listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task_id = (await reader.readline()).decode().strip()
        self.inside[task_id] = writer
        self._knocks.put_nowait(task_id)
        try:
            await reader.read()
        except ConnectionError:
            pass  # its runner was killed
        finally:
            self.left[task_id] += 1
            writer.close()


class House:
    """The processes of one test."""

    def __init__(self, database_url: str, nats: EmbeddedNats, folder: Path, token: str, gate: Gate) -> None:
        self.database_url = database_url
        self.nats = nats
        self.folder = folder
        self.gate = gate
        self.token = token
        self.services: list[Service] = []

    def add_api(self, **env: str) -> ApiService:
        """One more API process, not started yet."""
        return self._add(ApiService(self._environment(env), self._log_path("api"), self.token))

    def add_scheduler(self, **env: str) -> Service:
        """One more scheduler process, not started yet."""
        code = "from daybook_scheduler.serving import serve; raise SystemExit(serve())"
        return self._add(Service("scheduler", code, self._environment(env), self._log_path("scheduler")))

    def add_runner(self, *, slots: int = 16, **env: str) -> Service:
        """One more runner process, not started yet."""
        code = f"from daybook_runner.serving import serve; raise SystemExit(serve([{str(APPS)!r}], ['default'], {slots}))"
        return self._add(Service("runner", code, self._environment(env), self._log_path("runner")))

    def ledger(self) -> Counter[str]:
        """How often each task has left its line."""
        path = self.folder / "ledger"
        return Counter(path.read_text().split()) if path.exists() else Counter()

    def close(self) -> None:
        """Kill everything, and print what it said, which pytest shows when the test failed."""
        for service in self.services:
            service.close()
            print(f"--- {service.log_path.name}\n{service.log_path.read_text()[-6000:] if service.log_path.exists() else ''}")

    def _add(self, service: Added) -> Added:
        self.services.append(service)
        return service

    def _log_path(self, kind: str) -> Path:
        return self.folder / f"{kind}-{len(self.services)}.log"

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_")}
        return clean | {
            "DAYBOOK_DATABASE_URL": self.database_url,
            "DAYBOOK_NATS_URL": self.nats.url,
            "HOUSE_LEDGER": str(self.folder / "ledger"),
            "HOUSE_GATE": str(self.gate.port),
            **more,
        }


@asynccontextmanager
async def open_house(database_url: str, nats: EmbeddedNats, folder: Path) -> AsyncIterator[House]:
    """A house without processes; closed, with all that were added, at the end."""
    gate = Gate()
    async with await asyncio.start_server(gate.listen, "127.0.0.1", 0) as server:
        gate.port = server.sockets[0].getsockname()[1]
        token = await issue_token(database_url, "default", "ann", ("submit", "read"), "for the tests of faults")
        house = House(database_url, nats, folder, token, gate)
        try:
            yield house
        finally:
            house.close()
            for service in house.services:
                if isinstance(service, ApiService):
                    await service.client.aclose()


async def start(*services: Service) -> None:
    """Start several at once, and return when all are ready."""
    for service in services:
        service.spawn()
    for service in services:
        await service.ready()


async def furnished(house: House) -> ApiService:
    """One of each."""
    api = house.add_api()
    await start(api, house.add_scheduler(), house.add_runner())
    return api


class Load:
    """Sixteen callers, each of whom submits a task as soon as the one before was accepted."""

    def __init__(self, api: ApiService) -> None:
        self.accepted: set[str] = set()
        self._api = api
        self._callers: list[asyncio.Task[None]] = []
        self._enough = False

    async def __aenter__(self) -> None:
        self._callers = [asyncio.create_task(self._call()) for _ in range(16)]

    async def __aexit__(self, *_: object) -> None:
        self._enough = True
        await asyncio.gather(*self._callers)

    async def goes_on(self, tasks: int) -> None:
        """Wait until so many more were accepted."""
        goal = len(self.accepted) + tasks
        await eventually(lambda: len(self.accepted) >= goal or any(caller.done() for caller in self._callers), 15)
        assert len(self.accepted) >= goal

    async def _call(self) -> None:
        while not self._enough:
            self.accepted.add(await self._api.accepted())


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
