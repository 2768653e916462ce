"""Schedules under chaos: three schedulers are killed and frozen at random while two hundred schedules are due, and every slot must be accounted for.

    python -m tests.chaos.schedules --seed 7 --seconds 60     freezes of 30 s, and once all three of them at once
    python -m tests.chaos.schedules                           the short tier: 15 s, freezes of 7 s

The processes are those of `fleet`: one API, three schedulers, one runner, each behind proxies of its own. The schedules are put into the
log as the API would put them there. Most are due every second and leave their tasks queued, in a queue that nobody serves; some have their tasks run,
with every way to overlap; a fifth are due every minute. They end a few seconds after the last fault, and when nothing is left to decide, the log,
the ledger and the tasks are compared with what arithmetic says (`slot_checker`).

Prints a line of JSON with the counts, and what was violated; ends with status 0 when that is nothing, or, of a mutant, when it is something. Leaves
`report.json`, with every violation, `evidence.json`, on which they rest, and the logs in `.chaos/schedules-<seed>/`.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from statistics import quantiles
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from daybook import ids
from daybook.domain.cadence import Cadence
from daybook.domain.schedule_events import CatchUp, Overlap, Rule, ScheduleCreated, Work
from daybook.log import codec
from daybook.log.connections import connect
from daybook.log.postgres import Log
from daybook.testing import eventually

from . import slot_evidence
from .fleet import ROOT, Kind, open_fleet
from .run import new_seed
from .servers import open_servers
from .slot_checker import slot_violations
from .slot_evidence import Planned, SlotEvidence
from .torment import Torment

_SIZES: Final[dict[Kind, int]] = {"api": 1, "scheduler": 3, "runner": 1}
_SHORT_SECONDS: Final = 15.0
_LEASE_SECONDS: Final = 15.0
_APP: Final = "chaos.work"
_RUN_SECONDS: Final[dict[Overlap, tuple[float, ...]]] = {
    "allow": (0.05, 0.05, 0.05, 0.05, 0.05),
    "skip": (0.05, 0.3, 0.3, 1.3, 1.3),
    "queue_one": (0.05, 0.3, 0.3, 0.3, 1.3),
    "queue_all": (0.05, 0.3, 0.3, 0.3, 0.3),
    "cancel_previous": (0.05, 0.3, 1.3, 1.3, 1.3),
}
"""How long the tasks take of those schedules whose tasks are run."""
_LEFT_QUEUED: Final[tuple[tuple[CatchUp, float], ...]] = (("all", 0.0), ("all", 0.0), ("all", 0.7), ("latest", 0.0), ("none", 0.0))
"""What is caught up of the others, and their jitter."""
_PER_MINUTE: Final = 40
_ALL: Final = 200
_AFTER_SECONDS: Final = 4.0
_DECIDED_WITHIN_SECONDS: Final = 60.0
_SHOWN: Final = 3
_DECIDED: Final = """
SELECT NOT EXISTS (SELECT FROM read.timer WHERE due_at IS NOT NULL)
   AND (SELECT count(*) FROM log.event WHERE kind IN ('slot.fired.v1', 'slots.skipped.v1')) = (SELECT count(*) FROM read.slot)
   AND NOT EXISTS (SELECT FROM read.task WHERE queue = 'default' AND status NOT IN ('success', 'error', 'cancelled'))"""


async def run(seed: int, seconds: float, mutant: str = "") -> dict[str, Any]:
    """All of it; returns what is reported."""
    folder = ROOT / ".chaos" / "-".join(["schedules", str(seed), *([mutant] if mutant else [])])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder.parent / ".gitignore").write_text("*\n")
    async with asyncio.timeout(seconds + 240), open_servers() as servers:
        fleet_opened = open_fleet(servers.database_url, servers.nats.url, folder, ttl_seconds=_LEASE_SECONDS, sizes=_SIZES, mutant=mutant)
        async with fleet_opened as fleet:
            schedulers = fleet.of("scheduler")
            planned = await _create(servers.database_url, seconds)
            torment = Torment(schedulers, Random(f"{seed} schedules"), seconds)
            await torment.last()
            undecided = await _decided(servers.database_url)
            strange = [f"{member.name} ended with status {each.code}" for member in fleet.members for each in member.exits if each.pid not in member.stopped_at]
        evidence = await slot_evidence.read(servers.database_url, planned, [member.name for member in schedulers], torment.troubles)
    found = await asyncio.to_thread(slot_violations, evidence)
    found |= {"no_process_ends_by_itself": strange} if strange else {}
    told = {"seed": seed, "seconds": seconds, "mutant": mutant, **counts(evidence), "undecided_for_seconds": undecided, "violations": found}
    _write(folder / "report.json", told, evidence)
    return told


def counts(evidence: SlotEvidence) -> dict[str, Any]:
    """What happened, in numbers: slots by what became of them, faults, tasks, and how late slots fired that nothing held up but the faults."""
    slots: Counter[str] = Counter()
    late = []
    held_up = {planned.stream for planned in evidence.planned if planned.overlap != "allow"}
    for rows in evidence.ledger.values():
        for row in rows:
            slots[row.outcome if row.outcome == "fired" else row.reason] += row.count
    for stream, facts in evidence.streams.items():
        fired = [fact for fact in facts if fact.kind == "slot.fired.v1" and stream not in held_up]
        late += [(fact.at - slot_evidence.instant(fact.data.get("due_at") or fact.data["slot"])).total_seconds() for fact in fired]
    percentiles = quantiles(late, n=100)
    return {
        "schedules": len(evidence.planned),
        "kills": sum(trouble.kind == "kill" for trouble in evidence.troubles),
        "freezes": sum(trouble.kind == "freeze" for trouble in evidence.troubles),
        "slots": sum(slots.values()),
        "became": dict(sorted(slots.items())),
        "tasks": len(evidence.tasks),
        "events": sum(len(facts) for facts in (*evidence.streams.values(), *evidence.tasks.values())),
        "late_seconds": {"p50": round(percentiles[49], 3), "p99": round(percentiles[98], 3), "worst": round(max(late), 3)},
    }


async def _create(database_url: str, seconds: float) -> list[Planned]:
    """Put the schedules into the log, all with one end; return them as they were recorded."""
    owner = await connect(database_url, None)
    version = await eventually(lambda: owner.fetchval("SELECT manifest ->> 'version' FROM read.app WHERE app = $1", _APP), 30)
    now: datetime = await owner.fetchval("SELECT clock_timestamp()")
    end_at = now + timedelta(seconds=seconds + _AFTER_SECONDS)
    log = await Log.open(database_url, "api", pool_size=1, writers=1)
    streams = {ids.new_id(): each for each in _rules(end_at)}
    created = await asyncio.gather(*(_append(log, stream, version, *each) for stream, each in streams.items()))
    await log.close()
    await owner.close()
    return [_planned(stream, rule, served=served is not None, begun_at=at) for (stream, (rule, served)), at in zip(streams.items(), created, strict=True)]


def _rules(end_at: datetime) -> list[tuple[Rule, float | None]]:
    """Every schedule: its rule, and how long its tasks take where somebody runs them."""
    rules: list[tuple[Rule, float | None]] = []
    for overlap, each in _RUN_SECONDS.items():
        rules += [(_rule(end_at, "*", overlap, "all" if number % 2 else "latest"), takes) for number, takes in enumerate(each)]
    for number in range(_ALL - len(rules)):
        second = str(number * 60 // _PER_MINUTE) if number < _PER_MINUTE else "*"
        rules.append((_rule(end_at, second, "allow", *_LEFT_QUEUED[number % len(_LEFT_QUEUED)]), None))
    return rules


def _rule(end_at: datetime, second: str, overlap: Overlap, catch_up: CatchUp, jitter_seconds: float = 0.0) -> Rule:
    cadence = Cadence(cron=f"{second} * * * * *", seconds=True)
    return Rule(cadence=cadence, overlap=overlap, catch_up=catch_up, jitter_seconds=jitter_seconds, end_at=end_at)


async def _append(log: Log, stream: UUID, version: str, rule: Rule, takes: float | None) -> datetime:
    sealed = codec.seal(msgspec.json.encode({"seconds": takes or 0.0}))
    work = Work(app=_APP, app_version=version, input=sealed.content, queue="nobody" if takes is None else "default")
    event = ScheduleCreated(owner="chaos", rule=rule, work=work, actor="user:chaos")
    return (await log.append(stream, 1, event, namespace="default", payload=sealed.payload)).at


def _planned(stream: UUID, rule: Rule, *, served: bool, begun_at: datetime) -> Planned:
    assert rule.end_at is not None
    second = rule.cadence.cron.split()[0]
    return Planned(
        stream=stream,
        period_seconds=1 if second == "*" else 60,
        offset_seconds=0 if second == "*" else int(second),
        overlap=rule.overlap,
        catch_up=rule.catch_up,
        jitter_seconds=rule.jitter_seconds,
        served=served,
        begun_at=begun_at,
        end_at=rule.end_at,
    )


async def _decided(database_url: str) -> float:
    """Wait until nothing is left to decide; returns how long that took. The checker will say what is missing where it takes too long."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    connection = await asyncpg.connect(database_url, timeout=10)

    async def decided() -> bool:
        return bool(await connection.fetchval(_DECIDED))

    try:
        await eventually(decided, _AFTER_SECONDS + _DECIDED_WITHIN_SECONDS)
    except AssertionError:
        pass
    finally:
        await connection.close()
    return round(loop.time() - began, 1)


