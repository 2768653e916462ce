"""Runners die, freeze, come back from the dead, and lose NATS: each task still ends once, soon, wherever it can."""

from __future__ import annotations

from signal import SIGCONT, SIGSTOP

from tests.e2e.checks import all_end, read_model_is_fold, sound_tasks
from tests.e2e.house import ApiService, House, Service, furnished, start

from daybook.domain.status import Status
from daybook.log.connections import connect
from daybook.testing import eventually


async def outcomes(api: ApiService, task_id: str) -> list[str]:
    """How each attempt ended."""
    return [attempt["outcome"] for attempt in (await api.task(task_id))["attempts"]]


async def two_runners(house: House, *, slots: int = 16) -> tuple[ApiService, Service, Service, str]:
    """A task that is held by the first of two runners; the second starts when it is."""
    api = house.add_api()
    first, second = [house.add_runner(slots=slots, DAYBOOK_LEASE_TTL_SECONDS="2") for _ in range(2)]
    await start(api, house.add_scheduler(), first)
    task_id = await api.accepted("fault.hold")
    assert await house.gate.knock() == task_id
    await second.start()
    return api, first, second, task_id


async def test_a_killed_runners_task_runs_elsewhere(house: House) -> None:
    api, first, _, task_id = await two_runners(house)
    await first.kill()
    assert await house.gate.knock() == task_id
    house.gate.open(task_id)
    task = await api.reaches(task_id, "success")
    assert (task["attempt"], house.ledger()[task_id]) == (2, 2)
    assert len({attempt["runner"] for attempt in task["attempts"]}) == 2
    assert (await sound_tasks(house.database_url))[task_id].status is Status.SUCCESS
    await read_model_is_fold(house.database_url)


async def test_a_frozen_runner_comes_back_and_records_nothing(house: House) -> None:
    api, first, _, task_id = await two_runners(house)
    first.signal(SIGSTOP)
    assert await house.gate.knock() == task_id
    first.signal(SIGCONT)
    assert await first.ended() == 1  # it knows by its own clock that it is dead, and says so to its supervisor
    house.gate.open(task_id, "second")
    task = await api.reaches(task_id, "success")
    assert [attempt["attempt"] for attempt in task["attempts"]] == [1, 2]
    assert (await api.client.get(f"/v1/tasks/{task_id}/result")).json() == "second"


async def test_a_short_freeze_loses_nothing(house: House) -> None:
    """Frozen for half a lease, while another runner is killed: who finds that one lost has looked at the frozen one too."""
    api, first, second, task_id = await two_runners(house, slots=1)
    other = await api.accepted("fault.hold")
    assert await house.gate.knock() == other
    frozen = (await api.task(task_id))["attempts"][0]["runner"]
    first.signal(SIGSTOP)
    await second.kill()
    connection = await connect(house.database_url, None)
    try:
        await eventually(lambda: connection.fetchval("SELECT until - clock_timestamp() < ttl / 2 FROM daybook.runner WHERE id = $1", frozen))
    finally:
        await connection.close()
    first.signal(SIGCONT)
    assert (await api.reaches(other, "queued"))["losses"] == 1
    house.gate.open(task_id)
    assert (await api.reaches(task_id, "success"))["attempt"] == 1
    assert await house.gate.knock() == other
    assert house.ledger()[task_id] == 1


async def test_tasks_run_while_nats_is_away(house: House) -> None:
    api = await furnished(house)
    before = {await api.accepted() for _ in range(5)}
    await all_end(house.database_url, before)
    house.nats.stop()
    tasks = {await api.accepted() for _ in range(30)}
    ended = await all_end(house.database_url, tasks)
    assert {task.status for task in ended.values()} == {Status.SUCCESS}
    held = await api.accepted("fault.hold")
    assert await house.gate.knock() == held
    await api.client.post(f"/v1/tasks/{held}/cancel", json={"reason": "no more"})
    task = await api.reaches(held, "cancelled")
    assert task["reason"] == "no more"
    house.nats.start()
    after = {await api.accepted() for _ in range(5)}
    await all_end(house.database_url, after)
    await eventually(lambda: house.ledger() == dict.fromkeys(before | tasks | after | {held}, 1))
