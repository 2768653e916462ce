"""What the client asks of the API about webhooks; what holds for all requests is told in `requests`."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from .requests import PAGE_LIMIT, Request, post
from .spelling import encode

_PATH: Final = "/v1/webhooks"


def create_webhook(url: str, *, key: str, events: Sequence[str] | None, app: str | None, all_owners: bool, note: str | None) -> Request:
    """POST /webhooks with an Idempotency-Key."""
    wanted = {"url": url, "events": events, "app": app, "all_owners": all_owners or None, "note": note}
    given = {name: value for name, value in wanted.items() if value is not None}
    return post(_PATH, encode(given), {"Idempotency-Key": key})


def get_webhook(webhook_id: str) -> Request:
    """GET /webhooks/{id}."""
    return Request(method="GET", path=_webhook(webhook_id))


def list_webhooks(*, owner: str | None = None, limit: int | None = None) -> Request:
    """The webhooks, newest first; pages are fetched as they are needed. `limit` bounds the whole list."""
    return Request(method="GET", path=_PATH, query=_query(owner=owner, limit=limit), sees_writes=True)


def delete_webhook(webhook_id: str) -> Request:
    """DELETE /webhooks/{id}."""
    return Request(method="DELETE", path=_webhook(webhook_id), writes=True)


def get_secret(webhook_id: str | None) -> Request:
    """GET /webhooks/{id}/secret; without an id that of one's own tasks."""
    return Request(method="GET", path=f"{_PATH if webhook_id is None else _webhook(webhook_id)}/secret")


def try_webhook(webhook_id: str) -> Request:
    """POST /webhooks/{id}/test."""
    return Request(method="POST", path=f"{_webhook(webhook_id)}/test", writes=True)


def list_deliveries(about: str, /, *, limit: int | None = None) -> Request:
    """The deliveries of a webhook, or of a task's ends, by its id: tasks, newest first. `limit` bounds the whole list."""
    path = _webhook(about) if about.startswith("whk_") else f"/v1/tasks/{quote(about, safe='')}"
    return Request(method="GET", path=f"{path}/deliveries", query=_query(limit=limit), sees_writes=True)


def _query(*, owner: str | None = None, limit: int | None = None) -> tuple[tuple[str, str], ...]:
    given = {"owner": owner, "limit": None if limit is None else str(min(limit, PAGE_LIMIT))}
    return tuple((name, value) for name, value in given.items() if value is not None)


def _webhook(webhook_id: str) -> str:
    return f"{_PATH}/{quote(webhook_id, safe='')}"
