"""The entry point of `daybook serve runner`."""

import asyncio
import os
import sys
import threading
from typing import NoReturn

import structlog
import uvloop

from daybook import settings, telemetry
from daybook.bus.subjects import is_name
from daybook.lifecycle import settle_memory, until_signal

from . import capture
from .executors.chat_tools import check_tools
from .loading import LoadError, load
from .wiring import Runner

log = structlog.get_logger()


def serve(sources: list[str], queues: list[str], slots: int) -> int:
    """Run a runner for these apps until SIGINT or SIGTERM; returns the exit status. Without `queues` and `slots` the settings decide."""
    configured = settings.load()
    telemetry.configure(configured.log_level, "runner")
    capture.install()  # before the apps are imported: what they set up for logging goes through it
    names = tuple(queues or configured.queues.split(","))
    bad = [name for name in names if not is_name(name)]
    if bad:
        print(f"a queue is named with 1 to 32 of a-z, 0-9, _ and -, not {bad[0]!r}", file=sys.stderr)  # noqa: T201
        return 2
    try:
        definitions = load(sources)
        check_tools(definitions)
    except LoadError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2

    async def run() -> int:
        runner = await Runner.open(configured, definitions, queues=names, slots=slots or configured.slots)
        runner.start()
        settle_memory()
        ended = asyncio.create_task(until_signal())
        await asyncio.wait((ended, runner.keeping), return_when=asyncio.FIRST_COMPLETED)
        lost = runner.keeping.exception() if runner.keeping.done() else None
        if lost is not None:
            # Whatever runs here may run elsewhere by now: end at once, whatever it does, and let the supervisor start a new runner.
            log.error("lease.lost", runner=runner.lease.runner, error=f"{type(lost).__name__}: {lost}")
            _leave(1)
        await runner.stop()
        return 0

    code = uvloop.run(run())
    if any(thread is not threading.main_thread() and not thread.daemon for thread in threading.enumerate()):
        # What still runs in a thread was handed back, and nothing can stop it; Python would wait for its end.
        _leave(code)
    return code


def _leave(code: int) -> NoReturn:
    sys.stderr.flush()
    os._exit(code)
