"""Puts a runner together from its parts."""

import asyncio
import os
import socket
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from nats.aio.msg import Msg

from daybook import ids
from daybook.blobs import Blobs, open_blobs
from daybook.bus import subjects
from daybook.bus.jetstream import Bus
from daybook.bus.messages import decode_control
from daybook.domain.events import AppPublished
from daybook.lifecycle import Duties
from daybook.log.envelope import Conflict
from daybook.log.postgres import Log
from daybook.log.sql import statements
from daybook.manifest import Definition
from daybook.settings import Settings, SettingsError, require_database
from daybook.stored_output import store
from daybook.webhooks import DELIVER

from .attempt import Attempts
from .executors import Executors
from .intake import Intake
from .keeping import Keeper
from .lease import Lease
from .loop_watch import LoopWatch
from .output import Output

if TYPE_CHECKING:
    from .webhook import SecretOf

_DRAIN_SECONDS: Final = 7.0
_SQL: Final = statements("daybook_runner")

log = structlog.get_logger()


class Runner:
    """A runner process: `start` it, wait for the end of `keeping`, `stop` it."""

    def __init__(
        self,
        event_log: Log,
        bus: Bus,
        lease: Lease,
        keeping: "asyncio.Task[None]",
        intake: Intake,
        executors: Executors,
        output: Output,
        blobs: Blobs,
        duties: Duties,
    ) -> None:
        self.log = event_log
        self.bus = bus
        self.lease = lease
        self.keeping = keeping
        """Ends, with `LeaseLost`, when the lease is lost."""
        self.intake = intake
        self._executors = executors
        self._output = output
        self._blobs = blobs
        self._loop_watch = LoopWatch()
        self._duties = duties

    @classmethod
    async def open(cls, settings: Settings, definitions: dict[str, Definition], *, queues: tuple[str, ...], slots: int) -> "Runner":
        """Take a lease, announce the apps, and prepare the duties."""
        try:
            lease = Lease(ttl_seconds=settings.lease_ttl_seconds, renew_seconds=settings.lease_renew_seconds)
        except ValueError as error:
            raise SettingsError(f"DAYBOOK_LEASE_RENEW_SECONDS: {error}") from None
        served = definitions | ({DELIVER.app: DELIVER} if settings.webhooks else {})
        event_log = await Log.open(require_database(settings), "runner", credentials=lease.credentials, pool_size=4, writers=2)
        await lease.take(
            event_log,
            namespace=settings.namespace,
            queues=list(queues),
            apps=sorted(served),
            slots=slots,
            host=f"{socket.gethostname()}:{os.getpid()}",
        )
        # From the first moment on: what follows may take longer than a lease lasts.
        keeping = asyncio.create_task(lease.keep())
        await event_log.open_writer()
        for definition in definitions.values():
            await _publish(event_log, definition, settings.namespace, lease.runner)
        bus = Bus(settings.nats_url, f"daybook-runner {lease.runner}", queues=queues)
        event_log.on_commit(lambda position, kinds: bus.poke(*position, kinds))
        keeper = Keeper(partial(store, event_log.pool, lease.credentials))
        output = Output(bus, keeper, limit_bytes=settings.output_limit)
        executors = _executors(settings, bus, partial(_delivery_secret, event_log, lease.credentials))
        await executors.prepare(definitions.values())
        blobs = open_blobs(settings.blobs, event_log)
        attempts = Attempts(event_log, blobs, output, executors, lease.runner)
        intake = Intake(
            event_log,
            bus,
            attempts,
            served,
            runner=lease.runner,
            namespace=settings.namespace,
            queues=queues,
            slots=slots,
        )

        async def told(message: Msg) -> None:
            control = decode_control(message.data)
            if control is not None:
                intake.cancel(control.task)

        bus.on_message(subjects.control(lease.runner), told)
        duties = Duties()
        duties.add("bus", bus.run)
        duties.add("output", output.run)
        duties.add("keeping", keeper.run)
        duties.add("intake", intake.run)
        duties.add("bells", intake.bells.run)
        duties.add("asking", intake.ask)
        duties.add("log", intake.watch_log)
        return cls(event_log, bus, lease, keeping, intake, executors, output, blobs, duties)

    def start(self) -> None:
        """Start the duties."""
        self._duties.start()
        self._loop_watch.start()
        log.info("runner.started", runner=self.lease.runner)

    async def stop(self) -> None:
        """Finish or hand back what runs, give the lease up, disconnect."""
        await self.intake.drain(_DRAIN_SECONDS)
        await self._output.all_kept()
        await self._duties.stop()
        await self._executors.aclose()
        self._loop_watch.stop()
        self.keeping.cancel()
        await self.lease.end()
        await self.bus.close()
        await self._blobs.close()
        await self.log.close()
        log.info("runner.stopped", runner=self.lease.runner)


async def _delivery_secret(event_log: Log, credentials: tuple[str, ...], task_id: str) -> bytes | None:
    """What a delivery that this runner makes is signed with."""
    return await event_log.pool.fetchval(_SQL["delivery_secret"], *credentials, ids.parse("tsk", task_id))  # type: ignore[no-any-return]


def _executors(settings: Settings, bus: Bus, secret_of: "SecretOf") -> Executors:
    try:
        return Executors(
            http_allow=settings.http_allow,
            nats_allow=settings.nats_allow,
            connect=bus.connected,
            secret_of=secret_of,
            result_limit_bytes=settings.result_limit_bytes,
        )
    except ValueError as error:
        raise SettingsError(str(error)) from None


async def _publish(event_log: Log, definition: Definition, namespace: str, runner: str) -> None:
    """Announce an app, unless the log's latest word on it is the same."""
    stream = ids.derive_id("app", namespace, definition.app)
    while True:
        recorded = await event_log.load(stream)
        latest = recorded[-1].event if recorded else None
        if isinstance(latest, AppPublished) and latest.version == definition.version:
            return
        try:
            await event_log.append(stream, len(recorded) + 1, definition.published(f"runner:{runner}"), namespace=namespace)
        except Conflict:
            continue
        log.info("app.published", app=definition.app, version=definition.version)
        return
