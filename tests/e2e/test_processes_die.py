"""Processes are killed, frozen and asked to end while there is work: nothing that was accepted is lost, and nothing happens twice."""

from __future__ import annotations

import asyncio
from signal import SIGCONT, SIGSTOP, SIGTERM

import asyncpg
import httpx2
from tests.e2e.checks import all_end, facts_are_told, read_model_is_fold, sound_tasks
from tests.e2e.house import ApiService, House, start

from daybook import ids
from daybook.domain.status import Status
from daybook.testing import eventually

FOLLOWERS = ("relay", "projector", "timer", "dispatcher")
DUE = "SELECT count(*) FROM log.event WHERE kind = 'task.due.v1'"


async def flood(api: ApiService, count: int, *, kill_after: int) -> dict[str, str | None]:
    """Submit so many tasks at once, and `kill -9` the API when so many are answered. Returns each key and the task id that was answered, if one was."""
    answered: dict[str, str | None] = {}
    killed = asyncio.Event()

    async def submit(number: int) -> None:
        key = f"kill-after-{kill_after}-{number}"
        answered[key] = None
        try:
            answer = await submit_keyed(api, key)
        except httpx2.TransportError:
            return
        assert answer.status_code == 202, answer.text
        answered[key] = answer.json()["id"]
        if sum(task_id is not None for task_id in answered.values()) == kill_after:
            killed.set()

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(submit(number))
        await killed.wait()
        await api.kill()
    return answered


async def test_api_killed_after_the_commit(house: House) -> None:
    """First the only one there is; then one of two, which held the relay and the projector, and the other takes over."""
    first, second, scheduler, runner = house.add_api(), house.add_api(), house.add_scheduler(), house.add_runner()
    await start(first, scheduler, runner)
    every = await kill_and_ask_again(house, first, first, kill_after=1)
    await eventually(lambda: held(house, "relay", "projector"), 10)
    holders = await held(house, "relay", "projector")
    await second.start()
    every |= await kill_and_ask_again(house, first, second, kill_after=90)
    await facts_are_told(house.database_url, house.nats.url, timeout_seconds=10)
    await read_model_is_fold(house.database_url, 10)
    assert not set(holders) & set(await held(house, "relay", "projector"))
    tasks = await all_end(house.database_url, every)
    assert tasks.keys() == every
    assert {task.status for task in tasks.values()} == {Status.SUCCESS}
    assert house.ledger() == dict.fromkeys(every, 1)


async def kill_and_ask_again(house: House, victim: ApiService, survivor: ApiService, *, kill_after: int) -> set[str]:
    """Kill an API under 200 submits, ask a survivor (or the same, started again) for all of them again, and return the tasks."""
    answered = await flood(victim, 200, kill_after=kill_after)
    accepted = {task_id for task_id in answered.values() if task_id}
    assert kill_after <= len(accepted) < 200
    # What was answered runs although that API is gone, and so does what was committed and never answered.
    unanswered = {task_id_of(key) for key, task_id in answered.items() if task_id is None}
    committed = unanswered & (await all_end(house.database_url, accepted)).keys()
    await all_end(house.database_url, committed)
    print(f"killed after {len(accepted)} answers; {len(committed)} more were committed")
    if survivor is victim:
        await victim.start()
    # Asked again, every key comes to its task: to the one that is there, or to a new one.
    again = await asyncio.gather(*(submit_keyed(survivor, key) for key in answered))
    assert {answer.json()["id"] for answer in again} == accepted | unanswered
    assert {answer.json()["id"] for answer in again if "Idempotency-Replayed" in answer.headers} == accepted | committed
    return accepted | unanswered


async def test_a_frozen_api_and_a_killed_scheduler_are_replaced(house: House) -> None:
    """One held the relay and the projector, the other the timers and the dispatcher, and both had much to do."""
    first, second = house.add_api(), house.add_api()
    waker, successor, runner = house.add_scheduler(), house.add_scheduler(), house.add_runner()
    await start(first, waker, runner)
    await eventually(lambda: held(house, *FOLLOWERS), 10)
    await start(second, successor)
    holders = await held(house, *FOLLOWERS)
    every = set(await asyncio.gather(*(api.accepted() for api in (first, second) for _ in range(25))))
    delayed = set(await asyncio.gather(*(first.accepted(delay=1.5) for _ in range(100))))
    later = await first.accepted(delay="1h")
    await eventually(lambda: count(house, "SELECT count(*) = 101 FROM read.timer"))
    assert await held(house, *FOLLOWERS) == holders  # the second of each keeps quiet
    await waker.kill()
    assert await count(house, DUE) == 0
    every |= set(await asyncio.gather(*(first.accepted() for _ in range(25))))
    first.signal(SIGSTOP)
    every |= set(await asyncio.gather(*(second.accepted() for _ in range(100))))
    await all_end(house.database_url, every | delayed, 10)
    await facts_are_told(house.database_url, house.nats.url, timeout_seconds=10)
    await read_model_is_fold(house.database_url, 10)
    successors = await held(house, *FOLLOWERS)
    assert not set(successors) & set(holders)
    # The frozen one wakes up and believes that it holds both, and there are two schedulers again, which see every timer.
    first.signal(SIGCONT)
    await waker.start()
    every |= set(await asyncio.gather(*(api.accepted() for api in (first, second) for _ in range(25))))
    delayed |= set(await asyncio.gather(*(api.accepted(delay=0.3) for api in (first, second) for _ in range(50))))
    tasks = await all_end(house.database_url, every | delayed)
    assert house.ledger() == dict.fromkeys(every | delayed, 1)
    assert tasks.keys() == every | delayed | {later}
    assert await count(house, DUE) == 200
    for task_id in delayed:
        run_at, started_at = tasks[task_id].run_at, tasks[task_id].started_at
        assert run_at is not None
        assert started_at is not None
        assert started_at >= run_at
    await eventually(lambda: count(house, "SELECT count(*) = 1 FROM read.timer"))
    assert tasks[later].status is Status.SCHEDULED
    await facts_are_told(house.database_url, house.nats.url)
    await read_model_is_fold(house.database_url)
    assert await held(house, *FOLLOWERS) == successors


