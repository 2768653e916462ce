"""Idempotency-Key: a submit that is repeated makes no second task."""

import asyncio
import json

import httpx2
import pytest
from tests.services import Services

from daybook import clock
from daybook.domain.events import AppPublished
from daybook.testing import eventually


async def test_the_same_key_and_body_give_the_same_task(client: httpx2.AsyncClient) -> None:
    body = {"app": "t.echo", "input": {"value": 7}}
    first = await client.post("/v1/tasks", json=body, headers={"Idempotency-Key": "order-7"})
    again = await client.post("/v1/tasks", json=body, headers={"Idempotency-Key": "order-7"})
    assert (first.status_code, again.status_code) == (202, 202)
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["Daybook-Position"] == first.headers["Daybook-Position"]


async def test_quotes_around_a_key_are_syntax(client: httpx2.AsyncClient) -> None:
    first = await client.post("/v1/tasks", json={"app": "t.echo"}, headers={"Idempotency-Key": '"quoted"'})
    again = await client.post("/v1/tasks", json={"app": "t.echo"}, headers={"Idempotency-Key": "quoted"})
    assert again.json()["id"] == first.json()["id"]


async def test_another_body_under_the_same_key_is_refused(client: httpx2.AsyncClient, services: Services) -> None:
    await client.post("/v1/tasks", json={"app": "t.echo", "input": {"value": 1}}, headers={"Idempotency-Key": "k"})
    other = await client.post("/v1/tasks", json={"app": "t.echo", "input": {"value": 2}}, headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")


async def test_keys_are_each_owners_own(client: httpx2.AsyncClient, services: Services) -> None:
    async with services.client(await services.token("somebody-else")) as other:
        mine = await client.post("/v1/tasks", json={"app": "t.echo"}, headers={"Idempotency-Key": "shared"})
        theirs = await other.post("/v1/tasks", json={"app": "t.echo"}, headers={"Idempotency-Key": "shared"})
    assert mine.json()["id"] != theirs.json()["id"]
    assert "Idempotency-Replayed" not in theirs.headers


async def test_fifty_submits_at_once_under_one_key_make_one_task(client: httpx2.AsyncClient) -> None:
    body = {"app": "t.echo", "input": {"value": "once"}}
    answers = await asyncio.gather(*(client.post("/v1/tasks", json=body, headers={"Idempotency-Key": "fifty"}) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    listed = await client.get("/v1/tasks", headers={"Daybook-Position": answers[0].headers["Daybook-Position"]})
    assert len(listed.json()["items"]) == 1


async def test_fifty_different_bodies_at_once_under_one_key_make_one_task(client: httpx2.AsyncClient) -> None:
    bodies = [{"app": "t.echo", "input": {"value": number}} for number in range(50)]
    answers = await asyncio.gather(*(client.post("/v1/tasks", json=body, headers={"Idempotency-Key": "fifty"}) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [202] + [422] * 49


async def test_a_replay_shows_the_task_as_it_is_now(client: httpx2.AsyncClient) -> None:
    for prefer in ({"Prefer": "wait=10"}, {}):
        answer = await client.post("/v1/tasks", json={"app": "t.echo"}, headers={"Idempotency-Key": "finished", **prefer})
    assert answer.status_code == 202
    assert (answer.json()["status"], answer.headers["ETag"]) == ("success", '"3"')
    waiting = await client.post("/v1/tasks", json={"app": "t.echo"}, headers={"Idempotency-Key": "finished", "Prefer": "wait=10"})
    assert (waiting.status_code, waiting.headers["Idempotency-Replayed"]) == (200, "true")


async def test_a_large_input_is_stored_once_however_often_it_is_sent(client: httpx2.AsyncClient, services: Services) -> None:
    body = {"app": "t.echo", "input": {"value": "x" * 50_000}, "queue": "nobody"}
    first = await client.post("/v1/tasks", json=body, headers={"Idempotency-Key": "large"})
    before = await _blobs(services)
    again = await client.post("/v1/tasks", json=body, headers={"Idempotency-Key": "large"})
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]
    assert again.json()["input"] == body["input"]
    assert await _blobs(services) == before


async def test_a_repeated_submit_is_not_refused_because_its_time_has_come_and_gone(client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"app": "t.echo", "run_at": clock.after(30).isoformat()}
    first = await client.post("/v1/tasks", json=body, headers={"Idempotency-Key": "late"})
    later = clock.after(3600)
    monkeypatch.setattr(clock, "now", lambda: later)
    again = await client.post("/v1/tasks", json=body, headers={"Idempotency-Key": "late"})
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    unknown = await client.post("/v1/tasks", json=body, headers={"Idempotency-Key": "another"})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "in-the-past")


async def test_a_repeated_submit_is_not_refused_because_its_app_has_changed(services: Services) -> None:
    def version(number: int, schema: dict[str, object]) -> AppPublished:
        return AppPublished(app="changing", app_kind="python", version=str(number), input_schema=schema, actor="a test")

    await services.announce(version(1, {}), "changes")
    async with services.client(await services.token("ann", namespace="changes")) as client:
        first = await client.post("/v1/tasks", json={"app": "changing", "input": "text"}, headers={"Idempotency-Key": "k"})
        assert first.status_code == 202
        await services.announce(version(2, {"type": "object"}), "changes", number=2)

        async def is_known() -> bool:
            answer = await client.post("/v1/tasks", json={"app": "changing", "input": "text"})
            return answer.status_code == 422

        await eventually(is_known)
        again = await client.post("/v1/tasks", json={"app": "changing", "input": "text"}, headers={"Idempotency-Key": "k"})
        assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "caf\u00e9", "tab\there"])
async def test_a_key_that_is_none_is_refused(client: httpx2.AsyncClient, key: str) -> None:
    raw = [(b"Idempotency-Key", key.encode("latin-1")), (b"Content-Type", b"application/json")]
    answer = await client.post("/v1/tasks", content=json.dumps({"app": "t.echo"}), headers=raw)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")


async def _blobs(services: Services) -> int:
    count: int = await services.api.gateway.log.pool.fetchval("SELECT count(*) FROM daybook.blob")
    return count
