"""NATS is stopped, killed, wiped and emptied while there is work: tasks are accepted all the same, and every one of them runs."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable

import nats
from tests.e2e.checks import all_end, facts, facts_are_told, read_model_is_fold
from tests.e2e.house import ApiService, House, Load

from daybook.bus import topology
from daybook.domain.status import Status
from daybook.testing import eventually

HEALED_SECONDS = 10.0


async def test_tasks_are_accepted_and_run_while_nats_is_away_and_told_when_it_is_back(settled: House, api: ApiService) -> None:
    held = await api.accepted("fault.hold")
    assert await settled.gate.knock() == held
    settled.nats.stop()
    loop = asyncio.get_running_loop()
    began = loop.time()
    waiting = await accept(api, 50)
    assert loop.time() - began < 2
    await eventually(lambda: says_nats_is(api, "away"))
    assert await api.status() == 200
    # A wish to cancel finds its way through the log.
    answer = await api.client.post(f"/v1/tasks/{held}/cancel", json={"reason": "changed my mind"})
    assert answer.status_code == 202
    assert (await api.reaches(held, "cancelled", 5))["attempts"][0]["outcome"] == "cancelled"
    assert settled.gate.left[held] == 1
    await ran_once(settled, waiting)
    settled.nats.start()
    await eventually(lambda: all_told(settled, waiting))
    # Once more, and this time it has forgotten everything.
    settled.nats.stop()
    more = await accept(api, 50)
    shutil.rmtree(settled.nats.store)
    settled.nats.start()
    await ran_once(settled, more)
    # What it was told before is gone, what happened since is there.
    await eventually(lambda: all_told(settled, more))
    await read_model_is_fold(settled.database_url)


async def test_nats_killed_under_load_and_every_fact_is_told_in_order(settled: House, api: ApiService) -> None:
    loaded = Load(api)
    async with loaded:
        for _ in range(2):
            await loaded.goes_on(60)
            settled.nats.kill()
            await loaded.goes_on(20)
            settled.nats.start()
    await ran_once(settled, loaded.accepted)
    await facts_are_told(settled.database_url, settled.nats.url, loaded.accepted)


async def test_nats_killed_and_its_store_removed_under_load(settled: House, api: ApiService) -> None:
    loaded = Load(api)
    async with loaded:
        for _ in range(2):
            await loaded.goes_on(60)
            settled.nats.kill()
            await loaded.goes_on(20)
            shutil.rmtree(settled.nats.store)
            settled.nats.start()
            await eventually(lambda: is_whole(settled), HEALED_SECONDS)
    await ran_once(settled, loaded.accepted)
    await read_model_is_fold(settled.database_url)


async def test_streams_deleted_under_load_are_made_again(settled: House, api: ApiService) -> None:
    loaded = Load(api)
    async with loaded:
        await loaded.goes_on(60)
        connection = await nats.connect(settled.nats.url)
        js = connection.jetstream()
        for stream in topology.STREAMS:
            assert await js.delete_stream(str(stream.name))
        await connection.close()
        await eventually(lambda: is_whole(settled), HEALED_SECONDS)
        await loaded.goes_on(60)
    await ran_once(settled, loaded.accepted)
    assert await is_whole(settled)
    await read_model_is_fold(settled.database_url)


async def accept(api: ApiService, count: int) -> set[str]:
    return set(await asyncio.gather(*(api.accepted() for _ in range(count))))


async def ran_once(house: House, task_ids: Iterable[str]) -> None:
    """Wait until these tasks have ended well; each must have run once."""
    tasks = await all_end(house.database_url, set(task_ids), HEALED_SECONDS)
    ledger = house.ledger()
    assert {(tasks[task_id].status, tasks[task_id].attempt, ledger[task_id]) for task_id in task_ids} == {(Status.SUCCESS, 1, 1)}


async def says_nats_is(api: ApiService, state: str) -> bool:
    return bool((await api.client.get("/readyz")).json()["checks"]["nats"] == state)


async def is_whole(house: House) -> bool:
    """Whether every stream and consumer is there."""
    connection = await nats.connect(house.nats.url)
    try:
        js = connection.jetstream()
        names = {info.config.name for info in await js.streams_info()}
        if names != {stream.name for stream in topology.STREAMS}:
            return False
        return [info.name for info in await js.consumers_info(topology.WORK)] == [topology.consumer_of("default").durable_name]
    finally:
        await connection.close()


async def all_told(house: House, task_ids: set[str]) -> bool:
    told = await facts(house.nats.url)
    return {(fact.subject, fact.version) for fact in told} >= {(task_id, version) for task_id in task_ids for version in (1, 2, 3)}
