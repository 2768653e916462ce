"""A page of messages in one write: the server reads what was meant."""

from __future__ import annotations

import asyncio

import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from tests.bus.parts import settled

from daybook.bus.jetstream import Bus
from daybook.bus.pages import Message, publish_page
from daybook.testing import eventually
from daybook_local.nats import EmbeddedNats


async def test_what_is_read_back_is_what_was_written(bus: Bus, client: Client) -> None:
    heard: asyncio.Queue[Msg] = asyncio.Queue()
    await client.subscribe("a.>", cb=heard.put)
    await settled(client)
    sent = [
        ("a.plain", b'{"n":1}', {"ce-id": "evt_1", "ce-time": "2026-03-14T12:00:00+00:00"}),
        ("a.empty", b"", {"ce-id": "evt_2"}),
        ("a.bare", b"body", {}),
        ("a.binary", bytes(range(256)) + b"\r\nPUB a.forged 0\r\n\r\n", {"ce-id": "evt_4"}),
        ("a.long", b"x" * 100_000, {"ce-id": "ü"}),
    ]
    messages = [Message(subject, "".join(f"{name}: {value}\r\n" for name, value in headers.items()), body) for subject, body, headers in sent]
    await publish_page(await bus.connected(), messages * 20)
    for subject, body, headers in sent * 20:
        message = await asyncio.wait_for(heard.get(), 5)
        assert (message.subject, message.data, message.headers or {}) == (subject, body, headers)
    assert heard.empty()


async def test_no_page_is_no_error(bus: Bus) -> None:
    await publish_page(await bus.connected(), [])


async def test_it_goes_before_what_is_published_after_it(bus: Bus, client: Client) -> None:
    heard: asyncio.Queue[Msg] = asyncio.Queue()
    await client.subscribe("a.>", cb=heard.put)
    await settled(client)
    connection = await bus.connected()
    await connection.publish("a.first", b"")
    await publish_page(connection, [Message("a.second", "", b"")])
    await connection.publish("a.third", b"")
    assert [(await asyncio.wait_for(heard.get(), 5)).subject for _ in range(3)] == ["a.first", "a.second", "a.third"]


async def test_a_page_is_refused_while_the_server_is_away(bus: Bus, nats_server: EmbeddedNats) -> None:
    connection = await bus.connected()
    nats_server.stop()
    await eventually(lambda: not connection.is_connected)
    with pytest.raises(nats.errors.ConnectionReconnectingError):
        await publish_page(connection, [Message("a.lost", "", b"")])
