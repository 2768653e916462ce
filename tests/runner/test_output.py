"""What attempts say: numbered, in order, bounded, and never in the way of the work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec
import nats
import pytest
import pytest_asyncio
from nats.js.errors import NotFoundError
from tests.bus.parts import EMPTY_INPUT, running_bus

from daybook import App, ids
from daybook.bus import topology
from daybook.bus.jetstream import Bus
from daybook.domain.events import TaskStarted, TaskSubmitted
from daybook.domain.task import fold
from daybook.lifecycle import Duties
from daybook.testing import NOON, eventually
from daybook_local.nats import EmbeddedNats
from daybook_runner import output as output_module
from daybook_runner.attempt import Attempt
from daybook_runner.output import Output, Voice

app = App("images")


@app.task
def resize() -> None:
    """Nothing."""


@pytest_asyncio.fixture(loop_scope="session")
async def bus(nats_server: EmbeddedNats) -> AsyncIterator[Bus]:
    async with running_bus(nats_server.url) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def output(bus: Bus) -> AsyncIterator[Output]:
    made, duties = Output(bus), Duties()
    duties.add("output", made.run)
    duties.start()
    yield made
    await duties.stop()


def attempt(number: int = 1) -> Attempt:
    submitted = TaskSubmitted(owner="ann", app="images.resize", app_version="1", input=EMPTY_INPUT.content)
    task = fold([(submitted, NOON), (TaskStarted(attempt=number, runner="run_1"), NOON)])
    assert task is not None
    stream = ids.new_id()
    definition = app.definitions["images.resize"]
    return Attempt(stream=stream, task_id=ids.spell("tsk", stream), namespace="default", task=task, definition=definition, input=b"{}")


async def heard(server: EmbeddedNats) -> list[tuple[str, Any]]:
    """Everything on the stream of live output: subject and message."""
    connection = await nats.connect(server.url)
    js = connection.jetstream()
    try:
        state = (await js.stream_info(topology.LIVE)).state
        numbers = range(state.first_seq, state.last_seq + 1) if state.messages else range(0)
        messages = [await js.get_msg(topology.LIVE, number) for number in numbers]
        return [(str(message.subject), msgspec.json.decode(message.data or b"")) for message in messages]
    except NotFoundError:
        return []
    finally:
        await connection.close()


async def heard_of(server: EmbeddedNats, voice: Voice) -> list[int]:
    """The numbers of the messages of one attempt."""
    connection = await nats.connect(server.url)
    try:
        info = await connection.jetstream().stream_info(topology.LIVE, subjects_filter=">")
        return list(range((info.state.subjects or {}).get(voice.subject, 0)))
    finally:
        await connection.close()


async def _are_stored(server: EmbeddedNats, voice: Voice, count: int) -> bool:
    return len(await heard_of(server, voice)) == count


async def numbers(server: EmbeddedNats, count: int) -> list[int]:
    """The numbers of the messages, once there are so many."""

    async def enough() -> list[int] | None:
        found = [message["n"] for _, message in await heard(server)]
        return found if len(found) >= count else None

    return await eventually(enough) or []


async def test_words_are_numbered_and_told_under_the_task(output: Output, nats_server: EmbeddedNats) -> None:
    working = attempt(2)
    voice = output.voice(working)
    voice.emit("progress", {"current": 1})
    voice.emit("chunk", {"text": "ß"})
    await output.sent()
    assert await numbers(nats_server, 2) == [1, 2]
    (subject, first), (_, second) = await heard(nats_server)
    assert subject == f"daybook.default.ann.live.images-resize.{working.task_id}"
    assert {name: first[name] for name in ("type", "attempt", "n", "current")} == {"type": "progress", "attempt": 2, "n": 1, "current": 1}
    assert (second["text"], second["at"].endswith("Z")) == ("ß", True)


async def test_each_attempt_counts_for_itself(output: Output, nats_server: EmbeddedNats) -> None:
    voices = [output.voice(attempt()) for _ in range(3)]
    for _ in range(5):
        for voice in voices:
            voice.emit("log", {"message": "said"})
    await output.sent()
    assert await numbers(nats_server, 15) == [number for number in range(1, 6) for _ in range(3)]


async def test_a_long_chunk_is_told_in_pieces(output: Output, nats_server: EmbeddedNats) -> None:
    voice = output.voice(attempt())
    text = "".join(chr(0x1F600 + number % 64) for number in range(50_000))
    voice.emit("chunk", {"text": text})
    await voice.end()
    told = [message for _, message in await heard(nats_server)]
    assert [message["n"] for message in told] == [1, 2, 3, 4]
    assert "".join(message["text"] for message in told) == text


async def test_what_is_too_long_is_cut_where_it_stands(output: Output, nats_server: EmbeddedNats) -> None:
    voice = output.voice(attempt())
    voice.emit("log", {"level": "info", "message": "x" * 300_000, "fields": {"a": 1, "b": "y" * 100_000}})
    voice.emit("action", {"action": "tool.call.end", "id": "call_1", "result": {"rows": ["z" * 100] * 5_000}})
    voice.emit("progress", {"current": {1, 2}})
    await voice.end()
    (_, line), (_, action), (_, last) = await heard(nats_server)
    assert line["message"].endswith(f"x… ({300_000 - 65_536} bytes were cut)")
    assert (line["fields"]["a"], "bytes were cut" in line["fields"]["b"]) == (1, True)
    assert (action["action"], action["id"], "bytes were cut" in action["result"]["rows"]) == ("tool.call.end", "call_1", True)
    assert last["n"] == 3


@pytest.mark.parametrize("value", [float("nan"), 10**40, "\ud800\0", [{"a": object()}]])
async def test_anything_can_be_said(output: Output, nats_server: EmbeddedNats, value: object) -> None:
    voice = output.voice(attempt())
    voice.emit("action", {"action": "odd", "value": value})
    voice.emit("chunk", {"text": "y"})
    await voice.end()
    assert [message["n"] for _, message in await heard(nats_server)] == [1, 2]


async def test_when_it_has_been_sent_nats_has_it(output: Output, nats_server: EmbeddedNats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_module, "_SEND_SECONDS", 10.0)  # however slow this machine is
    for _ in range(20):
        voice = output.voice(attempt())
        for _ in range(50):
            voice.emit("chunk", {"text": "x" * 1_000})
        await output.sent()
        # Asked on another connection, as whoever is told of the end is. The server has the words, and may be a moment from storing the last of them.
        await eventually(partial(_are_stored, nats_server, voice, 50), 2)


async def test_while_nats_is_away_it_remembers_the_latest_and_waits_for_nobody(bus: Bus, nats_server: EmbeddedNats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_module, "_BOUND", 10)
    made, duties = Output(bus), Duties()
    duties.add("output", made.run)
    duties.start()
    try:
        nats_server.kill()
        await eventually(lambda: not bus.is_connected)
        voice = made.voice(attempt())
        for number in range(1, 101):
            voice.emit("progress", {"current": number})
        async with asyncio.timeout(0.5):
            await made.sent()
        nats_server.start()
        told = await numbers(nats_server, 10)
        # The oldest are gone, and the numbers say so.
        assert told == list(range(101 - len(told), 101))
        assert len(told) <= 11
    finally:
        await duties.stop()


async def test_words_said_before_the_first_connection_are_not_lost(nats_server: EmbeddedNats) -> None:
    nats_server.stop()
    async with running_bus(nats_server.url, ready=False) as bus:
        made, duties = Output(bus), Duties()
        duties.add("output", made.run)
        duties.start()
        voice = made.voice(attempt())
        for _ in range(3):
            voice.emit("chunk", {"text": "early"})
        nats_server.start()
        assert await numbers(nats_server, 3) == [1, 2, 3]
        await duties.stop()
