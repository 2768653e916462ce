"""What is stored of a task when all is over, as the API answers it, page after page."""

from __future__ import annotations

import msgspec
from tests.e2e.cuts.account import Fact, Stored
from tests.e2e.cuts.apps import Line
from tests.e2e.house import ApiService


async def stored(api: ApiService, task_id: str) -> Stored:
    """Everything that is stored of a task."""
    task = await api.task(task_id)
    events = (await api.client.get(f"/v1/tasks/{task_id}/events")).json()["items"]
    words: dict[int, list[Line]] = {}
    text: dict[int, bytes] = {}
    for attempt in (each["attempt"] for each in task["attempts"]):
        lines = [msgspec.json.decode(line) for line in (await _whole(api, task_id, attempt, "application/x-ndjson")).splitlines()]
        assert [line["n"] for line in lines] == list(range(1, len(lines) + 1)), f"{task_id}: what is stored of attempt {attempt} has holes"
        words[attempt] = [Line(line["type"], line["text"] if line["type"] == "chunk" else line["message"]) for line in lines]
        text[attempt] = await _whole(api, task_id, attempt, "text/plain")
    outcome = {each["attempt"]: each["outcome"] for each in task["attempts"]}
    return Stored([Fact(each["version"], each["kind"]) for each in events], words, text, outcome)


async def _whole(api: ApiService, task_id: str, attempt: int, media_type: str) -> bytes:
    path: str | None = f"/v1/tasks/{task_id}/output?attempt={attempt}"
    pages = []
    while path is not None:
        answer = await api.client.get(path, headers={"Accept": media_type})
        assert answer.status_code == 200, answer.text
        pages.append(answer.content)
        path = answer.links.get("next", {}).get("url")
    return b"".join(pages)
