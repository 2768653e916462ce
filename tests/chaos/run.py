"""A run, from the first process to the last: let the load flow, strike, heal, let it rest, look at everything; and again with the next fault.

A fault has healed when its function returns. From then on everything that was acknowledged must have ended within two leases and a bound for
the work itself, and every process must be at work again, without anybody's help.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import AsyncExitStack, closing
from pathlib import Path
from random import Random
from typing import Final

import asyncpg
import msgspec

from daybook import clock, ids
from daybook.access import issue_token

from . import evidence, report
from .checker import violations
from .evidence import Evidence
from .faults import FAULTS, UNNOTICED
from .fleet import ROOT, Kind, open_fleet
from .history import OWNER, History
from .load import Load
from .mutants import MUTANTS, Wall
from .report import Report, Round
from .servers import open_servers
from .stage import Fault, Stage
from .watcher import Watcher

_SIZES: Final[dict[Kind, int]] = {"api": 2, "scheduler": 2, "runner": 3}
_WORK_SECONDS: Final = 15.0
"""How long the work itself may take once it can be done: the longest task, the retries of one that stumbles, a start of all processes."""
_IMPATIENCE_SECONDS: Final = 6.0
"""The same for a mutant, whose failures shall not take so long."""
_SHOWN: Final = 5
_SHORT_SECONDS: Final = 600.0
_LONG_SECONDS: Final = 3600.0
"""When a run gives up, whatever it does."""
_EVENTUAL: Final = {"acknowledged_tasks_end_once", "read_model_is_the_fold", "events_are_told"}
_LOOK_SECONDS: Final = 0.25


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to run."""

    seed: int
    long: bool = False
    mutant: str = ""
    only: tuple[str, ...] = ()
    per_second: float = 30.0
    repeat: int = 1

    @property
    def ttl_seconds(self) -> float:
        """How long a lease lives."""
        return 15.0 if self.long else 2.0

    @property
    def folder(self) -> Path:
        """Where a run leaves its history, its ledger, its logs and its report."""
        return ROOT / ".chaos" / (f"{self.seed}-{self.mutant}" if self.mutant else f"{self.seed}")

    def faults(self) -> list[Fault]:
        """The calm first, then every fault of the tier, in an order of the seed's."""
        by_name = {fault.name: fault for fault in FAULTS}
        if self.mutant or self.only:
            return [by_name[name] for name in self.only or MUTANTS[self.mutant].faults] * self.repeat
        calm, *rest = [fault for fault in FAULTS if fault.short or self.long]
        rest *= self.repeat
        Random(f"{self.seed} order").shuffle(rest)
        return [calm, *rest]


class Run:
    """A run under way: what was found so far."""

    def __init__(self, plan: Plan, stage: Stage, load: Load, history: History) -> None:
        self.rounds: list[Round] = []
        self._plan, self._stage, self._load, self._history = plan, stage, load, history
        self._known: set[str] = set()
        self._stuck: set[str] = set()
        self._exits = sum(len(member.exits) for member in stage.fleet.members)
        self._bound = 2 * plan.ttl_seconds + (_IMPATIENCE_SECONDS if plan.mutant else _WORK_SECONDS)

    async def suffer(self, fault: Fault) -> Round:
        """One fault, and everything that must be true after it."""
        stage, loop = self._stage, asyncio.get_running_loop()
        self._load.go()
        await stage.lasting(5, 1.5)
        losses = await stage.losses()
        this = Round(fault=fault.name, began_at=clock.now().timestamp())
        self.rounds.append(this)
        broken = await _struck(fault, stage)
        this.healed_at, healed = clock.now().timestamp(), loop.time()
        await stage.lasting(2, 0.5)
        await self._load.rest()
        deadline = max(healed + self._bound, loop.time() + self._bound / 2)
        stuck = await self._settle(deadline)
        this.quiet_after_seconds = round(loop.time() - healed, 2)
        found, _ = await self.look(deadline)
        self._stuck |= stuck
        if not fault.loses and await stage.losses() > losses:
            found["no_false_loss"] = [f"{await stage.losses() - losses} attempts were lost, and nothing was done to their runner"]
        this.violations = found | await self._processes(fault, deadline) | broken
        return this

    async def look(self, deadline: float) -> tuple[dict[str, list[str]], Evidence]:
        """Everything that is wrong and was not known yet. What only takes its time may do so until the deadline."""
        loop = asyncio.get_running_loop()
        while True:
            await self._hear(deadline)
            began = loop.time()
            watcher = self._stage.watcher
            seen = await evidence.read(self._stage.servers.database_url, self._stage.folder, self._history, told=watcher.told, excused=watcher.excused)
            seen = msgspec.structs.replace(seen, acknowledged=seen.acknowledged - self._stuck)
            # Beside the loop, in which all proxies live: a look at a long log must not be a fault of its own.
            found = await asyncio.to_thread(violations, seen)
            if not found or found.keys() - _EVENTUAL or loop.time() > deadline:
                break
            await asyncio.sleep(_LOOK_SECONDS + 3 * (loop.time() - began))
        fresh = {name: [one for one in each if one not in self._known] for name, each in found.items()}
        self._known |= {one for each in fresh.values() for one in each}
        return {name: _shortened(each) for name, each in fresh.items() if each}, seen

    async def _hear(self, deadline: float) -> None:
        """Wait until as much was told as has happened, by the count: that is cheap to ask."""
        loop, watcher = asyncio.get_running_loop(), self._stage.watcher
        while True:
            await watcher.catch_up()
            if len(watcher.told | watcher.excused) >= await self._stage.events() or loop.time() > deadline:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def _settle(self, deadline: float) -> set[str]:
        """Wait until nothing is open. What still is at the deadline is stuck: told this once, and waited for no more."""
        loop = asyncio.get_running_loop()
        while remaining := await self._stage.open_tasks() - self._stuck:
            if loop.time() > deadline:
                return remaining
            await asyncio.sleep(_LOOK_SECONDS)
        return set()

    async def _processes(self, fault: Fault, deadline: float) -> dict[str, list[str]]:
        """Whether all are at work again, and whether any ended without a reason."""
        loop, fleet = asyncio.get_running_loop(), self._stage.fleet
        while not await fleet.is_ready() and loop.time() < deadline:
            await asyncio.sleep(_LOOK_SECONDS)
        down = [member.name for member in fleet.members if not await member.is_ready()]
        exits = [(member, each) for member in fleet.members for each in member.exits]
        fresh, self._exits = sorted(exits, key=lambda pair: pair[1].at)[self._exits :], len(exits)
        strange = [
            f"{member.name} ended with status {each.code}"
            for member, each in fresh
            if each.pid not in member.stopped_at and not (member.kind == "runner" and fault.loses)
        ]
        found = {"all_are_at_work_again": down, "no_process_ends_by_itself": strange, "nothing_is_left_behind": fleet.orphans()}
        return {name: each for name, each in found.items() if each}


