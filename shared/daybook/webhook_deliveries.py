"""Who is told when a task ends: the follower that submits deliveries.

It follows the log, knows every webhook, and remembers of the tasks it has seen submitted what webhooks could ask of them:
owner, app, and the task's own `on_finish`. An end that nobody wants to hear of costs two look-ups in memory. Of a task
submitted before it began to follow it reads the first event, one query for all of a page.

The effect comes before the cursor, so after a crash some ends are looked at again; a delivery's id follows from the end and
the target, and the log has it once. What a webhook missed before it was made, it is not told afterwards. Deliveries are
tasks, and of their ends nobody is told.
"""

import asyncio
from asyncio import Future
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

import structlog

from . import clock, ids
from .blobs import Blobs
from .domain.events import BUILT_IN, Event, Policy, TaskEvent, TaskSubmitted, TaskSucceeded, WebhookCreated, WebhookDeleted
from .domain.status import ENDINGS, TERMINAL, status_after
from .domain.task import fold
from .log.connections import Connection
from .log.envelope import START, Appended, Conflict, Cursor, Recorded, StreamUnreadable, covers
from .log.postgres import Log, events_of
from .log.sql import statements
from .projections.projector import FOLLOWER as PROJECTOR
from .webhooks import DELIVER, Delivery, delivery_id, ended_message, labels_of, order, wants

FOLLOWER: Final = "webhooks"
OWN: Final = "on_finish"
"""What stands for a task's own target in the ids of deliveries."""
_MOST_REMEMBERED: Final = 100_000
_PATIENCE_SECONDS: Final = 4.0
_LOOK_SECONDS: Final = 0.05
_HEARD: Final[frozenset[type[Event]]] = frozenset({TaskSubmitted, *ENDINGS, WebhookCreated, WebhookDeleted})
_SQL: Final = statements("daybook.log")
_READ_SQL: Final = statements("daybook.projections")

log = structlog.get_logger()


class Origin(NamedTuple):
    """What of a task's beginning decides who hears of its end."""

    owner: str
    app: str
    on_finish: str


class Subscription(NamedTuple):
    """A webhook, as it matters here."""

    name: str
    namespace: str
    owner: str
    url: str
    events: tuple[str, ...]
    app: str
    all_owners: bool
    position: int

    @property
    def place(self) -> tuple[str, str | None]:
        """Under which it is looked up: a namespace, and an owner unless it hears of all."""
        return self.namespace, None if self.all_owners else self.owner


class Target(NamedTuple):
    """Somebody who is to be told: a webhook, or (without a name) a task's own `on_finish`."""

    name: str
    owner: str
    url: str


Wanted: TypeAlias = tuple[Recorded, Target]


class WebhooksBehind(Exception):
    """The read model of webhooks has not come as far as this follower did before."""


