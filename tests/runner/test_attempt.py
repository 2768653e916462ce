"""One attempt: its outcome is recorded once, whatever happens between its end and the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import msgspec
import nats
import pytest
import pytest_asyncio
from tests.bus.parts import submit
from tests.runner.workshop import Workshop, claims_blocked, opened, somebody_waits

from daybook import ids
from daybook.bus import subjects
from daybook.bus.messages import CancelAttempt, encode_control
from daybook.domain.events import Policy, TaskCancelled, TaskCancelRequested, TaskFailed, TaskSucceeded
from daybook.log import codec, writer
from daybook.log.envelope import Recorded
from daybook.settings import Settings
from daybook.testing import eventually
from daybook_local.nats import EmbeddedNats
from daybook_runner import intake, wiring


@pytest_asyncio.fixture(loop_scope="session")
async def workshop(database_url: str, nats_server: EmbeddedNats, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Workshop]:
    monkeypatch.setattr(wiring, "_DRAIN_SECONDS", 0.2)
    async with opened(Settings(database_url=database_url, nats_url=nats_server.url)) as made:
        yield made


def result_of(recorded: list[Recorded]) -> object:
    """The result, as the log keeps it."""
    event = recorded[-1].event
    assert isinstance(event, TaskSucceeded)
    content = codec.unseal(event.result, recorded[-1].payload)
    assert content is not None
    return msgspec.json.decode(content)


def error_of(recorded: list[Recorded]) -> dict[str, str]:
    """The error, as the log keeps it."""
    event = recorded[-1].event
    assert isinstance(event, TaskFailed)
    content = codec.unseal(event.error, recorded[-1].payload)
    assert content is not None
    error: dict[str, str] = msgspec.json.decode(content)
    return error


@pytest.mark.parametrize(("patience_seconds", "attempts"), [(None, 1), (0.1, 8)], ids=["short", "longer than an append waits"])
async def test_a_result_outlives_an_outage(workshop: Workshop, monkeypatch: pytest.MonkeyPatch, patience_seconds: float | None, attempts: int) -> None:
    if patience_seconds is not None:
        monkeypatch.setattr(writer, "PATIENCE_SECONDS", patience_seconds)
    async with workshop.runner() as runner:
        task = await workshop.accept()
        await workshop.bench.holds(task)
        tried = workshop.proxy.accepted
        workshop.proxy.refuse()
        workshop.bench.let_go(task)
        await eventually(lambda: workshop.proxy.accepted > tried + attempts)
        assert len(runner.intake._running) == 1
        workshop.proxy.heal()
        assert result_of(await workshop.becomes(task, "submitted", "started", "succeeded")) == "worked"


async def test_a_result_whose_answer_was_lost_is_recorded_once(workshop: Workshop, database_url: str) -> None:
    """The report was sent, the connection ended before the answer came, and the report had arrived."""
    async with workshop.runner():
        task = await workshop.accept()
        await workshop.bench.holds(task)
        async with claims_blocked(database_url, task, version=3):
            workshop.bench.let_go(task)
            await somebody_waits(database_url)
            workshop.proxy.cut()
        await workshop.becomes(task, "submitted", "started", "succeeded")


async def test_a_wish_to_cancel_that_comes_too_late_loses(workshop: Workshop, database_url: str) -> None:
    """The report lost the race for its version, was decided again on what was there, and still holds."""
    async with workshop.runner():
        task = await workshop.accept()
        await workshop.bench.holds(task)
        async with claims_blocked(database_url, task, version=3):
            workshop.bench.let_go(task)
            await somebody_waits(database_url)
            wish = workshop.log.append(task, 3, TaskCancelRequested(actor="user:ann"), namespace="default")
            # Both wait for the same version now; whoever is first, the other decides again.
            await two_wait(database_url)
        recorded = await eventually(lambda: ended(workshop, task))
        kinds = [str(each.event.__struct_config__.tag).split(".")[1] for each in recorded]  # type: ignore[union-attr]
        assert kinds in (["submitted", "started", "succeeded"], ["submitted", "started", "cancel_requested", "succeeded"])
        await asyncio.wait([wish])
        wish.exception()


async def test_a_report_on_a_task_that_is_over_is_dropped(workshop: Workshop) -> None:
    async with workshop.runner(slots=1) as runner:
        task = await workshop.accept()
        await workshop.bench.holds(task)
        await workshop.log.append(task, 3, TaskCancelled(attempt=1), namespace="default")
        workshop.bench.let_go(task)
        await eventually(lambda: not runner.intake._running)
        other = await workshop.accept()
        await workshop.bench.holds(task, other)
        workshop.bench.let_go(other)
        await workshop.becomes(other, "submitted", "started", "succeeded")
        await workshop.becomes(task, "submitted", "started", "cancelled")


@pytest.mark.parametrize("app", ["bench.work", "bench.work_in_thread"])
@pytest.mark.parametrize("by", ["word", "log"])
async def test_a_cancelled_attempt_stops(workshop: Workshop, app: str, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "_LOOK_SECONDS", 0.2 if by == "log" else 60.0)
    async with workshop.runner() as runner:
        task = await workshop.accept(app)
        await workshop.bench.holds(task)
        await workshop.log.append(task, 3, TaskCancelRequested(actor="user:ann"), namespace="default")
        if by == "word":
            connection = await nats.connect(workshop.settings.nats_url)
            for word in (b"nonsense", encode_control(CancelAttempt(task=ids.new_id())), encode_control(CancelAttempt(task=task))):
                await connection.publish(subjects.control(runner.lease.runner), word)
            await connection.close()
        await workshop.becomes(task, "submitted", "started", "cancel_requested", "cancelled")
        await eventually(lambda: workshop.bench.ended == [ids.spell("tsk", task)])


@pytest.mark.parametrize("app", ["bench.work", "bench.work_in_thread"])
async def test_an_attempt_that_takes_too_long_fails(workshop: Workshop, app: str) -> None:
    async with workshop.runner():
        task = await workshop.accept(app, policy=Policy(timeout_seconds=0.2))
        recorded = await workshop.becomes(task, "submitted", "started", "failed")
        assert error_of(recorded)["type"] == "Timeout"
        await eventually(lambda: workshop.bench.ended == [ids.spell("tsk", task)])


@pytest.mark.parametrize("name", ["Broken", "Fehlerhaft" * 30])
async def test_an_error_with_any_name_is_recorded(workshop: Workshop, name: str) -> None:
    async with workshop.runner():
        task = await workshop.accept("bench.fail", msgspec.json.encode({"name": name}))
        recorded = await workshop.becomes(task, "submitted", "started", "failed")
        event = recorded[-1].event
        assert isinstance(event, TaskFailed)
        assert (event.error_type, error_of(recorded)["type"], error_of(recorded)["message"]) == (name[:128], name[:128], "no")


async def test_an_input_that_was_erased_before_it_ran_is_an_error(workshop: Workshop, database_url: str) -> None:
    small, large = await submit(workshop.log, "bench.work"), await submit(workshop.log, "bench.work", given=b'{"x":"%s"}' % (b"x" * 10_000))
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE log.event SET payload = NULL WHERE stream = $1", small)
    await connection.execute("DELETE FROM daybook.blob")
    await connection.close()
    async with workshop.runner():
        await workshop.ring(small, large)
        for task in (small, large):
            assert error_of(await workshop.becomes(task, "submitted", "started", "failed"))["type"] == "InputErased"


async def ended(workshop: Workshop, task: object) -> list[Recorded] | None:
    recorded = await workshop.log.load(task)  # type: ignore[arg-type]
    return recorded if isinstance(recorded[-1].event, TaskSucceeded | TaskCancelled) else None


async def two_wait(database_url: str) -> None:
    """Wait until two appends wait for another transaction."""
    connection = await asyncpg.connect(database_url)
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'"
    database = urlsplit(database_url).path.removeprefix("/")

    async def wait() -> bool:
        return bool(await connection.fetchval(query, database) == 2)

    try:
        await eventually(wait)
    finally:
        await connection.close()
