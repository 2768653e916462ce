"""What a task has said: /logs and /output, while it runs and ever after, by attempt, in pages; and the stream of events, when NATS has forgotten."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
import pytest_asyncio
import structlog
from tests.api.apps import Gate, gates
from tests.services import Services, running_runner, running_services, watching

from daybook import App, Context, Retry
from daybook.bus.topology import LIVE
from daybook.settings import Settings
from daybook.testing import eventually
from daybook_api.routes import output
from daybook_local.nats import EmbeddedNats
from daybook_runner import capture

QUEUE = "spoken"
WORDS = {"progress", "log", "chunk"}
app = App("o")


@app.task(queue=QUEUE)
async def talks(gate: str, ctx: Context) -> str:
    """Say something in every way, wait at a gate, and say more."""
    await ctx.progress(1, total=2)
    ctx.log.debug("shown", n=1)
    print("printed")
    await ctx.chunk("Once ")
    logging.getLogger("shop").warning("logged")
    structlog.get_logger("shop").error("struck", n=2)
    await gates[gate].pass_through()
    await ctx.chunk("upon\x1b[2J a time")
    ctx.log.info("later")
    return "said"


@app.task(queue=QUEUE)
async def counts(upto: int, ctx: Context, every: int = 1) -> None:
    """Say every number, and log some."""
    for number in range(1, upto + 1):
        ctx.chunk(f"{number},")
        if number % every == 0:
            ctx.log.info(f"line {number}")
        if number % 500 == 0:
            await asyncio.sleep(0)


@app.task(queue=QUEUE, retry=Retry(max_attempts=2, backoff=0.05))
def fails_once(ctx: Context) -> None:
    """Print from a thread, fail, and do better."""
    print(f"attempt {ctx.attempt}")
    ctx.chunk(f"text of {ctx.attempt}")
    if ctx.attempt == 1:
        raise ValueError("no luck")


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def _runner(services: Services) -> AsyncIterator[None]:
    async with running_runner(services.settings, app, queues=(QUEUE,)):
        yield


@contextmanager
def captured() -> Iterator[None]:
    """Capture as a runner process does, at its usual log level. Not a fixture: pytest takes stdout for itself when the test begins."""
    before = structlog.get_config()
    quiet = structlog.PrintLoggerFactory(io.StringIO())
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO), processors=[structlog.processors.KeyValueRenderer()], logger_factory=quiet
    )
    undo = capture.install()
    try:
        yield
    finally:
        undo()
        structlog.configure(**before)


async def submit(client: httpx2.AsyncClient, app_id: str, wait: int = 10, **given: object) -> str:
    answer = await client.post("/v1/tasks", json={"app": app_id, "input": given}, headers={"Prefer": f"wait={wait}"})
    assert answer.status_code in {200, 202}, answer.text
    return str(answer.json()["id"])


async def logs(client: httpx2.AsyncClient, task_id: str, **query: object) -> Any:
    answer = await client.get(f"/v1/tasks/{task_id}/logs", params={name: str(value) for name, value in query.items()})
    assert answer.status_code == 200, answer.text
    return answer.json()


def messages(page: Any) -> list[str]:
    return [line["message"] for line in page["items"]]


async def test_logs_are_there_while_it_runs_and_after(client: httpx2.AsyncClient, gate: Gate) -> None:
    with captured():
        task_id = await submit(client, "o.talks", 0, gate=gate.name)
        await gate.reached()
        # At once, before anything is stored, and again when it is.
        first = await eventually(lambda: _all(client, task_id, 4))
        assert messages(first) == ["shown", "printed", "logged", "struck"]
        assert [line["level"] for line in first["items"]] == ["debug", "info", "warning", "error"]
        assert [(line["attempt"], line["n"]) for line in first["items"]] == [(1, 2), (1, 3), (1, 5), (1, 6)]
        assert first["items"][0]["fields"] == {"n": 1}
        assert first["items"][0]["at"].endswith("Z")
        assert first["next_after"] == "1.6"
        gate.opened.set()
        later = await eventually(lambda: _ended(client, task_id, first["next_after"]))
    assert (messages(later), later["next_after"]) == (["later"], None)
    whole = await logs(client, task_id)
    assert whole == {"items": first["items"] + later["items"], "next_after": None}
    assert messages(await logs(client, task_id, tail=2)) == ["struck", "later"]
    assert messages(await logs(client, task_id, tail=2, level="warning")) == ["logged", "struck"]
    assert messages(await logs(client, task_id, level="info", after="1.3")) == ["logged", "struck", "later"]
    assert messages(await logs(client, task_id, tail=2, after="1.5")) == ["struck", "later"]
    assert messages(await logs(client, task_id, tail=9, after="1.5")) == ["struck", "later"]
    assert messages(await logs(client, task_id, attempt=2)) == []


async def _all(client: httpx2.AsyncClient, task_id: str, count: int) -> Any:
    page = await logs(client, task_id)
    return page if len(page["items"]) == count else None


async def _ended(client: httpx2.AsyncClient, task_id: str, after: str) -> Any:
    page = await logs(client, task_id, after=after)
    return page if page["next_after"] is None else None


async def test_output_in_three_forms(client: httpx2.AsyncClient, gate: Gate) -> None:
    gate.opened.set()
    task_id = await submit(client, "o.talks", gate=gate.name)
    path = f"/v1/tasks/{task_id}/output"
    whole = (await client.get(path)).json()
    assert [(each["type"], each["n"]) for each in whole["items"]][:3] == [("progress", 1), ("log", 2), ("chunk", 3)]
    assert whole["next_from"] is None
    lines = await client.get(path, headers={"Accept": "application/x-ndjson"})
    assert [httpx2.Response(200, content=line).json() for line in lines.text.splitlines()] == whole["items"]
    text = await client.get(path, headers={"Accept": "text/plain"})
    assert text.text == "Once upon a time"
    assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert text.headers["X-Content-Type-Options"] == "nosniff"
    part = (await client.get(path, params={"from": "1.3"})).json()
    assert part["items"] == whole["items"][2:]


async def test_each_attempt_has_its_own(client: httpx2.AsyncClient) -> None:
    with captured():
        task_id = await submit(client, "o.fails_once")
        assert await eventually(lambda: _status(client, task_id), 10) == "success"
    assert [(line["attempt"], line["n"], line["message"]) for line in (await logs(client, task_id))["items"]] == [(1, 1, "attempt 1"), (2, 1, "attempt 2")]
    assert messages(await logs(client, task_id, attempt=1)) == ["attempt 1"]
    assert messages(await logs(client, task_id, attempt=1, tail=5)) == ["attempt 1"]
    assert messages(await logs(client, task_id, attempt=2, tail=5)) == ["attempt 2"]
    assert messages(await logs(client, task_id, after="1.2")) == ["attempt 2"]
    accept = {"Accept": "text/plain"}
    assert (await client.get(f"/v1/tasks/{task_id}/output", headers=accept)).text == "text of 2"
    assert (await client.get(f"/v1/tasks/{task_id}/output", params={"attempt": 1}, headers=accept)).text == "text of 1"


async def _status(client: httpx2.AsyncClient, task_id: str) -> str | None:
    status: str = (await client.get(f"/v1/tasks/{task_id}")).json()["status"]
    return status if status in {"success", "error"} else None


async def test_long_output_comes_in_pages(client: httpx2.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    task_id = await submit(client, "o.counts", upto=5_000, every=10)
    rows = await services.api.gateway.log.pool.fetchval("SELECT count(*) FROM daybook.output WHERE size_bytes > 0 AND attempt = 1 AND last > 5000")
    assert rows == 1
    monkeypatch.setattr(output, "_MOST_BYTES", 100_000)
    monkeypatch.setattr(output, "_MOST_LINES", 100)
    found: list[Any] = []
    url: str | None = f"/v1/tasks/{task_id}/output"
    pages = 0
    while url is not None:
        answer = await client.get(url)
        found += answer.json()["items"]
        url = answer.links["next"]["url"] if "next" in answer.links else None
        pages += 1
    assert [each["n"] for each in found] == list(range(1, 5_501))
    assert 4 < pages < 12
    said: list[str] = []
    after = "0.0"
    while after is not None:
        page = await logs(client, task_id, after=after)
        assert len(page["items"]) <= 100
        said, after = said + messages(page), page["next_after"]
    assert said == [f"line {number}" for number in range(10, 5_001, 10)]
    assert messages(await logs(client, task_id, tail=100)) == said[-100:]


async def test_a_long_text_is_whole(client: httpx2.AsyncClient) -> None:
    task_id = await submit(client, "o.counts", upto=3_000, every=3_000)
    text = await client.get(f"/v1/tasks/{task_id}/output", headers={"Accept": "text/plain"})
    assert text.text == "".join(f"{number}," for number in range(1, 3_001))
    assert "Link" not in text.headers


@pytest.mark.parametrize("what", ["logs", "output"])
async def test_somebody_elses_words_are_not_there(services: Services, client: httpx2.AsyncClient, gate: Gate, what: str) -> None:
    gate.opened.set()
    task_id = await submit(client, "o.talks", gate=gate.name)
    async with services.client(await services.token("nosy")) as other, services.client(None) as nobody:
        theirs, missing = await other.get(f"/v1/tasks/{task_id}/{what}"), await other.get(f"/v1/tasks/tsk_{'0' * 26}/{what}")
        assert (theirs.status_code, theirs.json()["code"]) == (404, "not-found")
        assert theirs.json()["detail"] == missing.json()["detail"]
        assert (await nobody.get(f"/v1/tasks/{task_id}/{what}")).status_code == 401


@pytest.mark.parametrize(
    "query",
    [
        *("logs?tail=0", "logs?tail=1001", "logs?tail=1&tail=1", "logs?after=1", "logs?after=1.-1", "logs?level=loud"),
        *("logs?attempt=0", "logs?attempt=x", "logs?from=1.1", "output?from=x", "output?from=9999999999.1", "output?attempt=1e3", "output?tail=1"),
    ],
)
async def test_what_makes_no_sense_is_refused(client: httpx2.AsyncClient, gate: Gate, query: str) -> None:
    gate.opened.set()
    task_id = await submit(client, "o.talks", gate=gate.name)
    answer = await client.get(f"/v1/tasks/{task_id}/{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")


async def test_what_has_not_begun_has_said_nothing(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/tasks", json={"app": "o.counts", "input": {"upto": 1}, "delay": "1h"})
    task_id = answer.json()["id"]
    assert await logs(client, task_id) == {"items": [], "next_after": "0.0"}
    assert await logs(client, task_id, tail=5) == {"items": [], "next_after": "0.0"}
    assert (await client.get(f"/v1/tasks/{task_id}/output")).json() == {"items": [], "next_from": "0.1"}
    assert (await client.get(f"/v1/tasks/{task_id}/output", headers={"Accept": "text/plain"})).text == ""


async def test_when_nats_has_forgotten_everything_is_still_told(database_url: str, nats_server: EmbeddedNats) -> None:
    made = gates["forgetful"] = Gate("forgetful")
    settings = Settings(database_url=database_url, nats_url=nats_server.url, queues=QUEUE)
    async with running_services(settings, app) as house, running_runner(settings, app, queues=(QUEUE,)), house.client(await house.token()) as client:
        task_id = await submit(client, "o.talks", 0, gate="forgetful")
        await made.reached()
        pool = house.api.gateway.log.pool
        await eventually(lambda: pool.fetchval("SELECT count(*) FROM daybook.output"))
        js = await house.api.gateway.bus.jetstream()
        await js.purge_stream(LIVE)
        before = messages(await logs(client, task_id))
        assert before[0] == "shown"
        made.opened.set()
        async with watching(client, task_id) as stream:
            frames = await stream.until("end")
        numbers = [frame.data["n"] for frame in frames if frame.event in WORDS]
        assert numbers == list(range(1, len(numbers) + 1))
        assert "gap" not in {frame.event for frame in frames}
        assert messages(await logs(client, task_id)) == [*before, "later"]
        await js.delete_stream(LIVE)
        assert messages(await logs(client, task_id)) == [*before, "later"]
        async with watching(client, task_id) as stream:
            again = await stream.until("end")
        assert [frame.data["n"] for frame in again if frame.event in WORDS] == numbers
