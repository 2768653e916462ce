"""A task that is tried again: by itself, or because somebody wants it."""

import asyncio
import itertools

import httpx2
import pytest
from tests.api.apps import Gate
from tests.api.asking import events, instant, kinds, submit, until
from tests.services import Services, watching

FAST = {"max_attempts": 3, "backoff": "10ms"}


async def test_a_task_is_tried_again_until_it_succeeds(client: httpx2.AsyncClient) -> None:
    task = await submit(client, "t.flaky", {"good": 3}, retry=FAST)
    assert (task["status"], task["attempt"], task["failures"], task["retry_at"]) == ("success", 3, 2, None)
    assert [(each["attempt"], each["outcome"], each["reason"], each["error_type"]) for each in task["attempts"]] == [
        (1, "error", "retry_backoff", "ConnectionError"),
        (2, "error", "retry_backoff", "ConnectionError"),
        (3, "success", "", None),
    ]
    assert (task["error"], task["error_type"]) == (None, None), "what ended well ended without an error"
    assert (await client.get(task["links"]["result"])).json() == 3
    found = await events(client, task)
    expected = ["submitted", *itertools.chain(*[["started", "failed", "due"]] * 2), "started", "succeeded"]
    assert [event["kind"].split(".")[1] for event in found] == expected
    for failed, due in ((found[2], found[3]), (found[5], found[6])):
        assert instant(failed["data"]["retry_at"]) <= instant(due["at"])


async def test_a_task_that_waits_to_be_tried_again_says_so(client: httpx2.AsyncClient) -> None:
    task = await until(client, await submit(client, "t.flaky", {"good": 2}, wait=False, retry={"max_attempts": 2, "backoff": "1h"}), "scheduled")
    assert (task["reason"], task["failures"], task["error_type"]) == ("retry_backoff", 1, "ConnectionError")
    assert task["retry_at"] == task["run_at"]
    assert task["error"]["message"] == "attempt 1 is too early"
    assert task["finished_at"] is None
    assert (await client.post(task["links"]["run_now"])).status_code == 200
    assert (await until(client, task, "success"))["attempt"] == 2


async def test_a_watcher_sees_the_waits_and_one_end(client: httpx2.AsyncClient) -> None:
    submitted = await submit(client, "t.flaky", {"good": 3}, wait=False, retry=FAST, delay="200ms")
    async with watching(client, submitted["id"]) as stream:
        frames = await stream.until("end")
        assert await stream.next() is None
    round_of_three = ["task.queued", "task.running", "task.scheduled"]
    assert [frame.event for frame in frames] == ["snapshot", *round_of_three, *round_of_three, "task.queued", "task.running", "task.success", "end"]
    assert frames[3].data["data"]["reason"] == "retry_backoff"
    assert [frame.data["status"] for frame in frames if frame.event == "task.scheduled"] == ["scheduled"] * 2


@pytest.mark.parametrize("named", ["ConnectionError", "ValueError"])
async def test_some_errors_are_final(client: httpx2.AsyncClient, named: str) -> None:
    task = await submit(client, "t.flaky", {"good": 2}, retry={**FAST, "non_retryable": [named]})
    assert (task["status"], task["attempt"]) == (("error", 1) if named == "ConnectionError" else ("success", 2))


async def test_what_a_submit_leaves_out_is_as_the_app_has_it(client: httpx2.AsyncClient) -> None:
    app = (await client.get("/v1/apps/t.careful")).json()
    policy = {
        "max_attempts": 4,
        "max_losses": 3,
        "backoff_seconds": 0.01,
        "backoff_factor": 3.0,
        "backoff_max_seconds": 1.0,
        "non_retryable": ["LookupError"],
        "timeout_seconds": 60.0,
        "queue_ttl_seconds": 3600.0,
        "deadline_seconds": 86400.0,
        "delivery": "at_least_once",
    }
    assert app["policy"] == policy
    stored = {name: value for name, value in policy.items() if name not in {"max_losses", "delivery"}}
    given = {"timeout": 5, "deadline": "2d", "retry": {"max_attempts": 2, "factor": 1, "non_retryable": []}}
    for more, changed in (
        ({}, {}),
        (given, {"timeout_seconds": 5.0, "deadline_seconds": 172800.0, "max_attempts": 2, "backoff_factor": 1.0}),
        ({"queue_ttl": "10m", "retry": {"backoff": 0, "max_backoff": "2s"}}, {"queue_ttl_seconds": 600.0, "backoff_seconds": 0.0, "backoff_max_seconds": 2.0}),
    ):
        task = await submit(client, "t.careful", {"good": 1}, **more)
        expected = stored | changed
        if more is given:
            del expected["non_retryable"]
        assert (await events(client, task))[0]["data"]["policy"] == expected
    assert (await events(client, await submit(client)))[0]["data"].get("policy", {}) == {}


