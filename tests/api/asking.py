"""What the tests of one task's way ask of the API, in a word each."""

from datetime import datetime
from typing import Any

import httpx2

from daybook.testing import eventually

WAIT = {"Prefer": "wait=10"}


async def submit(client: httpx2.AsyncClient, app: str = "t.echo", given: dict[str, Any] | None = None, *, wait: bool = True, **more: Any) -> dict[str, Any]:
    """Submit, and wait for the end unless told otherwise: the task as the API shows it."""
    answer = await client.post("/v1/tasks", json={"app": app, "input": given or {}, **more}, headers=WAIT if wait else {})
    assert answer.status_code in {200, 202}, answer.text
    task: dict[str, Any] = answer.json()
    return task


async def events(client: httpx2.AsyncClient, task: dict[str, Any]) -> list[dict[str, Any]]:
    """The task's events."""
    items: list[dict[str, Any]] = (await client.get(task["links"]["events"])).json()["items"]
    return items


async def kinds(client: httpx2.AsyncClient, task: dict[str, Any]) -> list[str]:
    """What has happened to it, in words such as `submitted`."""
    return [event["kind"].split(".")[1] for event in await events(client, task)]


async def until(client: httpx2.AsyncClient, task: dict[str, Any], status: str) -> dict[str, Any]:
    """The task, once it has this status."""
    found: dict[str, Any] = {}

    async def there() -> bool:
        nonlocal found
        found = (await client.get(task["links"]["self"])).json()
        return bool(found["status"] == status)

    await eventually(there)
    return found


def instant(text: str) -> datetime:
    """A time in an answer."""
    return datetime.fromisoformat(text)
