"""A scheduler whose own clock is an hour wrong: nothing is early, nothing twice, and nothing is skipped for being late. The clock that counts is the
database's.

Both schedulers are processes of their own; in one, all that reads the time of day is shifted. It works beside the one that is right, and then alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio
from tests.bus.parts import kinds_of, submit
from tests.e2e.house import House, Service, open_house, start
from tests.scheduler.schedules import create, fired, has_fired, skipped

from daybook import clock
from daybook.domain.events import TaskDue
from daybook.log.postgres import Log
from daybook.testing import eventually
from daybook_local.nats import EmbeddedNats

HOUR = timedelta(hours=1)
SHIFTED = """
import time, time_machine
from daybook_scheduler.serving import serve
time_machine.travel(time.time() + {seconds}, tick=True).start()
raise SystemExit(serve())
"""


@pytest_asyncio.fixture(loop_scope="session")
async def house(database_url: str, nats_server: EmbeddedNats, folder: Path) -> AsyncIterator[House]:
    """A house without processes yet."""
    async with open_house(database_url, nats_server, folder) as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("shift", [HOUR, -HOUR], ids=["fast", "slow"])
async def test_a_wrong_clock_makes_nothing_early_twice_or_missed(house: House, log: Log, shift: timedelta) -> None:
    right, wrong = house.add_scheduler(), with_clock_shifted(house, shift)
    await start(right, wrong)
    assert abs(said_at(wrong) - clock.now() - shift) < timedelta(minutes=1)
    soon = {await submit(log, run_at=at): at for at in [clock.after(0.5 + number / 20) for number in range(40)]}
    far = [await submit(log, run_at=clock.after(minutes * 60)) for minutes in (1, 30, 59)]
    streams = [await create(log, overlap="allow", catch_up=policy) for policy in ("none", "latest", "all") * 5]

    for task, run_at in soon.items():
        assert timedelta() <= await due_at(log, task) - run_at < timedelta(seconds=3)
        assert await kinds_of(log, task) == ["submitted", "due"]
    counted = {stream: len(await has_fired(log, stream, 3)) for stream in streams}
    await right.kill()
    for stream in streams:
        await has_fired(log, stream, counted[stream] + 4)
        await assert_in_time(log, stream)
    assert [await kinds_of(log, task) for task in far] == [["submitted"]] * len(far)


def with_clock_shifted(house: House, shift: timedelta) -> Service:
    """One more scheduler process, which is wrong about the time of day."""
    path = house.folder / "scheduler-shifted.log"
    environment = {**os.environ, "DAYBOOK_DATABASE_URL": house.database_url, "DAYBOOK_NATS_URL": house.nats.url}
    service = Service("scheduler", SHIFTED.format(seconds=shift.total_seconds()), environment, path)
    house.services.append(service)
    return service


def said_at(service: Service) -> datetime:
    """When a process says that it started, by its own clock."""
    line = next(line for line in service.log_path.read_text().splitlines() if "scheduler.started" in line)
    return datetime.fromisoformat(json.loads(line)["timestamp"])


async def due_at(log: Log, task: UUID) -> datetime:
    """Wait until a task is due; when that was recorded."""

    async def found() -> datetime | None:
        return next((each.at for each in await log.load(task) if isinstance(each.event, TaskDue)), None)

    at = await eventually(found, 10)
    assert at is not None
    return at


async def assert_in_time(log: Log, stream: UUID) -> None:
    """Every slot has fired, once, at its time or a moment later."""
    found = await fired(log, stream)
    assert await skipped(log, stream) == []
    assert all(later.slot - earlier.slot == timedelta(seconds=1) for (earlier, _), (later, _) in pairwise(found))
    assert all(timedelta() <= at - event.slot < timedelta(seconds=5) for event, at in found)
