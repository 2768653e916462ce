"""Words that NATS loses on the way, or altogether: they come later, and only what nobody has is missing."""

import httpx2
import pytest
from tests.api.apps import Gate
from tests.api.asking import submit
from tests.api.saying import say
from tests.bus.parts import settled
from tests.services import Services, Watching, watching

from daybook.bus import subjects
from daybook.bus.topology import LIVE
from daybook.testing import eventually
from daybook_api.watching.words import Words


async def _speaking(client: httpx2.AsyncClient, gate: Gate) -> str:
    """A task that has said three things and waits at the gate."""
    task = await submit(client, "t.speaks", {"gate": gate.name}, wait=False)
    await gate.reached()
    return str(task["id"])


async def _deaf(services: Services, task_id: str) -> None:
    """Whatever is said about this task from now on does not arrive."""
    nats = await services.api.gateway.bus.connected()
    (hearing,) = [each for each in nats._subs.values() if each.subject.endswith(task_id)]
    await hearing.unsubscribe()
    await settled(nats)


async def test_a_word_that_was_not_heard_is_told_though_no_other_follows(client: httpx2.AsyncClient, services: Services, owner: str, gate: Gate) -> None:
    task_id = await _speaking(client, gate)
    async with watching(client, task_id) as stream:
        await stream.until("chunk")
        await _deaf(services, task_id)
        await say(services, owner, task_id, range(4, 6), app="t.speaks")
        await services.api.gateway.channels.compare()
        assert [(await stream.until("chunk"))[-1].id for _ in range(2)] == ["2.1.4", "2.1.5"]


async def test_a_word_that_was_overtaken_is_waited_for(client: httpx2.AsyncClient, services: Services, owner: str, gate: Gate) -> None:
    """The fifth word is heard before the fourth; that one is kept in Postgres a moment later."""
    task_id = await _speaking(client, gate)
    async with watching(client, task_id) as stream:
        await stream.until("chunk")
        await say(services, owner, task_id, range(5, 6), app="t.speaks")
        for _ in range(10):  # both stores have been asked for the fourth by then, and have not got it
            await client.get(f"/v1/tasks/{task_id}/output")
        gate.opened.set()
        frames = await stream.until("end")
    assert [(frame.event, frame.id) for frame in frames] == [("progress", "2.1.4"), ("chunk", "2.1.5"), ("task.success", "3.2.0"), ("end", "3.2.0.end")]


async def test_what_nats_forgot_is_told_from_postgres(client: httpx2.AsyncClient, services: Services, owner: str, gate: Gate) -> None:
    gate.opened.set()
    task = await submit(client, "t.speaks", {"gate": gate.name})
    bus = services.api.gateway.bus
    js = await bus.jetstream()
    await js.purge_stream(LIVE, subject=subjects.live("default", owner, "t.speaks", task["id"]))
    for last, expected in {None: ["progress", "log", "chunk", "progress"], "2.1.2": ["chunk", "progress", "task.success"]}.items():
        async with watching(client, task["id"], last) as stream:
            assert [frame.event for frame in await stream.until("end")] == ["snapshot", *expected, "end"]


async def test_a_long_story_is_read_once_for_many(client: httpx2.AsyncClient, services: Services, owner: str, gate: Gate) -> None:
    """Beyond what is held of what was heard, watchers are told what was read for all of them, from wherever they stand."""
    task = await submit(client, "t.gated", {"gate": gate.name}, wait=False)
    await gate.reached()
    task_id = task["id"]
    async with watching(client, task_id) as first:
        await first.until("snapshot")
        await say(services, owner, task_id, range(1, 3001))
        for last in (None, "2.1.1", "2.1.255", "2.1.256", "2.1.1000", "2.1.2999"):
            async with watching(client, task_id, last) as stream:
                start = 0 if last is None else int(last.split(".")[2])
                await stream.until("snapshot")
                assert [await _next_number(stream) for _ in range(3000 - start)] == list(range(start + 1, 3001))
        assert [await _next_number(first) for _ in range(3000)] == list(range(1, 3001))


async def _next_number(stream: Watching) -> int:
    frame = await stream.next()
    assert frame is not None
    assert frame.event == "chunk"
    return int(frame.data["n"])


async def test_what_nobody_has_is_a_gap_once_it_was_waited_for(
    client: httpx2.AsyncClient, services: Services, owner: str, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Words, "patience_seconds", 0.1)
    task_id = await _speaking(client, gate)
    async with watching(client, task_id) as one, watching(client, task_id) as other:
        await one.until("chunk")
        await other.until("chunk")
        await say(services, owner, task_id, range(7, 8), app="t.speaks")
        for stream in (one, other):
            gap, late = await stream.until("chunk")
            assert (gap.event, gap.data, gap.id) == ("gap", {"attempt": 1, "from": 4, "to": 6}, "")
            assert late.id == "2.1.7"


async def test_nothing_is_held_when_everybody_has_gone(client: httpx2.AsyncClient, services: Services, owner: str, gate: Gate) -> None:
    task_id = await _speaking(client, gate)
    channels = services.api.gateway.channels
    async with watching(client, task_id) as stream:
        await stream.until("chunk")
    async with watching(client, task_id) as stream:
        await stream.until("chunk")
        assert channels.held_bytes > 0
    await eventually(lambda: not len(channels) and not channels.held_bytes)


async def test_an_earlier_attempt_is_told_whole_to_whoever_was_cut_off_in_it(client: httpx2.AsyncClient, services: Services, owner: str) -> None:
    """The snapshot of a later attempt says that an earlier one is over, and none of its words."""
    task = await submit(client, "t.careful", {"good": 2})
    await say(services, owner, task["id"], range(1, 4), app="t.careful")
    await say(services, owner, task["id"], range(1, 3), app="t.careful", attempt=2)
    said = ["1.1", "1.2", "1.3", "2.1", "2.2"]
    version = task["version"]
    last: str | None = None
    for place in said:
        async with watching(client, task["id"], last) as stream:
            assert [frame.event for frame in await stream.until("snapshot")] == ["snapshot"]
            (word,) = await stream.until("chunk")
            assert word.id == f"{version}.{place}"
            last = word.id
    async with watching(client, task["id"], last) as stream:
        assert [frame.event for frame in await stream.until("end")] == ["snapshot", "end"]


async def test_what_an_attempt_says_after_it_has_ended_is_not_told(client: httpx2.AsyncClient, services: Services, owner: str, gate: Gate) -> None:
    task_id = await _speaking(client, gate)
    async with watching(client, task_id) as stream, watching(client, task_id) as other:
        await other.until("chunk")
        gate.opened.set()
        cut = (await stream.until("task.success"))[-1].id
        await say(services, owner, task_id, range(5, 6), app="t.speaks")
        async with watching(client, task_id, cut) as back:
            assert [frame.event for frame in await back.until("end")] == ["snapshot", "end"]
        assert [frame.event for frame in await other.until("end")][-2:] == ["task.success", "end"]
