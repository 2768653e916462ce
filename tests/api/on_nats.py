"""Asks the API over NATS, as any client could that knows no more than subjects and JSON."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import nats
from nats.aio.client import Client as Connection


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, as JSON."""
        return json.loads(self.body)


class Asker:
    """Somebody who may ask on one owner's subjects."""

    def __init__(self, connection: Connection, owner: str, namespace: str = "default") -> None:
        self.connection = connection
        self.owner = owner
        self.namespace = namespace

    def subject(self, verb: str) -> str:
        """Where they ask."""
        return f"daybook.{self.namespace}.{self.owner}.api.{verb}"

    async def ask(self, verb: str, headers: dict[str, str] | None = None, /, **fields: Any) -> Reply:
        """Ask with these fields, and nothing at all where there are none."""
        return await self.send(verb, json.dumps(fields).encode() if fields else b"", headers)

    async def send(self, verb: str, payload: bytes, headers: dict[str, str] | None = None) -> Reply:
        """Ask with this very payload."""
        message = await self.connection.request(self.subject(verb), payload, timeout=15, headers=headers)
        assert message.headers is not None
        reply = Reply(int(message.headers["Daybook-Status"]), message.headers, message.data)
        assert message.headers.get("Nats-Service-Error-Code") == (str(reply.status) if reply.status >= 400 else None)
        assert ("Nats-Service-Error" in message.headers) == (reply.status >= 400)
        return reply


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection of our own, for as long as this context."""
    connection = await nats.connect(url, reconnect_time_wait=0.1)
    try:
        yield connection
    finally:
        await connection.close()
