"""The reaper: an attempt whose runner holds no lease any more is lost, soon and once; a runner that lives loses nothing."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest
from tests.bus.parts import kinds_of, open_log, submit
from tests.services import running_scheduler

from daybook import clock
from daybook.domain.events import Policy, TaskCancelled, TaskCancelRequested, TaskLost, TaskStarted
from daybook.domain.status import Status
from daybook.domain.task import Task, fold
from daybook.log.connections import Connection
from daybook.log.postgres import Log, events_of
from daybook.settings import Settings
from daybook.testing import eventually
from daybook_scheduler import reaper

TTL = timedelta(seconds=0.6)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaper, "_PASS_SECONDS", 0.05)


async def test_a_runner_that_renews_no_more_loses_its_attempts(settings: Settings, log: Log, owner: Connection) -> None:
    await lease(owner, "dead")
    await lease(owner, "alive")
    mine, other = await running(settings, log, "dead"), await running(settings, log, "alive")
    await renew(owner, "dead")
    async with running_scheduler(settings):
        await comes_to(log, mine, "submitted", "started", "lost")
        lost = (await log.load(mine))[-1].event
        assert lost == TaskLost(actor="reaper", reason="lost_runner", attempt=1, runner="dead")
        assert (await task_of(log, mine)).status is Status.QUEUED
        assert await kinds_of(log, other) == ["submitted", "started"]


async def test_whoever_was_ended_renews_nothing_and_claims_nothing(settings: Settings, log: Log, owner: Connection) -> None:
    await lease(owner, "dead")
    task = await running(settings, log, "dead")
    another = await submit(log)
    await renew(owner, "dead")
    async with running_scheduler(settings):
        await comes_to(log, task, "submitted", "started", "lost")
    assert not await renew(owner, "dead")
    async with open_log(settings.database_url, "runner", "dead", "secret") as dead:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="live lease"):
            await dead.append(another, 2, TaskStarted(attempt=1, runner="dead"), namespace="default")


async def test_a_clock_that_jumps_ends_nobody_who_renews(settings: Settings, log: Log, owner: Connection) -> None:
    """To a lease, an hour's jump of the database's clock is an end an hour ago."""
    for name in ("one", "two"):
        await lease(owner, name)
    tasks = [await running(settings, log, name) for name in ("one", "two")]
    await renew(owner, "one", ttl=3 * TTL)
    await renew(owner, "two", ttl=3 * TTL)
    async with running_scheduler(settings) as scheduler:
        await eventually(lambda: scheduler.reaper.looks > 2)
        await owner.execute("UPDATE daybook.runner SET until = until - interval '1 hour'")
        looks = scheduler.reaper.looks
        await eventually(lambda: scheduler.reaper.looks > looks + 1)  # it has seen them run out
        assert await renew(owner, "one")
        assert await renew(owner, "two", ttl=timedelta(minutes=1))
        await comes_to(log, tasks[0], "submitted", "started", "lost")  # nobody renews that one again
        assert await kinds_of(log, tasks[1]) == ["submitted", "started"]


async def test_two_schedulers_lose_an_attempt_once(settings: Settings, log: Log, owner: Connection) -> None:
    await lease(owner, "dead")
    tasks = [await running(settings, log, "dead") for _ in range(20)]
    await renew(owner, "dead")
    async with running_scheduler(settings), running_scheduler(settings):
        for task in tasks:
            await comes_to(log, task, "submitted", "started", "lost")


async def test_what_was_lost_while_nobody_watched_is_found(settings: Settings, log: Log, owner: Connection) -> None:
    await lease(owner, "dead")
    task = await running(settings, log, "dead")
    await owner.execute("SELECT daybook.end_lease('dead', 'secret')")
    gone = await running_under(settings, log, owner, "gone")
    async with running_scheduler(settings):
        await comes_to(log, task, "submitted", "started", "lost")
        await comes_to(log, gone, "submitted", "started", "lost")


@pytest.mark.parametrize("policy", [Policy(max_losses=0), Policy(delivery="at_most_once")])
async def test_a_loss_can_be_the_end(settings: Settings, log: Log, owner: Connection, policy: Policy) -> None:
    await lease(owner, "dead")
    task = await running(settings, log, "dead", policy)
    await renew(owner, "dead")
    async with running_scheduler(settings):
        await comes_to(log, task, "submitted", "started", "lost")
        found = await task_of(log, task)
        assert (found.status, found.reason, found.error_type) == (Status.ERROR, "lost_runner", "RunnerLost")


async def test_a_task_that_was_to_be_cancelled_is_cancelled(settings: Settings, log: Log, owner: Connection) -> None:
    await lease(owner, "dead")
    task = await running(settings, log, "dead")
    await renew(owner, "dead")
    await log.append(task, 3, TaskCancelRequested(actor="user:ann", reason="enough"), namespace="default")
    async with running_scheduler(settings):
        await comes_to(log, task, "submitted", "started", "cancel_requested", "cancelled")
        assert (await log.load(task))[-1].event == TaskCancelled(actor="reaper", reason="enough", attempt=1, requested_by="user:ann")


async def test_an_overdue_attempt_is_lost_though_its_runner_lives(settings: Settings, log: Log, owner: Connection) -> None:
    await lease(owner, "frozen")
    task = await submit(log, policy=Policy(timeout_seconds=0.1))
    async with open_log(settings.database_url, "runner", "frozen", "secret") as runner:
        await runner.append(task, 2, TaskStarted(attempt=1, runner="frozen", overdue_at=clock.after(0.2)), namespace="default")
    async with running_scheduler(settings):
        await comes_to(log, task, "submitted", "started", "lost")
        assert (await log.load(task))[-1].event == TaskLost(actor="scheduler", reason="overdue", attempt=1, runner="frozen")


async def lease(owner: Connection, name: str, *, ttl: timedelta = timedelta(minutes=1)) -> None:
    """A lease that nobody renews but the test."""
    await owner.execute("SELECT daybook.take_lease($1, 'secret', 'default', '{default}', '{hello}', 4, 'a test', $2)", name, ttl)


async def renew(owner: Connection, name: str, *, ttl: timedelta = TTL) -> bool:
    renewed: bool = await owner.fetchval("SELECT daybook.renew_lease($1, 'secret', $2)", name, ttl)
    return renewed


async def running(settings: Settings, log: Log, name: str, policy: Policy = Policy()) -> UUID:  # noqa: B008 it is frozen
    """A task that this runner has claimed."""
    task = await submit(log, policy=policy)
    async with open_log(settings.database_url, "runner", name, "secret") as runner:
        await runner.append(task, 2, TaskStarted(attempt=1, runner=name), namespace="default")
    return task


async def running_under(settings: Settings, log: Log, owner: Connection, name: str) -> UUID:
    """A task claimed by a runner of which nothing is left, not even its lease."""
    await lease(owner, name)
    task = await running(settings, log, name)
    await owner.execute("DELETE FROM daybook.runner WHERE id = $1", name)
    return task


async def task_of(log: Log, stream: UUID) -> Task:
    task = fold(events_of(await log.load(stream)))
    assert task is not None
    return task


async def comes_to(log: Log, task: UUID, *kinds: str) -> None:
    async def has_come() -> bool:
        return await kinds_of(log, task) == list(kinds)

    await eventually(has_come, 10)
