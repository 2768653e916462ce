"""Keeps a set of processes running, and ends them in order.

    stopped ──spawn──▶ running ──exit──▶ waiting (0.2 s, doubled up to 10 s) ──spawn──▶ running
                          │ 30 s without an exit: the wait begins at 0.2 s again
                          └──stop──▶ stopping: last started first; then the embedded servers

The first SIGINT, SIGTERM or SIGHUP asks for an orderly end; another one ends everything at once. Refuses to decide what
a service is for: readiness is a question that the caller brings along.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from daybook_local.console import Console
from daybook_local.processes import ServerFailed, exited
from daybook_local.services import RunningService, Service

FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 10.0
HEALTHY_AFTER_SECONDS = 30.0
USAGE_EXIT_CODE = 2
_POLL_SECONDS = 0.02
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_Answer = TypeVar("_Answer")


class StopAsked(Exception):
    """Work was given up since the supervisor was asked to stop."""


class Child(Protocol):
    """What can be supervised: the embedded servers and the services."""

    name: str
    process: subprocess.Popen[bytes] | None

    def spawn(self) -> None:
        """Start it, from the main thread, without waiting."""

    def stop(self) -> None:
        """Orderly end; may block, in any thread."""

    def kill(self) -> None:
        """End it now."""


class Supervisor:
    """An async context: children live inside it. Enter it in the main thread's event loop.

    `exit_code` is 0 after a stop that was asked for, else what made it give up.
    """

    def __init__(self, console: Console) -> None:
        self.exit_code = 0
        self._console = console
        self._children: list[Child] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._stop_asked = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop_asked.set()
        failures: list[ServerFailed] = []
        try:
            for child in reversed(self._children):
                try:
                    await asyncio.to_thread(child.stop)
                except ServerFailed as failure:  # The others are to be stopped all the same.
                    failures.append(failure)
            await asyncio.gather(*self._keepers)
            if failures and error is None:
                raise failures[0]
        finally:
            loop = asyncio.get_running_loop()
            for number in _STOP_SIGNALS:
                loop.remove_signal_handler(number)

    def start(self, service: Service) -> None:
        """Start a service and keep it running."""
        child = RunningService(service, self._console)
        child.spawn()
        self.keep(child)

    def keep(self, child: Child) -> None:
        """Keep something running that was started already."""
        keeper = asyncio.create_task(self._keep(child), name=f"keep-{child.name}")
        keeper.add_done_callback(self._on_keeper_done)
        self._children.append(child)
        self._keepers.append(keeper)

    def tell(self, text: str) -> None:
        """Show something of our own among the lines of the children."""
        self._console.say("daybook", text)

    def ask_stop(self, exit_code: int = 0) -> None:
        """Begin the end."""
        if not self._stop_asked.is_set():
            self.exit_code = exit_code
            self._stop_asked.set()

    async def stop_asked(self) -> None:
        """Wait until somebody wants the end."""
        await self._stop_asked.wait()

    async def unless_stopped(self, work: Coroutine[Any, Any, _Answer]) -> _Answer:
        """The result of the work; StopAsked when the end is wanted first."""
        task = asyncio.create_task(work)
        asked = asyncio.create_task(self._stop_asked.wait())
        try:
            await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise StopAsked
            return task.result()
        finally:
            task.cancel()
            asked.cancel()
            await asyncio.wait({task, asked})

    def _on_signal(self) -> None:
        if not self._stop_asked.is_set():
            self.tell("stopping; once more to stop at once")
            self.ask_stop()
            return
        for child in self._children:
            child.kill()

    def _on_keeper_done(self, keeper: asyncio.Task[None]) -> None:
        if keeper.exception() is not None:  # Nobody watches that child any more; the error is raised at the end.
            self.ask_stop(1)

    async def _keep(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        wait_seconds, lives = FIRST_WAIT_SECONDS, 0
        while True:
            began, lives = loop.time(), lives + 1
            assert child.process is not None
            code = await exited(child.process)
            if isinstance(child, RunningService):
                child.sweep()
            if self._stop_asked.is_set():
                return
            if lives == 1 and code == USAGE_EXIT_CODE and isinstance(child, RunningService):
                # It was called wrongly, with a module that does not exist for instance: again would end the same way.
                self.tell(f"{child.name} cannot run as asked; stopping everything")
                self.ask_stop(USAGE_EXIT_CODE)
                return
            if loop.time() - began >= HEALTHY_AFTER_SECONDS:
                wait_seconds = FIRST_WAIT_SECONDS
            if not await self._start_again(child, wait_seconds, _told(code)):
                return
            wait_seconds = min(wait_seconds * 2, LONGEST_WAIT_SECONDS)

    async def _start_again(self, child: Child, wait_seconds: float, why: str) -> bool:
        """Wait and start it, as often as it takes. False when the end was asked for meanwhile."""
        while True:
            self.tell(f"{child.name} {why}; starting it again in {wait_seconds:.1f} s")
            if await self._stopped_within(wait_seconds):
                return False
            try:
                child.spawn()
            except (OSError, ServerFailed) as failure:
                why = f"cannot be started ({failure})"
                wait_seconds = min(wait_seconds * 2, LONGEST_WAIT_SECONDS)
            else:
                return True

    async def _stopped_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop_asked.wait(), seconds)
        return self._stop_asked.is_set()


async def wait_ready(check: Callable[[], Awaitable[bool]], timeout_seconds: float) -> None:
    """Ask every 20 ms until the answer is yes; TimeoutError when it was not in time."""
    async with asyncio.timeout(timeout_seconds):
        while not await check():
            await asyncio.sleep(_POLL_SECONDS)


def _told(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with status {code}"
