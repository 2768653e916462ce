"""One task: as it is, as it changes, its result, its events."""

import asyncio

import httpx2
import pytest
from tests.api.apps import Gate
from tests.services import Services

from daybook import ids
from daybook.testing import eventually


async def _submit(client: httpx2.AsyncClient, app: str, wait: bool = True, **input: object) -> dict[str, str]:  # noqa: A002
    answer = await client.post("/v1/tasks", json={"app": app, "input": input}, headers={"Prefer": "wait=10"} if wait else {})
    links: dict[str, str] = answer.json()["links"]
    return links


async def test_a_task_tells_all_about_itself(client: httpx2.AsyncClient, owner: str) -> None:
    links = await _submit(client, "t.echo", value=1)
    answer = await client.get(links["self"])
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"3"')
    task = answer.json()
    assert set(task) == {
        *("id", "app", "app_version", "status", "reason", "owner", "queue", "priority", "labels", "attempt", "run_at", "submitted_at", "started_at"),
        *("finished_at", "error_type", "version", "input", "attempts", "result", "error", "progress", "links"),
        *("schedule", "slot", "rerun_of", "failures", "losses", "retry_at", "expires_at", "deadline_at", "on_finish", "cancellation"),
    }
    (attempt,) = task["attempts"]
    assert attempt["runner"].startswith("run_")
    assert (attempt["attempt"], attempt["outcome"], attempt["error_type"]) == (1, "success", None)
    assert task["submitted_at"] <= task["started_at"] == attempt["started_at"] <= attempt["ended_at"] == task["finished_at"]
    assert task["submitted_at"].endswith("Z")


async def test_a_task_that_has_not_changed_is_not_sent_again(client: httpx2.AsyncClient) -> None:
    links = await _submit(client, "t.echo")
    for header in ('"3"', 'W/"3"', '"1", "3"', "*"):
        answer = await client.get(links["self"], headers={"If-None-Match": header})
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", '"3"'), header
    for header in ('"2"', '"33"', "3", "nonsense"):
        assert (await client.get(links["self"], headers={"If-None-Match": header})).status_code == 200, header


async def test_a_long_poll_answers_when_the_task_changes(client: httpx2.AsyncClient, services: Services, gate: Gate) -> None:
    links = await _submit(client, "t.gated", wait=False, gate=gate.name)
    await gate.reached()
    known = (await client.get(links["self"])).headers["ETag"]
    poll = asyncio.create_task(client.get(links["self"], headers={"If-None-Match": known, "Prefer": "wait=30"}))
    await _watched(services, links, 1)
    gate.opened.set()
    answer = await poll
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (200, "wait=30")
    assert (answer.json()["status"], answer.headers["ETag"]) == ("success", '"3"')


