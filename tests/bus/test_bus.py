"""The connection to NATS: never waited for by those who do not need it, and there again by itself, whatever happened to the server."""

from __future__ import annotations

import asyncio

import nats
import pytest
from nats.aio.msg import Msg
from tests.bus.parts import running_bus

from daybook.bus import subjects
from daybook.bus.jetstream import Bus
from daybook.bus.pages import Message, publish_page
from daybook.testing import eventually
from daybook_local.nats import EmbeddedNats


async def test_it_connects_when_the_server_comes(nats_server: EmbeddedNats) -> None:
    nats_server.stop()
    async with running_bus(nats_server.url, ready=False) as bus:
        bus.poke(0, 1, set())  # nobody is there to hear it, and nobody minds
        assert not bus.is_connected
        nats_server.start()
        await asyncio.wait_for(bus.connected(), 5)
        assert bus.is_connected


async def test_whoever_needs_it_waits_while_it_is_away(bus: Bus, nats_server: EmbeddedNats) -> None:
    losses = bus.losses
    nats_server.kill()
    await eventually(lambda: not bus.is_connected)
    bus.poke(0, 1, set())
    waiting = asyncio.ensure_future(bus.connected())
    nats_server.start()
    connection = await asyncio.wait_for(waiting, 5)
    assert connection.is_connected
    assert bus.is_connected
    assert bus.losses > losses  # what was rung before may be gone


async def test_it_listens_again_after_a_restart(nats_server: EmbeddedNats) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear(message: Msg) -> None:
        heard.put_nowait(message.data)

    bus = Bus(nats_server.url, "a test")
    bus.on_message("daybook.control.one", hear)
    running = asyncio.create_task(bus.run())
    try:
        await bus.connected()
        await say(nats_server, b"first")
        assert await asyncio.wait_for(heard.get(), 5) == b"first"
        losses = bus.losses
        nats_server.stop()
        nats_server.start()
        await eventually(lambda: bus.losses > losses)
        await say(nats_server, b"second")
        assert await asyncio.wait_for(heard.get(), 5) == b"second"
    finally:
        running.cancel()
        await bus.close()


async def test_a_client_that_gave_up_is_replaced(bus: Bus) -> None:
    """The server ends a connection that sends too much at once, and the client takes that for the end of everything."""
    first = await bus.connected()
    await publish_page(first, [Message("daybook.work.default", "", bytes(first.max_payload + 1))])
    await eventually(lambda: first.is_closed)
    second = await asyncio.wait_for(bus.connected(), 10)
    assert second is not first
    await second.publish(subjects.POKE)
    await second.flush()


async def test_a_refused_password_is_tried_again(bus: Bus, nats_server: EmbeddedNats) -> None:
    password = nats_server.folder / "password"
    right = password.read_text()
    nats_server.stop()
    password.write_text("x" * len(right))
    nats_server.start()
    await eventually(lambda: b"authentication error" in nats_server.log_path.read_bytes())
    nats_server.stop()
    password.write_text(right)
    nats_server.start()
    assert (await asyncio.wait_for(bus.connected(), 10)).is_connected


async def test_a_bus_without_a_server_closes_at_once(nats_server: EmbeddedNats) -> None:
    nats_server.stop()
    async with asyncio.timeout(3):
        async with running_bus(nats_server.url, ready=False):
            pass


@pytest.mark.parametrize("times", [1, 2])
async def test_closing_is_for_good(nats_server: EmbeddedNats, times: int) -> None:
    async with running_bus(nats_server.url) as bus:
        for _ in range(times):
            await bus.close()
        assert not bus.is_connected


async def say(server: EmbeddedNats, words: bytes) -> None:
    connection = await nats.connect(server.url)
    await connection.publish("daybook.control.one", words)
    await connection.close()
