"""A runner writes about its own attempts alone, in its own namespace, with its secret and while it holds its lease."""

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from tests.log.samples import CANCEL_REQUESTED, CONTENT, DUE, EVENTS, RESCHEDULED, append_of, send, started, submit_one, succeeded

from daybook import ids
from daybook.domain.events import AppPublished, TaskCancelled, TaskExpired, TaskFailed, TaskLost, TaskReleased, TaskRetried, kind_of
from daybook.log.connections import Connection, connect
from daybook.log.envelope import Append

TTL = timedelta(seconds=30)
SECRET = "the secret of r1"


@pytest_asyncio.fixture(loop_scope="session")
async def runner(url_as: Callable[[str], str]) -> AsyncIterator[Connection]:
    """A connection of runner r1, which has a lease in the namespace default."""
    connection = await connect(url_as("daybook_runner"), "daybook_runner")
    await _lease(connection, "r1", SECRET)
    yield connection
    await connection.close()


async def test_a_runner_claims_reports_and_announces(runner: Connection, task: UUID) -> None:
    assert await _say(runner, append_of(task, 2, started("r1")))
    assert await _say(runner, append_of(task, 3, succeeded()))
    announced = AppPublished(app="new", app_kind="python", version="1")
    assert await _say(runner, append_of(ids.derive_id("app", "default", "new"), 1, announced))


async def test_a_runner_gives_up_an_attempt_of_its_own(runner: Connection, owner: Connection) -> None:
    for end in (TaskReleased(attempt=1), TaskFailed(attempt=1, error=CONTENT, error_type="E"), TaskLost(attempt=1, final=True), TaskCancelled(attempt=1)):
        task = await submit_one(owner)
        await _say(runner, append_of(task, 2, started("r1")))
        assert await _say(runner, append_of(task, 3, end))


async def test_a_runner_decides_nothing_about_its_attempt_that_others_decide(runner: Connection, task: UUID) -> None:
    await _say(runner, append_of(task, 2, started("r1")))
    for event in (DUE, RESCHEDULED, CANCEL_REQUESTED, TaskExpired(), TaskRetried()):
        await _refused(runner, append_of(task, 3, event))


async def test_a_runner_says_nothing_else_about_a_task_that_is_not_its_own(runner: Connection, task: UUID) -> None:
    for event in EVENTS:
        if kind_of(event) not in {"task.started.v1", "app.published.v1"}:
            await _refused(runner, append_of(task, 2, event))
            await _refused(runner, append_of(ids.new_id(), 1, event))


async def test_a_runner_needs_its_secret(runner: Connection, task: UUID) -> None:
    for name, secret in (("r1", "guess"), ("r1", ""), ("r2", SECRET), ("", "")):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="with this secret"):
            await send(runner, "runner", [append_of(task, 2, started(name))], name, secret)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="with this secret"):
        await send(runner, "runner", [append_of(task, 2, started("r1"))], None, None)  # type: ignore[arg-type]


async def test_a_runner_claims_for_itself_alone(runner: Connection, task: UUID) -> None:
    await _lease(runner, "r2", "another")
    await _refused(runner, append_of(task, 2, started("r2")))
    anonymous = append_of(task, 2, started("r1"))
    await _refused(runner, anonymous._replace(data=b'{"kind":"task.started.v1","attempt":1}'))


async def test_a_runner_does_not_claim_after_its_lease_unless_it_is_renewed_before_somebody_ends_it(runner: Connection, task: UUID, owner: Connection) -> None:
    renew = "SELECT daybook.renew_lease('r1', $1, $2)"
    await owner.execute("UPDATE daybook.runner SET until = clock_timestamp() WHERE id = 'r1'")
    await _refused(runner, append_of(task, 2, started("r1")))
    assert await runner.fetchval(renew, SECRET, TTL)
    assert await _say(runner, append_of(task, 2, started("r1")))
    await owner.execute("UPDATE daybook.runner SET ended_at = clock_timestamp() WHERE id = 'r1'")
    await _refused(runner, append_of(await submit_one(owner), 2, started("r1")))
    assert not await runner.fetchval(renew, SECRET, TTL)


async def test_a_lease_is_ended_as_it_was_seen_or_not_at_all(runner: Connection, owner: Connection, url_as: Callable[[str], str]) -> None:
    end, until = "SELECT daybook.end_leases($1, $2)", "SELECT until FROM daybook.runner WHERE id = 'r1'"
    scheduler = await connect(url_as("daybook_scheduler"), "daybook_scheduler")
    alive = await owner.fetchval(until)
    assert not await scheduler.fetch(end, ["r1"], [alive]), "it had not run out"
    await owner.execute("UPDATE daybook.runner SET until = clock_timestamp() WHERE id = 'r1'")
    assert not await scheduler.fetch(end, ["r1"], [alive]), "it was renewed since"
    seen = await owner.fetchval(until)
    assert [row[0] for row in await scheduler.fetch(end, ["r1", "r9"], [seen, seen])] == ["r1"]
    assert not await scheduler.fetch(end, ["r1"], [seen]), "it had been ended before"
    await scheduler.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await runner.fetch(end, ["r1"], [seen])


