"""What the tests of webhooks ask of the API."""

from typing import Any

import httpx2

from daybook.domain.events import Policy
from daybook.testing import eventually

QUICK = Policy(max_attempts=4, timeout_seconds=15.0, backoff_seconds=0.02, backoff_factor=1.0, backoff_max_seconds=0.02)
"""How often the house of these tests tries, and at once."""


async def made(client: httpx2.AsyncClient, **wish: Any) -> dict[str, Any]:
    """A webhook."""
    answer = await client.post("/v1/webhooks", json=wish)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/webhooks/{answer.json()['id']}"
    webhook: dict[str, Any] = answer.json()
    return webhook


async def own_secret(client: httpx2.AsyncClient) -> str:
    """What messages to `on_finish` are signed with."""
    secret: str = (await client.get("/v1/webhooks/secret")).json()["secret"]
    return secret


async def secret_of(client: httpx2.AsyncClient, webhook: dict[str, Any]) -> str:
    """What a webhook's messages are signed with."""
    secret: str = (await client.get(f"/v1/webhooks/{webhook['id']}/secret")).json()["secret"]
    return secret


async def deliveries(client: httpx2.AsyncClient, task: dict[str, Any], least: int = 0) -> list[dict[str, Any]]:
    """The deliveries of a task's ends, once there are so many."""

    async def listed() -> Any:
        items = (await client.get(f"/v1/tasks/{task['id']}/deliveries")).json()["items"]
        return (items,) if len(items) >= least else None

    found: tuple[list[dict[str, Any]]] = await eventually(listed, 15)
    return found[0]


async def delivered(client: httpx2.AsyncClient, task: dict[str, Any], status: str = "success") -> dict[str, Any]:
    """The one delivery of a task's end, once it has this status."""

    async def one() -> Any:
        found = await deliveries(client, task)
        assert len(found) < 2
        return found and found[0]["status"] == status and found[0]

    found: dict[str, Any] = await eventually(one, 15)
    whole: dict[str, Any] = (await client.get(f"/v1/tasks/{found['id']}")).json()
    return whole
