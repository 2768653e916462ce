"""PostgreSQL is stopped, and cuts off its clients: nobody has to be started again, and nothing that was accepted is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest_asyncio
from tests.e2e.checks import all_end, facts_are_told, read_model_is_fold
from tests.e2e.house import ApiService, House, Load, furnished, open_house

from daybook.domain.status import Status
from daybook.log.migrate import migrate
from daybook.testing import eventually
from daybook_local.nats import EmbeddedNats
from daybook_local.postgres import EmbeddedPostgres


@pytest_asyncio.fixture(loop_scope="session")
async def own_postgres(folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A PostgreSQL that a test may stop."""
    server = EmbeddedPostgres(folder / "postgres", fast=True)
    server.start()
    await migrate(server.url())
    yield server
    server.stop()


async def test_an_outage_is_told_and_then_everything_goes_on_by_itself(own_postgres: EmbeddedPostgres, nats_server: EmbeddedNats, folder: Path) -> None:
    async with open_house(own_postgres.url(), nats_server, folder) as house:
        api = await furnished(house)
        pids = [service.pid for service in house.services]
        held = {await api.accepted("fault.hold") for _ in range(4)}
        assert {await house.gate.knock() for _ in held} == held
        delayed = await api.accepted(delay=0.5)
        own_postgres.stop()
        assert await api.status() == 503
        # A submit under way waits, and so do the results of what ended meanwhile.
        waiting = asyncio.create_task(api.accepted())
        for task_id in held:
            house.gate.open(task_id, "while it was away")
        await eventually(lambda: house.gate.left.keys() == held)
        assert await api.status() == 503
        own_postgres.start()
        await eventually(lambda: api_is(api, 200), 10)
        accepted = {delayed, await waiting, *await asyncio.gather(*(api.accepted() for _ in range(20)))}
        tasks = await all_end(house.database_url, held | accepted)
        assert {(task.status, task.attempt) for task in tasks.values()} == {(Status.SUCCESS, 1)}
        assert house.ledger() == dict.fromkeys(held | accepted, 1)
        for task_id in held:
            assert (await api.client.get(f"/v1/tasks/{task_id}/result")).json() == "while it was away"
        assert [service.pid for service in house.services] == pids
        await facts_are_told(house.database_url, house.nats.url)
        await read_model_is_fold(house.database_url)


async def test_backends_terminated_again_and_again_under_load(house: House, postgres: EmbeddedPostgres) -> None:
    api = await furnished(house)
    delayed = set(await asyncio.gather(*(api.accepted(delay=1) for _ in range(50))))
    killer = await asyncpg.connect(postgres.url("postgres"))
    database = urlsplit(house.database_url).path.removeprefix("/")
    loaded = Load(api)
    killed = 0
    try:
        async with loaded:
            for _ in range(20):
                await loaded.goes_on(10)
                answers = await asyncio.gather(api.client.get("/v1/tasks"), api.client.get(f"/v1/tasks/{next(iter(delayed))}"), api.client.get("/readyz"))
                assert {answer.status_code for answer in answers} <= {200, 503}
                killed += await killer.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'", database
                )
    finally:
        await killer.close()
    print(f"{killed} backends terminated during {len(loaded.accepted)} submits")
    assert killed >= 60
    every = loaded.accepted | delayed
    tasks = await all_end(house.database_url, every)
    assert tasks.keys() == every
    assert {(task.status, task.attempt) for task in tasks.values()} == {(Status.SUCCESS, 1)}
    assert house.ledger() == dict.fromkeys(every, 1)
    await facts_are_told(house.database_url, house.nats.url)
    await read_model_is_fold(house.database_url)


async def api_is(api: ApiService, status: int) -> bool:
    return await api.status() == status
