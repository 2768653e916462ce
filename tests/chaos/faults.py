"""All faults, each a small function: it strikes, lasts, and heals. In the short tier one stands for each class."""

from __future__ import annotations

import asyncio
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Final

from daybook.testing import eventually

from .fleet import Member
from .stage import Fault, Stage

_TERMINATE: Final = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'daybook %' AND pid <> pg_backend_pid()"


async def nothing(stage: Stage) -> None:
    """A calm while, to know what calm looks like."""
    await stage.lasting(20, 5)


async def runner_killed(stage: Stage) -> None:
    """`kill -9` of the runner that does the most."""
    (await stage.busiest_runner()).signal(SIGKILL)


async def runner_killed_mid_effect(stage: Stage) -> None:
    """A runner dies when its task is about to have its effect."""
    await _spring(stage, "mid-effect")


async def runner_killed_before_report(stage: Stage) -> None:
    """A runner dies when the effect is there and nobody knows of it."""
    await _spring(stage, "before-report")


async def runner_frozen_twice_ttl(stage: Stage) -> None:
    """A runner stops for so long that it counts as dead, and comes back."""
    await _freeze(await stage.busiest_runner(), 2 * stage.ttl_seconds, dies=True)


async def runner_frozen_half_ttl(stage: Stage) -> None:
    """A runner stops, but not for long enough to count as dead."""
    await _freeze(await stage.busiest_runner(), stage.ttl_seconds / 2, dies=False)


async def api_killed(stage: Stage) -> None:
    """`kill -9` of one API, with the relay or the projector in it; in the long tier of both, in turn."""
    for member in stage.fleet.of("api") if stage.long else [stage.any_of("api")]:
        member.signal(SIGKILL)
        await stage.lasting(8, 0.5)


async def scheduler_killed(stage: Stage) -> None:
    """`kill -9` of one scheduler; in the long tier of both, in turn."""
    for member in stage.fleet.of("scheduler") if stage.long else [stage.any_of("scheduler")]:
        member.signal(SIGKILL)
        await stage.lasting(8, 0.5)


async def runner_and_schedulers_killed(stage: Stage) -> None:
    """`kill -9` of a runner, and of everybody who could notice."""
    for member in (await stage.busiest_runner(), *stage.fleet.of("scheduler")):
        member.signal(SIGKILL)


async def nats_blinks(stage: Stage) -> None:
    """NATS is killed and is back after 0.2 s."""
    await stage.servers.kill_nats()
    await asyncio.sleep(0.2)
    await stage.servers.start_nats()


async def nats_away_briefly(stage: Stage) -> None:
    """NATS is killed and stays away for 5 s."""
    await stage.servers.kill_nats()
    await stage.lasting(5, 3)
    await stage.servers.start_nats()


async def nats_away_long(stage: Stage) -> None:
    """NATS is killed and stays away for 30 s."""
    await stage.servers.kill_nats()
    await stage.lasting(30, 6)
    await stage.servers.start_nats()


async def nats_paused(stage: Stage) -> None:
    """NATS is there and says nothing, for 20 s."""
    async with stage.servers.frozen_nats():
        await stage.lasting(20, 3)


async def nats_wiped(stage: Stage) -> None:
    """NATS comes back without anything that it kept."""
    await stage.watcher.catch_up()
    await stage.servers.kill_nats()
    await stage.watcher.excuse()
    stage.servers.wipe_nats()
    await stage.servers.start_nats()


async def consumer_deleted(stage: Stage) -> None:
    """Somebody deletes the runners' consumer, and in the long tier the stream of doorbells as well."""
    await stage.watcher.delete_consumer()
    await stage.lasting(8, 0.5)
    if stage.long:
        await stage.watcher.delete_stream()


async def postgres_blinks(stage: Stage) -> None:
    """An immediate stop of Postgres, and a start at once."""
    await stage.servers.stop_postgres()
    await stage.servers.start_postgres()


async def postgres_away_briefly(stage: Stage) -> None:
    """An immediate stop of Postgres, and 5 s without it."""
    await stage.servers.stop_postgres()
    await stage.lasting(5, 3)
    await stage.servers.start_postgres()


async def postgres_away_long(stage: Stage) -> None:
    """An immediate stop of Postgres, and 30 s without it."""
    await stage.servers.stop_postgres()
    await stage.lasting(30, 6)
    await stage.servers.start_postgres()


async def backends_terminated(stage: Stage) -> None:
    """Every connection to Postgres is ended by the server, again and again, some of them in the middle of a commit."""
    for _ in range(12 if stage.long else 6):
        await stage.fetch(_TERMINATE)
        await asyncio.sleep(stage.chance.uniform(0.1, 0.6))


