"""Puts a scheduler together from its parts."""

from functools import partial

import structlog

from daybook import ids, waking
from daybook.bus.jetstream import Bus
from daybook.domain.status import WAITING_EVENTS
from daybook.lifecycle import Duties
from daybook.log.connections import Connection, connect
from daybook.log.followers import Follower
from daybook.log.postgres import Log
from daybook.log.reader import LogReader
from daybook.projections.timer import FOLLOWER as TIMER
from daybook.projections.timer import TimerProjection
from daybook.settings import Settings, require_database

from .dispatcher import Dispatcher
from .reaper import Reaper
from .slots import Slots
from .timers import Timers

log = structlog.get_logger()


class Scheduler:
    """A scheduler process: `start` it, `stop` it."""

    def __init__(self, event_log: Log, bus: Bus, reader: LogReader, reaper: Reaper, duties: Duties) -> None:
        self.log = event_log
        self.bus = bus
        self.reader = reader
        self.reaper = reaper
        self._duties = duties

    @classmethod
    async def open(cls, settings: Settings) -> "Scheduler":
        """Connect to Postgres (NATS comes when it comes) and prepare the duties."""
        url = require_database(settings)
        event_log = await Log.open(url, "scheduler", pool_size=3, writers=1)
        await event_log.open_writer()
        bus = Bus(settings.nats_url, "daybook-scheduler", queues=tuple(settings.queues.split(",")))

        async def connect_follower() -> Connection:
            return await connect(url, event_log.database_role, asynchronous_commit=True)

        reader = LogReader(connect_follower)
        holder = ids.spell("run", ids.new_id())
        dispatcher, timers, reaper = Dispatcher(event_log, bus), Timers(event_log, Slots(event_log, bus)), Reaper(event_log)

        waking.wire(event_log, reader, bus, urgent=WAITING_EVENTS)
        follow = partial(Follower, log=event_log, reader=reader, connect=connect_follower, holder=holder, save_every_seconds=1.0)
        dispatching, reaping = follow("dispatcher", dispatcher), follow("reaper", reaper)

        async def dispatch() -> None:
            try:
                await dispatching.run()
            finally:
                dispatcher.rest()

        async def reap() -> None:
            try:
                await reaping.run()
            finally:
                reaper.rest()

        duties = Duties()
        duties.add("bus", bus.run)
        duties.add(TIMER, follow(TIMER, TimerProjection(), on_applied=timers.wake).run)
        duties.add("dispatcher", dispatch)
        duties.add("timers", timers.run)
        duties.add("pump", dispatcher.pump)
        duties.add("reaper", reap)
        duties.add("leases", reaper.watch)
        return cls(event_log, bus, reader, reaper, duties)

    def start(self) -> None:
        """Start the duties."""
        self._duties.start()
        log.info("scheduler.started")

    async def stop(self) -> None:
        """Stop the duties and disconnect."""
        await self._duties.stop()
        await self.bus.close()
        await self.reader.close()
        await self.log.close()
        log.info("scheduler.stopped")
