"""What attempts say: numbered, in order, bounded, and never in the way of the work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
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
from daybook_runner.output import Output

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


async def test_what_is_too_large_is_told_of_and_not_told(output: Output, nats_server: EmbeddedNats) -> None:
    voice = output.voice(attempt())
    voice.emit("chunk", {"text": "x" * 300_000})
    voice.emit("chunk", {"text": "y"})
    await output.sent()
    assert await numbers(nats_server, 2) == [1, 2]
    (_, first), (_, second) = await heard(nats_server)
    assert (first["type"], "too large" in first["message"], second["text"]) == ("log", True, "y")


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
