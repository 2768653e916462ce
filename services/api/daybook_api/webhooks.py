"""Webhooks at the API: found for whoever may see them, made, deleted and tried out.

A webhook is two events at most, so it is always read from the log. No secret is kept for any: the database makes each
anew, from the one that nobody can read.
"""

import asyncio
from base64 import b64encode
from datetime import datetime
from typing import Final, NamedTuple, cast
from uuid import UUID

from daybook import clock, ids
from daybook.access import Principal
from daybook.domain.events import Ending, WebhookCreated, WebhookDeleted
from daybook.domain.refusals import AlreadyExists, NotFound
from daybook.log.envelope import START, Conflict, Cursor, Position
from daybook.log.postgres import Log
from daybook.log.sql import statements
from daybook.manifest import is_app_id
from daybook.projections.projector import FOLLOWER, has_passed
from daybook.projections.webhook import ListedWebhook, count_webhooks
from daybook.webhook_deliveries import WebhookDeliveries
from daybook.webhooks import ENDS, TEST, Delivery, Message, checked_url, labels_of

from .problems import Problem, Spot, of_refusal
from .schemas import OnFinish
from .webhook_schemas import CreateWebhookRequest, WebhookView

MOST: Final = 100
"""How many an owner may have: each of them multiplies what an end costs."""
_SQL: Final = statements("daybook.log")


class FoundWebhook(NamedTuple):
    """A webhook that the caller may see. `position` is where its latest event lies."""

    stream: UUID
    namespace: str
    event: WebhookCreated
    created_at: datetime
    deleted: bool
    position: Position
    replayed: bool = False

    @property
    def name(self) -> str:
        """Its public id."""
        return ids.spell("whk", self.stream)


class _Made(NamedTuple):
    """A webhook that this process made, or is making, where the read model may not know it yet."""

    namespace: str
    owner: str
    position: Position | None


