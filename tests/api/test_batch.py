"""POST /v1/tasks/batch: many tasks at once, each with an outcome of its own."""

import json
from typing import Any
from uuid import UUID

import httpx2
import pytest
from tests.api.apps import Gate
from tests.services import Services

from daybook.log.envelope import Recorded
from daybook.testing import eventually

LINES = {"Content-Type": "application/x-ndjson"}


async def _tasks(client: httpx2.AsyncClient, position: str) -> list[dict[str, Any]]:
    answer = await client.get("/v1/tasks", params={"limit": 200}, headers={"Daybook-Position": position})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


@pytest.mark.parametrize("lines", [False, True], ids=["array", "lines"])
async def test_every_item_has_its_outcome_in_the_order_of_the_request(client: httpx2.AsyncClient, lines: bool) -> None:
    items: list[Any] = [{"app": "t.echo", "delay": "1h", "labels": {"n": str(number)}} for number in range(100)]
    items[7] = {"app": "nothing.here"}
    items[42] = {"app": "t.order", "input": {"name": ""}}
    items[43] = 7
    items[99] = {"app": "t.echo", "run_at": "2001-01-01T00:00:00Z"}
    body = "\r\n\n".join(map(json.dumps, items)) if lines else json.dumps(items)
    answer = await client.post("/v1/tasks/batch", content=body, headers=LINES if lines else {})
    assert answer.status_code == 200
    outcomes = answer.json()
    assert (outcomes["accepted"], outcomes["refused"], len(outcomes["items"])) == (96, 4, 100)
    problems = {number: item["problem"] for number, item in enumerate(outcomes["items"]) if "problem" in item}
    assert {number: problem["code"] for number, problem in problems.items()} == {
        7: "unknown-app",
        42: "invalid-input",
        43: "invalid-body",
        99: "in-the-past",
    }
    assert problems[42]["errors"][0]["pointer"] == "/input/name"
    assert len({problem["request_id"] for problem in problems.values()}) == 1
    listed = {task["id"]: task for task in await _tasks(client, answer.headers["Daybook-Position"])}
    assert len(listed) == 96
    for number, item in enumerate(outcomes["items"]):
        if "problem" not in item:
            assert item["status"] == "scheduled"
            assert listed[item["task_id"]]["labels"] == {"n": str(number)}


