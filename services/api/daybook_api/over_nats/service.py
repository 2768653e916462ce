"""The micro-service `daybook` on one connection to NATS: discoverable by `nats micro`, one endpoint per verb (ADR-32).

The library answers PING, INFO and STATS, to inboxes alone: elsewhere our answer would be told with our right to publish,
and not the asker's. Its endpoints serve one request after the other, and count one as done when its handler returns; ours
hand each request on, so they, and what they count, are our own.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Final

import nats.errors
import structlog
from nats.aio.client import Client as Connection
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.micro.service import EndpointInfo, EndpointStats, Service, ServiceConfig, ServiceInfo, ServiceStats

from daybook.bus import subjects

from .verbs import Verb

_NAME: Final = "daybook"
_DESCRIPTION: Final = "Hand work to any app, get on with your day: the same requests, answers and problems as over HTTP."
_DRAIN_SECONDS: Final = 2.0

log = structlog.get_logger()


class Counted:
    """One endpoint: its verb, and what has become of its requests."""

    def __init__(self, verb: Verb) -> None:
        self.verb = verb
        self.stats = EndpointStats(
            name=verb.name.replace(".", "-"),
            subject=subjects.api_of_all(verb.name),
            queue_group=subjects.API_QUEUE,
            num_requests=0,
            num_errors=0,
            processing_time=0,
            average_processing_time=0,
        )

    def began(self) -> int:
        """Count a request; returns what `ended` wants to know."""
        self.stats.num_requests += 1
        return time.perf_counter_ns()

    def ended(self, began: int, error: str = "") -> None:
        """Count its end. The error is shown to whoever may ask for statistics, so it says nothing of the request."""
        self.stats.processing_time += time.perf_counter_ns() - began
        self.stats.average_processing_time = self.stats.processing_time // self.stats.num_requests
        if error:
            self.stats.num_errors += 1
            self.stats.last_error = error


Take = Callable[[Counted, Msg], Awaitable[None]]


class VerbService(Service):
    """The service on one connection: `listen`, and `drain` before the connection goes."""

    def __init__(self, connection: Connection, verbs: Iterable[Verb], take: Take) -> None:
        """`take` is called with each request and must return soon: the next of its kind waits for it."""
        super().__init__(connection, ServiceConfig(name=_NAME, version=version("daybook-tasks"), description=_DESCRIPTION))
        self.connection = connection
        self._counted = [Counted(verb) for verb in verbs]
        self._take = take
        self._listening: list[Subscription] = []

    async def listen(self) -> None:
        """Take requests; the first may come before this returns."""
        for counted in self._counted:
            callback = partial(self._take, counted)
            self._listening.append(await self.connection.subscribe(counted.stats.subject, queue=subjects.API_QUEUE, cb=callback))
        await self.start()

    def info(self) -> ServiceInfo:
        """What `$SRV.INFO` answers."""
        endpoints = [
            EndpointInfo(name=each.stats.name, subject=each.stats.subject, queue_group=subjects.API_QUEUE, metadata={"operation": each.verb.operation})
            for each in self._counted
        ]
        return replace(super().info(), endpoints=endpoints)

    def stats(self) -> ServiceStats:
        """What `$SRV.STATS` answers."""
        return replace(super().stats(), endpoints=[each.stats for each in self._counted])

    async def _handle_ping_request(self, msg: Msg) -> None:
        if subjects.is_inbox(msg.reply):
            await super()._handle_ping_request(msg)

    async def _handle_info_request(self, msg: Msg) -> None:
        if subjects.is_inbox(msg.reply):
            await super()._handle_info_request(msg)

    async def _handle_stats_request(self, msg: Msg) -> None:
        if subjects.is_inbox(msg.reply):
            await super()._handle_stats_request(msg)

    async def drain(self) -> None:
        """Ask the server for no more, and return when what it had sent already was taken."""
        if not self.connection.is_connected:
            return
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                for subscription in self._listening:
                    await self.connection._send_unsubscribe(subscription._id)  # noqa: SLF001
                # A subscription's own `drain` says the same, and its ping overtakes it: what the server sends between the two would be dropped.
                # By the second ping all has been written that was to be written before the first.
                for _ in range(2):
                    await self.connection.flush()
                await asyncio.gather(*(subscription.drain() for subscription in self._listening))  # type: ignore[no-untyped-call]
                await self.stop()
        except (nats.errors.Error, TimeoutError) as error:
            log.warning("service.undrained", error=type(error).__name__)
