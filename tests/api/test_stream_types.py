"""`?types=`: what a client is told of, and that it does not hear what it passed over when it comes back."""

import httpx2
import pytest
from tests.api.apps import Gate
from tests.api.asking import submit
from tests.services import Services, Watching

ALWAYS = ("snapshot", "gap", "heartbeat", "end")


async def _told(client: httpx2.AsyncClient, task_id: str, types: str, last: str | None = None) -> list[tuple[str, str]]:
    """The events up to the end, less the snapshot and the end, with their ids."""
    headers = {"Accept": "text/event-stream"} | ({} if last is None else {"Last-Event-ID": last})
    async with client.stream("GET", f"/v1/tasks/{task_id}/events", params={"types": types}, headers=headers) as response:
        assert response.status_code == 200
        frames = await Watching(response).until("end")
    assert frames[0].event == "snapshot"
    return [(frame.event, frame.id) for frame in frames[1:-1]]


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ("task", [("task.running", "2.0.0"), ("task.success", "3.2.0")]),
        ("task.success", [("task.success", "3.2.0")]),
        ("task.queued", []),
        ("chunk", [("chunk", "2.1.3")]),
        ("log,chunk", [("log", "2.1.2"), ("chunk", "2.1.3")]),
        ("task,progress", [("task.running", "2.0.0"), ("progress", "2.1.1"), ("progress", "2.1.4"), ("task.success", "3.2.0")]),
        ("action", []),
    ],
)
async def test_only_what_is_wanted_is_told(client: httpx2.AsyncClient, gate: Gate, types: str, expected: list[tuple[str, str]]) -> None:
    gate.opened.set()
    task = await submit(client, "t.speaks", {"gate": gate.name})
    if types.startswith("task") and "," not in types:
        expected = [(event, id_.replace("3.2.0", "3.0.0")) for event, id_ in expected]  # who wants no words has no place among them
    assert await _told(client, task["id"], types, "1.0.0") == expected


async def test_what_was_passed_over_is_not_told_again(client: httpx2.AsyncClient, services: Services, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """In silence a heartbeat takes the client's place further."""
    monkeypatch.setattr(services.api.gateway, "heartbeat_seconds", 0.1)
    task = await submit(client, "t.speaks", {"gate": gate.name}, wait=False)
    await gate.reached()
    headers = {"Accept": "text/event-stream"}
    async with client.stream("GET", task["links"]["events"], params={"types": "action"}, headers=headers) as response:
        stream = Watching(response)
        assert (await stream.until("heartbeat"))[-1].id == "2.1.3"
        assert (await stream.until("heartbeat"))[-1].id == "", "it is where it was"
    gate.opened.set()
    assert await _told(client, task["id"], "progress", "2.1.3") == [("progress", "2.1.4")]


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
@pytest.mark.parametrize(("types", "named"), [("tasks", "tasks"), ("task,", ""), ("chunk,task.queue", "task.queue"), ("", ""), ("snapshot", "snapshot")])
async def test_an_unknown_type_is_named(client: httpx2.AsyncClient, accept: str, types: str, named: str) -> None:
    task = await submit(client)
    answer = await client.get(task["links"]["events"], params={"types": types}, headers={"Accept": accept})
    assert answer.status_code == 400
    assert repr(named) in answer.json()["detail"]
    assert "'types'" in answer.json()["detail"]
    assert (await client.get(task["links"]["events"], params={"kinds": "task"})).status_code == 400


async def test_json_is_narrowed_in_the_same_way(client: httpx2.AsyncClient) -> None:
    task = await submit(client)
    for types, versions in {"task": [1, 2, 3], "task.running,task.success": [2, 3], "task.queued": [1], "chunk": []}.items():
        answer = await client.get(task["links"]["events"], params={"types": types})
        assert [item["version"] for item in answer.json()["items"]] == versions
