"""What the owner of a task sees through real processes: its words as they are said, its result, a cancel that is
obeyed, and lists that show what was just written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
from tests.e2e.checks import all_end, read_model_is_fold
from tests.e2e.house import ApiService, House

from daybook.domain.status import Status

WORDS = 6


class Frame(NamedTuple):
    """One server-sent event."""

    id: str
    event: str
    data: Any


async def test_words_are_heard_as_they_are_said_and_the_result_is_inline(settled: House, api: ApiService) -> None:
    task_id = await api.accepted("fault.talk", {"words": WORDS, "result_bytes": 100})
    assert await settled.gate.knock() == task_id
    async with watching(api, task_id) as frames:
        seen = [await anext(frames)]
        assert (seen[0].event, seen[0].data["task"]["status"]) == ("snapshot", "running")
        while len(said(seen)) < 3 * WORDS // 2:
            seen.append(await anext(frames))
        # Half of it was said before we came, and the other half is said before our eyes.
        settled.gate.open(task_id)
        seen += [frame async for frame in frames]
    assert [frame.data["n"] for frame in said(seen)] == list(range(1, 3 * WORDS + 1))
    assert [frame.data["current"] for frame in seen if frame.event == "progress"] == list(range(1, WORDS + 1))
    assert [frame.data["fields"]["number"] for frame in seen if frame.event == "log"] == list(range(1, WORDS + 1))
    assert "".join(frame.data["text"] for frame in seen if frame.event == "chunk") == "".join(f"word {number} " for number in range(1, WORDS + 1))
    assert [frame.event for frame in seen[-2:]] == ["task.success", "end"]
    assert seen[-1].data == {"status": "success", "result": f"/v1/tasks/{task_id}/result"}
    assert (await api.client.get(seen[-1].data["result"])).json() == "x" * 100
    # Somebody who saw half of it comes back, and is told the other half and nothing twice.
    middle = said(seen)[WORDS].id
    async with watching(api, task_id, {"Last-Event-ID": middle}) as frames:
        rest = [frame async for frame in frames]
    assert [frame.data["n"] for frame in said(rest)] == list(range(WORDS + 2, 3 * WORDS + 1))
    assert (rest[0].event, rest[-1].event) == ("snapshot", "end")
    answer = await api.client.get(f"/v1/tasks/{task_id}/events", headers={"Accept": "text/event-stream", "Last-Event-ID": seen[-1].id})
    assert answer.status_code == 204


async def test_a_large_result_and_a_large_input_are_what_they_were(settled: House, api: ApiService) -> None:
    text = "ß" * 30_000
    task_id = await api.accepted("fault.note", {"text": text})
    await api.reaches(task_id, "success")
    answer = await api.client.get(f"/v1/tasks/{task_id}/result")
    assert (answer.headers["content-type"], answer.json()) == ("application/json", text)
    assert (await api.task(task_id))["input"] == {"text": text}


async def test_a_running_task_is_cancelled_at_once(settled: House, api: ApiService) -> None:
    task_id = await api.accepted("fault.hold")
    assert await settled.gate.knock() == task_id
    async with watching(api, task_id) as frames:
        assert (await anext(frames)).event == "snapshot"
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await api.client.post(f"/v1/tasks/{task_id}/cancel", json={"reason": "enough"})
        assert answer.status_code == 202
        assert [frame.event async for frame in frames] == ["task.cancel_requested", "task.cancelled", "end"]
        assert loop.time() - began < 1.9  # told over NATS: the log is looked into every two seconds
    assert settled.gate.left[task_id] == 1  # the function itself was stopped
    assert (await api.client.get(f"/v1/tasks/{task_id}/result")).json()["code"] == "task-cancelled"
    assert (await api.client.post(f"/v1/tasks/{task_id}/cancel")).status_code == 200


async def test_lists_show_what_was_just_written_while_others_write(settled: House, api: ApiService) -> None:
    async def write_and_read(writer: int) -> list[str]:
        written = []
        for _ in range(10):
            answer = await api.submit(labels={"writer": str(writer)})
            written.append(answer.json()["id"])
            position = {"Daybook-Position": answer.headers["Daybook-Position"]}
            page = await api.client.get("/v1/tasks", params={"label": f"writer:{writer}"}, headers=position)
            assert page.status_code == 200, page.text
            assert {task["id"] for task in page.json()["items"]} == set(written)
        return written

    every = {task_id for written in await asyncio.gather(*map(write_and_read, range(12))) for task_id in written}
    tasks = await all_end(settled.database_url, every)
    assert {tasks[task_id].status for task_id in every} == {Status.SUCCESS}
    await read_model_is_fold(settled.database_url)


@asynccontextmanager
async def watching(api: ApiService, task_id: str, headers: dict[str, str] | None = None) -> AsyncIterator[AsyncIterator[Frame]]:
    """The events of a task as they come, each within ten seconds."""
    wanted = {"Accept": "text/event-stream", **(headers or {})}
    async with api.client.stream("GET", f"/v1/tasks/{task_id}/events", headers=wanted, timeout=10) as answer:
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
        yield frames_of(answer.aiter_lines())


async def frames_of(lines: AsyncIterator[str]) -> AsyncIterator[Frame]:
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield Frame(fields.get("id", ""), fields["event"], msgspec.json.decode(fields["data"]))
            fields = {}


def said(frames: list[Frame]) -> list[Frame]:
    """What the attempt itself said."""
    return [frame for frame in frames if frame.event in {"progress", "log", "chunk"}]
