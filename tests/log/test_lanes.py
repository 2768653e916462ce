"""A follower misses nothing and sees each stream in order, whatever the writers do; and the witness that says so would notice.

Set TEST_SEED to have the crowd choose as it did in another run; how its processes interleave is left to chance.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom

import pytest
from tests.log.crowd import Roll
from tests.log.samples import admit_guest, publish_app
from tests.log.witness import SLOW_COMMITS, UNSTEADY_CLOCK, PageReading, SharedReading, Witness, follow

from daybook.log.connections import Connection, connect
from daybook.log.reader import LogReader

SECONDS = 9.0
SLOWER = 4


@pytest.mark.slow
async def test_a_follower_misses_nothing(database_url: str, url_as: Callable[[str], str], owner: Connection) -> None:
    await publish_app(owner)
    await admit_guest(owner)
    await owner.execute(SLOW_COMMITS)
    await owner.execute(UNSTEADY_CLOCK)
    roll = Roll(int(os.environ.get("TEST_SEED") or SystemRandom().randrange(10**6)), url_as("daybook_api"), url_as("daybook_guest"))
    reader = LogReader(lambda: connect(database_url, None), page=11)
    witnesses = {name: Witness() for name in ("alone", "fast", "slow")}
    alone = PageReading(await connect(database_url, None), 7)
    fast, slow = SharedReading(reader), SharedReading(reader)
    quiet = False
    lag = _Lag()

    async def fast_next() -> list[object]:
        events = await fast.next()
        lag.step()
        return events

    async def slow_next() -> list[object]:
        await lag.wait(lambda: quiet)
        return await slow.next()

    crowd = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.log.crowd", *map(str, roll), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    followers = [
        asyncio.create_task(follow(witnesses[name], reading, until=lambda: quiet))
        for name, reading in (("alone", alone.next), ("fast", fast_next), ("slow", slow_next))
    ]
    done, _ = await asyncio.wait(followers, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)  # One that is done early has seen a violation.
    told, _ = await crowd.communicate(b"stop")
    quiet = True
    lag.step()
    await asyncio.gather(*followers)
    report = json.loads(told)
    total, streams = await owner.fetchrow("SELECT count(*), count(DISTINCT stream) FROM log.event")  # type: ignore[misc]
    guests = await owner.fetchval("SELECT count(*) FROM log.event WHERE data ->> 'actor' = 'sql:daybook_guest'")
    back = await owner.fetchval("SELECT count(*) FROM (SELECT at < lag(at) OVER (PARTITION BY lane ORDER BY position) AS back FROM log.event) e WHERE back")
    missed = {name: await witness.missed(owner) for name, witness in witnesses.items()}
    print(
        f"TEST_SEED={roll.seed}: {total} events of {streams} streams, {guests} by guests, {report['kills']} kills, {back} steps back in time, missed {missed}"
    )
    await reader.close()
    assert not done
    assert report["failures"] == 0
    assert [witness.violations for witness in witnesses.values()] == [[], [], []]
    assert missed == {"alone": 0, "fast": 0, "slow": 0}
    assert total > 1000
    assert guests > 50
    assert report["kills"] > 10


class _Lag:
    """Lets one follower go on only after another has made some steps."""

    def __init__(self) -> None:
        self._steps = 0
        self._changed = asyncio.Event()

    def step(self) -> None:
        self._steps += 1
        self._changed.set()

    async def wait(self, over: Callable[[], bool]) -> None:
        until = self._steps + SLOWER
        while self._steps < until and not over():
            self._changed.clear()
            await self._changed.wait()
