"""What the tests of the feed ask of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from tests.services import Frame, Watching

SSE = {"Accept": "text/event-stream"}


@asynccontextmanager
async def feed(client: httpx2.AsyncClient, last_event_id: str | None = None, **asked: str) -> AsyncIterator[Watching]:
    """The feed as a stream, past its `begin`."""
    headers = SSE if last_event_id is None else SSE | {"Last-Event-ID": last_event_id}
    async with client.stream("GET", "/v1/events", params=asked, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        stream = Watching(response)
        begin = await stream.next()
        assert begin is not None
        assert (begin.event, begin.data["cursor"]) == ("begin", begin.id)
        if last_event_id is not None:
            assert begin.id == last_event_id
        yield stream


async def page(client: httpx2.AsyncClient, prefer: str | None = None, **asked: str | int) -> dict[str, Any]:
    """One page of the feed."""
    params = {name: str(value) for name, value in asked.items()}
    answer = await client.get("/v1/events", params=params, headers={} if prefer is None else {"Prefer": prefer})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert set(found) == {"items", "next_cursor", "more"}
    return found


async def everything(client: httpx2.AsyncClient, cursor: str = "start", limit: int = 1000, **asked: str) -> list[dict[str, Any]]:
    """All that the feed has by now, page by page."""
    items: list[dict[str, Any]] = []
    more = True
    while more:
        found = await page(client, None, cursor=cursor, limit=limit, **asked)
        assert len(found["items"]) <= limit
        items += found["items"]
        cursor, more = found["next_cursor"], found["more"]
    return items


async def take(stream: Watching, count: int) -> list[Frame]:
    """The next events, less heartbeats."""
    frames: list[Frame] = []
    while len(frames) < count:
        frame = await stream.next()
        assert frame is not None, f"the stream ended after {[each.event for each in frames]}"
        if frame.event != "heartbeat":
            frames.append(frame)
    return frames
