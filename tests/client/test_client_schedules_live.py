"""Schedules from Python, on a real system, with both clients."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from tests.services import Services, fresh_database, running_services

from daybook import App, AsyncClient, Client
from daybook.client import AsyncTask, Conflict, NotFound, ScheduleView
from daybook.settings import Settings
from daybook.testing.waiting import eventually
from daybook_local.nats import EmbeddedNats
from daybook_local.postgres import EmbeddedPostgres

app = App("chime")
_numbers = itertools.count(1)


@app.task
async def strike(times: int = 1) -> int:
    """Strike it."""
    return times


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def services(postgres: EmbeddedPostgres, template_database: str, nats: EmbeddedNats) -> AsyncIterator[Services]:
    """An API, a scheduler and a runner."""
    async with (
        fresh_database(postgres, template_database) as url,
        running_services(Settings(database_url=url, nats_url=nats.url), app) as running,
    ):
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def connected(services: Services) -> AsyncIterator[AsyncClient]:
    """A client of it, for somebody new."""
    async with AsyncClient(services.url, await services.token(f"owner-{next(_numbers)}")) as client:
        yield client


async def test_a_schedule_fires_pauses_is_triggered_and_ends(connected: AsyncClient) -> None:
    schedule = await connected.schedules.create("chime.strike", "* * * * * *", {"times": 3}, seconds=True, jitter=0, max_runs=100)

    async def submitted() -> list[AsyncTask]:
        return [task async for task in connected.tasks.list(schedule=schedule.id)]

    task = (await eventually(submitted, timeout_seconds=10))[-1]
    assert (await task.result(timeout=10), task.view.schedule) == (3, schedule.id)
    fired = (await schedule.slots(outcome="fired")).items
    assert fired[-1].task == task.id

    assert (await schedule.pause(note="quiet", until=timedelta(hours=1))).view.note == "quiet"
    assert schedule.view.paused_until is not None
    triggered = await schedule.trigger(note="once")
    assert await triggered.result(timeout=10) == 3
    assert not (await schedule.resume()).view.paused
    assert (await schedule.refresh()).view.counts["fired"] >= 2

    await schedule.delete()
    with pytest.raises(NotFound):
        await schedule.refresh()
    assert schedule.id not in [each.id async for each in connected.schedules.list()]


async def test_the_same_key_is_the_same_schedule_and_the_same_trigger(connected: AsyncClient) -> None:
    one = await connected.schedules.create("chime.strike", "@yearly", key="new year")
    other = await connected.schedules.create("chime.strike", "@yearly", key="new year")
    assert (one.id, one.view.next) == (other.id, other.view.next)
    assert [each.id async for each in connected.schedules.list(app="chime.strike")] == [one.id]
    first, again = await one.trigger(key="now"), await one.trigger(key="now")
    assert (first.id, (await one.refresh()).view.counts["fired"]) == (again.id, 1)


async def test_the_blocking_client_does_the_same(services: Services) -> None:
    token = await services.token("bob")

    def everything() -> tuple[ScheduleView, ScheduleView]:
        with Client(services.url, token) as client:
            schedule = client.schedules.create(
                "chime.strike",
                "0 9 * * mon-fri",
                timezone="Europe/Berlin",
                end_at="2126-01-01T00:00:00Z",
                labels={"a": "b"},
                timeout="1m",
                paused=True,
                note="soon",
            )
            before = schedule.view
            preview = client.schedules.preview("0 9 * * mon-fri", timezone="Europe/Berlin", count=3)
            assert (preview.words, len(preview.next)) == (before.words, 3)
            with pytest.raises(Conflict):
                schedule.change(cron="@daily", version=before.version + 1)
            schedule.resume(note="now")
            assert schedule.view.next[:3] == [each.at for each in preview.next]
            schedule.change(cron="0 * * * *", timezone="UTC", end_at=None, timeout=None, input={"times": 2}, overlap="allow")
            filled = schedule.backfill(timedelta(hours=2), dry_run=True)
            assert (filled.count, filled.dry_run, len(filled.slots)) == (2, True, 2)
            assert [each.id for each in client.schedules.list(limit=1)] == [schedule.id]
            ledger = client.schedules.slots(schedule.id, limit=None)
            assert len(ledger.planned) == 5
            return before, schedule.refresh().view

    before, after = await asyncio.to_thread(everything)
    assert (before.paused, before.note, before.next, before.policy["timeout_seconds"]) == (True, "soon", [], 60.0)
    assert (after.cron, after.end_at, after.policy["timeout_seconds"], after.overlap) == ("0 * * * *", None, None, "allow")
    assert (after.labels, after.input) == ({"a": "b"}, {"times": 2})
