"""Nobody writes facts but through the functions, and each role only its own; a runner only about its own attempts."""

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
import pytest_asyncio
from tests.log.samples import CANCEL_REQUESTED, CONTENT, DUE, PUBLISHED, RESCHEDULED, SUBMITTED, append_of, send, started, succeeded

from daybook import ids
from daybook.domain.cadence import Cadence
from daybook.domain.events import (
    AppPublished,
    Event,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TaskLost,
    TaskReleased,
    TaskRetried,
    TokenIssued,
    TokenRevoked,
    kind_of,
)
from daybook.domain.schedule_events import (
    Rule,
    ScheduleBackfilled,
    ScheduleChanged,
    ScheduleCreated,
    ScheduleDeleted,
    SchedulePaused,
    ScheduleResumed,
    SlotFired,
    SlotsSkipped,
    Work,
)
from daybook.log.codec import seal
from daybook.log.connections import Connection, connect
from daybook.log.envelope import Append
from daybook.scheduling import task_of_slot

SERVICES = ("daybook_api", "daybook_scheduler", "daybook_runner", "daybook_projector")
EVERYBODY = (*SERVICES, "daybook_janitor", "daybook_guest")
TTL = timedelta(seconds=30)
SECRET = "the secret of r1"

WRITES = {
    "insert event": "INSERT INTO log.event (lane, version, position, stream, id, kind, namespace, data)"
    " VALUES (0, 1, 1, gen_random_uuid(), gen_random_uuid(), 'task.submitted.v1', 'default', '{}')",
    "update event": "UPDATE log.event SET data = '{}'",
    "update version": "UPDATE log.event SET version = version + 1",
    "delete event": "DELETE FROM log.event",
    "truncate event": "TRUNCATE log.event",
    "lock event": "BEGIN; LOCK TABLE log.event IN ACCESS EXCLUSIVE MODE",
    "drop event": "DROP TABLE log.event",
    "disable triggers": "ALTER TABLE log.event DISABLE TRIGGER ALL",
    "draw a position": "SELECT nextval('log.position')",
    "set the position": "SELECT setval('log.position', 1)",
    "insert runner": "INSERT INTO daybook.runner (id, secret, namespace, queues, apps, slots, host, until) VALUES ('r', '', 'd', '{}', '{}', 1, '', now())",
    "update runner": "UPDATE daybook.runner SET until = 'infinity'",
    "delete runner": "DELETE FROM daybook.runner",
    "read secrets": "SELECT secret FROM daybook.runner",
    "update blob": "UPDATE daybook.blob SET content = ''",
    "truncate blob": "TRUNCATE daybook.blob",
    "become a guest": "INSERT INTO daybook.guest VALUES (session_user, 'default', 'ann')",
    "read guests": "SELECT * FROM daybook.guest",
    "take a lane": "SELECT log._take_lane()",
    "append by hand": "SELECT log._append(0, '{}'::uuid[], '{}'::int[], '{}'::uuid[], '{}'::text[], '{}'::text[], '{}'::json[], '{}'::bytea[])",
    "require nothing": "SELECT log._require('{}', '{}')",
    "make a function": "CREATE FUNCTION log.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "change history": "UPDATE daybook_meta.migration SET checksum = ''",
}