def _write(path: Path, told: dict[str, Any], evidence: SlotEvidence) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=2))
    path.with_name("evidence.json").write_bytes(msgspec.json.encode(evidence))


def main() -> int:
    """Read the arguments, run, and tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.schedules", description="Schedulers are killed and frozen; every slot must be accounted for.")
    parser.add_argument("--seed", type=int, default=None, help="decides whom faults hit, and how; without it, chance")
    parser.add_argument("--seconds", type=float, default=_SHORT_SECONDS, help="how long faults go on; half of that, and 30 s at most, is the longest freeze")
    parser.add_argument("--mutant", choices=["blind_retry"], default="", help="run a house with one wall taken out; the checker must notice")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an orderly end, however it is asked for
    told = asyncio.run(run(new_seed() if given.seed is None else given.seed, given.seconds, given.mutant))
    violations: dict[str, list[str]] = told.pop("violations")
    print(msgspec.json.encode(told).decode())
    for name, each in violations.items():
        print(*(f"VIOLATION {name}: {one}" for one in each[:_SHOWN]), *([f"… and {len(each) - _SHOWN} more"] if len(each) > _SHOWN else []), sep="\n")
    print(f"{sum(len(each) for each in violations.values())} violations")
    return 0 if bool(violations) == bool(given.mutant) else 1


if __name__ == "__main__":
    sys.exit(main())
