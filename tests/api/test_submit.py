"""POST /v1/tasks: what is answered, when, and what a client may count on."""

import asyncio

import httpx2
from tests.api.apps import Gate
from tests.services import Services

from daybook.testing import eventually


async def test_a_submit_is_accepted_with_the_task_and_where_it_is(client: httpx2.AsyncClient, owner: str) -> None:
    answer = await client.post("/v1/tasks", json={"app": "t.echo", "input": {"value": "hi"}, "labels": {"order": "42"}, "priority": 2})
    assert answer.status_code == 202
    task = answer.json()
    assert answer.headers["Location"] == answer.headers["Operation-Location"] == f"/v1/tasks/{task['id']}" == task["links"]["self"]
    assert answer.headers["ETag"] == '"1"'
    lane, _, position = answer.headers["Daybook-Position"].partition(":")
    assert lane.isdigit()
    assert position.isdigit()
    assert "Idempotency-Replayed" not in answer.headers
    assert "Preference-Applied" not in answer.headers
    assert (task["app"], task["owner"], task["status"], task["version"]) == ("t.echo", owner, "queued", 1)
    assert (task["input"], task["labels"], task["priority"], task["queue"]) == ({"value": "hi"}, {"order": "42"}, 2, "default")
    assert task["attempts"] == []
    assert (task["result"], task["error"], task["progress"], task["run_at"], task["started_at"]) == (None,) * 5


async def test_an_input_that_is_not_given_is_an_empty_object(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/tasks", json={"app": "t.echo"})
    assert answer.json()["input"] == {}


async def test_who_prefers_to_wait_gets_the_finished_task(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/tasks", json={"app": "t.echo", "input": {"value": [1, "ä"]}}, headers={"Prefer": "respond-async, wait=10"})
    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "wait=10"
    assert answer.headers["ETag"] == '"3"'
    task = answer.json()
    assert (task["status"], task["attempt"]) == ("success", 1)
    assert [attempt["outcome"] for attempt in task["attempts"]] == ["success"]
    assert task == (await client.get(task["links"]["self"])).json()
    assert task["result"] == {"media_type": "application/json", "size_bytes": len('[1,"ä"]'.encode()), "href": f"/v1/tasks/{task['id']}/result"}


async def test_who_waits_for_a_task_that_fails_gets_its_error(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/tasks", json={"app": "t.fails", "input": {"message": "no luck"}}, headers={"Prefer": "wait=10"})
    assert answer.status_code == 200
    task = answer.json()
    assert (task["status"], task["error_type"]) == ("error", "ValueError")
    assert (task["error"]["type"], task["error"]["message"]) == ("ValueError", "no luck")
    assert "raise ValueError(message)" in task["error"]["traceback"]


async def test_who_waits_too_short_gets_the_accepted_task(client: httpx2.AsyncClient, gate: Gate) -> None:
    for seconds in ("0", "1"):
        answer = await client.post("/v1/tasks", json={"app": "t.gated", "input": {"gate": gate.name}}, headers={"Prefer": f"wait={seconds}"})
        assert answer.status_code == 202
        assert answer.headers["Preference-Applied"] == f"wait={seconds}"
        assert answer.headers["ETag"] == '"1"'


async def test_nobody_waits_longer_than_a_minute_and_nonsense_is_ignored(client: httpx2.AsyncClient) -> None:
    long = await client.post("/v1/tasks", json={"app": "t.echo"}, headers={"Prefer": "wait=99999"})
    assert (long.status_code, long.headers["Preference-Applied"]) == (200, "wait=60")
    for nonsense in ("wait=-1", "wait", "wait=soon", "wait=1.5", "wait=123456", "return=minimal"):
        answer = await client.post("/v1/tasks", json={"app": "t.echo"}, headers={"Prefer": nonsense})
        assert answer.status_code == 202, nonsense
        assert "Preference-Applied" not in answer.headers, nonsense


async def test_a_client_that_goes_away_cancels_nothing(client: httpx2.AsyncClient, gate: Gate) -> None:
    request = asyncio.create_task(
        client.post("/v1/tasks", json={"app": "t.gated", "input": {"gate": gate.name}, "labels": {"gate": gate.name}}, headers={"Prefer": "wait=30"})
    )
    await gate.reached()
    request.cancel()
    await asyncio.wait([request])
    gate.opened.set()

    async def finished() -> bool:
        items = (await client.get("/v1/tasks", params={"label": f"gate:{gate.name}"})).json()["items"]
        return [item["status"] for item in items] == ["success"]

    await eventually(finished)


async def test_what_the_request_says_goes_before_what_the_app_says(client: httpx2.AsyncClient) -> None:
    submitted = await client.post(
        "/v1/tasks",
        json={
            "app": "t.echo",
            "queue": "nobody",
            "timeout": "1h30m",
            "retry": {"max_attempts": 7},
            "delivery": "at_most_once",
        },
    )
    events = (await client.get(submitted.json()["links"]["events"])).json()["items"]
    assert events[0]["data"]["policy"] == {"max_attempts": 7, "timeout_seconds": 5400.0, "delivery": "at_most_once"}
    assert events[0]["data"]["queue"] == "nobody"
    assert events[0]["data"]["actor"].startswith("user:owner-")


async def test_large_inputs_and_results_come_back_as_they_were(client: httpx2.AsyncClient, services: Services) -> None:
    value = "ü" * 20_000
    answer = await client.post("/v1/tasks", json={"app": "t.echo", "input": {"value": value}}, headers={"Prefer": "wait=10"})
    task = answer.json()
    assert task["input"] == {"value": value}
    result = await client.get(task["links"]["result"])
    assert result.json() == value
    events = (await client.get(task["links"]["events"])).json()["items"]
    assert events[0]["data"]["input"]["blob"] is True
    assert events[-1]["data"]["result"]["blob"] is True


async def test_a_delayed_task_runs_when_its_time_has_come(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/tasks", json={"app": "t.echo", "delay": "200ms"}, headers={"Prefer": "wait=10"})
    assert answer.status_code == 200
    task = answer.json()
    assert task["started_at"] >= task["run_at"]
    kinds = [event["kind"] for event in (await client.get(task["links"]["events"])).json()["items"]]
    assert kinds == ["task.submitted.v1", "task.due.v1", "task.started.v1", "task.succeeded.v1"]


async def test_a_time_is_kept_in_utc_whatever_offset_it_came_with(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/tasks", json={"app": "t.echo", "run_at": "2027-03-28T02:30:00.5+02:00"})
    task = answer.json()
    assert (task["status"], task["run_at"]) == ("scheduled", "2027-03-28T00:30:00.500000Z")
    events = (await client.get(task["links"]["events"])).json()["items"]
    assert events[0]["data"]["run_at"] == "2027-03-28T00:30:00.500000Z"
    listed = await client.get("/v1/tasks", headers={"Daybook-Position": answer.headers["Daybook-Position"]})
    assert listed.json()["items"][0]["run_at"] == "2027-03-28T00:30:00.500000Z"


async def test_a_time_less_than_a_minute_ago_is_now(client: httpx2.AsyncClient) -> None:
    from daybook import clock

    run_at = clock.after(-50).isoformat()
    answer = await client.post("/v1/tasks", json={"app": "t.echo", "run_at": run_at}, headers={"Prefer": "wait=10"})
    assert answer.json()["status"] == "success"
