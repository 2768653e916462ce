"""The intake: takes what it has room for, claims it once, and never loses what it has claimed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import nats
import pytest
import pytest_asyncio
from tests.bus.parts import submit
from tests.runner.workshop import Workshop, claims_blocked, opened, somebody_waits
from tests.services import running_runner

from daybook import App, ids
from daybook.bus import subjects
from daybook.domain.events import TaskCancelled
from daybook.log import writer
from daybook.settings import Settings
from daybook.testing import eventually
from daybook_local.nats import EmbeddedNats
from daybook_runner import wiring


@pytest_asyncio.fixture(loop_scope="session")
async def workshop(database_url: str, nats_server: EmbeddedNats, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Workshop]:
    monkeypatch.setattr(wiring, "_DRAIN_SECONDS", 0.2)
    async with opened(Settings(database_url=database_url, nats_url=nats_server.url)) as made:
        yield made


async def test_it_takes_what_it_has_room_for_and_the_rest_when_there_is_room(workshop: Workshop) -> None:
    tasks = [await submit(workshop.log, "bench.work") for _ in range(5)]
    async with workshop.runner(slots=2):
        await workshop.ring(*tasks)
        await workshop.bench.holds(*tasks[:2])
        assert len(await workshop.events()) == 3 + 5 + 2  # three apps, five tasks, two claims
        workshop.bench.let_go(tasks[0])
        await workshop.bench.holds(*tasks[:3])
        for task in tasks:
            workshop.bench.let_go(task)
        for task in tasks:
            await workshop.becomes(task, "submitted", "started", "succeeded")
        await workshop.all_heard()


async def test_of_two_runners_one_has_it(workshop: Workshop) -> None:
    tasks = [await submit(workshop.log, "bench.work") for _ in range(8)]
    async with workshop.runner(slots=8), workshop.runner(slots=8):
        await asyncio.gather(*(workshop.ring(*tasks) for _ in range(6)))
        await workshop.bench.holds(*tasks)
        for task in tasks:
            workshop.bench.let_go(task)
        for task in tasks:
            await workshop.becomes(task, "submitted", "started", "succeeded")
        await workshop.all_heard()
    assert len(workshop.bench.began) == 8


async def test_bells_for_what_it_cannot_run_are_heard_and_lead_to_nothing(workshop: Workshop) -> None:
    cancelled = await submit(workshop.log, "bench.work")
    await workshop.log.append(cancelled, 2, TaskCancelled(), namespace="default")
    foreign = await submit(workshop.log, "bench.work", namespace="other")
    unknown = await submit(workshop.log, "somebody.elses")
    connection = await nats.connect(workshop.settings.nats_url)
    async with workshop.runner():
        for nonsense in (b"[1]", b"null", b'{"do":"dance"}', b"\xff"):
            await connection.publish(subjects.work("default"), nonsense)
        await connection.close()
        await workshop.ring(cancelled, foreign, unknown, ids.new_id())
        task = await workshop.accept()
        await workshop.bench.holds(task)
        await workshop.all_heard()
        workshop.bench.let_go(task)
        await workshop.becomes(task, "submitted", "started", "succeeded")
    for other in (foreign, unknown):
        await workshop.becomes(other, "submitted")


async def test_after_nats_was_away_it_listens_again(workshop: Workshop, nats_server: EmbeddedNats) -> None:
    async with workshop.runner() as runner:
        losses = runner.bus.losses
        nats_server.kill()
        nats_server.start()
        await eventually(lambda: runner.bus.losses > losses)
        await runner.bus.connected()
        task = await workshop.accept()
        await eventually(lambda: len(workshop.bench.began) == 1, 3.5)  # sooner than the pull that was lost would have ended
        workshop.bench.let_go(task)
        await workshop.becomes(task, "submitted", "started", "succeeded")


async def test_a_runner_that_ends_hands_back_what_it_is_just_claiming(workshop: Workshop, database_url: str) -> None:
    """The claim was sent and not answered when the runner was asked to end. It is ours as soon as it is in the log."""
    task = await submit(workshop.log, "bench.work")
    async with workshop.runner() as runner:
        async with claims_blocked(database_url, task):
            await workshop.ring(task)
            await somebody_waits(database_url)
            ending = asyncio.create_task(runner.intake.drain(0.3))
            await asyncio.sleep(0)
        await ending
        await workshop.becomes(task, "submitted", "started", "released")


async def test_a_draining_runner_takes_nothing_more(workshop: Workshop) -> None:
    late = await submit(workshop.log, "bench.work")
    async with workshop.runner() as runner:
        held = await workshop.accept()
        await workshop.bench.holds(held)
        ending = asyncio.create_task(runner.intake.drain(0.3))
        await asyncio.sleep(0)
        await workshop.ring(late)
        workshop.bench.let_go(held)
        await ending
        await workshop.becomes(held, "submitted", "started", "succeeded")
    await workshop.becomes(late, "submitted")


async def test_a_claim_whose_answer_was_lost_is_found_when_the_database_is_back(workshop: Workshop, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away for longer than an append waits. Nobody else would ever run that task: the log says that this runner does."""
    monkeypatch.setattr(writer, "PATIENCE_SECONDS", 0.1)
    task, lost = await submit(workshop.log, "bench.work"), await submit(workshop.log, "bench.work")
    async with workshop.runner() as runner:
        async with claims_blocked(database_url, task):
            await workshop.ring(task, lost)
            await somebody_waits(database_url)
            workshop.proxy.refuse()
        await workshop.becomes(task, "submitted", "started")
        await eventually(lambda: len(runner.intake._running) == 2)
        assert workshop.bench.began == []
        workshop.proxy.heal()
        await workshop.bench.holds(task, lost)
        for each in (task, lost):
            workshop.bench.let_go(each)
            await workshop.becomes(each, "submitted", "started", "succeeded")


async def test_a_claim_that_never_arrived_is_given_up(workshop: Workshop, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PATIENCE_SECONDS", 0.1)
    task = await submit(workshop.log, "bench.work")
    async with workshop.runner() as runner:
        async with claims_blocked(database_url, task):
            await workshop.ring(task)
            await somebody_waits(database_url)
            workshop.proxy.refuse()
            await eventually(lambda: len(runner.intake._running) == 1)
            await workshop.log.pool.fetchval("SELECT 1")
            await terminate_waiting(database_url)
        workshop.proxy.heal()
        await eventually(lambda: not runner.intake._running)
        await workshop.becomes(task, "submitted")
        await workshop.ring(task)  # as the dispatcher does, two seconds later
        await workshop.bench.holds(task)
        workshop.bench.let_go(task)
        await workshop.becomes(task, "submitted", "started", "succeeded")


async def terminate_waiting(database_url: str) -> None:
    """End whoever waits for a lock: what it wanted to append never happens."""
    import asyncpg

    connection = await asyncpg.connect(database_url)
    await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
    await connection.close()


async def test_a_bell_for_somebody_else_goes_on_to_them(workshop: Workshop) -> None:
    others = App("others")

    @others.task
    async def hello() -> str:
        return "hello"

    async with workshop.runner(), running_runner(workshop.settings, others, slots=1):
        # Every second bell or so comes to the wrong one first; nobody else would ring again here.
        tasks = [await workshop.accept("others.hello") for _ in range(8)]
        for task in tasks:
            await workshop.becomes(task, "submitted", "started", "succeeded")
        await workshop.all_heard()