async def test_an_api_that_is_asked_to_end_hands_over_at_once(house: House) -> None:
    first, second = house.add_api(), house.add_api()
    await start(first, house.add_runner())
    await eventually(lambda: held(house, "relay", "projector"), 10)
    await second.start()
    holders = await held(house, "relay", "projector")
    accepted = set(await asyncio.gather(*(first.accepted() for _ in range(50))))
    assert await first.terminate() == 0
    # No lease has to run out first, which would take six seconds.
    await eventually(lambda: held(house, "relay", "projector"), 2.5)
    assert not set(holders) & set(await held(house, "relay", "projector"))
    await facts_are_told(house.database_url, house.nats.url, accepted)


async def test_two_runners_share_and_one_that_is_asked_to_end_loses_nothing(house: House) -> None:
    api, scheduler, first, second = house.add_api(), house.add_scheduler(), house.add_runner(slots=4), house.add_runner(slots=4)
    await start(api, scheduler, first, second)
    every = set(await asyncio.gather(*(api.accepted() for _ in range(200))))
    tasks = await all_end(house.database_url, every)
    assert house.ledger() == dict.fromkeys(every, 1)
    assert len({task.runner for task in tasks.values()}) == 2
    # Fill both, then ask one to end: what it runs may finish, and what does not is handed to the other.
    held_tasks = {await api.accepted("fault.hold" if number < 4 else "fault.hold_thread") for number in range(8)}
    assert {await house.gate.knock() for _ in range(8)} == held_tasks
    tasks = await sound_tasks(house.database_url)
    runners = {task_id: tasks[task_id].runner for task_id in held_tasks}
    ending = next(runner for runner in runners.values() if first.has_said(runner))
    finishing, released, *others = sorted(held_tasks, key=lambda task_id: runners[task_id] != ending)
    first.signal(SIGTERM)
    waiting = {await api.accepted() for _ in range(20)}  # queued while one runner ends and the other is full
    house.gate.open(finishing, "in time")
    for task_id in others:
        if runners[task_id] != ending:
            house.gate.open(task_id)
    assert await first.ended() == 0
    knocked = {await house.gate.knock() for _ in range(3)}
    assert knocked == {task_id for task_id in held_tasks - {finishing} if runners[task_id] == ending}
    assert released in knocked
    for task_id in knocked:
        house.gate.open(task_id, "elsewhere")
    tasks = await all_end(house.database_url, held_tasks | waiting)
    assert {task.status for task in tasks.values()} == {Status.SUCCESS}
    assert tasks[finishing].attempt == 1
    assert {tasks[task_id].attempt for task_id in knocked} == {2}
    assert {tasks[task_id].runner for task_id in knocked} == set(runners.values()) - {ending}
    assert (await api.client.get(f"/v1/tasks/{released}/result")).json() == "elsewhere"


async def submit_keyed(api: ApiService, key: str) -> httpx2.Response:
    return await api.client.post("/v1/tasks", json={"app": "fault.note"}, headers={"Idempotency-Key": key})


async def held(house: House, *followers: str) -> list[str]:
    """Who holds these followers now; empty until all of them are held."""
    connection = await asyncpg.connect(house.database_url)
    try:
        query = "SELECT holder FROM log.cursor WHERE follower = ANY ($1) AND until > clock_timestamp() ORDER BY follower"
        rows = await connection.fetch(query, followers)
    finally:
        await connection.close()
    return [row["holder"] for row in rows] if len(rows) == len(followers) else []


async def count(house: House, query: str) -> int:
    connection = await asyncpg.connect(house.database_url)
    try:
        number: int = await connection.fetchval(query)
        return number
    finally:
        await connection.close()


def task_id_of(key: str) -> str:
    return ids.spell("tsk", ids.derive_id("http", "default", "ann", key))
