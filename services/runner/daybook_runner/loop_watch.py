"""Notices when the runner's event loop stands still: when an async function computes, or waits without `await`, all
other attempts wait with it, and so do lease and cancel.

A thread asks the loop again and again for a sign of life. When there is none for a second, it logs `loop.blocked` with
the place where the loop's thread is, the innermost frame of user code by name; and `loop.unblocked`, with how long it
took, when the loop turns again. It says so and does no more: nothing can interrupt that code from outside.

It keeps quiet about a whole process that was stopped, or starved: then the watching thread stood still as well.
"""

import asyncio
import site
import sys
import sysconfig
import threading
import traceback
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Final

import structlog

_STACK_FRAMES: Final = 30

log = structlog.get_logger()


class LoopWatch:
    """Watches the loop in which it was started."""

    def __init__(self, *, threshold_seconds: float = 1.0) -> None:
        self._threshold_seconds = threshold_seconds
        self._interval_seconds = threshold_seconds / 4
        self._ended = threading.Event()
        self._turned = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch the running loop. Call in its thread."""
        self._ended.clear()
        watched = (asyncio.get_running_loop(), threading.get_ident())
        self._thread = threading.Thread(target=self._watch, args=watched, name="daybook-loop-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._ended.set()
        if self._thread is not None:
            # It may be waiting for a turn of this very loop.
            self._turned.set()
            self._thread.join(timeout=self._threshold_seconds)
            self._thread = None

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        while not self._ended.wait(self._interval_seconds):
            self._turned.clear()
            try:
                loop.call_soon_threadsafe(self._turned.set)
            except RuntimeError:
                return  # the loop is closed
            asked = monotonic()
            if not self._turned_in_time() and not self._ended.is_set():
                self._tell(thread, asked)

    def _turned_in_time(self) -> bool:
        """Whether the loop turned before the threshold, of which only the time counts in which we could run as well."""
        left = self._threshold_seconds
        while left > 0:
            began = monotonic()
            if self._turned.wait(min(self._interval_seconds, left)):
                return True
            left -= min(monotonic() - began, self._interval_seconds * 2)
        return False

    def _tell(self, thread: int, asked: float) -> None:
        frame = sys._current_frames().get(thread)  # noqa: SLF001 - the documented way, underscore and all
        log.warning("loop.blocked", seconds=round(monotonic() - asked, 3), at=_place(frame), stack=_stack(frame))
        del frame  # it keeps everything alive that the code holds
        self._turned.wait()
        if not self._ended.is_set():
            log.warning("loop.unblocked", seconds=round(monotonic() - asked, 3))


def _place(frame: FrameType | None) -> str:
    """The innermost frame that is the user's, in words; the innermost of all where none is."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    chosen = next((each for each in frames if not _is_library(each.f_code.co_filename)), frames[0] if frames else None)
    return f"{chosen.f_code.co_filename}:{chosen.f_lineno} in {chosen.f_code.co_qualname}" if chosen else "nowhere"


def _stack(frame: FrameType | None) -> str:
    return "".join(traceback.format_stack(frame, _STACK_FRAMES)) if frame else ""


def _is_library(filename: str) -> bool:
    return filename.startswith(("<frozen", _OURS, *_LIBRARIES))


_OURS: Final = str(Path(__file__).parent)
_LIBRARIES: Final = (*site.getsitepackages(), *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib")))
