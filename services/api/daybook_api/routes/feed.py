"""GET /v1/events: the feed of everything that the caller may see; as pages, or as a stream that goes on."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency

from daybook.access import Principal
from daybook.log.envelope import START, Cursor

from ..feed import cursor as feed_cursor
from ..feed.filter import PARAMETERS, wanted_of
from ..feed.stream import FeedStream
from ..feed.tail import Feed
from ..gateway import Gateway, answer
from ..problems import Problem
from ..requests import HttpRequest, accepts, preferred_wait, query, refused
from ..watching import sse

_MOST: Final = 1000
_USUAL: Final = 100
_KNOWN: Final = PARAMETERS | {"cursor", "limit"}
_WORDS: Final = (None, "start", "now")
_HINT: Final = "Send `next_cursor`, or the id of an event, as it came; or begin anew with `start` or `now`."


@get("/events", operation_id="getFeed", tags=["events"])
async def feed_route(request: HttpRequest, gateway: NamedDependency[Gateway]) -> Response[Any]:
    """Everything that happens to what the caller may see: facts about tasks, schedules and apps, in the order of the log.

    Begins behind `Last-Event-ID` or `cursor`, or with what happens from now on; `cursor=start` is the beginning of the log.
    As JSON: `limit` events and the place to go on from, `next_cursor`; `more` says whether there is something to read there
    already. With `Prefer: wait=N` the answer waits for the next event. As a stream of server-sent events where the client
    accepts `text/event-stream`: `begin`, then one event for each fact, and `heartbeat` in silence; each has as its id the
    place right behind it.
    """
    who = await gateway.access.authenticate(request, "read")
    given = {name: values[0] for name, values in query(request, _KNOWN).items()}
    wanted = wanted_of(who, given)
    streams = accepts(request, "text/event-stream")
    if streams and "limit" in given:
        raise refused("limit", "is for pages; a stream has no end")
    limit = _limit(given.get("limit"))
    cursor = await _start(gateway.feed, who, given.get("cursor"), request.headers.get("last-event-id"))
    stream = FeedStream(gateway.feed, wanted, cursor, who)
    if streams:
        await gateway.feed.begin()  # while there still is an answer to give, should the database be away
        return sse.respond(stream.frames(gateway.heartbeat_seconds))
    wait = preferred_wait(request)
    page = await stream.page(limit, wait)
    items = [msgspec.Raw(fact.encoded()) for fact in page.items]
    headers = {} if wait is None else {"Preference-Applied": f"wait={wait:g}"}
    return answer({"items": items, "next_cursor": page.next_cursor, "more": page.more}, headers=headers)


def _limit(text: str | None) -> int:
    if text is None:
        return _USUAL
    if not text.isascii() or not text.isdigit() or len(text) > 6 or not 1 <= int(text) <= _MOST:
        raise refused("limit", f"is a number from 1 to {_MOST}")
    return int(text)


async def _start(feed: Feed, who: Principal, asked: str | None, last_event_id: str | None) -> Cursor:
    """The place to begin at. A browser that comes back sends its last id beside the address that it first asked for, so
    the id counts. Raises problems."""
    place = None if asked in _WORDS else _place(asked or "", who, partial(refused, "cursor", hint=_HINT))
    if last_event_id:
        place = _place(last_event_id, who, _refused_id)
    if place is None:
        return START if asked == "start" else await feed.head()
    if not await feed.has(place):
        why = "leads beyond the end of the log"
        raise _refused_id(why) if last_event_id else refused("cursor", why, hint=_HINT)
    return place


def _place(text: str, who: Principal, problem: Callable[[str], Problem]) -> Cursor:
    cursor = feed_cursor.parse(text, who.namespace)
    if cursor is None:
        raise problem("is not a place of this feed")
    return cursor


def _refused_id(why: str) -> Problem:
    return Problem("invalid-request", f"Last-Event-ID {why}.", hint=_HINT)
