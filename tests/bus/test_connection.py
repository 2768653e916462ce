"""A connection hears on, whatever somebody else publishes."""

import asyncio
import json
import socket
from urllib.parse import urlsplit

import pytest
from nats.aio.msg import Msg

from daybook.bus.jetstream import Bus

HEADERS = {
    "one that ends too soon": b"NATS/1.0",
    "one of a single byte": b"x",
    "a status that is no text": b"NATS/1.0 \xff\xff\xff\r\n\r\n",
    "a description that is no text": b"NATS/1.0 503 \xff\xff\xff\r\n\r\n",
    "a value that is no text": b"NATS/1.0\r\nA: \xff\xff\r\n\r\n",
    "a line that is none": b"NATS/1.0\r\nhmm\r\n\r\n",
}
BAD = {name: b"HPUB steady %d %d\r\n%s\r\n" % (len(header), len(header), header) for name, header in HEADERS.items()}
BAD["a reply subject that is no text"] = b"PUB steady _INBOX.\xff 0\r\n\r\n"


def publish(url: str, frame: bytes) -> None:
    """Say these very bytes to the server, as no client would; returns when it has read them."""
    parts = urlsplit(url)
    credentials = {"user": parts.username, "pass": parts.password} if parts.password else {"auth_token": parts.username}
    options = json.dumps({"verbose": False, "pedantic": False, "headers": True, **credentials}).encode()
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection, connection.makefile("rb") as said:
        connection.sendall(b"CONNECT " + options + b"\r\n" + frame + b"PING\r\n")
        while not (line := said.readline()).startswith(b"PONG"):
            assert line
            assert not line.startswith(b"-ERR")


@pytest.mark.parametrize("name", BAD)
async def test_a_message_that_cannot_be_read_ends_nothing(nats_url: str, name: str) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear(message: Msg) -> None:
        await heard.put(message.data)

    bus = Bus(nats_url, "test")
    bus.on_message("steady", hear)
    running = asyncio.create_task(bus.run())
    try:
        await bus.connected()
        await asyncio.to_thread(publish, nats_url, BAD[name] + b"PUB steady 5\r\nafter\r\n")
        async with asyncio.timeout(5):
            while await heard.get() != b"after":
                pass  # some clients can make something of it
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await bus.close()