SLOT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
RULE = Rule(cadence=Cadence(cron="30 9 * * *"))
WORK = Work(app="hello", app_version="1", input=CONTENT)
ERASURES = {"erase payload": "UPDATE log.event SET payload = NULL", "delete blob": "DELETE FROM daybook.blob"}
APPENDS: dict[str, set[str]] = {
    "api": {
        *("task.submitted.v1", "task.rescheduled.v1", "task.cancel_requested.v1", "task.cancelled.v1", "task.retried.v1"),
        *("schedule.created.v1", "schedule.changed.v1", "schedule.paused.v1", "schedule.resumed.v1", "schedule.deleted.v1", "schedule.backfilled.v1"),
        "slot.fired.v1",
    },
    "scheduler": {
        *("task.due.v1", "task.lost.v1", "task.expired.v1", "task.cancelled.v1", "task.cancel_requested.v1"),
        *("slot.fired.v1", "slots.skipped.v1", "schedule.paused.v1", "schedule.resumed.v1"),
    },
    "owner": {"token.issued.v1", "token.revoked.v1", "app.published.v1"},
}
EVENTS: tuple[Event, ...] = (
    SUBMITTED,
    RESCHEDULED,
    DUE,
    started("r1"),
    TaskReleased(attempt=1),
    succeeded(),
    TaskFailed(attempt=1, error=CONTENT, error_type="E"),
    TaskLost(attempt=1, runner="r1"),
    TaskExpired(),
    TaskRetried(),
    CANCEL_REQUESTED,
    TaskCancelled(),
    PUBLISHED,
    TokenIssued(owner="ann", scopes=("admin",)),
    TokenRevoked(),
    ScheduleCreated(owner="ann", rule=RULE, work=WORK),
    ScheduleChanged(rule=RULE, work=WORK),
    SchedulePaused(),
    ScheduleResumed(),
    ScheduleDeleted(),
    ScheduleBackfilled(slots=(SLOT,)),
    SlotFired(slot=SLOT, task="tsk_1"),
    SlotsSkipped(first=SLOT, last=SLOT, count=1),
)


@pytest_asyncio.fixture(loop_scope="session")
async def task(owner: Connection) -> UUID:
    """A task that waits for a runner."""
    return await _submit(owner)


@pytest_asyncio.fixture(loop_scope="session")
async def runner(url_as: Callable[[str], str]) -> AsyncIterator[Connection]:
    """A connection of runner r1, which has a lease in the namespace default."""
    connection = await connect(url_as("daybook_runner"), "daybook_runner")
    await _lease(connection, "r1", SECRET)
    yield connection
    await connection.close()


@pytest.mark.parametrize("role", EVERYBODY)
async def test_no_service_writes_past_the_functions(role: str, url_as: Callable[[str], str], task: UUID) -> None:
    statements = WRITES if role == "daybook_janitor" else WRITES | ERASURES
    connection = await connect(url_as(role), role)
    allowed = [what for what, statement in statements.items() if not await _is_refused(connection, statement)]
    await connection.close()
    assert allowed == []


async def test_the_janitor_erases_payloads_and_blobs(url_as: Callable[[str], str], owner: Connection) -> None:
    await send(owner, "api", [append_of(ids.new_id(), 1, SUBMITTED, payload=seal(b"{}").payload)])
    await owner.execute("INSERT INTO daybook.blob (digest, content) VALUES ('a', 'b')")
    janitor = await connect(url_as("daybook_janitor"), "daybook_janitor")
    assert await janitor.execute("UPDATE log.event SET payload = NULL WHERE kind = 'task.submitted.v1'") == "UPDATE 1"
    await janitor.execute("DELETE FROM daybook.blob")
    await janitor.close()
    assert await owner.fetchval("SELECT count(payload) FROM log.event") == 0


@pytest.mark.parametrize("role", EVERYBODY)
async def test_each_role_has_its_own_function_and_no_other(role: str, url_as: Callable[[str], str]) -> None:
    connection = await connect(url_as(role), role)
    for function in {"api", "scheduler", "owner", "runner"} - {role.removeprefix("daybook_")}:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await send(connection, function, [append_of(ids.new_id(), 1, SUBMITTED)], *(("r1", SECRET) if function == "runner" else ()))
    await connection.close()


@pytest.mark.parametrize("role", APPENDS)
async def test_each_role_appends_its_own_kinds_and_no_others(role: str, url_as: Callable[[str], str], owner: Connection) -> None:
    connection = owner if role == "owner" else await connect(url_as(f"daybook_{role}"), f"daybook_{role}")
    for event in EVENTS:
        fresh = kind_of(event) in {"task.submitted.v1", "token.issued.v1", "app.published.v1", "schedule.created.v1"}
        row = append_of(ids.new_id(), 1, event) if fresh else append_of(await _submit(owner), 2, event)
        if kind_of(event) in APPENDS[role]:
            assert len(await send(connection, role, [row])) == 1
        else:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match=r"may (append|submit) only"):
                await send(connection, role, [row])
    if connection is not owner:
        await connection.close()


