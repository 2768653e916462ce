"""The feed, as the client sees it: what is asked, what is answered, and what a reader remembers over a lost connection. No
I/O.

The id of each event, and of each heartbeat, is the place right behind it. The last one that arrived whole is sent with
the next connection, so nothing is lost and nothing is seen twice.
"""

from collections.abc import Generator, Iterable
from datetime import datetime
from typing import Any

import msgspec

from daybook.domain.status import Status

from .flows import read
from .requests import Reply, Request
from .watching import Frame, Resumption


class FeedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One fact about a task, a schedule or an app. `event` is its name (`task.running`), `subject` what it is about, and
    `version` its number in the history of that. `status` is a task's, after it; what is about an app has no owner.
    `cursor` is the place behind it, where it came from a stream.
    """

    id: str
    event: str
    kind: str
    subject: str
    version: int
    at: datetime
    owner: str | None = None
    app: str = ""
    status: Status | None = None
    data: dict[str, Any] = {}
    cursor: str | None = None


class FeedPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the feed; `next_cursor` is the place to go on from, `more` whether there is something to read there already."""

    items: list[FeedEvent]
    next_cursor: str
    more: bool = False


def events_page(
    cursor: str | None = None,
    *,
    limit: int | None = None,
    wait: int | None = None,
    app: str | None = None,
    owner: str | None = None,
    task: str | None = None,
    schedule: str | None = None,
    types: str | Iterable[str] | None = None,
) -> Generator[Request, Reply, FeedPage]:
    """One page of the feed, from behind a cursor: `next_cursor` of the page before, the `cursor` of an event, `"start"`, or
    `"now"`, which is also the default. Where it would be empty, wait up to `wait` seconds (60 at most) for something to
    happen. The filters are those of `events`.
    """
    request = ask(cursor=cursor, limit=limit, app=app, owner=owner, task=task, schedule=schedule, types=types)
    if wait is not None:
        request = msgspec.structs.replace(request, headers={"Prefer": f"wait={wait}"}, hold_seconds=wait)
    return read((yield request), FeedPage)


def ask(*, types: str | Iterable[str] | None = None, **asked: str | int | None) -> Request:
    """GET /events, with these parameters."""
    named = {**asked, "types": types if types is None or isinstance(types, str) else ",".join(types)}
    return Request(method="GET", path="/v1/events", query=tuple((name, str(value)) for name, value in named.items() if value is not None))


class FeedWatch:
    """The memory of one reader, over all the connections it needs."""

    ended = False
    """The feed has no end."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._place = Resumption()

    def request(self) -> Request:
        """What to ask for now."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self._place.last_event_id is not None:
            headers["Last-Event-ID"] = self._place.last_event_id
        return self._place.paced(msgspec.structs.replace(self._request, headers=headers))

    def opened(self, status: int) -> None:
        """A connection stands."""
        self._place.opened()

    def take(self, frame: Frame) -> FeedEvent | None:
        """The event in this frame, or None when it carries nothing to see."""
        if not self._place.carries(frame):
            return None
        self._place.took(frame, is_news=frame.event != "begin")
        if frame.event in {"begin", "heartbeat"}:
            return None
        return msgspec.structs.replace(msgspec.json.decode(frame.data, type=FeedEvent), cursor=frame.id)

    def cut(self, error: Exception | None) -> None:
        """The connection is gone, and is made again; nothing is missed, so there is nothing to tell."""
