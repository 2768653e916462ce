"""What comes in and what goes out over HTTP about webhooks."""

from typing import Annotated

from msgspec import Meta, Struct

from daybook.domain.events import Ending

from .schemas import Name, Reason, Timestamp, Url


class CreateWebhookRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to tell of the ends of tasks: of one's own, or with `all_owners` (and the scope admin) of everybody's; with
    `events` only of these ends, with `app` only of this app's."""

    url: Url
    events: Annotated[list[Ending], Meta(min_length=1, max_length=3)] | None = None
    app: Name | None = None
    all_owners: bool = False
    note: Reason = ""


class WebhookView(Struct, frozen=True, kw_only=True):
    """A webhook."""

    id: str
    owner: str
    url: str
    events: list[Ending]
    app: str | None
    all_owners: bool
    note: str | None
    created_at: Timestamp


class WebhookList(Struct, frozen=True, kw_only=True):
    """A page of webhooks, newest first."""

    items: list[WebhookView]
    next_cursor: str | None


class SecretView(Struct, frozen=True, kw_only=True):
    """What messages are signed with: `whsec_` and base64, as the libraries of Standard Webhooks take it."""

    secret: str