async def test_a_scheduler_submits_tasks_of_slots_alone(url_as: Callable[[str], str]) -> None:
    scheduler = await connect(url_as("daybook_scheduler"), "daybook_scheduler")
    named = msgspec.structs.replace(SUBMITTED, schedule="sch_1", slot=SLOT)
    assert len(await send(scheduler, "scheduler", [append_of(task_of_slot("sch_1", SLOT), 1, named)])) == 1
    for stream, event in ((task_of_slot("sch_2", SLOT), named), (task_of_slot("sch_1", SLOT), SUBMITTED), (ids.new_id(), named)):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="may submit only"):
            await send(scheduler, "scheduler", [append_of(stream, 1, event)])
    await scheduler.close()


async def test_a_runner_claims_reports_and_announces(runner: Connection, task: UUID) -> None:
    assert await _say(runner, append_of(task, 2, started("r1")))
    assert await _say(runner, append_of(task, 3, succeeded()))
    announced = AppPublished(app="new", app_kind="python", version="1")
    assert await _say(runner, append_of(ids.derive_id("app", "default", "new"), 1, announced))


async def test_a_runner_gives_up_an_attempt_of_its_own(runner: Connection, owner: Connection) -> None:
    for end in (TaskReleased(attempt=1), TaskFailed(attempt=1, error=CONTENT, error_type="E"), TaskLost(attempt=1, final=True), TaskCancelled(attempt=1)):
        task = await _submit(owner)
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
    await _refused(runner, append_of(await _submit(owner), 2, started("r1")))
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
    foreign = await _submit(owner, namespace="other")
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
    foreign = await _submit(owner, namespace="other")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await send(runner, "runner", [append_of(task, 2, started("r1")), append_of(foreign, 2, started("r1"))], "r1", SECRET)
    assert await owner.fetchval("SELECT count(*) FROM log.event WHERE stream = $1", task) == 1


async def test_nothing_is_smuggled_through_a_null(runner: Connection, owner: Connection, task: UUID) -> None:
    foreign = await _submit(owner, namespace="other")
    announced = append_of(ids.derive_id("app", "other", "new"), 1, AppPublished(app="new", app_kind="python", version="1"), namespace="other")
    count = await owner.fetchval("SELECT count(*) FROM log.event")
    for missing in ("stream", "version", "id", "kind", "namespace", "data"):
        for row in (append_of(foreign, 2, started("r1")), append_of(foreign, 2, succeeded()), append_of(task, 2, succeeded()), announced):
            nothing: Any = {missing: None}
            with contextlib.suppress(asyncpg.InsufficientPrivilegeError, asyncpg.NotNullViolationError):
                await send(runner, "runner", [row._replace(**nothing)], "r1", SECRET)
    assert await owner.fetchval("SELECT count(*) FROM log.event") == count


async def test_the_namespace_of_a_stream_is_that_of_its_first_event(owner: Connection, task: UUID) -> None:
    await send(owner, "api", [append_of(task, 2, RESCHEDULED, namespace="other")])
    assert await owner.fetchval("SELECT array_agg(DISTINCT namespace) FROM log.event WHERE stream = $1", task) == ["default"]


async def _is_refused(connection: Connection, statement: str) -> bool:
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        if connection.is_in_transaction():
            await connection.execute("ROLLBACK")
        return True
    return False


async def _submit(owner: Connection, namespace: str = "default") -> UUID:
    stream = ids.new_id()
    await send(owner, "api", [append_of(stream, 1, SUBMITTED, namespace=namespace)])
    return stream


async def _lease(connection: Connection, name: str, secret: str) -> None:
    await connection.execute("SELECT daybook.take_lease($1, $2, 'default', ARRAY['default'], ARRAY['hello'], 4, 'here', $3)", name, secret, TTL)


async def _say(runner: Connection, row: Append) -> list[Any]:
    return await send(runner, "runner", [row], "r1", SECRET)


async def _refused(runner: Connection, row: Append) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await _say(runner, row)