async def test_a_failed_task_is_tried_again_when_somebody_wants_it(client: httpx2.AsyncClient, owner: str) -> None:
    task = await submit(client, "t.flaky", {"good": 2})
    assert (task["status"], task["version"]) == ("error", 3)
    retry = task["links"]["retry"]
    refused = await client.post(retry, headers={"If-Match": '"2"'})
    assert (refused.status_code, refused.json()["code"]) == (412, "version-mismatch")
    answer = await client.post(retry, json={"reason": "the line is back"}, headers={"If-Match": '"3"'})
    assert answer.status_code == 200
    assert int(answer.headers["ETag"].strip('"')) >= 4
    assert ":" in answer.headers["Daybook-Position"]
    ended = await until(client, task, "success")
    assert [each["outcome"] for each in ended["attempts"]] == ["error", "success"]
    assert (ended["error"], ended["error_type"], ended["failures"]) == (None, None, 0)
    found = await events(client, task)
    assert [event["kind"].split(".")[1] for event in found] == ["submitted", "started", "failed", "retried", "started", "succeeded"]
    assert found[3]["data"] == {"actor": f"user:{owner}", "reason": "the line is back"}
    listed = (await client.get("/v1/tasks", headers={"Daybook-Position": answer.headers["Daybook-Position"]})).json()["items"][0]
    assert (listed["id"], listed["error_type"]) == (task["id"], None) or listed["status"] != "success"


async def test_a_wish_to_retry_that_comes_twice_is_one(client: httpx2.AsyncClient) -> None:
    task = await submit(client, queue="nobody", wait=False)
    await client.post(task["links"]["cancel"], json={"reason": "by mistake"})
    answers = [await client.post(task["links"]["retry"]) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    retried = answers[0].json()
    assert (retried["status"], retried["finished_at"], retried["cancellation"]) == ("queued", None, None)
    assert await kinds(client, task) == ["submitted", "cancelled", "retried"]


async def test_what_has_not_failed_cannot_be_retried(client: httpx2.AsyncClient, gate: Gate) -> None:
    running = await submit(client, "t.gated", {"gate": gate.name}, wait=False)
    await gate.reached()
    for task, code in (
        (await submit(client), "already-finished"),
        (running, "not-finished"),
        (await submit(client, wait=False, delay="1h"), "not-finished"),
        (await submit(client, wait=False, queue="nobody"), "not-finished"),
    ):
        answer = await client.post(task["links"]["retry"])
        assert (answer.status_code, answer.json()["code"]) == (409, code)


async def test_somebody_elses_task_is_none(client: httpx2.AsyncClient, services: Services) -> None:
    task = await submit(client, "t.flaky", {"good": 2})
    async with services.client(await services.token("somebody-else")) as other:
        for change in ("retry", "rerun", "run_now"):
            answer = await other.post(task["links"][change])
            assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    async with services.client(await services.token(task["owner"], scopes=("read",))) as reader:
        for change in ("retry", "rerun", "run_now"):
            assert (await reader.post(task["links"][change])).status_code == 403
    assert await kinds(client, task) == ["submitted", "started", "failed"]


async def test_a_scheduled_task_runs_now_when_somebody_wants_it(client: httpx2.AsyncClient, gate: Gate) -> None:
    task = await submit(client, "t.gated", {"gate": gate.name}, wait=False, delay="1h")
    answers = [await client.post(task["links"]["run_now"], headers={"If-Match": '"1"'})]
    assert answers[0].status_code == 200
    await gate.reached()
    answers = await asyncio.gather(*(client.post(task["links"]["run_now"]) for _ in range(5)))
    assert {(answer.status_code, answer.json()["status"]) for answer in answers} == {(200, "running")}
    gate.opened.set()
    await until(client, task, "success")
    assert await kinds(client, task) == ["submitted", "rescheduled", "due", "started", "succeeded"]
    late = await client.post(task["links"]["run_now"])
    assert (late.status_code, late.json()["code"]) == (409, "already-finished")
