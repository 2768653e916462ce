"""The read models of schedules: kept up or made anew, they hold what the domain makes of the same events; and a slot's task
that is not there yet has a timer until it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
import pytest_asyncio
from tests.bus.parts import open_log
from tests.log.noting import running, until_caught_up
from tests.scheduler.schedules import EVERY_SECOND, INPUT, create, state

from daybook import ids
from daybook.domain.schedule import Snapshot
from daybook.domain.schedule_events import (
    Rule,
    ScheduleBackfilled,
    ScheduleChanged,
    ScheduleDeleted,
    SchedulePaused,
    ScheduleResumed,
    SlotFired,
    SlotsSkipped,
    Work,
)
from daybook.log.connections import Connection, connect
from daybook.log.followers import Follower
from daybook.log.postgres import Log
from daybook.log.reader import LogReader
from daybook.projections import projector, timer
from daybook.projections.projector import Projector, rebuild
from daybook.projections.timer import PendingSubmission, TimerProjection
from daybook.scheduling import submit_slot, task_of_slot
from daybook.testing import NOON

SECOND = timedelta(seconds=1)
ORDER = {"read.schedule": "id", "read.slot": "schedule, version", "read.timer": "id"}


class Models:
    """A log whose read models are kept up, and who writes to it."""

    def __init__(self, url: str, owner: Connection, api: Log, scheduler: Log, reader: LogReader) -> None:
        self.url = url
        self.owner = owner
        self.api = api
        self.scheduler = scheduler
        follow = partial(Follower, log=api, reader=reader, holder="here")
        self._followers = (
            follow(projector.FOLLOWER, Projector(), connect=partial(connect, url, "daybook_projector")),
            follow(timer.FOLLOWER, TimerProjection(), connect=partial(connect, url, "daybook_scheduler")),
        )

    async def catch_up(self) -> dict[str, list[dict[str, Any]]]:
        """All rows, once the followers have read all there is."""
        async with running(self._followers[0]), running(self._followers[1]):
            for name in (projector.FOLLOWER, timer.FOLLOWER):
                await until_caught_up(self.owner, self.api, name)
        return await self.rows()

    async def rows(self) -> dict[str, list[dict[str, Any]]]:
        return {table: [dict(row) for row in await self.owner.fetch(f"SELECT * FROM {table} ORDER BY {order}")] for table, order in ORDER.items()}


@pytest_asyncio.fixture(loop_scope="session")
async def models(database_url: str, owner: Connection) -> AsyncIterator[Models]:
    reader = LogReader(partial(connect, database_url, None), page=3)
    async with open_log(database_url) as api, open_log(database_url, "scheduler") as scheduler:
        yield Models(database_url, owner, api, scheduler, reader)
    await reader.close()


async def tell_a_long_story(models: Models) -> UUID:
    """Something of everything; its last slot has no task."""
    stream = await create(models.api)
    name = ids.spell("sch", stream)
    rule = Rule(cadence=EVERY_SECOND, overlap="allow", jitter_seconds=0.5)
    slots = [NOON + number * SECOND for number in range(10)]

    def fired(number: int, **said: Any) -> SlotFired:
        return SlotFired(slot=slots[number], task=ids.spell("tsk", task_of_slot(name, slots[number])), **said)

    events = [
        fired(0),
        SlotsSkipped(first=slots[1], last=slots[3], count=3, reason="overlap"),
        SchedulePaused(reason="a rest", until=slots[9]),
        ScheduleResumed(),
        ScheduleBackfilled(slots=(slots[2],)),
        fired(2, cause="backfill"),
        ScheduleChanged(rule=rule, work=Work(app="hello", app_version="2", input=INPUT.content)),
        fired(5, due_at=slots[5] + SECOND / 3),
    ]
    for version, event in enumerate(events, 2):
        log = models.scheduler if isinstance(event, SlotFired | SlotsSkipped) else models.api
        appended = await log.append(stream, version, event, namespace="default")
        if isinstance(event, SlotFired) and event is not events[-1]:
            snapshot = Snapshot(namespace="default", schedule=await state(models.api, stream))
            await submit_slot(models.scheduler, stream, snapshot, event, appended.at, INPUT.payload)
    return stream


async def test_they_hold_what_the_domain_says(models: Models) -> None:
    stream = await tell_a_long_story(models)
    rows = await models.catch_up()
    schedule = await state(models.api, stream)
    [row] = rows["read.schedule"]
    assert msgspec.json.decode(row["snapshot"], type=Snapshot) == Snapshot(namespace="default", schedule=schedule)
    assert (row["version"], row["owner"], row["app"], row["deleted"], row["created_at"]) == (9, "ann", "hello", False, schedule.created_at)
    ledger = [(each["version"], each["slot"], each["last"], each["count"], each["outcome"], each["reason"]) for each in rows["read.slot"]]
    assert ledger == [
        (2, NOON, NOON, 1, "fired", "slot"),
        (3, NOON + SECOND, NOON + 3 * SECOND, 3, "skipped", "overlap"),
        (7, NOON + 2 * SECOND, NOON + 2 * SECOND, 1, "fired", "backfill"),
        (9, NOON + 5 * SECOND, NOON + 5 * SECOND, 1, "fired", "slot"),
    ]
    assert rows["read.slot"][-1]["due_at"] == NOON + 5 * SECOND + SECOND / 3
    assert sum(schedule.counts.values()) == sum(each["count"] for each in rows["read.slot"])


async def test_a_task_that_is_missing_has_a_timer_until_it_is_there(models: Models) -> None:
    stream = await tell_a_long_story(models)
    timers = {row["what"]: row for row in (await models.catch_up())["read.timer"]}
    assert timers.keys() == {"schedule", "submission"}
    assert msgspec.json.decode(timers["schedule"]["state"], type=Snapshot).schedule == await state(models.api, stream)
    pending = msgspec.json.decode(timers["submission"]["state"], type=PendingSubmission)
    assert timers["submission"]["id"] == task_of_slot(ids.spell("sch", stream), NOON + 5 * SECOND)
    await submit_slot(models.scheduler, stream, pending.snapshot, pending.fired, pending.at, INPUT.payload)
    assert [row["what"] for row in (await models.catch_up())["read.timer"]] == ["schedule"]


async def test_made_anew_they_are_what_they_were(models: Models) -> None:
    await tell_a_long_story(models)
    gone = await create(models.api)
    await models.api.append(gone, 2, ScheduleDeleted(), namespace="default")
    before = await models.catch_up()
    assert [row["deleted"] for row in before["read.schedule"]].count(True) == 1
    await rebuild(models.url)
    assert await models.rows() == before
