"""Nobody was there for three hours: what becomes of the slots that were due meanwhile is exactly what each schedule says, not all at once, and the
ledger accounts for every one of them.

The schedules were created three hours ago by the log's own account; then one real scheduler starts. `SCHEDULES=1000` makes it that many.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, NamedTuple
from uuid import UUID

import pytest
from tests.e2e.house import House, start

from daybook import ids
from daybook.domain.cadence import Cadence
from daybook.domain.schedule_events import CatchUp, Overlap, Rule, ScheduleCreated, Work
from daybook.log import codec
from daybook.log.connections import Connection, connect
from daybook.testing import eventually

SCHEDULES: Final = int(os.environ.get("SCHEDULES", "110"))
AWAY: Final = timedelta(hours=3)
LATEST: Final = timedelta(seconds=25)
"""How long ago the latest slot was when everything began: long enough to be late, and the next one is far."""
PACE: Final = timedelta(milliseconds=250)
MINUTE, FIVE, HOUR = 60, 300, 3600
_INPUT: Final = codec.seal(b"{}")
_INSERT: Final = """
INSERT INTO log.event (lane, position, stream, version, id, kind, namespace, data, payload, at)
SELECT n % 64, nextval('log.position'), stream, 1, stream, 'schedule.created.v1', 'default', data, $3, $4
FROM unnest($1::uuid[], $2::json[]) WITH ORDINALITY AS s (stream, data, n)"""
_DECIDED: Final = "SELECT sum(count) FROM read.slot WHERE slot <= $1"
_LEDGER: Final = "SELECT schedule, slot, last, count, outcome, reason, task, decided_at FROM read.slot WHERE slot <= $1 ORDER BY schedule, slot"
_TASKS: Final = "SELECT stream FROM log.event WHERE kind = 'task.submitted.v1'"


class Policy(NamedTuple):
    """A rule, and what becomes of its slots: so many of the newest fire, those before were too many, those before were missed."""

    period: int
    catch_up: CatchUp
    window_seconds: float
    missed: int
    limit: int
    fired: int
    overlap: Overlap = "allow"
    older_by: timedelta = timedelta()
    """By how much its latest slot is older than the others'."""


POLICIES: Final = (
    Policy(MINUTE, "none", 3600, missed=180, limit=0, fired=0),
    Policy(FIVE, "none", 3600, missed=36, limit=0, fired=0),
    Policy(MINUTE, "latest", 3600, missed=179, limit=0, fired=1, overlap="skip"),
    Policy(FIVE, "latest", 3600, missed=35, limit=0, fired=1),
    Policy(HOUR, "latest", 3600, missed=2, limit=0, fired=1, older_by=timedelta(minutes=40)),
    Policy(HOUR, "latest", 1820, missed=3, limit=0, fired=0, older_by=timedelta(minutes=40)),
    Policy(MINUTE, "all", 1820, missed=150, limit=0, fired=30),
    Policy(MINUTE, "all", 7220, missed=60, limit=20, fired=100),
    Policy(MINUTE, "all", 14400, missed=0, limit=80, fired=100),
    Policy(FIVE, "all", 14400, missed=0, limit=0, fired=36),
    Policy(HOUR, "all", 14400, missed=0, limit=0, fired=3),
)


class Decided(NamedTuple):
    """What became of one slot, and when that was said."""

    outcome: str
    at: datetime


