"""The terminal of `daybook up`: the lines of every process, each with its name in front.

Refuses to wait for the terminal: a paused one (Ctrl-S, a pager) would otherwise fill the pipes and in the end stop the
services themselves. Lines that do not fit are counted and dropped.
"""

from __future__ import annotations

import queue
import threading
from typing import IO, TextIO

_LONGEST_LINE_BYTES = 64 * 1024
_COLOURS = {"api": 36, "scheduler": 35, "runner": 32, "postgres": 34, "nats": 33}
_OTHER_COLOUR = 90


class Console:
    """Writes whole lines from a thread of its own. `close()` waits for what is still in the queue, but not for ever."""

    def __init__(self, out: TextIO, *, capacity: int = 10_000) -> None:
        self._out = out
        self._colours = out.isatty()
        self._lines: queue.Queue[str | None] = queue.Queue(capacity)
        self._dropped = 0
        self._writer = threading.Thread(target=self._write_all, name="console", daemon=True)
        self._writer.start()

    def say(self, name: str, text: str) -> None:
        """Show the lines of a text as coming from `name`. Never blocks."""
        for line in text.splitlines() or [""]:
            try:
                self._lines.put_nowait(self._prefixed(name, line))
            except queue.Full:
                self._dropped += 1

    def follow(self, name: str, pipe: IO[bytes]) -> threading.Thread:
        """Show every line that a process writes, until it closes its end; the returned thread ends then."""

        def read() -> None:
            with pipe:
                while line := pipe.readline(_LONGEST_LINE_BYTES):
                    self.say(name, line.decode(errors="replace").rstrip("\r\n"))

        reader = threading.Thread(target=read, name=f"lines-of-{name}", daemon=True)
        reader.start()
        return reader

    def close(self, patience_seconds: float = 1.0) -> None:
        """Write what is left. A terminal that takes nothing any more is given up after the patience."""
        try:
            self._lines.put(None, timeout=patience_seconds)
        except queue.Full:
            return
        self._writer.join(patience_seconds)

    def _prefixed(self, name: str, text: str) -> str:
        if not self._colours:
            return f"{name:<9} | {text}\n"
        return f"\x1b[{_COLOURS.get(name, _OTHER_COLOUR)}m{name:<9} |\x1b[0m {text}\n"

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                line = self._prefixed("daybook", f"{dropped} lines not shown: the terminal was too slow") + line
            try:
                self._out.write(line)
                self._out.flush()
            except (OSError, ValueError):
                return  # The terminal or the pipe is gone. That is no reason to stop working.
