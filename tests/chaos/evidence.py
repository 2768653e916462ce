"""Everything that can be known at one quiet moment, read once, as plain values: the log, the read model, the ledger, the facts that were told.

Nobody writes while this is read, so two sources that disagree do disagree.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from daybook import ids

from .history import History

_EVENTS = "SELECT stream, version, id, kind, data, at FROM log.event ORDER BY position"
_RUNNERS = "SELECT id, host FROM daybook.runner"


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One event, as the log has it. `data` is the fact, undecoded by anything of the product."""

    stream: UUID
    version: int
    id: str
    kind: str
    data: dict[str, Any]
    at: datetime


class Effect(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line of the ledger of effects."""

    task: str
    attempt: int
    pid: int
    at: float
    phase: str


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `tasks` are the streams of tasks by public id; `told` the ids of all facts that anybody heard."""

    tasks: dict[str, list[Entry]]
    others: dict[UUID, list[Entry]]
    rows: dict[str, dict[str, Any]]
    effects: list[Effect]
    told: frozenset[str]
    excused: frozenset[str]
    """Events whose facts need not have been heard: NATS lost them together with its store, before the watcher came to read."""
    acknowledged: frozenset[str]
    cancelled: frozenset[str]
    attempted: dict[str, str]
    answers: list[tuple[str, str]]
    """Each key that was answered with a task, and that task."""
    oddities: list[str]
    """Answers that nobody should get."""
    pids: dict[str, int]
    """The process that each runner was."""

    @property
    def entries(self) -> list[Entry]:
        """All events of all streams."""
        return [entry for stream in (*self.tasks.values(), *self.others.values()) for entry in stream]


async def read(database_url: str, folder: Path, history: History, *, told: set[str], excused: set[str]) -> Evidence:
    """Read everything there is."""
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        events = await connection.fetch(_EVENTS)
        rows = await connection.fetch("SELECT * FROM read.task")
        runners = await connection.fetch(_RUNNERS)
    finally:
        await connection.close()
    tasks, others = await asyncio.to_thread(_streams, events)
    return Evidence(
        tasks=tasks,
        others=others,
        rows={ids.spell("tsk", row["id"]): dict(row) for row in rows},
        effects=await asyncio.to_thread(_effects, folder / "ledger.jsonl"),
        told=frozenset(told),
        excused=frozenset(excused),
        acknowledged=frozenset(history.acknowledged()),
        cancelled=frozenset(history.cancelled()),
        attempted=dict(history.attempted),
        answers=[(asked.key, asked.task) for asked in history.asked if asked.outcome == "ok"],
        oddities=history.oddities(),
        pids={row["id"]: int(row["host"].rpartition(":")[2]) for row in runners},
    )


def _streams(events: list[asyncpg.Record]) -> tuple[dict[str, list[Entry]], dict[UUID, list[Entry]]]:
    """The streams of tasks by their public ids, and all others."""
    streams: dict[UUID, list[Entry]] = defaultdict(list)
    for stream, version, id_, kind, data, at in events:
        streams[stream].append(Entry(stream=stream, version=version, id=ids.spell("evt", id_), kind=kind, data=msgspec.json.decode(data), at=at))
    tasks = {ids.spell("tsk", stream): entries for stream, entries in streams.items() if entries[0].kind.startswith("task.")}
    return tasks, {stream: entries for stream, entries in streams.items() if not entries[0].kind.startswith("task.")}


def _effects(path: Path) -> list[Effect]:
    if not path.exists():
        return []
    decoder = msgspec.json.Decoder(Effect)
    return [decoder.decode(line) for line in path.read_bytes().splitlines()]
