"""A task that is begun anew as another task, as it was or with changes."""

from typing import Any

import httpx2
from tests.api.asking import WAIT, events, submit, until


async def test_a_rerun_is_a_new_task_with_everything_as_it_was(client: httpx2.AsyncClient) -> None:
    given: dict[str, Any] = {"priority": 1, "labels": {"order": "7"}, "retry": {"max_attempts": 3, "backoff": "10ms"}, "timeout": "1m"}
    task = await submit(client, "t.flaky", {"good": 2}, **given)
    answer = await client.post(task["links"]["rerun"])
    assert answer.status_code == 202
    new = answer.json()
    assert answer.headers["Location"] == answer.headers["Operation-Location"] == new["links"]["self"] != task["links"]["self"]
    assert (new["rerun_of"], new["status"], new["version"]) == (task["id"], "queued", 1)
    assert (new["input"], new["priority"], new["labels"]) == (task["input"], 1, {"order": "7"})
    one, other = [(await events(client, each))[0]["data"] for each in (task, new)]
    assert one["policy"] == other["policy"]
    assert other["rerun_of"] == task["id"]
    ended = await until(client, new, "success")
    assert (ended["attempt"], ended["rerun_of"]) == (2, task["id"])
    assert (await client.get(task["links"]["self"])).json() == task, "the task that is repeated stays as it is"


async def test_a_rerun_may_differ(client: httpx2.AsyncClient) -> None:
    task = await submit(client, "t.echo", {"value": 1}, labels={"a": "b"})
    body = {"input": {"value": None}, "queue": "nobody", "priority": 5, "labels": {}, "delay": "1h"}
    new = (await client.post(task["links"]["rerun"], json=body)).json()
    assert (new["input"], new["queue"], new["priority"], new["labels"], new["status"]) == ({"value": None}, "nobody", 5, {}, "scheduled")
    at_once = await client.post(task["links"]["rerun"], json={"input": {"value": [2]}}, headers=WAIT)
    assert (at_once.status_code, at_once.headers["Preference-Applied"]) == (200, "wait=10")
    assert (await client.get(at_once.json()["links"]["result"])).json() == [2]


async def test_a_large_input_is_taken_along(client: httpx2.AsyncClient) -> None:
    task = await submit(client, "t.echo", {"value": "x" * 300_000})
    new = (await client.post(task["links"]["rerun"], headers=WAIT)).json()
    assert (new["status"], new["input"]) == ("success", task["input"])


async def test_a_rerun_is_checked_like_a_submit(client: httpx2.AsyncClient) -> None:
    task = await submit(client, "t.order", {"name": "Ada"})
    for body, code, pointer in (
        ({"input": {"name": ""}}, "invalid-input", "/input/name"),
        ({"input": None}, "invalid-input", "/input"),
        ({"run_at": "2020-01-01T00:00:00Z"}, "in-the-past", "/run_at"),
        ({"run_at": "2030-01-01T00:00:00Z", "delay": 1}, "invalid-body", "/delay"),
        ({"queue": "No"}, "invalid-body", "/queue"),
    ):
        answer = await client.post(task["links"]["rerun"], json=body)
        assert (answer.status_code, answer.json()["code"], answer.json()["errors"][0]["pointer"]) == (422, code, pointer)
    answer = await client.post(task["links"]["rerun"], json={"app": "t.echo"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")


async def test_the_same_key_is_the_same_rerun(client: httpx2.AsyncClient) -> None:
    task, another = await submit(client, "t.echo", {"value": 1}), await submit(client, "t.echo", {"value": 1})
    key = {"Idempotency-Key": "again"}
    first, second = [await client.post(task["links"]["rerun"], json={"priority": 4}, headers=key) for _ in range(2)]
    assert first.json()["id"] == second.json()["id"]
    assert second.headers["Idempotency-Replayed"] == "true"
    for links, body in ((task["links"], {"priority": 5}), (another["links"], {"priority": 4})):
        answer = await client.post(links["rerun"], json=body, headers=key)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency-key-reused")