class WebhookDeliveries:
    """A `Handler` that submits a delivery for each end that somebody wants to hear of. `policy` is how deliveries are tried,
    `queue` where they wait."""

    in_transaction = False

    def __init__(self, event_log: Log, blobs: Blobs) -> None:
        self.queue = "default"
        self.policy: Policy = DELIVER.policy
        self._log = event_log
        self._blobs = blobs
        self._webhooks: dict[UUID, Subscription] = {}
        self._places: dict[tuple[str, str | None], dict[UUID, Subscription]] = {}
        self._origins: dict[UUID, Origin] = {}
        self._shared: dict[Origin, Origin] = {}

    def concerns(self, event: Event) -> bool:
        """Beginnings and ends of tasks, and what becomes of webhooks."""
        return type(event) in _HEARD

    async def begin(self, connection: Connection) -> Cursor | None:
        """Forget the tasks, and learn every webhook that there was at this cursor (and perhaps some that came later, whose
        position says so)."""
        self._origins.clear()
        self._webhooks.clear()
        self._places.clear()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PATIENCE_SECONDS
        while not covers(await _cursor(connection, PROJECTOR), await _cursor(connection, FOLLOWER)):
            if loop.time() > deadline:
                raise WebhooksBehind("the projector has not come as far as this follower did")
            await asyncio.sleep(_LOOK_SECONDS)
        for row in await connection.fetch(_READ_SQL["live_webhooks"]):
            values = {name: row[name] for name in Subscription._fields if name not in ("name", "events")}
            self._learn(row["id"], Subscription(name=ids.spell("whk", row["id"]), events=tuple(row["events"]), **values))
        return None

    async def apply(self, connection: Connection, events: list[Recorded]) -> bool:
        """Submit what these events call for. Raises when the log does not take it; the page is then looked at again."""
        ends = await self._look(events)
        wanted = [each for recorded, origin in ends for each in self._wanted(recorded, origin)]
        if not wanted:
            return False
        deliveries = await self._deliveries(wanted)
        appends = [await self.submit(delivery) for delivery in deliveries]
        for outcome in await asyncio.gather(*appends, return_exceptions=True):
            # Whose id is taken was submitted before; anything else is a reason to look at the page again.
            if isinstance(outcome, BaseException) and not isinstance(outcome, Conflict):
                raise outcome
        return True

    async def _look(self, events: list[Recorded]) -> list[tuple[Recorded, Origin]]:
        """Remember what begins, and find the beginnings of what ends, in the order of the log."""
        ends: list[tuple[Recorded, Origin | None]] = []
        for recorded in events:
            match recorded.event:
                case TaskSubmitted() as event:
                    self._remember(recorded.stream, event)
                case WebhookCreated(owner=owner, url=url, events=names, app=app, all_owners=everybody):
                    made = Subscription(ids.spell("whk", recorded.stream), recorded.namespace, owner, url, names, app, everybody, recorded.position)
                    self._learn(recorded.stream, made)
                case WebhookDeleted():
                    self._unlearn(recorded.stream)
                case TaskEvent() as event if type(event) is TaskSucceeded or status_after(event) in TERMINAL:
                    ends.append((recorded, self._origins.pop(recorded.stream, None)))
                case _:
                    pass  # a failure that will be tried again; or an event from the future, which says nothing yet
        unknown = list({recorded.stream for recorded, origin in ends if origin is None})
        first = await self._log.load_first(unknown) if unknown else {}
        told = {stream: begun for stream, each in first.items() if isinstance(begun := each.event, TaskSubmitted)}
        found = [(recorded, origin or self._origin(told.get(recorded.stream))) for recorded, origin in ends]
        return [(recorded, origin) for recorded, origin in found if origin is not None]

    def _remember(self, stream: UUID, event: TaskSubmitted) -> None:
        origin = self._origin(event)
        if origin is not None:
            self._origins[stream] = origin
            if len(self._origins) > _MOST_REMEMBERED:
                # What has not ended for so long is looked up when it does.
                del self._origins[next(iter(self._origins))]

    def _origin(self, event: TaskSubmitted | None) -> Origin | None:
        if event is None:
            return None
        origin = Origin(event.owner, event.app, event.on_finish)
        if len(self._shared) > _MOST_REMEMBERED:
            self._shared.clear()
        return self._shared.setdefault(origin, origin)

    def _learn(self, stream: UUID, webhook: Subscription) -> None:
        self._webhooks[stream] = webhook
        self._places.setdefault(webhook.place, {})[stream] = webhook

    def _unlearn(self, stream: UUID) -> None:
        webhook = self._webhooks.pop(stream, None)
        if webhook is not None:
            place = self._places[webhook.place]
            del place[stream]
            if not place:
                del self._places[webhook.place]

    def _wanted(self, recorded: Recorded, origin: Origin) -> list[Wanted]:
        """Who wants to hear of an end."""
        if not origin.on_finish and not self._places:
            return []
        if origin.app.startswith(BUILT_IN):
            return []
        wanted = [(recorded, Target("", origin.owner, origin.on_finish))] if origin.on_finish else []
        for place in ((recorded.namespace, origin.owner), (recorded.namespace, None)):
            fitting = (webhook for webhook in self._places.get(place, {}).values() if _fits(webhook, recorded, origin))
            wanted += [(recorded, Target(webhook.name, webhook.owner, webhook.url)) for webhook in fitting]
        return wanted

    async def _deliveries(self, wanted: list[Wanted]) -> list[Delivery]:
        streams = await self._log.load_many(list({recorded.stream for recorded, _ in wanted}))
        deliveries = []
        for recorded, target in wanted:
            try:
                delivery = _delivery(recorded, target, streams.get(recorded.stream, []))
            except (StreamUnreadable, ValueError) as error:
                # Told to the operator, since nobody else can be told; the others are not to wait for it.
                log.error("delivery.impossible", task=str(recorded.stream), version=recorded.version, error=str(error))
                continue
            deliveries.append(delivery)
        return deliveries

    async def submit(self, delivery: Delivery) -> "Future[Appended]":
        """Hand a delivery to the log's writer. Awaited, the future raises `Conflict` for one that was submitted before."""
        made = order(delivery, clock.now(), queue=self.queue, policy=self.policy)
        if made.sealed.blob is not None:
            await self._blobs.put(made.sealed.content.digest, made.sealed.blob)
        return self._log.append(delivery.stream, 1, made.event, namespace=delivery.namespace, payload=made.sealed.payload)


def _fits(webhook: Subscription, recorded: Recorded, origin: Origin) -> bool:
    if webhook.position > recorded.position or webhook.app not in ("", origin.app):
        return False
    assert isinstance(recorded.event, TaskEvent)
    return wants(webhook.events, status_after(recorded.event))


def _delivery(recorded: Recorded, target: Target, history: list[Recorded]) -> Delivery:
    """What to tell a target of an end: the task as it was then, whatever became of it since."""
    task = fold(events_of(each for each in history if each.version <= recorded.version))
    if task is None or task.version != recorded.version or task.status not in TERMINAL:
        raise ValueError("the task's history does not lead to this end")
    task_id = ids.spell("tsk", recorded.stream)
    return Delivery(
        stream=delivery_id(recorded.id, target.name or OWN),
        namespace=recorded.namespace,
        owner=target.owner,
        url=target.url,
        message=ended_message(task_id, task),
        labels=labels_of(task_id, target.name),
        causation=ids.spell("evt", recorded.id),
        correlation=task.correlation,
    )


async def _cursor(connection: Connection, follower: str) -> Cursor:
    positions = await connection.fetchval(_SQL["read_cursor"], follower)
    return START if positions is None else tuple(positions)
