"""Read models are a fold over the log: kept up, made anew, or made from nothing, they are the same."""

import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial
from random import SystemRandom
from typing import Any
from uuid import UUID

import msgspec
import pytest_asyncio
from tests.log.noting import running, until_caught_up
from tests.log.samples import RESCHEDULED, SUBMITTED, append_of
from tests.projections.stories import APPEND, Stories

from daybook import ids
from daybook.domain.events import AppPublished
from daybook.domain.status import Status
from daybook.log.connections import Connection, connect
from daybook.log.envelope import Append
from daybook.log.followers import Follower
from daybook.log.migrate import migrate
from daybook.log.postgres import Log
from daybook.log.reader import LogReader
from daybook.projections import projector, timer
from daybook.projections.projector import Projector, rebuild
from daybook.projections.timer import TimerProjection
from daybook.testing import eventually

TABLES = ("read.task", "read.app", "read.timer")


class House:
    """A database whose read models are kept up."""

    def __init__(self, url: str, owner: Connection, log: Log, reader: LogReader) -> None:
        self.url = url
        self.owner = owner
        self.log = log
        follow = partial(Follower, log=log, reader=reader, holder="here")
        self.projector = follow(projector.FOLLOWER, Projector(), connect=partial(connect, url, "daybook_projector"))
        self.timer = follow(timer.FOLLOWER, TimerProjection(), connect=partial(connect, url, "daybook_scheduler"))

    async def caught_up(self) -> None:
        """Return when both followers have passed all there is now."""
        for name in (projector.FOLLOWER, timer.FOLLOWER):
            await until_caught_up(self.owner, self.log, name)

    async def snapshot(self) -> dict[str, list[dict[str, Any]]]:
        """All rows of all read models."""
        return {table: [dict(row) for row in await self.owner.fetch(f"SELECT * FROM {table} ORDER BY id")] for table in TABLES}


@pytest_asyncio.fixture(loop_scope="session")
async def house(database_url: str, owner: Connection) -> AsyncIterator[House]:
    log = await Log.open(database_url, "owner", pool_size=2, writers=1)
    reader = LogReader(partial(connect, database_url, None), page=50)
    yield House(database_url, owner, log, reader)
    await reader.close()
    await log.close()


@pytest_asyncio.fixture(loop_scope="session")
async def stories() -> Stories:
    seed = int(os.environ.get("TEST_SEED") or SystemRandom().randrange(10**6))
    print(f"TEST_SEED={seed}")
    return Stories(seed)


async def test_read_models_rebuilt_equal_what_they_were(house: House, stories: Stories, owner: Connection) -> None:
    async with running(house.projector), running(house.timer):
        await stories.go_on(owner, 1500)
        await house.caught_up()
    kept_up = await house.snapshot()
    assert all(kept_up[table] for table in TABLES)
    assert {row["status"] for row in kept_up["read.task"]} == set(Status)
    events = await owner.fetchval("SELECT count(*) FROM log.event")
    assert await rebuild(house.url) == events
    assert await house.snapshot() == kept_up
    await owner.execute("DROP TABLE read.task, read.app, read.timer")
    await migrate(house.url)
    assert await house.snapshot() == {table: [] for table in TABLES}
    assert await rebuild(house.url) == events
    assert await house.snapshot() == kept_up
    await owner.execute("DROP SCHEMA read CASCADE; DELETE FROM log.cursor")
    await migrate(house.url)
    await rebuild(house.url)
    assert await house.snapshot() == kept_up


