"""Watching one task: server-sent events, from the snapshot to the end, through every interruption."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import httpx2
import pytest
from tests.api.apps import Gate, app
from tests.bus.parts import settled
from tests.services import Frame, Services, running_runner, running_scheduler, serving_api, watching

from daybook.bus import subjects
from daybook.bus.topology import LIVE
from daybook.settings import Settings
from daybook.testing import eventually
from daybook_api.watching.words import Words
from daybook_local.nats import EmbeddedNats

WORDS = {"progress", "log", "chunk"}


async def _submit(client: httpx2.AsyncClient, app_id: str, prefer: str = "wait=0", **given: object) -> str:
    answer = await client.post("/v1/tasks", json={"app": app_id, "input": given}, headers={"Prefer": prefer})
    return str(answer.json()["id"])


def _places(frames: list[Frame]) -> list[tuple[int, ...]]:
    return [tuple(map(int, frame.id.removesuffix(".end").split("."))) for frame in frames if frame.id]


async def test_a_watcher_sees_everything_in_the_order_in_which_it_happens(client: httpx2.AsyncClient, gate: Gate) -> None:
    answer = await client.post("/v1/tasks", json={"app": "t.speaks", "input": {"gate": gate.name}, "delay": "300ms"})
    task_id = answer.json()["id"]
    async with watching(client, task_id) as stream:
        assert stream.response.status_code == 200
        assert stream.response.headers["Content-Type"].startswith("text/event-stream")
        assert stream.response.headers["Cache-Control"] == "no-store"
        frames = await stream.until("chunk")
        assert [frame.event for frame in frames] == ["snapshot", "task.queued", "task.running", "progress", "log", "chunk"]
        gate.opened.set()
        frames += await stream.until("end")
        assert await stream.next() is None
    assert [frame.event for frame in frames[6:]] == ["progress", "task.success", "end"]
    snapshot, queued, running, progress, log, chunk, last, success, end = frames
    assert snapshot.data["task"]["status"] == "scheduled"
    assert (queued.data["kind"], queued.data["version"], queued.data["status"]) == ("task.due.v1", 2, "queued")
    assert (running.data["kind"], running.data["data"]["attempt"], running.data["status"]) == ("task.started.v1", 1, "running")
    assert (progress.data["attempt"], progress.data["n"], progress.data["current"], progress.data["total"]) == (1, 1, 1, 4)
    assert (progress.data["percent"], progress.data["message"]) == (25.0, "first")
    assert (log.data["n"], log.data["level"], log.data["message"], log.data["fields"]) == (2, "info", "second", {"n": 2})
    assert (chunk.data["n"], chunk.data["text"]) == (3, "third")
    assert (last.data["n"], last.data["message"]) == (4, "last")
    assert (success.data["kind"], success.data["version"]) == ("task.succeeded.v1", 4)
    assert end.data == {"status": "success", "result": f"/v1/tasks/{task_id}/result"}
    assert [frame.id for frame in frames] == ["1.0.0", "2.0.0", "3.0.0", "3.1.1", "3.1.2", "3.1.3", "3.1.4", "4.2.0", "4.2.0.end"]


async def test_who_comes_late_is_told_what_was_said(client: httpx2.AsyncClient, gate: Gate) -> None:
    task_id = await _submit(client, "t.speaks", gate=gate.name)
    await gate.reached()
    async with watching(client, task_id) as stream:
        frames = await stream.until("chunk")
        assert [frame.event for frame in frames] == ["snapshot", "progress", "log", "chunk"]
        assert frames[0].data["task"]["status"] == "running"
        gate.opened.set()
        assert [frame.event for frame in await stream.until("end")] == ["progress", "task.success", "end"]


async def test_who_comes_after_the_end_is_told_everything_at_once(client: httpx2.AsyncClient, gate: Gate) -> None:
    gate.opened.set()
    task_id = await _submit(client, "t.speaks", "wait=10", gate=gate.name)
    async with watching(client, task_id) as stream:
        frames = await stream.until("end")
    assert [frame.event for frame in frames] == ["snapshot", "progress", "log", "chunk", "progress", "end"]
    assert frames[0].data["task"]["status"] == "success"


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 3000])
async def test_a_long_story_is_told_whole(client: httpx2.AsyncClient, count: int) -> None:
    task_id = await _submit(client, "t.counts", upto=count)
    async with watching(client, task_id) as stream:
        frames = await stream.until("end")
    assert [frame.data["current"] for frame in frames if frame.event == "progress"] == list(range(1, count + 1))
    assert [frame.event for frame in frames if frame.event not in WORDS][-2:] == ["task.success", "end"]
    assert all(one <= other for one, other in pairwise(_places(frames)))


async def test_who_comes_back_misses_nothing_and_sees_nothing_twice(client: httpx2.AsyncClient, gate: Gate) -> None:
    """Cut after every single frame, and taken up again with its id."""
    answer = await client.post("/v1/tasks", json={"app": "t.speaks", "input": {"gate": gate.name}, "delay": "100ms"})
    task_id = answer.json()["id"]
    seen: list[Frame] = []
    last: str | None = None
    while not seen or seen[-1].event != "end":
        async with watching(client, task_id, last) as stream:
            snapshot = await stream.next()
            assert snapshot is not None
            assert snapshot.event == "snapshot"
            assert snapshot.id == (last or "1.0.0")
            frame = await stream.next()
            assert frame is not None
        seen.append(frame)
        last = frame.id
        if frame.event == "chunk":
            gate.opened.set()
    assert [frame.event for frame in seen] == ["task.queued", "task.running", "progress", "log", "chunk", "progress", "task.success", "end"]
    async with watching(client, task_id, last) as stream:
        assert stream.response.status_code == 204
        assert await stream.next() is None


async def test_who_comes_back_after_the_end_is_told_what_is_missing_and_no_more(client: httpx2.AsyncClient, gate: Gate) -> None:
    gate.opened.set()
    task_id = await _submit(client, "t.speaks", "wait=10", gate=gate.name)
    expected = {
        "1.0.0": ["task.running", "progress", "log", "chunk", "progress", "task.success", "end"],
        "2.0.0": ["progress", "log", "chunk", "progress", "task.success", "end"],
        "2.1.3": ["progress", "task.success", "end"],
        "2.1.4": ["task.success", "end"],
        # Cut off in what was said before it came, at the very beginning or at the very end.
        "3.0.0": ["progress", "log", "chunk", "progress", "end"],
        "3.1.3": ["progress", "end"],
        "3.1.4": ["end"],
        "3.2.0": ["end"],
        "2.1.4.end": ["task.success", "end"],
    }
    for last, events in expected.items():
        async with watching(client, task_id, last) as stream:
            assert [frame.event for frame in await stream.until("end")] == ["snapshot", *events], last
    for last in ("3.1.4.end", "3.2.0.end"):
        async with watching(client, task_id, last) as stream:
            assert stream.response.status_code == 204
    for nonsense in ("", "x", "1", "1.2", "1.2.x", "-1.0.0", "99.0.0", "1.1.1.1", "3.1.4.end.", "99.0.0.end", ".end", "9" * 30 + ".0.0", "0.0.0"):
        async with watching(client, task_id, nonsense) as stream:
            assert [frame.event for frame in await stream.until("end")][:2] == ["snapshot", "progress"], nonsense


async def test_an_error_and_a_cancel_are_ends_too(client: httpx2.AsyncClient, gate: Gate) -> None:
    failed = await _submit(client, "t.fails", message="no luck")
    async with watching(client, failed) as stream:
        frames = await stream.until("end")
    assert frames[-1].data["status"] == "error"
    assert frames[-2].event in {"task.error", "snapshot"}
    cancelled = await _submit(client, "t.gated", gate=gate.name)
    await gate.reached()
    async with watching(client, cancelled) as stream:
        assert (await stream.until("snapshot"))[0].data["task"]["status"] == "running"
        await client.post(f"/v1/tasks/{cancelled}/cancel")
        assert [frame.event for frame in await stream.until("end")] == ["task.cancel_requested", "task.cancelled", "end"]


async def test_silence_is_filled_with_heartbeats(client: httpx2.AsyncClient, services: Services, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services.api.gateway, "heartbeat_seconds", 0.05)
    task_id = await _submit(client, "t.gated", gate=gate.name)
    await gate.reached()
    async with watching(client, task_id) as stream:
        frames = await stream.until("heartbeat")
        frames += await stream.until("heartbeat")
        assert (frames[-1].id, frames[-1].data) == ("", {})
        gate.opened.set()
        assert [frame.event for frame in await stream.until("end") if frame.event != "heartbeat"] == ["task.success", "end"]


async def test_each_client_is_told_another_pause_before_it_may_come_back(client: httpx2.AsyncClient) -> None:
    task_id = await _submit(client, "t.echo", "wait=10")
    pauses = set()
    for _ in range(5):
        answer = await client.get(f"/v1/tasks/{task_id}/events", headers={"Accept": "text/event-stream"})
        name, _, pause = answer.text.splitlines()[0].partition(": ")
        assert name == "retry"
        pauses.add(int(pause))
    assert len(pauses) > 1
    assert all(1000 <= pause < 2000 for pause in pauses)


async def test_a_watcher_who_leaves_leaves_nothing_behind(client: httpx2.AsyncClient, services: Services, gate: Gate) -> None:
    task_id = await _submit(client, "t.gated", gate=gate.name)
    await gate.reached()
    nats = await services.api.gateway.bus.connected()
    before = len(nats._subs)
    for _ in range(10):
        async with watching(client, task_id) as stream:
            await stream.next()
    gateway = services.api.gateway
    await eventually(lambda: len(nats._subs) == before and not gateway.hub.watches)


async def test_a_thousand_words_wait_for_a_slow_reader_in_the_store_and_not_in_memory(client: httpx2.AsyncClient) -> None:
    """The reader stops after the first frames; what it does not take is neither lost nor kept for it."""
    task_id = await _submit(client, "t.counts", upto=5000)
    async with watching(client, task_id) as stream:
        frames = await stream.until("snapshot")

        async def ended() -> bool:
            return bool((await client.get(f"/v1/tasks/{task_id}")).json()["status"] == "success")

        await eventually(ended, timeout_seconds=15)
        frames += await stream.until("end")
    assert [frame.data["current"] for frame in frames if frame.event == "progress"] == list(range(1, 5001))
    assert "gap" not in {frame.event for frame in frames}


async def test_words_that_are_lost_are_told_as_a_gap(
    client: httpx2.AsyncClient, services: Services, owner: str, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Words, "patience_seconds", 0.1)
    task_id = await _submit(client, "t.speaks", gate=gate.name)
    await gate.reached()
    async with watching(client, task_id) as stream:
        await stream.until("chunk")
        nats = await services.api.gateway.bus.connected()
        await nats.publish(subjects.live("default", owner, "t.speaks", task_id), b'{"type":"chunk","attempt":1,"n":9,\n"text":"late"}')
        gap, late = await stream.until("chunk")
        assert (gap.event, gap.data) == ("gap", {"attempt": 1, "from": 4, "to": 8})
        assert (late.id, late.data["text"]) == ("2.1.9", "late")


async def test_words_that_were_not_heard_are_read_before_the_end_is_told(client: httpx2.AsyncClient, services: Services, gate: Gate) -> None:
    task_id = await _submit(client, "t.speaks", gate=gate.name)
    await gate.reached()
    async with watching(client, task_id) as stream:
        await stream.until("chunk")
        nats = await services.api.gateway.bus.connected()
        (hearing,) = [subscription for subscription in nats._subs.values() if subscription.subject.endswith(task_id)]
        await hearing.unsubscribe()
        await settled(nats)
        gate.opened.set()
        assert [frame.event for frame in await stream.until("end")] == ["progress", "task.success", "end"]


async def test_what_is_no_word_is_passed_over(client: httpx2.AsyncClient, services: Services, owner: str, gate: Gate) -> None:
    task_id = await _submit(client, "t.speaks", gate=gate.name)
    await gate.reached()
    nats = await services.api.gateway.bus.connected()
    for nonsense in (b"", b"{}", b"\xff", b'{"type":"end","attempt":1,"n":9}', b'{"type":"progress","attempt":"1","n":1}'):
        await nats.publish(subjects.live("default", owner, "t.speaks", task_id), nonsense)
    async with watching(client, task_id) as stream:
        assert [frame.event for frame in await stream.until("chunk")] == ["snapshot", "progress", "log", "chunk"]
        gate.opened.set()
        assert [frame.event for frame in await stream.until("end")] == ["progress", "task.success", "end"]


async def test_a_server_that_stops_ends_its_streams_and_another_goes_on(services: Services, client: httpx2.AsyncClient, gate: Gate) -> None:
    task_id = await _submit(client, "t.speaks", gate=gate.name)
    await gate.reached()
    loop = asyncio.get_running_loop()
    async with serving_api(services.settings) as other:
        elsewhere = httpx2.AsyncClient(base_url=other.url, headers=client.headers, trust_env=False, verify=False)
        async with elsewhere, watching(elsewhere, task_id) as stream:
            frames = await stream.until("chunk")
            started = loop.time()
            other.server.handle_exit(15, None)
            assert await stream.next() is None
        ended = loop.time()
    assert ended - started < 1
    assert loop.time() - ended < 2
    gate.opened.set()
    async with watching(client, task_id, frames[-1].id) as stream:
        assert [frame.event for frame in await stream.until("end")] == ["snapshot", "progress", "task.success", "end"]


async def test_a_request_that_comes_while_the_server_stops_is_not_kept(services: Services, client: httpx2.AsyncClient) -> None:
    submitted = await client.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"})
    async with serving_api(services.settings) as other:
        other.api.gateway.hub.close()
        elsewhere = httpx2.AsyncClient(base_url=other.url, headers=client.headers, trust_env=False, verify=False)
        async with elsewhere, watching(elsewhere, submitted.json()["id"]) as stream:
            assert [frame.event for frame in await stream.until("snapshot")] == ["snapshot"]
            assert await stream.next() is None
            poll = await elsewhere.get(submitted.headers["Location"], headers={"If-None-Match": '"1"', "Prefer": "wait=30"})
            assert poll.status_code == 304


async def test_facts_are_told_without_nats_and_words_once_it_is_back(database_url: str, nats_server: EmbeddedNats, gate: Gate) -> None:
    settings = Settings(database_url=database_url, nats_url=nats_server.url)
    async with serving_api(settings) as served, running_scheduler(settings) as scheduler, running_runner(settings, app) as runner:
        services = Services(settings, served, scheduler, runner)
        async with services.client(await services.token()) as client:
            task_id = await _submit(client, "t.speaks", gate=gate.name)
            await gate.reached()
            async with watching(client, task_id) as stream:
                await stream.until("chunk")
                nats_server.stop()
                submitted = await client.post("/v1/tasks", json={"app": "t.echo"})
                assert submitted.status_code == 202
                async with watching(client, submitted.json()["id"]) as other:
                    assert [frame.event for frame in await other.until("snapshot")] == ["snapshot"]
                    await client.post(f"{submitted.headers['Location']}/cancel")
                    assert [frame.event for frame in await other.until("end")] == ["task.cancelled", "end"]
                nats_server.start()
                gate.opened.set()
                frames = await stream.until("end")
                assert [frame.event for frame in frames if frame.event not in WORDS | {"gap"}] == ["task.success", "end"]


async def test_words_are_told_though_the_store_was_lost(database_url: str, nats_server: EmbeddedNats, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Words, "patience_seconds", 0.1)
    settings = Settings(database_url=database_url, nats_url=nats_server.url)
    async with serving_api(settings) as served, running_scheduler(settings) as scheduler, running_runner(settings, app) as runner:
        services = Services(settings, served, scheduler, runner)
        async with services.client(await services.token("zoe")) as client:
            task_id = await _submit(client, "t.speaks", gate=gate.name)
            await gate.reached()
            async with watching(client, task_id) as stream:
                await stream.until("chunk")
                bus = services.api.gateway.bus
                await (await bus.jetstream()).delete_stream(LIVE)
                await bus.heal()
                nats = await bus.connected()
                for number in (6, 7):
                    word = f'{{"type":"chunk","attempt":1,"n":{number},"text":"late"}}'
                    await nats.publish(subjects.live("default", "zoe", "t.speaks", task_id), word.encode())
                assert [frame.event for frame in await stream.until("chunk")] == ["gap", "chunk"]
                assert [frame.id for frame in await stream.until("chunk")] == ["2.1.7"]
                gate.opened.set()
                assert [frame.event for frame in await stream.until("end")] == ["task.success", "end"]


@pytest.fixture(autouse=True)
async def _no_watch_is_left(services: Services) -> AsyncIterator[None]:
    yield
    await eventually(lambda: not services.api.gateway.hub.watches)
