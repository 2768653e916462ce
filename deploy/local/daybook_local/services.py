"""A service as a separate process: what to start, and the process that came of it.

A service leads a session and process group of its own. When it is gone, whatever it left in its group is ended too, so
that no work goes on that nobody supervises.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping

import msgspec

from daybook_local import processes
from daybook_local.console import Console

GRACE_SECONDS = 10.0


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """What to start. `keep_open` are descriptors that the process inherits."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    grace_seconds: float = GRACE_SECONDS
    keep_open: tuple[int, ...] = ()


class RunningService:
    """The process of one service, and of its successors after a crash."""

    def __init__(self, service: Service, console: Console) -> None:
        self.name = service.name
        self.process: subprocess.Popen[bytes] | None = None
        self._service = service
        self._console = console
        self._group: int | None = None
        self._reader: threading.Thread | None = None

    def spawn(self) -> None:
        """Start the process; its lines appear on the console."""
        self.process = processes.spawn(
            self._service.argv,
            death_signal=signal.SIGTERM,
            stdout=subprocess.PIPE,
            env=self._service.env,
            keep_open=self._service.keep_open,
        )
        self._group = self.process.pid
        assert self.process.stdout is not None
        self._reader = self._console.follow(self.name, self.process.stdout)

    def stop(self) -> None:
        """Ask it to end, wait its grace, then insist."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(self._service.grace_seconds)
        self.sweep()
        self.process.wait()
        if self._reader is not None:
            self._reader.join(1)  # So that its last lines are shown before the next one is stopped.

    def kill(self) -> None:
        """End it and its group at once."""
        self.sweep()

    def sweep(self) -> None:
        """Kill everything in its process group, itself included; once, since numbers are used again later.

        To be called as soon as its end is known: the number cannot belong to another group so soon.
        """
        group, self._group = self._group, None
        if group is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
