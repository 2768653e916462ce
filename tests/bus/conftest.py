"""Fixtures of the bus' tests."""

from collections.abc import AsyncIterator

import nats
import pytest_asyncio
from nats.aio.client import Client
from nats.js import JetStreamContext
from tests.bus.parts import running_bus

from daybook.bus.jetstream import Bus
from daybook_local.nats import EmbeddedNats


@pytest_asyncio.fixture(loop_scope="session")
async def bus(nats_server: EmbeddedNats) -> AsyncIterator[Bus]:
    """A bus that is connected to a nats-server of its own."""
    async with running_bus(nats_server.url) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def client(nats_server: EmbeddedNats) -> AsyncIterator[Client]:
    """Another client of that server, to look from outside."""
    connection = await nats.connect(nats_server.url, reconnect_time_wait=0.1)
    yield connection
    await connection.close()


@pytest_asyncio.fixture(loop_scope="session")
async def js(client: Client) -> JetStreamContext:
    """Its JetStream."""
    return client.jetstream()