async def run(plan: Plan) -> Report:
    """Run it all. Ends by itself, whatever happens."""
    folder = plan.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder.parent / ".gitignore").write_text("*\n")
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with AsyncExitStack() as stack, asyncio.timeout(_LONG_SECONDS if plan.long or plan.repeat > 1 else _SHORT_SECONDS), open_servers() as servers:
        if plan.mutant and (wall := MUTANTS[plan.mutant].wall) is not None:
            await _take_down(servers.database_url, wall)
        token = await issue_token(servers.database_url, "default", OWNER, ("submit", "read"), "chaos")
        history = stack.enter_context(closing(History(folder / "history.jsonl")))
        watcher = Watcher(servers.nats.url, servers.database_url)
        fleet_opened = open_fleet(servers.database_url, servers.nats.url, folder, ttl_seconds=plan.ttl_seconds, sizes=_SIZES, mutant=plan.mutant)
        async with fleet_opened as fleet:
            stage = Stage(servers, fleet, watcher, folder, seed=plan.seed, ttl_seconds=plan.ttl_seconds, long=plan.long)
            urls = [member.url for member in fleet.of("api")]
            async with Load(urls, token, history, seed=plan.seed, per_second=plan.per_second) as load:
                running = Run(plan, stage, load, history)
                for fault in plan.faults():
                    _say(await running.suffer(fault))
                found, seen = await running.look(loop.time())
                running.rounds[-1].violations |= found
        if orphans := fleet.orphans():
            running.rounds[-1].violations["nothing_is_left_behind"] = orphans
    told = _conclude(plan, running, seen, stage, history, loop.time() - began)
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=2))
    return told


async def _struck(fault: Fault, stage: Stage) -> dict[str, list[str]]:
    """Let it strike. One that waits in vain for its moment (no runner runs anything, a server does not come back) is a violation too."""
    try:
        await fault.strike(stage)
    except AssertionError as error:
        return {"faults_can_strike": [str(error)]}
    return {}


def _conclude(plan: Plan, running: Run, seen: Evidence, stage: Stage, history: History, seconds: float) -> Report:
    takeovers = report.takeovers(seen, stage.fleet, running.rounds)
    takeover = report.latency(one for fault, each in takeovers.items() if fault not in UNNOTICED for one in each)
    cancel = report.latency(report.cancels(seen, running.rounds, plan.ttl_seconds))
    running.rounds[-1].violations |= report.broken_promises(takeover, cancel, plan.ttl_seconds)
    return Report(
        seed=plan.seed,
        tier="long" if plan.long else "short",
        mutant=plan.mutant,
        ttl_seconds=plan.ttl_seconds,
        seconds=round(seconds, 1),
        tasks=len(seen.tasks),
        events=len(seen.entries),
        acknowledged=len(history.acknowledged()),
        unknown_answers=sum(asked.outcome == "unknown" for asked in history.asked),
        losses=sum(entry.kind == "task.lost.v1" for entry in seen.entries),
        ends=report.outcomes(seen),
        exits={member.name: [each.code for each in member.exits] for member in stage.fleet.members},
        takeover=takeover,
        takeover_by_fault={fault: report.latency(each) for fault, each in sorted(takeovers.items())},
        cancel=cancel,
        rounds=running.rounds,
    )


async def _take_down(database_url: str, wall: Wall) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        definition: str = await connection.fetchval("SELECT pg_get_functiondef($1::regproc)", wall.function)
        assert wall.old in definition, f"{wall.function} has no {wall.old!r} any more"
        await connection.execute(definition.replace(wall.old, wall.new))
    finally:
        await connection.close()


def _shortened(found: list[str]) -> list[str]:
    return [*found[:_SHOWN], *([f"… and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else [])]


def _say(this: Round) -> None:
    wrong = ", ".join(this.violations) or "ok"
    print(f"{this.fault:30} healed after {this.healed_at - this.began_at:5.1f} s, quiet {this.quiet_after_seconds:5.1f} s later: {wrong}", flush=True)


def new_seed() -> int:
    """A seed that nobody chose."""
    return ids.new_id().int % 100_000
