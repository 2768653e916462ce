"""Timers: what has a time becomes due at that time, once, whoever set it and however many look at it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
from tests.bus.parts import kinds_of, open_log, submit
from tests.services import running_scheduler

from daybook import clock
from daybook.bus.jetstream import Bus
from daybook.domain.events import TaskCancelled, TaskDue, TaskRescheduled
from daybook.lifecycle import Duties
from daybook.log.connections import Connection
from daybook.log.postgres import Log
from daybook.settings import Settings
from daybook.testing import eventually
from daybook_scheduler.slots import Slots
from daybook_scheduler.timers import Timers

SOON = 0.3


async def test_a_task_becomes_due_at_its_time(settings: Settings, log: Log) -> None:
    async with running_scheduler(settings):
        run_at = clock.after(SOON)
        later, task = await submit(log, run_at=clock.after(3600)), await submit(log, run_at=run_at)
        due = await becomes_due(log, task)
        assert timedelta() <= due - run_at < timedelta(seconds=1)
        assert await kinds_of(log, later) == ["submitted"]


async def test_an_earlier_timer_wakes_whoever_sleeps_for_a_later_one(settings: Settings, log: Log, owner: Connection) -> None:
    async with running_scheduler(settings):
        far = await submit(log, run_at=clock.after(1.5))
        await timers(owner, 1)
        run_at = clock.after(SOON)
        near = await submit(log, run_at=run_at)
        assert await becomes_due(log, near) - run_at < timedelta(seconds=1)
        assert await kinds_of(log, far) == ["submitted"]
        assert await becomes_due(log, far)


async def test_cancelled_and_rescheduled_tasks_keep_no_old_timer(settings: Settings, log: Log, owner: Connection) -> None:
    async with running_scheduler(settings):
        cancelled, moved, witness = [await submit(log, run_at=clock.after(SOON)) for _ in range(3)]
        later = clock.after(2 * SOON)
        await log.append(cancelled, 2, TaskCancelled(), namespace="default")
        await log.append(moved, 2, TaskRescheduled(run_at=later), namespace="default")
        await becomes_due(log, witness)
        assert await becomes_due(log, moved) >= later
        assert await kinds_of(log, cancelled) == ["submitted", "cancelled"]
        assert await kinds_of(log, moved) == ["submitted", "rescheduled", "due"]
        await timers(owner, 0)


async def test_of_two_schedulers_one_fires_each_timer(settings: Settings, log: Log) -> None:
    async with running_scheduler(settings), running_scheduler(settings):
        tasks = [await submit(log, run_at=clock.after(SOON)) for _ in range(100)]
        for task in tasks:
            await becomes_due(log, task)
        assert [await kinds_of(log, task) for task in tasks] == [["submitted", "due"]] * 100


async def test_a_timer_that_was_set_through_another_scheduler_is_found(settings: Settings, log: Log, owner: Connection) -> None:
    """Its own follower would wake it; here nobody does, as when that follower's process died a moment ago."""
    async with timers_alone(settings):
        task = await submit(log, run_at=clock.after(SOON))
        await owner.execute("INSERT INTO read.timer VALUES ($1, 1, clock_timestamp())", task)
        await becomes_due(log, task)


async def test_a_timer_of_a_task_that_went_on_is_dropped_and_harms_no_other(settings: Settings, log: Log, owner: Connection) -> None:
    stale, fresh = await submit(log, run_at=clock.after(3600)), await submit(log, run_at=clock.now())
    await log.append(stale, 2, TaskCancelled(), namespace="default")
    await owner.execute("INSERT INTO read.timer SELECT unnest($1::uuid[]), 1, clock_timestamp()", [stale, fresh])
    async with timers_alone(settings):
        await becomes_due(log, fresh)
        await timers(owner, 0)
    assert await kinds_of(log, stale) == ["submitted", "cancelled"]


async def test_a_timer_that_another_holds_is_left_to_it_and_fired_when_it_lets_go(settings: Settings, log: Log, owner: Connection, database_url: str) -> None:
    held, free = await submit(log, run_at=clock.now()), await submit(log, run_at=clock.now())
    await owner.execute("INSERT INTO read.timer SELECT unnest($1::uuid[]), 1, clock_timestamp()", [held, free])
    other = await asyncpg.connect(database_url)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT FROM read.timer WHERE id = $1 FOR UPDATE", held)
    async with timers_alone(settings):
        await becomes_due(log, free)
        assert await kinds_of(log, held) == ["submitted"]
        await transaction.rollback()
        await becomes_due(log, held)
    await other.close()


async def test_after_losing_the_database_it_goes_on(settings: Settings, log: Log, owner: Connection) -> None:
    async with running_scheduler(settings):
        task = await submit(log, run_at=clock.after(SOON))
        await owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'daybook daybook_scheduler'")
        await becomes_due(log, task)
        assert await kinds_of(log, task) == ["submitted", "due"]


async def becomes_due(log: Log, task: UUID) -> datetime:
    """Wait until the task is due, and return when that was recorded."""

    async def due() -> datetime | None:
        return next((each.at for each in await log.load(task) if isinstance(each.event, TaskDue)), None)

    at = await eventually(due)
    assert at is not None
    return at


async def timers(owner: Connection, count: int) -> None:
    """Wait until there are so many timers."""

    async def are() -> bool:
        return bool(await owner.fetchval("SELECT count(*) FROM read.timer") == count)

    await eventually(are)


@asynccontextmanager
async def timers_alone(settings: Settings) -> AsyncIterator[None]:
    """The duty that fires timers, without the follower that sets them."""
    async with open_log(settings.database_url, "scheduler") as log:
        duties = Duties()
        duties.add("timers", Timers(log, Slots(log, Bus("", "nobody"))).run)
        duties.start()
        try:
            yield
        finally:
            await duties.stop()
