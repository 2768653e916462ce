"""The read model `webhook`: whom to tell when tasks end, for lists and for those who tell them."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from ..domain.events import WebhookCreated, WebhookDeleted
from ..log.connections import Connection, Pool
from ..log.envelope import Recorded
from ..log.sql import statements
from .paging import Key, Query, digest_of, fetch_page, parse, spell

_SQL: Final = statements("daybook.projections")


class WebhookFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to list: a namespace's, or one owner's in it."""

    namespace: str
    owner: str | None = None


class ListedWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the list."""

    id: UUID
    owner: str
    url: str
    events: list[str]
    app: str
    all_owners: bool
    note: str
    created_at: datetime


class WebhookProjection:
    """Keeps `read.webhook`."""

    async def apply(self, connection: Connection, events: list[Recorded]) -> bool:
        """Note what was made and deleted; false when nothing was."""
        noted = False
        for recorded in events:
            event = recorded.event
            if isinstance(event, WebhookCreated):
                said = event.owner, event.url, list(event.events), event.app, event.all_owners, event.reason
                await connection.execute(_SQL["put_webhook"], recorded.stream, recorded.namespace, *said, recorded.at, recorded.position)
            elif isinstance(event, WebhookDeleted):
                await connection.execute(_SQL["delete_webhook"], recorded.stream, recorded.version)
            else:
                continue
            noted = True
        return noted


async def list_webhooks(source: Connection | Pool, wanted: WebhookFilter, *, limit: int, cursor: str | None) -> tuple[list[ListedWebhook], str | None]:
    """A page of webhooks that are not deleted, newest first, and the cursor of the next one (None at the end). Raises
    `BadCursor`."""
    digest = digest_of(wanted)
    key = None if cursor is None else parse(cursor, Key[UUID], digest)
    conditions: list[tuple[str, Any]] = [("NOT deleted AND namespace = ${n}", wanted.namespace)]
    if wanted.owner is not None:
        conditions.append(("owner = ${n}", wanted.owner))
    rows, has_more = await fetch_page(source, Query(ListedWebhook.__struct_fields__, "read.webhook", conditions, ("created_at", "id")), key, limit)
    webhooks = [ListedWebhook(**dict(row)) for row in rows]
    return webhooks, spell(Key(digest=digest, at=webhooks[-1].created_at, id=webhooks[-1].id)) if has_more else None


async def count_webhooks(source: Connection | Pool, namespace: str, owner: str) -> int:
    """How many an owner has."""
    count: int = await source.fetchval(_SQL["count_webhooks"], namespace, owner)
    return count
