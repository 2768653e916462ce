"""Puts an API process together from its parts."""

from collections.abc import Awaitable, Callable
from functools import partial

import structlog
from litestar import Litestar, Response, Router, route
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler

from daybook import ids, waking, webhook_deliveries
from daybook.blobs import open_blobs
from daybook.bus.jetstream import Bus
from daybook.domain.status import ENDINGS
from daybook.lifecycle import Duties
from daybook.log.connections import Connection, connect
from daybook.log.followers import Follower
from daybook.log.postgres import Log
from daybook.log.reader import LogReader
from daybook.projections.projector import FOLLOWER, Projector
from daybook.relay import Relay
from daybook.settings import Settings, require_database

from . import documents, problems, web
from .asyncapi.document import asyncapi
from .auth import Access
from .catalogue import Catalogue
from .feed.tail import Feed
from .gateway import Gateway
from .over_nats.gateway import NatsGateway
from .routes import apps, health, history, output, schedules, session, submit, tasks, webhooks
from .routes import feed as feed_routes
from .watching.hub import Hub

log = structlog.get_logger()


class Api:
    """An API process: `open` it, serve `app`, `stop` it."""

    def __init__(self, gateway: Gateway, reader: LogReader, duties: Duties) -> None:
        self.gateway = gateway
        self.app = make_app(gateway)
        self.nats = NatsGateway(self.app)
        self._reader = reader
        self._duties = duties

    @classmethod
    async def open(cls, settings: Settings) -> "Api":
        """Connect to Postgres (NATS comes when it comes) and start the duties: relay, projector, hub."""
        url = require_database(settings)
        event_log = await Log.open(url, "api", pool_size=8, writers=2)
        blobs = open_blobs(settings.blobs, event_log)
        await event_log.open_writer()
        bus = Bus(settings.nats_url, "daybook-api", queues=tuple(settings.queues.split(",")))
        reader = LogReader(partial(connect, url, "daybook_api"))
        waking.wire(event_log, reader, bus, urgent=ENDINGS)
        hub = Hub(event_log, reader)
        feed = Feed(event_log, reader, hub)
        catalogue = Catalogue(event_log)
        access = Access(event_log, open_access=settings.open_access, namespace=settings.namespace)
        hub.on_event(catalogue.told)
        hub.on_event(access.told)

        def connect_as(role: str) -> Callable[[], Awaitable[Connection]]:
            return partial(connect, url, role, asynchronous_commit=True)

        follow = partial(Follower, log=event_log, reader=reader, holder=ids.spell("run", ids.new_id()))
        relay = follow("relay", Relay(event_log, bus), connect=connect_as("daybook_api"), save_every_seconds=0.5, gather_seconds=0.01)
        projector = follow(FOLLOWER, Projector(), connect=connect_as("daybook_projector"), gather_seconds=0.05)
        # From here on the caches hear of every change; before, they hold nothing that could.
        await hub.begin()
        gateway = Gateway(event_log, blobs, bus, hub, feed, catalogue, access)
        gateway.deliveries.queue = settings.webhook_queue
        told = follow(webhook_deliveries.FOLLOWER, gateway.deliveries, connect=connect_as("daybook_api"), save_every_seconds=0.5, gather_seconds=0.02)
        duties = Duties()
        duties.add("bus", bus.run)
        duties.add("hub", hub.run)
        duties.add("feed", feed.run)
        duties.add("channels", gateway.channels.run)
        duties.add("relay", relay.run)
        duties.add("projector", projector.run)
        duties.add("webhooks", told.run)
        api = cls(gateway, reader, duties)
        if settings.nats_requests:
            bus.on_connection(api.nats.serve)
        duties.start()
        return api

    async def stop(self) -> None:
        """Finish what was asked for, stop the duties and disconnect."""
        await self.nats.drain()
        await self._duties.stop()
        await self.gateway.bus.close()
        await self._reader.close()
        await self.gateway.blobs.close()
        await self.gateway.log.close()


def make_app(gateway: Gateway) -> Litestar:
    """The Litestar application over a gateway."""

    v1 = Router(
        "/v1",
        route_handlers=[
            _options("/tasks", "GET, OPTIONS, POST"),
            _options("/schedules", "GET, OPTIONS, POST"),
            _options("/session", "DELETE, GET, OPTIONS, POST"),
            _options("/schedules/{schedule_id:str}", "DELETE, GET, OPTIONS, PATCH"),
            _options("/webhooks", "GET, OPTIONS, POST"),
            _options("/webhooks/{webhook_id:str}", "DELETE, GET, OPTIONS"),
            submit.submit,
            submit.submit_batch,
            submit.rerun,
            history.list_route,
            tasks.get_route,
            tasks.result_route,
            tasks.events_route,
            output.logs_route,
            output.output_route,
            tasks.cancel_route,
            tasks.reschedule_route,
            tasks.run_now_route,
            tasks.retry_route,
            schedules.create_route,
            schedules.list_route,
            schedules.preview_route,
            schedules.get_route,
            schedules.change_route,
            schedules.delete_route,
            schedules.pause_route,
            schedules.resume_route,
            schedules.trigger_route,
            schedules.backfill_route,
            schedules.slots_route,
            webhooks.create_route,
            webhooks.list_route,
            webhooks.own_secret_route,
            webhooks.get_route,
            webhooks.delete_route,
            webhooks.secret_route,
            webhooks.test_route,
            webhooks.deliveries_route,
            webhooks.of_task_route,
            apps.list_route,
            apps.get_route,
            feed_routes.feed_route,
            session.get_route,
            session.login_route,
            session.logout_route,
        ],
    )
    return Litestar(
        route_handlers=[v1, health.livez, health.readyz, documents.openapi, asyncapi, *web.routes(web.read_assets())],
        dependencies={"gateway": Provide(lambda: gateway, use_cache=True, sync_to_thread=False)},
        exception_handlers={Exception: problems.respond},
        openapi_config=None,
        logging_config=None,
        request_max_body_size=1024 * 1024,
    )


def _options(path: str, allowed: str) -> HTTPRouteHandler:
    """Litestar answers OPTIONS by itself everywhere, but of several handlers on one path it names the first alone."""

    @route(path, http_method=["OPTIONS"], status_code=204)
    async def options() -> Response[None]:
        return Response(None, headers={"Allow": allowed})

    return options