async def test_a_read_model_says_what_the_domain_says(house: House, stories: Stories, owner: Connection) -> None:
    async with running(house.projector), running(house.timer):
        await stories.go_on(owner, 800)
        await house.caught_up()
    rows = {row["id"]: row for row in (await house.snapshot())["read.task"]}
    timers = {row["id"]: row for row in (await house.snapshot())["read.timer"]}
    folded = await stories.folded(house.log)
    assert rows.keys() == folded.keys()
    same = ("version", "status", "reason", "owner", "app", "app_version", "queue", "priority", "run_at", "attempt", "error_type")
    for stream, task in folded.items():
        row = rows[stream]
        assert {name: row[name] for name in same} == {name: getattr(task, name) for name in same}
        assert msgspec.json.decode(row["labels"]) == task.labels
        assert (row["submitted_at"], row["started_at"], row["finished_at"]) == (task.submitted_at, task.started_at, task.finished_at)
        waits = task.status is Status.SCHEDULED
        assert (stream in timers) == waits
        assert not waits or (timers[stream]["version"], timers[stream]["due_at"]) == (task.version, task.run_at)


async def test_a_rebuild_under_load_misses_nothing(house: House, stories: Stories, owner: Connection) -> None:
    async with running(house.projector), running(house.timer):
        await stories.go_on(owner, 300)
        going_on = asyncio.create_task(stories.go_on(owner, 700))
        while not going_on.done():
            await rebuild(house.url)
        await going_on
    async with running(house.projector), running(house.timer):  # They were fenced, and are started again, as every duty is.
        await house.caught_up()
    kept_up = await house.snapshot()
    assert await owner.fetch("SELECT * FROM log.parked") == []
    await rebuild(house.url)
    assert await house.snapshot() == kept_up


async def test_readers_see_the_old_state_until_the_new_one_is_there(house: House, stories: Stories, owner: Connection) -> None:
    async with running(house.projector), running(house.timer):
        await stories.go_on(owner, 500)
        await house.caught_up()
    count = await owner.fetchval("SELECT count(*) FROM read.task")
    rebuilding = asyncio.create_task(rebuild(house.url))
    counts = set()
    while not rebuilding.done():
        counts.add(await owner.fetchval("SELECT count(*) FROM read.task"))
    await rebuilding
    assert counts == {count}


async def test_a_rebuild_parks_what_cannot_be_digested_and_no_more(house: House, stories: Stories, owner: Connection) -> None:
    async with running(house.projector), running(house.timer):
        await stories.go_on(owner, 200)
        nul = AppPublished(app="nul", app_kind="python", version="1", doc="\x00")  # JSON may hold it, jsonb may not.
        unreadable = ids.new_id()
        await _append(owner, append_of(ids.derive_id("app", "default", "nul"), 1, nul))
        await _append(owner, append_of(unreadable, 1, SUBMITTED))
        await _append(owner, append_of(unreadable, 2, RESCHEDULED)._replace(kind="task.paused.v1"))
        await _append(owner, append_of(unreadable, 3, RESCHEDULED))
        await stories.go_on(owner, 200)
        await house.caught_up()
        parked = await _parked(owner)
        assert parked == {("projector", ids.derive_id("app", "default", "nul"), 1), ("projector", unreadable, 2), ("timer", unreadable, 2)}
    kept_up = await house.snapshot()
    await rebuild(house.url)
    assert await _parked(owner) == parked
    assert await house.snapshot() == kept_up
    assert [row["version"] for row in kept_up["read.task"] if row["id"] == unreadable] == [1]


async def test_the_projector_that_was_fenced_by_a_rebuild_goes_on_from_its_end(house: House, stories: Stories, owner: Connection) -> None:
    async with running(house.projector) as fenced:
        await stories.go_on(owner, 100)
        await until_caught_up(owner, house.log, projector.FOLLOWER)
        await rebuild(house.url)
        await eventually(fenced.done)
    async with running(house.projector):
        await stories.go_on(owner, 100)
        await until_caught_up(owner, house.log, projector.FOLLOWER)
    assert await owner.fetchval("SELECT count(*) FROM read.task") == len(await stories.folded(house.log))


async def _append(owner: Connection, row: Append) -> None:
    assert await owner.fetch(APPEND, *([value] for value in row))


async def _parked(owner: Connection) -> set[tuple[str, UUID, int]]:
    return {(row["follower"], row["stream"], row["version"]) for row in await owner.fetch("SELECT follower, stream, version FROM log.parked")}