async def test_a_runner_may_report_after_its_lease_while_nobody_else_has_the_task(runner: Connection, task: UUID) -> None:
    await _say(runner, append_of(task, 2, started("r1")))
    await runner.execute("SELECT daybook.end_lease('r1', $1)", SECRET)
    assert await _say(runner, append_of(task, 3, succeeded()))


async def test_a_runner_does_not_report_an_attempt_of_another(runner: Connection, task: UUID) -> None:
    await _lease(runner, "r2", "another")
    await send(runner, "runner", [append_of(task, 2, started("r2"))], "r2", "another")
    failed, lost = TaskFailed(attempt=1, error=CONTENT, error_type="E"), TaskLost(attempt=1, runner="r2")
    for event in (succeeded(), TaskReleased(attempt=1), failed, lost, TaskCancelled(attempt=1)):
        await _refused(runner, append_of(task, 3, event))


async def test_a_runner_that_was_overtaken_reports_nothing_more(runner: Connection, task: UUID) -> None:
    await _lease(runner, "r2", "another")
    await _say(runner, append_of(task, 2, started("r1")))
    await _say(runner, append_of(task, 3, TaskReleased(attempt=1)))
    await send(runner, "runner", [append_of(task, 4, started("r2", 2))], "r2", "another")
    await _refused(runner, append_of(task, 5, succeeded(1)))


async def test_a_runner_keeps_to_its_namespace(runner: Connection, owner: Connection) -> None:
    foreign = await submit_one(owner, namespace="other")
    await _refused(runner, append_of(foreign, 2, started("r1")))
    await _refused(runner, append_of(foreign, 2, started("r1"), namespace="other"))
    announced = AppPublished(app="new", app_kind="python", version="1")
    await _refused(runner, append_of(ids.derive_id("app", "other", "new"), 1, announced, namespace="other"))
    await _refused(runner, append_of(ids.derive_id("app", "other", "new"), 1, announced))
    await _refused(runner, append_of(ids.derive_id("app", "default", "old"), 1, announced))
    await _refused(runner, append_of(foreign, 2, announced))


async def test_a_runner_serves_queues_and_a_namespace_with_names_that_can_be_told(runner: Connection) -> None:
    take = "SELECT daybook.take_lease($1, 's', $2, $3, '{}', 1, 'here', $4)"
    odd = [("a.b", ["q"]), ("", ["q"]), ("default", ["a.>"]), ("default", ["q", "Q"]), ("default", [""]), ("default", []), ("default", [None])]
    for number, (namespace, queues) in enumerate(odd):
        with pytest.raises(asyncpg.CheckViolationError):
            await runner.execute(take, f"odd{number}", namespace, queues, TTL)
    await runner.execute(take, "even", "a_b-1", ["default", "slow-1"], TTL)


async def test_one_bad_row_of_a_runner_takes_the_good_ones_with_it(runner: Connection, task: UUID, owner: Connection) -> None:
    """In one call; the writer then finds the guilty one by halving."""
    foreign = await submit_one(owner, namespace="other")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await send(runner, "runner", [append_of(task, 2, started("r1")), append_of(foreign, 2, started("r1"))], "r1", SECRET)
    assert await owner.fetchval("SELECT count(*) FROM log.event WHERE stream = $1", task) == 1


async def test_nothing_is_smuggled_through_a_null(runner: Connection, owner: Connection, task: UUID) -> None:
    foreign = await submit_one(owner, namespace="other")
    announced = append_of(ids.derive_id("app", "other", "new"), 1, AppPublished(app="new", app_kind="python", version="1"), namespace="other")
    count = await owner.fetchval("SELECT count(*) FROM log.event")
    for missing in ("stream", "version", "id", "kind", "namespace", "data"):
        for row in (append_of(foreign, 2, started("r1")), append_of(foreign, 2, succeeded()), append_of(task, 2, succeeded()), announced):
            nothing: Any = {missing: None}
            with contextlib.suppress(asyncpg.InsufficientPrivilegeError, asyncpg.NotNullViolationError):
                await send(runner, "runner", [row._replace(**nothing)], "r1", SECRET)
    assert await owner.fetchval("SELECT count(*) FROM log.event") == count


async def _lease(connection: Connection, name: str, secret: str) -> None:
    await connection.execute("SELECT daybook.take_lease($1, $2, 'default', ARRAY['default'], ARRAY['hello'], 4, 'here', $3)", name, secret, TTL)


async def _say(runner: Connection, row: Append) -> list[Any]:
    return await send(runner, "runner", [row], "r1", SECRET)


async def _refused(runner: Connection, row: Append) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await _say(runner, row)
