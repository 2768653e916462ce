"""Twenty tasks stream 2,000 chunks each, to watchers who are cut off hundreds of times at random bytes, while APIs and
runners are killed and NATS is restarted and wiped: each watcher is told every version and every word once and in order,
and what it was told is what is stored, byte for byte. So is whoever comes when all is over and NATS has forgotten it.

`make test TESTS="-rP tests/e2e/test_cuts.py" SEED=7 CUTS=1000` does it with that seed, cuts as often, and shows the counts.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

import pytest
from tests.e2e.cuts import apps
from tests.e2e.cuts.doors import Doors, open_doors
from tests.e2e.cuts.faults import Faults
from tests.e2e.cuts.keeping import stored
from tests.e2e.cuts.watchers import Subscriber, Watcher
from tests.e2e.house import ApiService, House, Service, start

from daybook import ids

TASKS = 20
CHUNKS = 2_000
SECONDS = 20.0
"""How long an attempt speaks."""
SLOTS = 8
"""Of each of three runners: so many attempts at most are lost with one."""
CUTS = int(os.environ.get("CUTS") or 300)
SEED = os.environ.get("SEED") or str(ids.new_id().int % 100_000)
PATIENCE_SECONDS = 150.0
WATCHED_BYTES = 700_000
"""What a watcher is sent, about."""
FAULTS = {"api_killed", "runner_killed", "nats_restarted", "nats_killed", "nats_wiped"}


@pytest.mark.slow
async def test_whoever_is_cut_off_misses_nothing(house: House) -> None:
    chance = Random(SEED)
    apis, runners = [house.add_api(), house.add_api()], [_add_runner(house, number) for number in range(3)]
    await start(*apis, house.add_scheduler(), *runners)
    faults = Faults(house, apis, runners, chance)
    async with open_doors(house, apis, chance, mean_bytes=WATCHED_BYTES * TASKS / CUTS / 2) as doors:
        tasks = [await apis[0].accepted("cuts.tell", {"seed": f"{SEED}/{number}", "chunks": CHUNKS, "seconds": SECONDS}) for number in range(TASKS)]
        watchers = [Watcher(task, house.token, doors.ports, Random(f"{SEED}/{number}")) for number, task in enumerate(tasks)]
        subscribers = [Subscriber(task, doors.nats_url, doors.https, Random(f"{SEED}/nats/{number}")) for number, task in enumerate(tasks)]
        latecomers = [Watcher(task, house.token, doors.ports, Random(f"{SEED}/late/{number}"), longest_pause_seconds=0.1) for number, task in enumerate(tasks)]
        try:
            await _watch_all(watchers, subscribers, faults)
            await faults.nats_wiped()
            await _watch_all(latecomers, (), None)
        finally:
            print(_counts(doors, faults, watchers, latecomers, subscribers))
    wrong = [each for number in range(TASKS) for each in await _wrong(apis[0], number, watchers[number], subscribers[number], latecomers[number])]
    assert not wrong, "\n".join(wrong)
    assert _cuts(watchers)["cut"] >= CUTS
    assert faults.struck.keys() == FAULTS


async def _watch_all(watchers: Sequence[Watcher], subscribers: Sequence[Subscriber], faults: Faults | None) -> None:
    """Until everybody was told the end."""
    whole = sum(len(apps.script(f"{SEED}/{number}", 1, CHUNKS)) for number in range(TASKS))
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        for watcher in watchers:
            group.create_task(watcher.run())
        for subscriber in subscribers:
            group.create_task(subscriber.run())
        if faults is not None:
            group.create_task(faults.strike(lambda: sum(watcher.account.said for watcher in watchers) / whole))


async def _wrong(api: ApiService, number: int, *told: Watcher | Subscriber) -> list[str]:
    """What is wrong in the accounts of one task."""
    wrong = []
    kept = await stored(api, told[0].account.task_id)
    scripts = {attempt: apps.script(f"{SEED}/{number}", attempt, CHUNKS) for attempt in kept.outcome}
    for each in told:
        try:
            each.account.settle(kept, scripts)
            assert each.account.ended == "success", each.account.ended
        except AssertionError as error:
            wrong.append(f"{type(each).__name__}: {str(error).splitlines()[0]}")
    return wrong


def _counts(doors: Doors, faults: Faults, watchers: list[Watcher], latecomers: list[Watcher], subscribers: list[Subscriber]) -> str:
    cuts, late = _cuts(watchers), _cuts(latecomers)
    words, attempts = sum(watcher.account.said for watcher in watchers), sum(len(watcher.account.words) for watcher in watchers)
    struck = ", ".join(f"{name} {count}" for name, count in sorted(faults.struck.items()))
    return (
        f"seed {SEED}: {len(watchers)} tasks, {attempts} attempts, {words} words; {struck}\n"
        f"watchers cut off {cuts['cut']} times while it was said and {late['cut']} times afterwards, {doors.resets} of these at a random byte; "
        f"not let in {cuts['refused'] + late['refused']} times, asked to come back {cuts['farewell'] + late['farewell']} times\n"
        f"subscribers reset {doors.nats.cut_short} times, and made anew {sum(each.remade for each in subscribers)} times\n"
        f"words lost for good: {_lost(watchers)} to watchers, {_lost(latecomers)} to latecomers, {_lost(subscribers)} to subscribers"
    )


def _cuts(watchers: Iterable[Watcher]) -> Counter[str]:
    return sum((watcher.cuts for watcher in watchers), Counter[str]())


def _lost(told: Sequence[Watcher] | Sequence[Subscriber]) -> int:
    return sum(last - first + 1 for each in told for _, first, last in each.account.gaps)


def _add_runner(house: House, number: int) -> Service:
    code = f"from daybook_runner.serving import serve; raise SystemExit(serve([{str(Path(apps.__file__))!r}], ['default'], {SLOTS}))"
    env = house._environment({"DAYBOOK_LEASE_TTL_SECONDS": "2", "DAYBOOK_LEASE_RENEW_SECONDS": "0.5"})
    return house._add(Service("runner", code, env, house.folder / f"cuts-runner-{number}.log"))
