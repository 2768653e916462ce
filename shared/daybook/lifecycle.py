"""The duties of a process: long-running coroutines, each restarted with backoff when it ends by an error, all ended
together.

A duty does not catch what it cannot handle: it crashes, the crash is logged with its name, and it starts afresh. That
is the one place where errors of background work are caught. A duty that returns has done all it had to do.
"""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0
_HEALTHY_SECONDS: Final = 30.0
_CANCEL_AGAIN_SECONDS: Final = 2.0

log = structlog.get_logger()


class Duties:
    """A set of duties that start together and stop together."""

    def __init__(self) -> None:
        self._duties: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    def add(self, name: str, duty: Callable[[], Awaitable[None]]) -> None:
        """Add a duty by name; `duty()` is called anew for each start."""
        self._duties.append((name, duty))

    def start(self) -> None:
        """Start them all."""
        self._stopping = False
        self._tasks = [asyncio.create_task(self._keep_running(name, duty), name=name) for name, duty in self._duties]

    async def stop(self) -> None:
        """Cancel them all and wait until they are gone. A cancellation can be lost on its way (`asyncio.wait_for` drops it,
        up to Python 3.11, when what it waits for comes at the same moment), so who is still there is told again."""
        self._stopping = True
        left = set(self._tasks)
        while left:
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=_CANCEL_AGAIN_SECONDS)
            if left:
                log.warning("duty.goes_on", duties=sorted(task.get_name() for task in left))
        self._tasks = []

    async def _keep_running(self, name: str, duty: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE_SECONDS
        while not self._stopping:  # a duty may answer its cancellation with another error
            started = loop.time()
            try:
                await duty()
                return
            except Exception as error:
                if loop.time() - started > _HEALTHY_SECONDS:
                    pause = _FIRST_PAUSE_SECONDS
                log.warning("duty.crashed", duty=name, error=f"{type(error).__name__}: {error}", again_in_seconds=pause)
                log.debug("duty.crash_traced", duty=name, exc_info=True)
                await asyncio.sleep(0 if self._stopping else pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def settle_memory() -> None:
    """Called once a service is up: what is there now stays, and the collector need not look at it again.

    Nearly everything a service makes per task is freed by its reference count; with the interpreter's default
    thresholds the search for cycles took a fifth of the API's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def until_signal() -> None:
    """Return at the first SIGINT or SIGTERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