class Webhooks:
    """The API's webhooks."""

    def __init__(self, log: Log, deliveries: WebhookDeliveries) -> None:
        self._log = log
        self._deliveries = deliveries
        self._made: dict[UUID, _Made] = {}
        self._counting = asyncio.Lock()

    async def find(self, webhook_id: str, who: Principal, *, deleted: bool = False) -> FoundWebhook:
        """The webhook with this public id. Raises `not-found` for one that is not there, for somebody else's, and for one
        that was deleted unless those are wanted too."""
        stream = ids.parse("whk", webhook_id)
        recorded = [] if stream is None else await self._log.load(stream)
        made = recorded[0].event if recorded else None
        gone = len(recorded) > 1
        if stream is None or not isinstance(made, WebhookCreated) or not _may_see(who, recorded[0].namespace, made) or (gone and not deleted):
            raise of_refusal(NotFound(), "webhook")
        position = Position(recorded[-1].lane, recorded[-1].position)
        return FoundWebhook(stream, recorded[0].namespace, made, recorded[0].at, gone, position)

    async def create(self, wish: CreateWebhookRequest, who: Principal, key: str | None) -> FoundWebhook:
        """Make a webhook; with a key that was used before, find the one of that time, if it was to be the same. Raises
        problems."""
        if wish.all_owners and "admin" not in who.scopes:
            raise Problem("forbidden", "Only with the scope admin can a webhook hear of everybody's tasks.")
        if wish.app is not None and not is_app_id(wish.app):
            raise Problem("invalid-body", "That cannot be an app's id.", errors=[Spot(pointer="/app", message="cannot be an app's id")])
        event = WebhookCreated(
            actor=f"user:{who.owner}",
            reason=wish.note,
            owner=who.owner,
            url=good_url(wish.url, "/url"),
            events=tuple(dict.fromkeys(wish.events or ())),
            app=wish.app or "",
            all_owners=wish.all_owners,
        )
        stream = ids.new_id() if key is None else ids.derive_id("http-webhook", who.namespace, who.owner, key)
        # What was made before takes no more room, though there may be none left.
        if key is not None and await self._log.load(stream):
            return await self._replayed(stream, event, who)
        await self._take_room(stream, who)
        try:
            appended = await self._log.append(stream, 1, event, namespace=who.namespace)
        except Conflict:
            self._made.pop(stream, None)
            return await self._replayed(stream, event, who)
        except BaseException:
            self._made.pop(stream, None)
            raise
        self._made[stream] = _Made(who.namespace, who.owner, appended.position)
        return FoundWebhook(stream, who.namespace, event, appended.at, False, appended.position)

    async def _replayed(self, stream: UUID, event: WebhookCreated, who: Principal) -> FoundWebhook:
        earlier = await self.find(ids.spell("whk", stream), who, deleted=True)
        if earlier.event != event:
            raise of_refusal(AlreadyExists(fingerprint=""))
        return earlier._replace(replayed=True)

    async def _take_room(self, stream: UUID, who: Principal) -> None:
        """Count a webhook that is about to be made. What the read model does not know yet is counted here: else many made at
        once would find the same room. Raises `too-many-webhooks`."""
        async with self._counting:
            cursor = await self._log.pool.fetchval(_SQL["read_cursor"], FOLLOWER)
            known: Cursor = START if cursor is None else tuple(cursor)
            self._made = {each: made for each, made in self._made.items() if made.position is None or not has_passed(known, [made.position])}
            unknown = sum((made.namespace, made.owner) == (who.namespace, who.owner) for made in self._made.values())
            if await count_webhooks(self._log.pool, who.namespace, who.owner) + unknown >= MOST:
                raise Problem("too-many-webhooks", f"An owner may have {MOST} webhooks.", hint="Delete one that nobody needs any more.")
            self._made[stream] = _Made(who.namespace, who.owner, None)

    async def delete(self, found: FoundWebhook, who: Principal) -> Position:
        """Tell nobody there any more. Deliveries on their way are not held up."""
        try:
            appended = await self._log.append(found.stream, 2, WebhookDeleted(actor=f"user:{who.owner}"), namespace=found.namespace)
        except Conflict:
            return (await self.find(found.name, who, deleted=True)).position
        return appended.position

    async def try_out(self, found: FoundWebhook) -> str:
        """Send a message that tells of nothing; returns the public id of its delivery."""
        message = Message(type=TEST, timestamp=clock.now(), data={"webhook": found.name})
        delivery = Delivery(
            stream=ids.new_id(),
            namespace=found.namespace,
            owner=found.event.owner,
            url=found.event.url,
            message=message,
            labels=labels_of(webhook=found.name),
        )
        await (await self._deliveries.submit(delivery))
        return ids.spell("tsk", delivery.stream)

    async def secret(self, found: FoundWebhook) -> str:
        """What a webhook's messages are signed with."""
        return _spelled(await self._log.pool.fetchval("SELECT daybook.webhook_secret($1)", found.name))

    async def own_secret(self, who: Principal) -> str:
        """What messages to `on_finish` of the caller's tasks are signed with."""
        return _spelled(await self._log.pool.fetchval("SELECT daybook.owner_secret($1, $2)", who.namespace, who.owner))


def good_url(url: str, pointer: str) -> str:
    """The URL of a request, where it is one that can be told. Raises a problem that points at it."""
    try:
        return checked_url(url)
    except ValueError as error:
        raise Problem("invalid-body", f"{error}.".capitalize(), errors=[Spot(pointer=pointer, message=str(error))]) from None


def target_of(on_finish: OnFinish | None) -> str:
    """The URL that a request names for its task's end; empty for none. Raises a problem."""
    return "" if on_finish is None else good_url(on_finish.url, "/on_finish/url")


def webhook_view(found: FoundWebhook) -> WebhookView:
    """A webhook as HTTP shows it."""
    return _view(found.name, found.event, list(found.event.events), found.event.reason, found.created_at)


def listed_view(row: ListedWebhook) -> WebhookView:
    """A row of the list as HTTP shows it."""
    return _view(ids.spell("whk", row.id), row, cast("list[Ending]", row.events), row.note, row.created_at)


def _view(name: str, said: WebhookCreated | ListedWebhook, events: list[Ending], note: str, created_at: datetime) -> WebhookView:
    return WebhookView(
        id=name,
        owner=said.owner,
        url=said.url,
        events=events or list(ENDS),
        app=said.app or None,
        all_owners=said.all_owners,
        note=note or None,
        created_at=created_at,
    )


def _may_see(who: Principal, namespace: str, made: WebhookCreated) -> bool:
    return namespace == who.namespace and (made.owner == who.owner or "admin" in who.scopes)


def _spelled(secret: bytes) -> str:
    return f"whsec_{b64encode(secret).decode()}"
