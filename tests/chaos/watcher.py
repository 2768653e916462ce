"""The watcher: what somebody learns who believes NATS. It reads every fact that the stream of facts keeps, and forgets none.

It asks the server directly, past every proxy. Facts that NATS lost with its store before anybody could read them are `excused`, by
the time of their events; whoever wipes the store says so.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import asyncpg
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from daybook import clock, ids
from daybook.bus import subjects, topology
from daybook.bus.messages import encode_bell

_STEP_SECONDS: Final = 5.0
_MARGIN: Final = timedelta(seconds=2)
_BETWEEN = "SELECT id FROM log.event WHERE at BETWEEN $1 AND $2"
_RECENT = "SELECT DISTINCT stream FROM (SELECT stream FROM log.event WHERE kind LIKE 'task.%' ORDER BY position DESC LIMIT $1) AS recent"


class Watcher:
    """Hears facts, and can say them again."""

    def __init__(self, nats_url: str, database_url: str) -> None:
        self.told: set[str] = set()
        self.excused: set[str] = set()
        self._url, self._database_url = nats_url, database_url
        self._made_at: datetime | None = None
        self._next = 1
        self._read_at = clock.now()

    async def catch_up(self) -> None:
        """Read all facts that were stored since the last time."""
        connection = await self._connect()
        try:
            try:
                info = await connection.jetstream().stream_info(topology.FACTS)
            except NotFoundError:
                return
            if info.created != self._made_at:
                self._made_at, self._next = info.created, 1
            last = info.state.last_seq
            for message in await _messages(connection, self._next, last):
                self.told.add((message.headers or {})["ce-id"])
            self._next = max(self._next, last + 1)
            self._read_at = clock.now()
        finally:
            await connection.close()

    async def excuse(self) -> None:
        """The store was wiped a moment ago: what was told since the last reading may be lost."""
        connection = await asyncpg.connect(self._database_url, timeout=10)
        try:
            rows = await connection.fetch(_BETWEEN, self._read_at - _MARGIN, clock.now())
        finally:
            await connection.close()
        self.excused |= {ids.spell("evt", row["id"]) for row in rows}

    async def delete_consumer(self) -> None:
        """Take the runners' consumer away."""
        connection = await self._connect()
        try:
            await connection.jetstream().delete_consumer(topology.WORK, str(topology.consumer_of("default").durable_name))
        finally:
            await connection.close()

    async def delete_stream(self) -> None:
        """Take all doorbells away, and their stream."""
        connection = await self._connect()
        try:
            await connection.jetstream().delete_stream(topology.WORK)
        finally:
            await connection.close()

    async def say_again(self, count: int) -> None:
        """Publish the latest facts once more, some under their own id and some without any, and ring for tasks of every state."""
        database = await asyncpg.connect(self._database_url, timeout=10)
        try:
            tasks = [row["stream"] for row in await database.fetch(_RECENT, count)]
        finally:
            await database.close()
        connection = await self._connect()
        try:
            last = (await connection.jetstream().stream_info(topology.FACTS)).state.last_seq
            for number, message in enumerate(await _messages(connection, max(last - count, 1), last)):
                headers = {name: value for name, value in (message.headers or {}).items() if number % 2 or name != "Nats-Msg-Id"}
                await connection.publish(message.subject, message.data, headers=headers)
            for _ in range(3):
                for task in tasks:
                    await connection.publish(subjects.work("default"), encode_bell([task]))
            await connection.flush()
        finally:
            await connection.close()

    async def whisper(self) -> None:
        """Publish the latest fact once more, under no id: whoever counts the facts of the stream has one too few."""
        connection = await self._connect()
        try:
            last = (await connection.jetstream().stream_info(topology.FACTS)).state.last_seq
            for message in await _messages(connection, last, last):
                headers = {name: value for name, value in (message.headers or {}).items() if name.startswith("ce-")}
                await connection.publish(message.subject, message.data, headers=headers)
            await connection.flush()
        finally:
            await connection.close()

    async def _connect(self) -> Client:
        return await nats.connect(self._url, connect_timeout=5, allow_reconnect=False)


async def _messages(connection: Client, first: int, last: int) -> list[Msg]:
    """What the stream of facts keeps from one sequence number to another."""
    if last < first:
        return []
    config = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=first, inactive_threshold=10)
    subscription = await connection.jetstream().subscribe(">", stream=topology.FACTS, ordered_consumer=True, config=config)
    found: list[Msg] = []
    while not found or found[-1].metadata.sequence.stream < last:
        found.append(await subscription.next_msg(timeout=_STEP_SECONDS))
    return found