async def test_an_app_that_nobody_knows_is_looked_for_once(services: Services, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    log, asked = services.api.gateway.log, list[UUID]()
    load = log.load

    async def counted_load(stream: UUID) -> list[Recorded]:
        asked.append(stream)
        return await load(stream)

    await client.get("/v1/apps")  # the token is known by then
    with monkeypatch.context() as patched:
        patched.setattr(log, "load", counted_load)
        answer = await client.post("/v1/tasks/batch", json=[{"app": "nothing.here"}] * 50)
    assert [item["problem"]["code"] for item in answer.json()["items"]] == ["unknown-app"] * 50
    assert len(asked) == 1


async def test_a_batch_runs(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/tasks/batch", json=[{"app": "t.echo", "input": {"value": number}} for number in range(150)])
    assert answer.json()["accepted"] == 150

    async def ran() -> bool:
        return {task["status"] for task in await _tasks(client, answer.headers["Daybook-Position"])} == {"success"}

    await eventually(ran, timeout_seconds=15)


async def test_items_with_keys_are_replayed_and_others_are_not(client: httpx2.AsyncClient) -> None:
    batch = [
        {"app": "t.echo", "input": {"value": 1}, "queue": "nobody", "idempotency_key": "one"},
        {"app": "t.echo", "input": {"value": 2}, "queue": "nobody"},
        {"app": "t.echo", "input": {"value": "x" * 20_000}, "queue": "nobody", "idempotency_key": "large"},
    ]
    first, second = [(await client.post("/v1/tasks/batch", json=batch)).json()["items"] for _ in range(2)]
    assert [one["task_id"] == other["task_id"] for one, other in zip(first, second, strict=True)] == [True, False, True]


async def test_one_key_twice_in_a_batch_is_one_task(client: httpx2.AsyncClient) -> None:
    same = {"app": "t.echo", "delay": "1h", "idempotency_key": "twice"}
    other = same | {"delay": "2h"}
    answer = await client.post("/v1/tasks/batch", json=[same, same, other])
    one, two, three = answer.json()["items"]
    assert one["task_id"] == two["task_id"]
    assert three["problem"]["code"] == "idempotency-key-reused"
    assert (answer.json()["accepted"], answer.json()["refused"]) == (2, 1)
    assert len(await _tasks(client, answer.headers["Daybook-Position"])) == 1


async def test_a_key_of_a_batch_is_a_key_like_any_other(client: httpx2.AsyncClient) -> None:
    """A single submit under the same key has another body, since a batch's item names its key in it."""
    await client.post("/v1/tasks/batch", json=[{"app": "t.echo", "delay": "1h", "idempotency_key": "k"}])
    answer = await client.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"}, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency-key-reused")


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9", "a\tb", "a\n"])
async def test_a_key_that_is_none_is_refused(client: httpx2.AsyncClient, key: str) -> None:
    answer = await client.post("/v1/tasks/batch", json=[{"app": "t.echo", "idempotency_key": key}])
    (item,) = answer.json()["items"]
    assert (item["problem"]["code"], item["problem"]["errors"][0]["pointer"]) == ("invalid-body", "/idempotency_key")


@pytest.mark.parametrize("body", ["[]", " [ ] "])
async def test_an_empty_batch_is_done_at_once(client: httpx2.AsyncClient, body: str) -> None:
    answer = await client.post("/v1/tasks/batch", content=body)
    assert answer.json() == {"items": [], "accepted": 0, "refused": 0}
    assert "Daybook-Position" not in answer.headers
    assert (await client.post("/v1/tasks/batch", content=b"\n\n", headers=LINES)).json()["items"] == []


async def test_ten_thousand_are_a_batch_and_one_more_is_too_much(client: httpx2.AsyncClient) -> None:
    item = b'{"app":"t.echo","delay":"1h","input":{"value":",[{"}}'
    most = await client.post("/v1/tasks/batch", content=b"[" + b",".join([item] * 10_000) + b"]")
    assert (most.status_code, most.json()["accepted"]) == (200, 10_000)
    for body, headers in ((b"[" + b",".join([item] * 10_001) + b"]", {}), (b"\n".join([item] * 10_001), LINES), (b"\n" * 20_001, LINES)):
        answer = await client.post("/v1/tasks/batch", content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
        assert "10000" in answer.json()["detail"]
    tiny = await client.post("/v1/tasks/batch", content=b"[" + b"1," * 10_000_000 + b"1]")
    assert (tiny.status_code, tiny.json()["code"]) == (413, "too-large")


async def test_a_batch_has_its_own_bound_and_its_items_theirs(client: httpx2.AsyncClient) -> None:
    large = {"app": "t.echo", "delay": "1h", "input": {"value": "x" * 1024 * 1024}}
    fitting = {"app": "t.echo", "delay": "1h", "input": {"value": "x" * 1_000_000}}
    answer = await client.post("/v1/tasks/batch", json=[fitting, large, fitting])
    assert [item.get("problem", {}).get("code") for item in answer.json()["items"]] == [None, "too-large", None]
    whole = await client.post("/v1/tasks/batch", content=b"[" + b" " * 32 * 1024 * 1024 + b"]")
    assert (whole.status_code, whole.json()["code"]) == (413, "too-large")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed-json"),
        (b"{}", 422, "invalid-body"),
        (b"null", 422, "invalid-body"),
        (b'[{"app":"t.echo"}', 400, "malformed-json"),
        (b'[{"app":"t.echo"},]', 400, "malformed-json"),
        (b'[{"app":"t.echo"}] x', 400, "malformed-json"),
        (b'[{"app":"t.echo","input":{"value":NaN}}]', 400, "malformed-json"),
        (b"[" * 100_000, 422, "invalid-body"),
    ],
)
async def test_a_body_that_is_no_batch_is_refused_whole(client: httpx2.AsyncClient, body: bytes, status: int, code: str) -> None:
    answer = await client.post("/v1/tasks/batch", content=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await client.get("/v1/tasks")).json()["items"] == []


async def test_bytes_that_are_no_text_cost_their_item_alone(client: httpx2.AsyncClient) -> None:
    body = b'[{"app":"t.echo","delay":"1h"},{"app":"t.echo","input":{"value":"\xff"}}]'
    answer = await client.post("/v1/tasks/batch", content=body)
    assert [item.get("problem", {}).get("code") for item in answer.json()["items"]] == [None, "malformed-json"]


async def test_another_media_type_is_refused(client: httpx2.AsyncClient) -> None:
    for said in ("text/csv", "application/jsonl"):
        answer = await client.post("/v1/tasks/batch", content=b"[]", headers={"Content-Type": said})
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")
        assert "application/x-ndjson" in answer.json()["detail"]


async def test_a_batch_for_somebody_is_theirs(services: Services, gate: Gate) -> None:
    token = await services.token("backend", scopes=("submit", "read", "act_as"))
    async with services.client(token, **{"Daybook-Owner": f"for-{gate.name}"}) as backend:
        answer = await backend.post("/v1/tasks/batch", json=[{"app": "t.echo", "delay": "1h"}] * 3)
        tasks = await _tasks(backend, answer.headers["Daybook-Position"])
    assert [task["owner"] for task in tasks] == [f"for-{gate.name}"] * 3
