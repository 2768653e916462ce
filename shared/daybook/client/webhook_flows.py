"""What the client can do with webhooks, each thing once; what a flow is, is told in `flows`."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from daybook import ids

from . import webhook_requests as requests
from .flows import Flow, read
from .models import TaskDetail
from .requests import Request


class WebhookView(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook: `url` is told of the ends of tasks in `events`."""

    id: str
    url: str
    owner: str = ""
    events: list[str] = []
    app: str | None = None
    all_owners: bool = False
    note: str | None = None
    created_at: datetime | None = None


class WebhookPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list, newest first."""

    items: list[WebhookView]
    next_cursor: str | None = None


class _Secret(msgspec.Struct, frozen=True, kw_only=True):
    secret: str


def create(
    url: str,
    *,
    events: Sequence[str] | None = None,
    app: str | None = None,
    all_owners: bool = False,
    note: str | None = None,
    key: str | None = None,
) -> Flow[WebhookView]:
    """Let a URL be told of the ends of one's tasks from now on: of all of them, or of those in `events` (`task.success`,
    `task.error`, `task.cancelled`) and of that `app`; with `all_owners` of everybody's, which needs the scope admin.

    `key` names the webhook, as it names a task in a submit; without one a key is made here, so that nothing is created
    twice.
    """
    wanted = requests.create_webhook(url, key=key or ids.new_secret(), events=events, app=app, all_owners=all_owners, note=note)
    return read((yield wanted), WebhookView)


def get(webhook: str) -> Flow[WebhookView]:
    """The webhook with this id."""
    return read((yield requests.get_webhook(webhook)), WebhookView)


def page(request: Request) -> Flow[WebhookPage]:
    """One page of a list."""
    return read((yield request), WebhookPage)


def delete(webhook: str) -> Flow[None]:
    """End it for good. What is on its way still arrives."""
    yield requests.delete_webhook(webhook)


def secret(webhook: str | None = None) -> Flow[str]:
    """What its messages are signed with, as the libraries of Standard Webhooks take it; without an id, those to the
    `on_finish` of one's own tasks.
    """
    return read((yield requests.get_secret(webhook)), _Secret).secret


def test(webhook: str) -> Flow[TaskDetail]:
    """Send a message of the type `webhook.test` now; the answer is the task that sends it."""
    return read((yield requests.try_webhook(webhook)), TaskDetail)
