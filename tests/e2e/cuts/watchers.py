"""Those who watch a task and are cut off all the time: one over HTTP with a reader of its own, one on NATS as others would be.

Each comes back as any client does, at another door if that is open, and says only how far it had got. What they were told
is in their accounts. They end when there is nothing more to be told.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing, suppress
from random import Random
from typing import Any, Final

import httpx2
import msgspec
import nats
import nats.errors
from examples.on_nats import follow_exactly_once as following
from tests.e2e.cuts import account
from tests.e2e.cuts.account import Account
from tests.e2e.cuts.apps import Line
from tests.e2e.cuts.wire import Answer, Frame, Wire

_LONGEST_PAUSE_SECONDS: Final = 0.3
_BEGINS: Final = "task.started.v1"
_SILENT_SECONDS: Final = 20.0
"""Longer than the pause between two heartbeats."""


class Watcher:
    """Watches one task as server-sent events, through doors that are ports of this machine."""

    def __init__(self, task_id: str, token: str, doors: list[int], chance: Random, *, longest_pause_seconds: float = _LONGEST_PAUSE_SECONDS) -> None:
        self.account = Account(task_id)
        self.cuts: Counter[str] = Counter()
        """How its connections ended before the stream did: in the middle of an answer, before any, or by an early farewell."""
        self._task_id, self._token, self._doors, self._chance = task_id, token, doors, chance
        self._longest_pause_seconds = longest_pause_seconds
        self._last_id = ""
        self._has_begun = False

    async def run(self) -> None:
        """Watch until the server says that there is nothing more."""
        while True:
            answer = await self._sit(self._chance.choice(self._doors))
            if answer.status == 204:
                assert self.account.ended, f"{self._task_id}: 204 before the end was told"
                return
            assert answer.status in {0, 200, 503}, f"{self._task_id}: {answer.status}"
            if answer.is_whole:
                self.cuts["farewell"] += answer.status == 200 and not self.account.ended
            else:
                self.cuts["cut" if answer.received_bytes else "refused"] += 1
            await asyncio.sleep(self._chance.uniform(0, self._longest_pause_seconds))

    async def _sit(self, door: int) -> Answer:
        """One connection, from its beginning to its end."""
        place = f"Last-Event-ID: {self._last_id}\r\n" if self._last_id else ""
        request = (
            f"GET /v1/tasks/{self._task_id}/events HTTP/1.1\r\nHost: 127.0.0.1:{door}\r\nAuthorization: Bearer {self._token}\r\n"
            f"Accept: text/event-stream\r\n{place}\r\n"
        )
        answer = Answer(self._last_id)
        self._has_begun = False
        loop = asyncio.get_running_loop()
        try:
            transport, wire = await loop.create_connection(lambda: Wire(request.encode(), answer, self._take), "127.0.0.1", door)
        except OSError:
            return answer
        try:
            received = -1
            while not wire.closed.done():
                assert answer.received_bytes > received, f"{self._task_id}: nothing was heard for {_SILENT_SECONDS:g} s, not even a heartbeat"
                received = answer.received_bytes
                await asyncio.wait({wire.closed}, timeout=_SILENT_SECONDS)
            wire.closed.result()
        finally:
            transport.abort()
        return answer

    def _take(self, frame: Frame) -> None:
        data: dict[str, Any] = msgspec.json.decode(frame.data)
        assert self._has_begun or frame.event == "snapshot", f"{self._task_id}: {frame.event} before the snapshot"
        match frame.event:
            case "snapshot":
                assert not self._has_begun, f"{self._task_id}: a second snapshot"
                self._has_begun = True
                self.account.snapshot(data["task"]["version"], data["task"]["attempt"])
            case "progress" | "log" | "chunk" | "action" as kind:
                self.account.word(data["attempt"], data["n"], _line(kind, data))
            case "gap":
                self.account.gap(data["attempt"], data["from"], data["to"], advances=frame.id != self._last_id)
            case "end":
                self.account.end(data["status"])
            case "heartbeat":
                pass
            case name:
                assert name.startswith("task."), f"{self._task_id}: {name}"
                _take_fact(self.account, data["version"], data["kind"], data["data"])
        self._last_id = frame.id


class Subscriber:
    """Follows one task on NATS, and fills its gaps over HTTP: the published example, thrown away and made anew at random."""

    def __init__(self, task_id: str, nats_url: str, https: list[httpx2.AsyncClient], chance: Random) -> None:
        self.account = Account(task_id)
        self.remade = 0
        """How often it was thrown away and made anew."""
        self._task_id, self._nats_url, self._https, self._chance = task_id, nats_url, https, chance

    async def run(self) -> None:
        """Follow until the task has ended, with a follower after the other."""
        connection = await nats.connect(self._nats_url, max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=_told)
        self.account.snapshot(0, 0)
        seen = following.BEGINNING
        try:
            while True:
                follower = following.Follower(connection, self._chance.choice(self._https), self._task_id, seen, look_seconds=2)
                patience = int(self._chance.expovariate(1 / 400)) + 1
                async with aclosing(follower.follow()) as stories:
                    async for told in stories:
                        self._take(told)
                        patience -= 1
                        if not patience:
                            break
                    else:
                        self.account.end("success" if self.account.facts[-1].kind == "task.succeeded.v1" else self.account.facts[-1].kind)
                        return
                seen = follower.seen
                self.remade += 1
                await asyncio.sleep(self._chance.uniform(0, _LONGEST_PAUSE_SECONDS))
        finally:
            with suppress(OSError):  # it may be cut just now
                await connection.close()

    def _take(self, told: following.Told) -> None:
        match told:
            case following.Fact(version, kind, data):
                _take_fact(self.account, version, kind, data)
            case following.Word(attempt, n, kind, data):
                self.account.word(attempt, n, _line(kind, data))
            case following.Gap(attempt, first, last):
                self.account.gap(attempt, first, last)


def _line(kind: str, data: dict[str, Any]) -> Line:
    return Line(kind, data["text"] if kind == "chunk" else data["message"])


def _take_fact(told: Account, version: int, kind: str, data: dict[str, Any]) -> None:
    told.fact(account.Fact(version, kind), data.get("attempt", 0), begins=kind == _BEGINS, ends=kind in following.ENDINGS)


async def _told(error: Exception) -> None:
    """The connection is cut all the time; the client need not say so."""
