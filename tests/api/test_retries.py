"""A task that is tried again: by itself, because somebody wants it, or as a new task; and one that has waited too long."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest
from tests.api.apps import Gate
from tests.services import Services, watching

from daybook import clock, ids
from daybook.bus import subjects
from daybook.domain.commands import AnyCommand, Lose, Start, Succeed
from daybook.domain.events import Content
from daybook.handling import Handled, handle
from daybook.log.postgres import Log
from daybook.testing import eventually

FAST = {"max_attempts": 3, "backoff": "10ms"}
WAIT = {"Prefer": "wait=10"}


async def _submit(client: httpx2.AsyncClient, app: str = "t.echo", given: dict[str, Any] | None = None, *, wait: bool = True, **more: Any) -> dict[str, Any]:
    answer = await client.post("/v1/tasks", json={"app": app, "input": given or {}, **more}, headers=WAIT if wait else {})
    assert answer.status_code in {200, 202}, answer.text
    task: dict[str, Any] = answer.json()
    return task


async def _events(client: httpx2.AsyncClient, task: dict[str, Any]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await client.get(task["links"]["events"])).json()["items"]
    return items


async def _kinds(client: httpx2.AsyncClient, task: dict[str, Any]) -> list[str]:
    return [event["kind"].split(".")[1] for event in await _events(client, task)]


async def _until(client: httpx2.AsyncClient, task: dict[str, Any], status: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def there() -> bool:
        nonlocal found
        found = (await client.get(task["links"]["self"])).json()
        return bool(found["status"] == status)

    await eventually(there)
    return found


async def _does(log: Log, task: dict[str, Any], command: AnyCommand) -> None:
    stream = ids.parse("tsk", task["id"])
    assert stream is not None
    assert isinstance(await handle(log, stream, command, clock.now(), permits=lambda *_: None), Handled)


async def _lose(services: Services, task: dict[str, Any]) -> None:
    """Say that the first attempt is lost, as the reaper does."""
    log = await Log.open(services.settings.database_url, "scheduler", pool_size=1, writers=1)
    try:
        await _does(log, task, Lose(actor="reaper", reason="lost_runner", attempt=1, seed=task["id"]))
    finally:
        await log.close()


@asynccontextmanager
async def _another_runner(services: Services) -> AsyncIterator[Log]:
    """The log of `run_2`, which has a lease and does what a test wants."""
    log = await Log.open(services.settings.database_url, "runner", credentials=("run_2", "secret"), pool_size=1, writers=1)
    try:
        await log.pool.execute("SELECT daybook.take_lease('run_2', 'secret', 'default', '{nothing}', '{}', 1, 'here', '1 minute')")
        yield log
        await log.pool.execute("SELECT daybook.end_lease('run_2', 'secret')")
    finally:
        await log.close()


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_a_task_is_tried_again_until_it_succeeds(client: httpx2.AsyncClient) -> None:
    task = await _submit(client, "t.flaky", {"good": 3}, retry=FAST)
    assert (task["status"], task["attempt"], task["failures"], task["retry_at"]) == ("success", 3, 2, None)
    assert [(each["attempt"], each["outcome"], each["reason"], each["error_type"]) for each in task["attempts"]] == [
        (1, "error", "retry_backoff", "ConnectionError"),
        (2, "error", "retry_backoff", "ConnectionError"),
        (3, "success", "", None),
    ]
    assert (task["error"], task["error_type"]) == (None, None), "what ended well ended without an error"
    assert (await client.get(task["links"]["result"])).json() == 3
    events = await _events(client, task)
    expected = ["submitted", *itertools.chain(*[["started", "failed", "due"]] * 2), "started", "succeeded"]
    assert [event["kind"].split(".")[1] for event in events] == expected
    for failed, due in ((events[2], events[3]), (events[5], events[6])):
        assert _instant(failed["data"]["retry_at"]) <= _instant(due["at"])


async def test_a_task_that_waits_to_be_tried_again_says_so(client: httpx2.AsyncClient) -> None:
    task = await _until(client, await _submit(client, "t.flaky", {"good": 2}, wait=False, retry={"max_attempts": 2, "backoff": "1h"}), "scheduled")
    assert (task["reason"], task["failures"], task["error_type"]) == ("retry_backoff", 1, "ConnectionError")
    assert task["retry_at"] == task["run_at"]
    assert task["error"]["message"] == "attempt 1 is too early"
    assert task["finished_at"] is None
    assert (await client.post(task["links"]["run_now"])).status_code == 200
    assert (await _until(client, task, "success"))["attempt"] == 2


async def test_a_watcher_sees_the_waits_and_one_end(client: httpx2.AsyncClient) -> None:
    submitted = await _submit(client, "t.flaky", {"good": 3}, wait=False, retry=FAST, delay="200ms")
    async with watching(client, submitted["id"]) as stream:
        frames = await stream.until("end")
        assert await stream.next() is None
    round_of_three = ["task.queued", "task.running", "task.scheduled"]
    assert [frame.event for frame in frames] == ["snapshot", *round_of_three, *round_of_three, "task.queued", "task.running", "task.success", "end"]
    assert frames[3].data["data"]["reason"] == "retry_backoff"
    assert [frame.data["status"] for frame in frames if frame.event == "task.scheduled"] == ["scheduled"] * 2


@pytest.mark.parametrize("named", ["ConnectionError", "ValueError"])
async def test_some_errors_are_final(client: httpx2.AsyncClient, named: str) -> None:
    task = await _submit(client, "t.flaky", {"good": 2}, retry={**FAST, "non_retryable": [named]})
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
        task = await _submit(client, "t.careful", {"good": 1}, **more)
        expected = stored | changed
        if more is given:
            del expected["non_retryable"]
        assert (await _events(client, task))[0]["data"]["policy"] == expected
    assert (await _events(client, await _submit(client)))[0]["data"].get("policy", {}) == {}


async def test_a_failed_task_is_tried_again_when_somebody_wants_it(client: httpx2.AsyncClient, owner: str) -> None:
    task = await _submit(client, "t.flaky", {"good": 2})
    assert (task["status"], task["version"]) == ("error", 3)
    retry = task["links"]["retry"]
    refused = await client.post(retry, headers={"If-Match": '"2"'})
    assert (refused.status_code, refused.json()["code"]) == (412, "version-mismatch")
    answer = await client.post(retry, json={"reason": "the line is back"}, headers={"If-Match": '"3"'})
    assert answer.status_code == 200
    assert int(answer.headers["ETag"].strip('"')) >= 4
    assert ":" in answer.headers["Daybook-Position"]
    ended = await _until(client, task, "success")
    assert [each["outcome"] for each in ended["attempts"]] == ["error", "success"]
    assert (ended["error"], ended["error_type"], ended["failures"]) == (None, None, 0)
    events = await _events(client, task)
    assert [event["kind"].split(".")[1] for event in events] == ["submitted", "started", "failed", "retried", "started", "succeeded"]
    assert events[3]["data"] == {"actor": f"user:{owner}", "reason": "the line is back"}
    listed = (await client.get("/v1/tasks", headers={"Daybook-Position": answer.headers["Daybook-Position"]})).json()["items"][0]
    assert (listed["id"], listed["error_type"]) == (task["id"], None) or listed["status"] != "success"


async def test_a_wish_to_retry_that_comes_twice_is_one(client: httpx2.AsyncClient) -> None:
    task = await _submit(client, queue="nobody", wait=False)
    await client.post(task["links"]["cancel"], json={"reason": "by mistake"})
    answers = [await client.post(task["links"]["retry"]) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    retried = answers[0].json()
    assert (retried["status"], retried["finished_at"], retried["cancellation"]) == ("queued", None, None)
    assert await _kinds(client, task) == ["submitted", "cancelled", "retried"]


async def test_what_has_not_failed_cannot_be_retried(client: httpx2.AsyncClient, gate: Gate) -> None:
    running = await _submit(client, "t.gated", {"gate": gate.name}, wait=False)
    await gate.reached()
    for task, code in (
        (await _submit(client), "already-finished"),
        (running, "not-finished"),
        (await _submit(client, wait=False, delay="1h"), "not-finished"),
        (await _submit(client, wait=False, queue="nobody"), "not-finished"),
    ):
        answer = await client.post(task["links"]["retry"])
        assert (answer.status_code, answer.json()["code"]) == (409, code)


async def test_a_rerun_is_a_new_task_with_everything_as_it_was(client: httpx2.AsyncClient) -> None:
    given: dict[str, Any] = {"priority": 1, "labels": {"order": "7"}, "retry": FAST, "timeout": "1m"}
    task = await _submit(client, "t.flaky", {"good": 2}, **given)
    answer = await client.post(task["links"]["rerun"])
    assert answer.status_code == 202
    new = answer.json()
    assert answer.headers["Location"] == answer.headers["Operation-Location"] == new["links"]["self"] != task["links"]["self"]
    assert (new["rerun_of"], new["status"], new["version"]) == (task["id"], "queued", 1)
    assert (new["input"], new["priority"], new["labels"]) == (task["input"], 1, {"order": "7"})
    one, other = [(await _events(client, each))[0]["data"] for each in (task, new)]
    assert one["policy"] == other["policy"]
    assert other["rerun_of"] == task["id"]
    ended = await _until(client, new, "success")
    assert (ended["attempt"], ended["rerun_of"]) == (2, task["id"])
    assert (await client.get(task["links"]["self"])).json() == task, "the task that is repeated stays as it is"


async def test_a_rerun_may_differ(client: httpx2.AsyncClient) -> None:
    task = await _submit(client, "t.echo", {"value": 1}, labels={"a": "b"})
    body = {"input": {"value": None}, "queue": "nobody", "priority": 5, "labels": {}, "delay": "1h"}
    new = (await client.post(task["links"]["rerun"], json=body)).json()
    assert (new["input"], new["queue"], new["priority"], new["labels"], new["status"]) == ({"value": None}, "nobody", 5, {}, "scheduled")
    at_once = await client.post(task["links"]["rerun"], json={"input": {"value": [2]}}, headers=WAIT)
    assert (at_once.status_code, at_once.headers["Preference-Applied"]) == (200, "wait=10")
    assert (await client.get(at_once.json()["links"]["result"])).json() == [2]


async def test_a_large_input_is_taken_along(client: httpx2.AsyncClient) -> None:
    task = await _submit(client, "t.echo", {"value": "x" * 300_000})
    new = (await client.post(task["links"]["rerun"], headers=WAIT)).json()
    assert (new["status"], new["input"]) == ("success", task["input"])


async def test_a_rerun_is_checked_like_a_submit(client: httpx2.AsyncClient) -> None:
    task = await _submit(client, "t.order", {"name": "Ada"})
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
    task, another = await _submit(client, "t.echo", {"value": 1}), await _submit(client, "t.echo", {"value": 1})
    key = {"Idempotency-Key": "again"}
    first, second = [await client.post(task["links"]["rerun"], json={"priority": 4}, headers=key) for _ in range(2)]
    assert first.json()["id"] == second.json()["id"]
    assert second.headers["Idempotency-Replayed"] == "true"
    for links, body in ((task["links"], {"priority": 5}), (another["links"], {"priority": 4})):
        answer = await client.post(links["rerun"], json=body, headers=key)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency-key-reused")


async def test_somebody_elses_task_is_none(client: httpx2.AsyncClient, services: Services) -> None:
    task = await _submit(client, "t.flaky", {"good": 2})
    async with services.client(await services.token("somebody-else")) as other:
        for change in ("retry", "rerun", "run_now"):
            answer = await other.post(task["links"][change])
            assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    async with services.client(await services.token(task["owner"], scopes=("read",))) as reader:
        for change in ("retry", "rerun", "run_now"):
            assert (await reader.post(task["links"][change])).status_code == 403
    assert await _kinds(client, task) == ["submitted", "started", "failed"]


async def test_a_scheduled_task_runs_now_when_somebody_wants_it(client: httpx2.AsyncClient, gate: Gate) -> None:
    task = await _submit(client, "t.gated", {"gate": gate.name}, wait=False, delay="1h")
    answers = [await client.post(task["links"]["run_now"], headers={"If-Match": '"1"'})]
    assert answers[0].status_code == 200
    await gate.reached()
    answers = await asyncio.gather(*(client.post(task["links"]["run_now"]) for _ in range(5)))
    assert {(answer.status_code, answer.json()["status"]) for answer in answers} == {(200, "running")}
    gate.opened.set()
    await _until(client, task, "success")
    assert await _kinds(client, task) == ["submitted", "rescheduled", "due", "started", "succeeded"]
    late = await client.post(task["links"]["run_now"])
    assert (late.status_code, late.json()["code"]) == (409, "already-finished")


async def test_a_task_that_nobody_begins_in_time_expires(client: httpx2.AsyncClient) -> None:
    task = await _submit(client, wait=False, queue="nobody", queue_ttl="50ms")
    assert _instant(task["expires_at"]) - _instant(task["submitted_at"]) <= timedelta(milliseconds=51)
    ended = await _until(client, task, "error")
    assert (ended["reason"], ended["error_type"], ended["attempts"], ended["expires_at"]) == ("queue_ttl", "Expired", [], None)
    assert ended["error"]["type"] == "Expired"
    assert "0.05 s" in ended["error"]["message"]
    result = await client.get(task["links"]["result"])
    assert (result.status_code, result.json()["code"], result.json()["error"]["type"]) == (409, "task-failed", "Expired")


async def test_a_deadline_bounds_the_waits_too(client: httpx2.AsyncClient) -> None:
    queued = await _submit(client, wait=False, queue="nobody", deadline="50ms")
    assert _instant(queued["deadline_at"]) > _instant(queued["submitted_at"])
    ended = await _until(client, queued, "error")
    assert ended["error_type"] == "Expired"
    assert "deadline" in ended["error"]["message"]
    scheduled = await _submit(client, wait=False, delay="1h", deadline="1m")
    assert _instant(scheduled["deadline_at"]) - _instant(scheduled["run_at"]) == timedelta(minutes=1)
    failed = await _submit(client, "t.flaky", {"good": 2}, deadline="30m", retry={"max_attempts": 2, "backoff": "1h", "max_backoff": "1h"})
    assert (failed["status"], failed["attempt"]) == ("error", 1), "a retry that would come too late is none"


async def test_a_lost_attempt_is_told_and_the_next_one_begins(client: httpx2.AsyncClient, services: Services, gate: Gate) -> None:
    task = await _submit(client, "t.speaks", {"gate": gate.name}, wait=False)
    await gate.reached()
    nats = await services.api.gateway.bus.connected()

    async def say(attempt: int, number: int) -> None:
        subject = subjects.live("default", task["owner"], task["app"], task["id"])
        await nats.publish(subject, f'{{"type":"chunk","attempt":{attempt},"n":{number},"text":"{attempt}.{number}"}}'.encode())

    async with _another_runner(services) as other, watching(client, task["id"]) as stream:
        await stream.until("chunk")
        await _lose(services, task)
        # Before the runner that is there notices that it may try again itself.
        await _does(other, task, Start(actor="runner:run_2", runner="run_2"))
        (lost,) = await stream.until("task.queued")
        assert (lost.data["kind"], lost.data["data"]["reason"], lost.data["status"]) == ("task.lost.v1", "lost_runner", "queued")
        await say(1, 4)  # its runner came back from the dead, and nobody is told what it says
        await say(2, 1)
        frames = await stream.until("chunk")
        assert [(frame.event, frame.data.get("text")) for frame in frames] == [("task.running", None), ("chunk", "2.1")]
        await say(1, 5)
        await say(2, 2)
        assert [frame.data["text"] for frame in await stream.until("chunk")] == ["2.2"]
        last = frames[-1].id
        await _does(other, task, Succeed(actor="runner:run_2", attempt=2, result=Content(digest="d", size_bytes=1)))
        assert [frame.event for frame in await stream.until("end")] == ["task.success", "end"]
        assert await stream.next() is None
    async with watching(client, task["id"], last) as stream:
        assert [(frame.event, frame.data.get("text")) for frame in await stream.until("end")][1:] == [("chunk", "2.2"), ("task.success", None), ("end", None)]
    ended = (await client.get(task["links"]["self"])).json()
    assert [(each["outcome"], each["reason"], each["error_type"]) for each in ended["attempts"]] == [
        ("lost", "lost_runner", "RunnerLost"),
        ("success", "", None),
    ]
    assert (ended["status"], ended["losses"], ended["failures"], ended["error"]) == ("success", 1, 0, None)


async def test_a_loss_may_be_the_end(client: httpx2.AsyncClient, services: Services, gate: Gate) -> None:
    task = await _submit(client, "t.gated", {"gate": gate.name}, wait=False, delivery="at_most_once")
    await gate.reached()
    async with watching(client, task["id"]) as stream:
        await stream.until("snapshot")
        await _lose(services, task)
        assert [frame.event for frame in await stream.until("end")] == ["task.error", "end"]
    ended = (await client.get(task["links"]["self"])).json()
    assert (ended["status"], ended["reason"], ended["error_type"]) == ("error", "lost_runner", "RunnerLost")
    assert ended["error"]["message"].startswith(f"runner {ended['attempts'][0]['runner']} was lost while it ran attempt 1")
    assert "at most once" in ended["error"]["message"]
    result = await client.get(task["links"]["result"])
    assert (result.status_code, result.json()["error"]["type"]) == (409, "RunnerLost")


async def test_a_cancelled_task_says_who_wanted_it_and_why(client: httpx2.AsyncClient, services: Services, owner: str, gate: Gate) -> None:
    running = await _submit(client, "t.gated", {"gate": gate.name}, wait=False)
    await gate.reached()
    waiting = await _submit(client, wait=False, delay="1h")
    async with services.client(await services.token("root", scopes=("read", "submit", "admin"))) as admin:
        for task in (running, waiting):
            answer = await admin.post(task["links"]["cancel"], json={"reason": "too dear"})
            assert answer.json()["cancellation"]["requested_by"] == "user:root"
    for task in (running, waiting):
        ended = await _until(client, task, "cancelled")
        assert (ended["reason"], ended["error"], ended["error_type"]) == ("too dear", None, None)
        assert (ended["cancellation"]["requested_by"], ended["cancellation"]["reason"]) == ("user:root", "too dear")
        assert ended["submitted_at"] <= ended["cancellation"]["requested_at"] <= ended["finished_at"]
    assert (await _submit(client))["cancellation"] is None
