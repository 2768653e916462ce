"""Processes die between a task's end and the message about it: every end is told to everybody who wants to know, once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest_asyncio
from tests.e2e.house import ApiService, House, start
from tests.webhook_receiver import BROKEN, Receiver, receiving

from daybook import ids
from daybook.testing import eventually

HERE = "127.0.0.1/32"
DELIVERIES = """
    SELECT stream, data -> 'labels' ->> 'task' AS task, data -> 'labels' ->> 'webhook' AS webhook
    FROM log.event WHERE data ->> 'app' = 'daybook.webhook'"""
ENDS = "SELECT count(*) FROM log.event WHERE kind = 'task.succeeded.v1' AND stream = $1"
TOLD = """
    SELECT count(*) FROM log.event e JOIN log.event s ON s.stream = e.stream AND s.version = 1
    WHERE e.kind = 'task.succeeded.v1' AND s.data ->> 'app' = 'daybook.webhook'"""


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[Receiver]:
    """Somebody who wants to hear."""
    async with receiving() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def database(house: House) -> AsyncIterator[asyncpg.Connection[Any]]:
    """The log, to be counted in."""
    connection = await asyncpg.connect(house.database_url)
    yield connection
    await connection.close()


async def test_an_end_that_comes_while_no_api_runs_is_told_when_one_does(house: House, database: asyncpg.Connection[Any], receiver: Receiver) -> None:
    api, runner = house.add_api(), house.add_runner(DAYBOOK_HTTP_ALLOW=HERE, DAYBOOK_LEASE_TTL_SECONDS="1.5")
    await start(api, house.add_scheduler(), runner)
    secret = (await api.client.get("/v1/webhooks/secret")).json()["secret"]
    task = await api.accepted("fault.hold", on_finish={"url": receiver.url})
    assert await house.gate.knock() == task
    await api.kill()
    house.gate.open(task)
    await eventually(lambda: _ended(database, task), 15)
    assert await database.fetch(DELIVERIES) == []
    await api.start()
    assert (await receiver.next()).opened(secret)["data"]["id"] == task
    # A runner that dies before the message is taken: another attempt tells it, under the same id.
    receiver.will_answer(BROKEN)
    again = await api.accepted("fault.note", on_finish={"url": receiver.url})
    first = await receiver.next()
    await runner.kill()
    await runner.start()
    delivery = first.headers["webhook-id"]
    assert (await api.client.post(f"/v1/tasks/{delivery}/run-now")).status_code in {200, 409}
    second = await receiver.next()
    assert (second.headers["webhook-id"], second.opened(secret)["data"]["id"]) == (delivery, again)


async def test_two_apis_of_which_one_after_the_other_is_killed_tell_every_end_once(house: House, database: asyncpg.Connection[Any], receiver: Receiver) -> None:
    first, second = house.add_api(), house.add_api()
    await start(first, second, house.add_scheduler(), house.add_runner(DAYBOOK_HTTP_ALLOW=HERE, DAYBOOK_SLOTS="32"))
    webhook = (await first.client.post("/v1/webhooks", json={"url": f"{receiver.url}?all"})).json()["id"]
    accepted: list[str] = []

    async def submit(api: ApiService, count: int) -> None:
        accepted.extend(await asyncio.gather(*(api.accepted("fault.note", on_finish={"url": f"{receiver.url}?own"}) for _ in range(count))))

    for victim, other in ((first, second), (second, first)):
        await submit(other, 30)
        await victim.kill()
        await submit(other, 30)
        await victim.start()
    await eventually(lambda: _told(database, 2 * len(accepted)), 30)
    rows = await database.fetch(DELIVERIES)
    assert Counter((row["task"], row["webhook"]) for row in rows) == {(task, target): 1 for task in accepted for target in (None, webhook)}
    heard = {received.headers["webhook-id"] for received in receiver.received}
    assert heard == {ids.spell("tsk", row["stream"]) for row in rows}
    assert await database.fetchval("SELECT count(*) FROM log.parked") == 0


async def _ended(database: asyncpg.Connection[Any], task: str) -> bool:
    return bool(await database.fetchval(ENDS, ids.parse("tsk", task)))


async def _told(database: asyncpg.Connection[Any], count: int) -> bool:
    return bool(await database.fetchval(TOLD) >= count)
