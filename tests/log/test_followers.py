"""Followers: one holder at a time, the cursor moves with the effect, and whoever was fenced leaves nothing behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest
import pytest_asyncio
from tests.log.noting import TABLE, Host, Notes, hosted, noted, running, until_caught_up, until_noted
from tests.log.samples import RESCHEDULED, SQL, SUBMITTED

from daybook import ids
from daybook.log import followers
from daybook.log.connections import LOST, Connection
from daybook.log.envelope import START, Fenced
from daybook.log.postgres import Log
from daybook.testing import eventually


@pytest_asyncio.fixture(loop_scope="session")
async def host(database_url: str, owner: Connection) -> AsyncIterator[Host]:
    await owner.execute(TABLE)
    async with hosted(database_url) as opened:
        yield opened


async def test_a_follower_is_told_everything_once_and_in_order(host: Host, log: Log, owner: Connection) -> None:
    streams = [ids.new_id() for _ in range(20)]
    await asyncio.gather(*(log.append(stream, 1, SUBMITTED, namespace="default") for stream in streams))
    async with running(host.follower(Notes())):
        for version in range(2, 6):
            await asyncio.gather(*(log.append(stream, version, RESCHEDULED, namespace="default") for stream in streams))
        told = await until_noted(owner, 100)
        await until_caught_up(owner, log)
    assert len(told) == 100
    for stream in streams:
        assert [version for each, version in told if each == stream] == [1, 2, 3, 4, 5]


async def test_a_follower_goes_on_from_where_it_was(host: Host, log: Log, owner: Connection) -> None:
    notes, stream = Notes(), ids.new_id()
    for version in range(1, 4):
        await log.append(stream, version, SUBMITTED if version == 1 else RESCHEDULED, namespace="default")
        async with running(host.follower(notes)):
            await until_noted(owner, version)
    assert await noted(owner) == [(stream, 1), (stream, 2), (stream, 3)]
    assert notes.begun == 3


async def test_one_process_holds_a_follower_and_another_takes_over_when_it_stops(host: Host, database_url: str, log: Log, owner: Connection) -> None:
    first, second = Notes(), Notes()
    async with hosted(database_url, "there") as there, running(host.follower(first)) as holding:
        await eventually(lambda: first.begun)
        async with running(there.follower(second)) as waiting:
            await log.append(ids.new_id(), 1, SUBMITTED, namespace="default")
            await until_noted(owner, 1)
            assert (second.begun, holding.done(), waiting.done()) == (0, False, False)
            holding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await holding
            await eventually(lambda: second.begun)  # Long before the lease would have ended.
            await log.append(ids.new_id(), 1, SUBMITTED, namespace="default")
            await until_noted(owner, 2)


async def test_a_lease_that_nobody_renews_is_taken_over_when_it_ends(host: Host, owner: Connection) -> None:
    await owner.execute(SQL["acquire"], "notes", "gone", START, timedelta(seconds=0.7))
    notes = Notes()
    async with running(host.follower(notes)):
        await eventually(lambda: notes.begun)
        holder, epoch = await owner.fetchrow("SELECT holder, epoch FROM log.cursor")  # type: ignore[misc]
    assert (holder, epoch) == ("here", 2)


async def test_nobody_acquires_what_is_held(owner: Connection) -> None:
    lease = timedelta(minutes=1)
    assert await owner.fetchrow(SQL["acquire"], "notes", "one", START, lease)
    assert await owner.fetchrow(SQL["acquire"], "notes", "other", START, lease) is None
    again = await owner.fetchrow(SQL["acquire"], "notes", "one", START, lease)
    assert again is not None, "a process that starts its follower again need not wait for itself"
    assert again["epoch"] == 2


async def test_a_holder_that_was_overtaken_leaves_nothing(host: Host, log: Log, owner: Connection) -> None:
    """It was stopped for longer than its lease, and goes on with a page that it has read before."""
    async with running(host.follower(Notes())) as overtaken:
        await log.append(ids.new_id(), 1, SUBMITTED, namespace="default")
        await until_noted(owner, 1)
        await owner.execute("UPDATE log.cursor SET until = '-infinity'")
        await owner.execute(SQL["acquire"], "notes", "other", START, timedelta(minutes=1))
        before = await owner.fetchval("SELECT positions FROM log.cursor")
        await log.append(ids.new_id(), 1, SUBMITTED, namespace="default")
        with pytest.raises(Fenced):
            await overtaken
    assert len(await noted(owner)) == 1
    assert await owner.fetchval("SELECT positions FROM log.cursor WHERE holder = 'other'") == before


async def test_an_idle_holder_renews_its_lease_and_learns_that_it_was_overtaken(host: Host, owner: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "_RENEW_SECONDS", 0.1)
    notes = Notes()
    async with running(host.follower(notes)) as holding:
        await eventually(lambda: notes.begun)
        first = await owner.fetchval("SELECT until FROM log.cursor")
        await eventually(lambda: owner.fetchval("SELECT until > $1 FROM log.cursor", first))
        await owner.execute("UPDATE log.cursor SET epoch = epoch + 1, holder = 'other'")
        with pytest.raises(Fenced):
            await holding


async def test_the_effect_and_the_cursor_are_one(host: Host, log: Log, owner: Connection) -> None:
    """The connection dies between the two: neither is there, and the next start does both."""
    notes = Notes()
    notes.before_noting = "SELECT pg_terminate_backend(pg_backend_pid())"
    await log.append(ids.new_id(), 1, SUBMITTED, namespace="default")
    with pytest.raises(LOST):
        await asyncio.wait_for(host.follower(notes).run(), 5)
    assert await noted(owner) == []
    assert await owner.fetchval("SELECT positions FROM log.cursor") == list(START)
    async with running(host.follower(notes)):
        await until_noted(owner, 1)
        await until_caught_up(owner, log)


async def test_what_somebody_else_is_in_the_way_of_is_done_again(host: Host, log: Log, owner: Connection) -> None:
    """A lock that is not had in time, a deadlock: nobody's poison."""
    await log.append(ids.new_id(), 1, SUBMITTED, namespace="default")
    notes = Notes()
    for error in ("lock_not_available", "deadlock_detected", "serialization_failure"):
        notes.before_noting = f"DO $$ BEGIN RAISE {error}; END $$"
        with pytest.raises(asyncpg.PostgresError):
            await asyncio.wait_for(host.follower(notes).run(), 5)
    assert await owner.fetch("SELECT * FROM log.parked") == []
    async with running(host.follower(notes)):
        await until_noted(owner, 1)


