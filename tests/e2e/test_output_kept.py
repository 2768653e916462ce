"""What a runner's attempts have said outlives the runner, and NATS."""

import shutil
from pathlib import Path
from typing import Any

import asyncpg
from tests.e2e.house import ApiService, House, Service, start

from daybook import ids
from daybook.testing import eventually

APPS = Path(__file__).with_name("apps_that_speak.py")
FIRST = ["printed in 1", "careful", "logged", "struck", "half a line and the rest"]


def add_runner(house: House, number: int) -> Service:
    code = f"from daybook_runner.serving import serve; raise SystemExit(serve([{str(APPS)!r}], ['default'], 4))"
    env = house._environment({"DAYBOOK_LEASE_TTL_SECONDS": "1.5", "DAYBOOK_LEASE_RENEW_SECONDS": "0.4"})
    return house._add(Service("runner", code, env, house.folder / f"speaking-{number}.log"))


async def lines(api: ApiService, task_id: str, **query: Any) -> list[dict[str, Any]]:
    answer = await api.client.get(f"/v1/tasks/{task_id}/logs", params=query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_a_killed_runner_keeps_what_it_had_said(house: House) -> None:
    api, runner = house.add_api(), add_runner(house, 1)
    await start(api, house.add_scheduler(), runner)
    task_id = await api.accepted("speak.aloud")
    assert await house.gate.knock() == task_id

    async def stored() -> int:
        connection = await asyncpg.connect(house.database_url)
        try:
            last: int = await connection.fetchval("SELECT max(last) FROM daybook.output WHERE stream = $1", ids.parse("tsk", task_id))
        finally:
            await connection.close()
        return last

    # Within a second or so, while it runs on and says nothing more.
    assert await eventually(stored, 3) == len(FIRST) + 1
    await runner.kill()
    house.nats.stop()
    shutil.rmtree(house.nats.store)
    house.nats.start()
    said = await lines(api, task_id)
    assert [line["message"] for line in said] == FIRST
    assert [line["level"] for line in said] == ["info", "warning", "info", "info", "info"]
    assert (said[2]["fields"], said[3]["fields"]) == ({"logger": "shop", "order": 7}, {"order": 8})
    await start(add_runner(house, 2))
    assert await house.gate.knock(20) == task_id
    house.gate.open(task_id)
    await api.reaches(task_id, "success")
    assert [line["message"] for line in await lines(api, task_id, attempt=1)] == FIRST
    assert [line["message"] for line in await lines(api, task_id, attempt=2)] == ["printed in 2", *FIRST[1:], "at last"]
    text = await api.client.get(f"/v1/tasks/{task_id}/output?attempt=1", headers={"Accept": "text/plain"})
    assert text.text == "text of 1"
    # What was said outside of an attempt is in the runner's own output, and nothing else.
    assert "imported" in runner.log_path.read_text()
    assert "printed in" not in runner.log_path.read_text()
    assert "struck" not in runner.log_path.read_text()


async def test_a_runner_that_is_asked_to_end_keeps_it_too(house: House) -> None:
    api, runner = house.add_api(), add_runner(house, 1)
    await start(api, house.add_scheduler(), runner)
    task_id = await api.accepted("speak.aloud")
    await house.gate.knock()
    house.gate.open(task_id)
    assert await runner.terminate() == 0
    await api.reaches(task_id, "success")
    house.nats.stop()
    assert [line["message"] for line in await lines(api, task_id)] == [*FIRST, "at last"]
    house.nats.start()
