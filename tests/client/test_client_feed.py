"""The feed over a connection that breaks, and in pages: each event once, in order, by both clients."""

from itertools import islice
from typing import Any

import msgspec
import pytest
from tests.client.fake_api import AT, TASK_ID, FakeApi, Say, Stream, frame, problem

from daybook.client import AsyncClient, BadRequest, Client, FeedEvent

FEED = "GET /v1/events"


def fact(version: int, status: str | None = "running", **more: Any) -> dict[str, Any]:
    """An event of the feed."""
    known = {"id": f"evt_{version}", "event": f"task.{status}", "kind": "task.started.v1", "subject": TASK_ID, "version": version, "at": AT}
    return known | {"owner": "ann", "app": "hello", "status": status, "data": {"attempt": 1}} | more


def frames(*versions: int) -> list[bytes]:
    """`begin`, and then these events."""
    told = [frame("task.running", fact(version), f"c{version}") for version in versions]
    return [frame("begin", {"cursor": "c0"}, "c0", retry=20), *told]


def seen(client: Client, count: int, **asked: Any) -> list[FeedEvent]:
    """The first events."""
    return list(islice(client.events(**asked), count))


def test_events_are_told_as_they_come(api: FakeApi, client: Client) -> None:
    api.on(FEED, Stream(b"".join(frames(1, 2))))
    one, two = seen(client, 2)
    assert (one.event, one.subject, one.version, one.status, one.owner, one.app) == ("task.running", TASK_ID, 1, "running", "ann", "hello")
    assert (one.cursor, two.cursor, two.data) == ("c1", "c2", {"attempt": 1})
    (asked,) = api.seen
    assert asked.query == []
    assert asked.headers["accept"] == "text/event-stream"
    assert "last-event-id" not in asked.headers


def test_wherever_the_cut_is_nothing_is_lost_or_doubled(api: FakeApi, client: Client) -> None:
    whole = frames(1, 2, 3)
    stream = b"".join(whole)
    for offset in range(len(whole[0]), len(stream), 41):
        arrived = next(n for n in range(len(whole)) if len(b"".join(whole[: n + 1])) > offset)
        api.on(FEED, Stream(stream[:offset], "cut"), Stream(whole[0].replace(b"c0", b"c%d" % (arrived - 1)) + b"".join(whole[arrived:])))
        before = len(api.seen)
        assert [event.version for event in seen(client, 3, cursor="start")] == [1, 2, 3], f"cut at byte {offset}"
        asked = api.seen[before:]
        assert [each.headers.get("last-event-id") for each in asked] == [None, f"c{arrived - 1}"]
        assert all(each.query == [("cursor", "start")] for each in asked)


def test_silence_is_remembered_too(api: FakeApi, client: Client) -> None:
    api.on(FEED, Stream(frames()[0] + frame("heartbeat", {}, "c7")), Stream(b"".join(frames(8))))
    assert [event.version for event in seen(client, 1)] == [8]
    assert [each.headers.get("last-event-id") for each in api.seen] == [None, "c7"]


def test_filters_are_asked_for_by_name(api: FakeApi, client: Client) -> None:
    api.on(FEED, Stream(b"".join(frames(1))))
    seen(client, 1, cursor="start", app="hello", owner="bob", task=TASK_ID, schedule="sch_1", types=("task.error", "slot"))
    expected = {"cursor": "start", "app": "hello", "owner": "bob", "task": TASK_ID, "schedule": "sch_1", "types": "task.error,slot"}
    assert dict(api.seen[0].query) == expected


def test_what_is_about_an_app_has_no_owner_and_no_status(api: FakeApi, client: Client) -> None:
    published = fact(1, None, event="app.published", kind="app.published.v1", subject="app_1", owner=None)
    api.on(FEED, Stream(frame("app.published", published, "c1")))
    (event,) = seen(client, 1)
    assert (event.owner, event.status, event.app) == (None, None, "hello")


def test_a_refusal_is_raised(api: FakeApi, client: Client) -> None:
    api.on(FEED, problem(400, "invalid-request", "no such place"))
    with pytest.raises(BadRequest, match="no such place"):
        next(client.events(cursor="x"))


def test_a_page_leads_to_the_next(api: FakeApi, client: Client) -> None:
    pages = [{"items": [fact(1), fact(2)], "next_cursor": "c2", "more": True}, {"items": [], "next_cursor": "c3", "more": False}]
    api.on(FEED, *(Say(200, each) for each in pages))
    page = client.events_page("start", limit=2, types="task")
    assert ([event.version for event in page.items], page.next_cursor, page.more) == ([1, 2], "c2", True)
    page = client.events_page(page.next_cursor, wait=10)
    assert (page.items, page.next_cursor, page.more) == ([], "c3", False)
    one, other = api.seen
    assert dict(one.query) == {"cursor": "start", "limit": "2", "types": "task"}
    assert "prefer" not in one.headers
    assert (dict(other.query), other.headers["prefer"]) == ({"cursor": "c2"}, "wait=10")


async def test_the_async_client_does_the_same(api: FakeApi, aclient: AsyncClient) -> None:
    whole = frames(1, 2)
    page = {"items": [fact(1)], "next_cursor": "c1", "more": False}
    api.on(FEED, Stream(b"".join(whole[:2]), "cut"), Stream(whole[0] + whole[2]), Say(200, page))
    events = aclient.events(types="task")
    assert [(await anext(events)).version for _ in range(2)] == [1, 2]
    found = await aclient.events_page("start")
    assert msgspec.to_builtins(found.items[0]) == fact(1, at=found.items[0].at.isoformat().replace("+00:00", "Z"), cursor=None)
