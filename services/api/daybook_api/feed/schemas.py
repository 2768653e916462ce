"""What goes out over HTTP about the feed."""

from typing import Any

from msgspec import Struct

from ..schemas import Timestamp


class FeedEventView(Struct, frozen=True, kw_only=True):
    """One event of the feed. `event` is its name there; `subject` the id of the task, schedule or app that it is about, and
    `version` its number in the history of that. `status` is a task's, after the event; what is about an app is nobody's."""

    id: str
    event: str
    kind: str
    subject: str
    version: int
    at: Timestamp
    owner: str | None
    app: str
    status: str | None
    data: dict[str, Any]


class FeedList(Struct, frozen=True, kw_only=True):
    """Events of the feed, in order. `next_cursor` is the place behind the last that was looked at; `more` whether there is
    something to read there already."""

    items: list[FeedEventView]
    next_cursor: str
    more: bool