async def test_a_long_poll_ends_when_nothing_changes(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"})
    loop = asyncio.get_running_loop()
    started = loop.time()
    unchanged = await client.get(answer.headers["Location"], headers={"If-None-Match": '"1"', "Prefer": "wait=1"})
    assert (unchanged.status_code, unchanged.headers["Preference-Applied"]) == (304, "wait=1")
    assert loop.time() - started == pytest.approx(1, abs=0.6)
    at_once = await client.get(answer.headers["Location"], headers={"If-None-Match": '"7"', "Prefer": "wait=30"})
    assert at_once.status_code == 200


async def test_a_result_comes_as_what_it_is(client: httpx2.AsyncClient) -> None:
    json = await client.get((await _submit(client, "t.echo", value={"ä": [1, None]}))["result"])
    assert (json.status_code, json.headers["Content-Type"], json.content) == (200, "application/json", '{"ä":[1,null]}'.encode())
    assert json.headers["ETag"] == '"3"'
    assert json.headers["X-Content-Type-Options"] == "nosniff"
    raw = await client.get((await _submit(client, "t.raw"))["result"])
    assert (raw.headers["Content-Type"], raw.content) == ("application/octet-stream", b"\x00\xff")
    null = await client.get((await _submit(client, "t.echo", value=None))["result"])
    assert null.content == b"null"
    large = await client.get((await _submit(client, "t.large", size=300_000))["result"])
    assert large.json() == "x" * 300_000


async def test_there_is_no_result_where_there_is_none(client: httpx2.AsyncClient, gate: Gate) -> None:
    waiting = await client.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"})
    answer = await client.get(f"{waiting.headers['Location']}/result")
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (409, "not-finished", "1")
    await client.post(f"{waiting.headers['Location']}/cancel")
    answer = await client.get(f"{waiting.headers['Location']}/result")
    assert (answer.status_code, answer.json()["code"]) == (409, "task-cancelled")
    running = await _submit(client, "t.gated", wait=False, gate=gate.name)
    await gate.reached()
    answer = await client.get(running["result"])
    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (409, "not-finished", "The task is running.")
    failed = await client.get((await _submit(client, "t.fails", message="no luck"))["result"])
    assert (failed.status_code, failed.json()["code"], failed.json()["detail"]) == (409, "task-failed", "no luck")
    assert failed.json()["error"]["type"] == "ValueError"
    assert "ValueError: no luck" in failed.json()["error"]["traceback"]


async def test_a_large_error_is_told_whole(client: httpx2.AsyncClient) -> None:
    links = await _submit(client, "t.fails", message="y" * 3_900)
    task = (await client.get(links["self"])).json()
    assert task["error"]["message"].startswith("y" * 3_900)
    assert task["error"]["traceback"].count("y" * 3_000) >= 1


async def test_the_events_are_the_log_of_the_task(client: httpx2.AsyncClient, owner: str) -> None:
    links = await _submit(client, "t.echo", value="secret")
    answer = await client.get(links["events"])
    assert answer.headers["ETag"] == '"3"'
    events = answer.json()["items"]
    assert [event["kind"] for event in events] == ["task.submitted.v1", "task.started.v1", "task.succeeded.v1"]
    assert [event["version"] for event in events] == [1, 2, 3]
    assert all(event["id"].startswith("evt_") for event in events)
    assert events[0]["data"]["owner"] == owner
    assert "kind" not in events[0]["data"]
    assert "secret" not in answer.text


async def test_a_task_that_waits_has_not_begun(client: httpx2.AsyncClient, gate: Gate) -> None:
    """After a hand-back it is queued anew: what its last attempt was is told among the attempts."""
    from daybook.domain.commands import Release
    from daybook.domain.events import Content, TaskReleased, TaskStarted, TaskSubmitted
    from daybook.testing import given
    from daybook_api.views import task_view

    submitted = TaskSubmitted(owner="ann", app="t.echo", app_version="1", input=Content(digest="d", size_bytes=2))
    story = given(submitted, TaskStarted(attempt=1, runner="run_1")).when(Release(actor="run_1", attempt=1)).then(TaskReleased(attempt=1, actor="run_1"))
    task = story.task()
    assert task is not None
    assert task.started_at is not None
    view = task_view("tsk_x", task, content=b"{}")
    assert (view.status, view.attempt, view.started_at) == ("queued", 1, None)


async def test_everybody_who_waits_is_told(client: httpx2.AsyncClient, services: Services, gate: Gate) -> None:
    links = await _submit(client, "t.gated", wait=False, gate=gate.name)
    await gate.reached()
    known = (await client.get(links["self"])).headers["ETag"]
    polls = [asyncio.create_task(client.get(links["self"], headers={"If-None-Match": known, "Prefer": "wait=30"})) for _ in range(10)]
    await _watched(services, links, 10)
    gate.opened.set()
    assert {(await poll).json()["status"] for poll in polls} == {"success"}


async def _watched(services: Services, links: dict[str, str], count: int) -> None:
    """Wait until so many wait for the task."""
    stream = ids.parse("tsk", links["self"].rpartition("/")[2])
    assert stream is not None
    await eventually(lambda: len(services.api.gateway.hub.watches.get(stream, ())) == count)
