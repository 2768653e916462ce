"""A program in the background, for as long as the demo lasts: what it says goes to a file, and one line is waited for.

Its end is tied to ours, whichever way we go: `daybook_local.processes` sees to that.
"""

import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Final, Self

from daybook_local import processes

_GRACE_SECONDS: Final = 20.0


class DemoFailed(Exception):
    """The demo cannot go on; the text says why."""


class Background:
    """Started on entry, stopped on exit."""

    def __init__(self, argv: Sequence[str], *, name: str, cwd: Path, log: Path, env: Mapping[str, str]) -> None:
        self._argv = argv
        self._name = name
        self._cwd = cwd
        self._log = log
        self._env = env
        self._said: SimpleQueue[str | None] = SimpleQueue()

    def __enter__(self) -> Self:
        self._process = processes.spawn(
            self._argv, death_signal=signal.SIGTERM, stdout=subprocess.PIPE, env=dict(self._env) | {"PYTHONUNBUFFERED": "1"}, cwd=str(self._cwd)
        )
        self._reader = threading.Thread(target=self._copy, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        processes.end(self._process, (signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, 5.0))
        self._reader.join(5.0)

    def wait_for(self, words: str, timeout_seconds: float) -> str:
        """The first line that has these words in it. Raises DemoFailed when the program ends, or the time is over, before it says them."""
        with suppress(Empty):
            while (line := self._said.get(timeout=timeout_seconds)) is not None:
                if words in line:
                    return line
            raise DemoFailed(f"{self._name} ended with status {self._process.wait()}; its last words, from {self._log}:\n{processes.log_tail(self._log)}")
        raise DemoFailed(f"{self._name} said nothing for {timeout_seconds:.0f} s; its last words, from {self._log}:\n{processes.log_tail(self._log)}")

    def _copy(self) -> None:
        """Nobody else reads the pipe, and a full one would stop the program."""
        assert self._process.stdout is not None
        with self._log.open("wb", buffering=0) as log:
            for line in self._process.stdout:
                log.write(line)
                self._said.put(line.decode(errors="replace").rstrip())
        self._said.put(None)