async def test_an_effect_outside_of_the_database_comes_first_and_may_come_again(host: Host, log: Log, owner: Connection) -> None:
    notes = Notes(in_transaction=False)
    await log.append(ids.new_id(), 1, SUBMITTED, namespace="default")
    async with running(host.follower(notes, save_every_seconds=0.2)):
        await until_caught_up(owner, log)
    notes.before_noting = "DO $$ BEGIN RAISE 'NATS is away'; END $$"
    await log.append(ids.new_id(), 1, SUBMITTED, namespace="default")
    with pytest.raises(asyncpg.RaiseError):
        await asyncio.wait_for(host.follower(notes).run(), 5)
    assert len(await noted(owner)) == 2
    await owner.execute("DELETE FROM public.noted")
    async with running(host.follower(notes, save_every_seconds=0.2)):
        await until_noted(owner, 1)


async def test_a_new_follower_starts_at_the_beginning_and_delays_nobody(host: Host, log: Log, owner: Connection) -> None:
    async with running(host.follower(Notes())):
        for _ in range(5):
            await log.append(ids.new_id(), 1, SUBMITTED, namespace="default")
        await until_noted(owner, 5)
        async with running(host.follower(Notes("late"))):
            assert await until_noted(owner, 5, "late") == await noted(owner)
            await log.append(ids.new_id(), 1, SUBMITTED, namespace="default")
            await until_noted(owner, 6)
            await until_noted(owner, 6, "late")
