"""The entry point of `daybook serve scheduler`."""

import uvloop

from daybook import settings, telemetry
from daybook.lifecycle import settle_memory, until_signal

from .wiring import Scheduler


def serve() -> int:
    """Run a scheduler until SIGINT or SIGTERM; returns the exit status."""
    configured = settings.load()
    telemetry.configure(configured.log_level, "scheduler")

    async def run() -> None:
        scheduler = await Scheduler.open(configured)
        scheduler.start()
        settle_memory()
        try:
            await until_signal()
        finally:
            await scheduler.stop()

    uvloop.run(run())
    return 0