async def answers_cut(stage: Stage) -> None:
    """Connections to Postgres are reset when an answer is on its way: what was asked has happened, or not."""
    wires = [member.postgres for member in stage.fleet.members]
    try:
        for _ in range(80 if stage.long else 40):
            stage.chance.choice(wires).cut_at("answer")
            await asyncio.sleep(0.06)
    finally:
        for wire in wires:
            wire.heal()


async def answers_dropped(stage: Stage) -> None:
    """Postgres hears everything and its answers are lost, until the connections are reset."""
    wires = [member.postgres for member in stage.fleet.members]
    for wire in wires:
        wire.drop("answer")
    try:
        await stage.lasting(5, 1)
    finally:
        for wire in wires:
            wire.cut()  # what was lost in the middle of a conversation cannot be continued
            wire.heal()


async def black_hole(stage: Stage) -> None:
    """Nothing passes between anybody and Postgres for 20 s, and no connection ends."""
    wires = [member.postgres for member in stage.fleet.members]
    for wire in wires:
        wire.stall()
    try:
        await stage.lasting(20, 2 * stage.ttl_seconds)
    finally:
        for wire in wires:
            wire.heal()


async def slow_wires(stage: Stage) -> None:
    """Everything takes a fifth of a second longer, in both directions."""
    wires = [wire for member in stage.fleet.members for wire in (member.postgres, member.nats)]
    for wire in wires:
        wire.delay(0.1)
    try:
        await stage.lasting(20, 3)
    finally:
        for wire in wires:
            wire.heal()


async def runner_cut_from_postgres(stage: Stage) -> None:
    """One runner alone does not reach Postgres: first it is refused, then (in the long tier) nothing comes back."""
    runner = await stage.busiest_runner()
    runner.postgres.refuse()
    await asyncio.sleep(2 * stage.ttl_seconds)
    runner.postgres.heal()
    if stage.long:
        runner.postgres.stall()
        await asyncio.sleep(2 * stage.ttl_seconds)
        runner.postgres.heal()


async def runner_cut_from_nats(stage: Stage) -> None:
    """One runner alone does not reach NATS."""
    runner = await stage.busiest_runner()
    runner.nats.stall()
    await asyncio.sleep(2 * stage.ttl_seconds)
    runner.nats.refuse()
    runner.nats.heal()


async def everything_duplicated(stage: Stage) -> None:
    """Facts are told again, many at once and one by one, and doorbells rung again, for tasks of every state."""
    for _ in range(6 if stage.long else 4):
        await stage.watcher.say_again(120)
        await asyncio.sleep(0.4)
    for _ in range(60 if stage.long else 20):
        await stage.watcher.whisper()
        await asyncio.sleep(stage.chance.uniform(0, 0.1))


async def _spring(stage: Stage, place: str) -> None:
    trap = stage.folder / f"trap-{place}"
    trap.touch()
    await eventually(lambda: not trap.exists(), 20)


async def _freeze(member: Member, seconds: float, *, dies: bool) -> None:
    member.signal(SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        member.signal(SIGCONT)
    if not dies:
        del member.stopped_at[member.pid]


def _fault(strike: object, *, short: bool = True, loses: bool = False) -> Fault:
    return Fault(strike.__name__, strike, short, loses)  # type: ignore[attr-defined,arg-type]


FAULTS: Final = (
    _fault(nothing),
    _fault(runner_killed, loses=True),
    _fault(runner_killed_mid_effect, loses=True),
    _fault(runner_killed_before_report, loses=True),
    _fault(runner_frozen_twice_ttl, loses=True),
    _fault(runner_frozen_half_ttl),
    _fault(api_killed),
    _fault(scheduler_killed),
    _fault(runner_and_schedulers_killed, loses=True),
    _fault(nats_blinks, short=False),
    _fault(nats_away_briefly),
    _fault(nats_away_long, short=False),
    _fault(nats_paused),
    _fault(nats_wiped),
    _fault(consumer_deleted),
    _fault(postgres_blinks, short=False, loses=True),
    _fault(postgres_away_briefly, loses=True),
    _fault(postgres_away_long, short=False, loses=True),
    _fault(backends_terminated, loses=True),
    _fault(answers_cut, loses=True),
    _fault(answers_dropped, short=False, loses=True),
    _fault(black_hole, loses=True),
    _fault(slow_wires, short=False, loses=True),
    _fault(runner_cut_from_postgres, loses=True),
    _fault(runner_cut_from_nats),
    _fault(everything_duplicated),
)

UNNOTICED: Final = frozenset({"runner_and_schedulers_killed"})
"""Faults that leave nobody who could take over: that takes a start of the scheduler longer."""
