"""What a run of schedules leaves behind, read once when all is decided, as plain values: their streams, the ledger, the tasks of
their slots, and the timers that are still set.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from daybook import ids

_STREAMS = "SELECT stream, version, kind, data, at FROM log.event WHERE kind LIKE ANY (ARRAY['task.%', 'schedule.%', 'slot.%', 'slots.%']) ORDER BY position"
_LEDGER = "SELECT schedule, version, slot, last, count, outcome, reason, task FROM read.slot ORDER BY schedule, version"
_COUNTS = "SELECT id, snapshot -> 'schedule' -> 'counts' AS counts FROM read.schedule"
_TIMERS = "SELECT id, what FROM read.timer WHERE due_at IS NOT NULL"


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it was created: due `offset_seconds` after every multiple of `period_seconds`, from `begun_at` (exclusive) to
    `end_at`. The tasks of one that is not `served` stay queued for ever."""

    stream: UUID
    period_seconds: int
    offset_seconds: int
    overlap: str
    catch_up: str
    jitter_seconds: float
    served: bool
    begun_at: datetime
    end_at: datetime

    @property
    def name(self) -> str:
        """Its public id."""
        return ids.spell("sch", self.stream)


class Fact(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One event; `data` undecoded by anything of the product."""

    version: int
    kind: str
    data: dict[str, Any]
    at: datetime


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row of the ledger."""

    version: int
    slot: datetime
    last: datetime
    count: int
    outcome: str
    reason: str
    task: str


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """One scheduler was killed or frozen at `since`, and was at work again at `until`."""

    scheduler: str
    kind: str
    since: datetime
    until: datetime


class SlotEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `streams` and `ledger` by schedule, `tasks` by public id, `counts` as the read model has them."""

    planned: list[Planned]
    schedulers: list[str]
    troubles: list[Trouble]
    streams: dict[UUID, list[Fact]]
    ledger: dict[UUID, list[Row]]
    counts: dict[UUID, dict[str, int]]
    tasks: dict[str, list[Fact]]
    timers: list[str]


async def read(database_url: str, planned: list[Planned], schedulers: list[str], troubles: list[Trouble]) -> SlotEvidence:
    """Read everything there is about schedules."""
    connection = await asyncpg.connect(database_url, timeout=10, command_timeout=60)
    try:
        events = await connection.fetch(_STREAMS)
        rows = await connection.fetch(_LEDGER)
        counts = {row["id"]: msgspec.json.decode(row["counts"] or "{}") for row in await connection.fetch(_COUNTS)}
        timers = [f"{row['what']} {row['id']}" for row in await connection.fetch(_TIMERS)]
    finally:
        await connection.close()
    found: dict[UUID, list[Fact]] = defaultdict(list)
    for stream, version, kind, data, at in events:
        found[stream].append(Fact(version=version, kind=kind, data=msgspec.json.decode(data), at=at))
    ledger: dict[UUID, list[Row]] = defaultdict(list)
    for schedule, version, slot, last, count, outcome, reason, task in rows:
        name = "" if task is None else ids.spell("tsk", task)
        ledger[schedule].append(Row(version=version, slot=slot, last=last, count=count, outcome=outcome, reason=reason, task=name))
    return SlotEvidence(
        planned=planned,
        schedulers=schedulers,
        troubles=troubles,
        streams={stream: facts for stream, facts in found.items() if facts[0].kind.startswith("schedule.")},
        ledger=dict(ledger),
        counts=counts,
        tasks={ids.spell("tsk", stream): facts for stream, facts in found.items() if facts[0].kind.startswith("task.")},
        timers=timers,
    )


def instant(text: str) -> datetime:
    """An instant as facts spell it."""
    return datetime.fromisoformat(text)


def every(period_seconds: int, first: datetime, last: datetime) -> list[datetime]:
    """The instants from the first to the last, both included, that far apart."""
    return [first + number * timedelta(seconds=period_seconds) for number in range((last - first) // timedelta(seconds=period_seconds) + 1)]
