"""The entry point of `daybook serve runner`."""

import asyncio
import sys

import uvloop

from daybook import settings, telemetry
from daybook.bus.subjects import is_name
from daybook.lifecycle import settle_memory, until_signal

from .lease import LeaseLost
from .loading import LoadError, load
from .wiring import Runner


def serve(sources: list[str], queues: list[str], slots: int) -> int:
    """Run a runner for these apps until SIGINT or SIGTERM; returns the exit status. Without `queues` and `slots` the settings decide."""
    configured = settings.load()
    telemetry.configure(configured.log_level, "runner")
    names = tuple(queues or configured.queues.split(","))
    bad = [name for name in names if not is_name(name)]
    if bad:
        print(f"a queue is named with 1 to 32 of a-z, 0-9, _ and -, not {bad[0]!r}", file=sys.stderr)  # noqa: T201
        return 2
    try:
        definitions = load(sources)
    except LoadError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2

    async def run() -> int:
        runner = await Runner.open(configured, definitions, queues=names, slots=slots or configured.slots)
        runner.start()
        settle_memory()
        ended = asyncio.create_task(until_signal())
        lease = asyncio.create_task(runner.lease.keep())
        await asyncio.wait((ended, lease), return_when=asyncio.FIRST_COMPLETED)
        lease.cancel()
        if ended.done():
            await runner.stop()
            return 0
        # Whatever runs here may run elsewhere by now: end at once, and let the supervisor start a new runner.
        raise LeaseLost("this runner's lease is lost")

    return uvloop.run(run())