@pytest.mark.slow
async def test_after_three_hours_without_a_scheduler_every_slot_is_accounted_for(house: House) -> None:
    database = await connect(house.database_url, None)
    now: datetime = await database.fetchval("SELECT date_trunc('second', clock_timestamp())")
    schedules = await created(database, now)
    await start(house.add_api(), house.add_scheduler())
    total = sum(policy.missed + policy.limit + policy.fired for policy in schedules.values())

    async def all_decided() -> bool:
        return bool(await database.fetchval(_DECIDED, now) == total)

    await eventually(all_decided, 100)
    ledger = await slots_of(database, schedules, now)
    for stream, policy in schedules.items():
        expected = dict(zip(due(policy, now), whats(policy), strict=True))
        assert {slot: decided.outcome for slot, decided in ledger[stream].items()} == expected, policy
    firsts = [fires_of(ledger[stream])[0] for stream, policy in schedules.items() if policy.fired]
    assert_spread(firsts)
    for stream in schedules:
        assert all(later - earlier >= PACE for earlier, later in pairwise(fires_of(ledger[stream])))
    fired = [ids.derive_id("slot", ids.spell("sch", stream), f"{slot:%Y-%m-%dT%H:%M:%SZ}") for stream in schedules for slot, each in ledger[stream].items()
             if each.outcome == "fired"]  # fmt: skip
    tasks: Counter[UUID] = Counter(row["stream"] for row in await database.fetch(_TASKS))
    assert all(tasks[task] == 1 for task in fired)
    took = max(fires_of(ledger[stream])[-1] for stream, policy in schedules.items() if policy.fired) - min(firsts)
    became = Counter(each.outcome for slots in ledger.values() for each in slots.values())
    print(f"{len(schedules)} schedules, {total} slots: {dict(became)}; the first of each fired within {max(firsts) - min(firsts)}, all within {took}")
    await database.close()


async def created(database: Connection, now: datetime) -> dict[UUID, Policy]:
    """Put the schedules into the log, three hours ago."""
    schedules = {ids.new_id(): policy for policy, _ in zip(itertools.cycle(POLICIES), range(SCHEDULES), strict=False)}
    facts = [codec.encode(ScheduleCreated(owner="ann", rule=rule(policy, now), work=work())) for policy in schedules.values()]
    await database.execute(_INSERT, list(schedules), facts, _INPUT.payload, now - AWAY)
    return schedules


def rule(policy: Policy, now: datetime) -> Rule:
    latest = now - LATEST - policy.older_by
    minutes = {MINUTE: "*", FIVE: f"{latest.minute % 5}-59/5", HOUR: str(latest.minute)}[policy.period]
    cadence = Cadence(cron=f"{latest.second} {minutes} * * * *", seconds=True)
    return Rule(cadence=cadence, overlap=policy.overlap, catch_up=policy.catch_up, catch_up_window_seconds=policy.window_seconds)


def work() -> Work:
    return Work(app="hello", app_version="1", input=_INPUT.content, queue="nobody")


def due(policy: Policy, now: datetime) -> list[datetime]:
    """Its slots until now, by arithmetic."""
    latest, period = now - LATEST - policy.older_by, timedelta(seconds=policy.period)
    return [latest - number * period for number in reversed(range((latest - (now - AWAY)) // period + 1))]


def whats(policy: Policy) -> list[str]:
    """What is to become of them."""
    return ["missed"] * policy.missed + ["limit"] * policy.limit + ["fired"] * policy.fired


async def slots_of(database: Connection, schedules: dict[UUID, Policy], now: datetime) -> dict[UUID, dict[datetime, Decided]]:
    """The ledger, slot by slot. No slot is in it twice, and a run of slots counts as many as there are."""
    ledger: dict[UUID, dict[datetime, Decided]] = {stream: {} for stream in schedules}
    for row in await database.fetch(_LEDGER, now):
        period = timedelta(seconds=schedules[row["schedule"]].period)
        slots = [row["slot"] + number * period for number in range((row["last"] - row["slot"]) // period + 1)]
        assert len(slots) == row["count"]
        for slot in slots:
            assert slot not in ledger[row["schedule"]]
            ledger[row["schedule"]][slot] = Decided("fired" if row["outcome"] == "fired" else row["reason"], row["decided_at"])
    return ledger


def fires_of(slots: dict[datetime, Decided]) -> list[datetime]:
    """When slots fired, in their order."""
    return [slots[slot].at for slot in sorted(slots) if slots[slot].outcome == "fired"]


def assert_spread(firsts: list[datetime]) -> None:
    """Over five seconds; in none of them more than half of all that fire."""
    begin = min(firsts)
    assert max(firsts) - begin > timedelta(seconds=3)
    seconds = Counter((first - begin) // timedelta(seconds=1) for first in firsts)
    assert max(seconds.values()) <= len(firsts) / 2, seconds
