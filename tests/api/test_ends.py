"""Tasks that end, or begin again, without a report: expired, lost, cancelled."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx2
from tests.api.apps import Gate
from tests.api.asking import instant, submit, until
from tests.services import Services, watching

from daybook import clock, ids
from daybook.bus import subjects
from daybook.domain.commands import AnyCommand, Lose, Start, Succeed
from daybook.domain.events import Content
from daybook.handling import Handled, handle
from daybook.log.postgres import Log


async def test_a_task_that_nobody_begins_in_time_expires(client: httpx2.AsyncClient) -> None:
    task = await submit(client, wait=False, queue="nobody", queue_ttl="50ms")
    assert instant(task["expires_at"]) - instant(task["submitted_at"]) <= timedelta(milliseconds=51)
    ended = await until(client, task, "error")
    assert (ended["reason"], ended["error_type"], ended["attempts"], ended["expires_at"]) == ("queue_ttl", "Expired", [], None)
    assert ended["error"]["type"] == "Expired"
    assert "0.05 s" in ended["error"]["message"]
    result = await client.get(task["links"]["result"])
    assert (result.status_code, result.json()["code"], result.json()["error"]["type"]) == (409, "task-failed", "Expired")


async def test_a_deadline_bounds_the_waits_too(client: httpx2.AsyncClient) -> None:
    queued = await submit(client, wait=False, queue="nobody", deadline="50ms")
    assert instant(queued["deadline_at"]) > instant(queued["submitted_at"])
    ended = await until(client, queued, "error")
    assert ended["error_type"] == "Expired"
    assert "deadline" in ended["error"]["message"]
    scheduled = await submit(client, wait=False, delay="1h", deadline="1m")
    assert instant(scheduled["deadline_at"]) - instant(scheduled["run_at"]) == timedelta(minutes=1)
    failed = await submit(client, "t.flaky", {"good": 2}, deadline="30m", retry={"max_attempts": 2, "backoff": "1h", "max_backoff": "1h"})
    assert (failed["status"], failed["attempt"]) == ("error", 1), "a retry that would come too late is none"


async def test_a_lost_attempt_is_told_and_the_next_one_begins(client: httpx2.AsyncClient, services: Services, gate: Gate) -> None:
    task = await submit(client, "t.speaks", {"gate": gate.name}, wait=False)
    await gate.reached()
    nats = await services.api.gateway.bus.connected()

    async def say(attempt: int, number: int) -> None:
        subject = subjects.live("default", task["owner"], task["app"], task["id"])
        await nats.publish(subject, f'{{"type":"chunk","attempt":{attempt},"n":{number},"text":"{attempt}.{number}"}}'.encode())

    async with _another_runner(services) as other, watching(client, task["id"]) as stream:
        await stream.until("chunk")
        await _lose(services, task)
        # Before the runner that is there notices that it may try again itself.
        await _does(other, task, Start(actor="runner:run_2", runner="run_2"))
        (lost,) = await stream.until("task.queued")
        assert (lost.data["kind"], lost.data["data"]["reason"], lost.data["status"]) == ("task.lost.v1", "lost_runner", "queued")
        await say(1, 4)  # its runner came back from the dead, and nobody is told what it says
        await say(2, 1)
        frames = await stream.until("chunk")
        assert [(frame.event, frame.data.get("text")) for frame in frames] == [("task.running", None), ("chunk", "2.1")]
        await say(1, 5)
        await say(2, 2)
        assert [frame.data["text"] for frame in await stream.until("chunk")] == ["2.2"]
        last = frames[-1].id
        await _does(other, task, Succeed(actor="runner:run_2", attempt=2, result=Content(digest="d", size_bytes=1)))
        assert [frame.event for frame in await stream.until("end")] == ["task.success", "end"]
        assert await stream.next() is None
    async with watching(client, task["id"], last) as stream:
        assert [(frame.event, frame.data.get("text")) for frame in await stream.until("end")][1:] == [("chunk", "2.2"), ("task.success", None), ("end", None)]
    ended = (await client.get(task["links"]["self"])).json()
    assert [(each["outcome"], each["reason"], each["error_type"]) for each in ended["attempts"]] == [
        ("lost", "lost_runner", "RunnerLost"),
        ("success", "", None),
    ]
    assert (ended["status"], ended["losses"], ended["failures"], ended["error"]) == ("success", 1, 0, None)


async def test_a_loss_may_be_the_end(client: httpx2.AsyncClient, services: Services, gate: Gate) -> None:
    task = await submit(client, "t.gated", {"gate": gate.name}, wait=False, delivery="at_most_once")
    await gate.reached()
    async with watching(client, task["id"]) as stream:
        await stream.until("snapshot")
        await _lose(services, task)
        assert [frame.event for frame in await stream.until("end")] == ["task.error", "end"]
    ended = (await client.get(task["links"]["self"])).json()
    assert (ended["status"], ended["reason"], ended["error_type"]) == ("error", "lost_runner", "RunnerLost")
    assert ended["error"]["message"].startswith(f"runner {ended['attempts'][0]['runner']} was lost while it ran attempt 1")
    assert "at most once" in ended["error"]["message"]
    result = await client.get(task["links"]["result"])
    assert (result.status_code, result.json()["error"]["type"]) == (409, "RunnerLost")


async def test_a_cancelled_task_says_who_wanted_it_and_why(client: httpx2.AsyncClient, services: Services, owner: str, gate: Gate) -> None:
    running = await submit(client, "t.gated", {"gate": gate.name}, wait=False)
    await gate.reached()
    waiting = await submit(client, wait=False, delay="1h")
    async with services.client(await services.token("root", scopes=("read", "submit", "admin"))) as admin:
        for task in (running, waiting):
            answer = await admin.post(task["links"]["cancel"], json={"reason": "too dear"})
            assert answer.json()["cancellation"]["requested_by"] == "user:root"
    for task in (running, waiting):
        ended = await until(client, task, "cancelled")
        assert (ended["reason"], ended["error"], ended["error_type"]) == ("too dear", None, None)
        assert (ended["cancellation"]["requested_by"], ended["cancellation"]["reason"]) == ("user:root", "too dear")
        assert ended["submitted_at"] <= ended["cancellation"]["requested_at"] <= ended["finished_at"]
    assert (await submit(client))["cancellation"] is None


async def _does(log: Log, task: dict[str, Any], command: AnyCommand) -> None:
    stream = ids.parse("tsk", task["id"])
    assert stream is not None
    assert isinstance(await handle(log, stream, command, clock.now(), permits=lambda *_: None), Handled)


async def _lose(services: Services, task: dict[str, Any]) -> None:
    """Say that the first attempt is lost, as the reaper does."""
    log = await Log.open(services.settings.database_url, "scheduler", pool_size=1, writers=1)
    try:
        await _does(log, task, Lose(actor="reaper", reason="lost_runner", attempt=1, seed=task["id"]))
    finally:
        await log.close()


@asynccontextmanager
async def _another_runner(services: Services) -> AsyncIterator[Log]:
    """The log of `run_2`, which has a lease and does what a test wants."""
    log = await Log.open(services.settings.database_url, "runner", credentials=("run_2", "secret"), pool_size=1, writers=1)
    try:
        await log.pool.execute("SELECT daybook.take_lease('run_2', 'secret', 'default', '{nothing}', '{}', 1, 'here', '1 minute')")
        yield log
        await log.pool.execute("SELECT daybook.end_lease('run_2', 'secret')")
    finally:
        await log.close()
