"""Nobody writes facts but through the functions, and each role only its own. What a runner may is told in `test_runner_rights`."""

from collections.abc import Callable
from uuid import UUID

import asyncpg
import msgspec
import pytest
from tests.log.samples import EVENTS, RESCHEDULED, SLOT, SUBMITTED, append_of, send, submit_one

from daybook import ids
from daybook.domain.events import (
    kind_of,
)
from daybook.log.codec import seal
from daybook.log.connections import Connection, connect
from daybook.scheduling import task_of_slot

SERVICES = ("daybook_api", "daybook_scheduler", "daybook_runner", "daybook_projector")
EVERYBODY = (*SERVICES, "daybook_janitor", "daybook_guest")

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

ERASURES = {"erase payload": "UPDATE log.event SET payload = NULL", "delete blob": "DELETE FROM daybook.blob"}
APPENDS: dict[str, set[str]] = {
    "api": {
        *("task.submitted.v1", "task.rescheduled.v1", "task.cancel_requested.v1", "task.cancelled.v1", "task.retried.v1"),
        *("schedule.created.v1", "schedule.changed.v1", "schedule.paused.v1", "schedule.resumed.v1", "schedule.deleted.v1", "schedule.backfilled.v1"),
        "slot.fired.v1",
        *("webhook.created.v1", "webhook.deleted.v1"),
    },
    "scheduler": {
        *("task.due.v1", "task.lost.v1", "task.expired.v1", "task.cancelled.v1", "task.cancel_requested.v1"),
        *("slot.fired.v1", "slots.skipped.v1", "schedule.paused.v1", "schedule.resumed.v1"),
    },
    "owner": {"token.issued.v1", "token.revoked.v1", "app.published.v1"},
}


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
            await send(connection, function, [append_of(ids.new_id(), 1, SUBMITTED)], *(("r1", "a secret") if function == "runner" else ()))
    await connection.close()


@pytest.mark.parametrize("role", APPENDS)
async def test_each_role_appends_its_own_kinds_and_no_others(role: str, url_as: Callable[[str], str], owner: Connection) -> None:
    connection = owner if role == "owner" else await connect(url_as(f"daybook_{role}"), f"daybook_{role}")
    for event in EVENTS:
        fresh = kind_of(event) in {"task.submitted.v1", "token.issued.v1", "app.published.v1", "schedule.created.v1", "webhook.created.v1"}
        row = append_of(ids.new_id(), 1, event) if fresh else append_of(await submit_one(owner), 2, event)
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
