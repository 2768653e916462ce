"""Who learns which secret of a webhook: the API those of owners and webhooks, a runner that of the delivery it makes, and
nobody the one that all are made of."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest
from tests.log.samples import CONTENT, append_of, started

from daybook import ids
from daybook.domain.events import TaskSubmitted
from daybook.log.connections import Connection, connect
from daybook.log.envelope import Append
from daybook.webhooks import ACTOR, APP

SECRET = "the secret of r1"
SERVICES = ("daybook_api", "daybook_scheduler", "daybook_runner", "daybook_projector", "daybook_janitor")


async def test_secrets_differ_by_owner_namespace_and_webhook_and_stay_what_they_are(url_as: Callable[[str], str]) -> None:
    api = await connect(url_as("daybook_api"), "daybook_api")
    try:
        asked = [("default", "ann"), ("default", "bob"), ("other", "ann"), ("default", "")]
        secrets = [await api.fetchval("SELECT daybook.owner_secret($1, $2)", *each) for each in asked]
        secrets += [await api.fetchval("SELECT daybook.webhook_secret($1)", name) for name in ("whk_1", "whk_2", "default\x1fann")]
        assert {len(secret) for secret in secrets} == {32}
        assert len(set(secrets)) == len(secrets)
        assert await api.fetchval("SELECT daybook.owner_secret('default', 'ann')") == secrets[0]
    finally:
        await api.close()


@pytest.mark.parametrize("role", SERVICES)
async def test_nobody_reads_what_secrets_are_made_of(url_as: Callable[[str], str], role: str) -> None:
    for statement in (
        "SELECT key FROM daybook.webhook_key",
        "UPDATE daybook.webhook_key SET key = key",
        "DELETE FROM daybook.webhook_key",
        "SELECT log._webhook_secret('owner', 'default', 'ann')",
    ):
        await _refused(url_as, role, statement)


@pytest.mark.parametrize("role", [role for role in SERVICES if role != "daybook_api"])
async def test_only_the_api_learns_the_secret_of_any_owner(url_as: Callable[[str], str], role: str) -> None:
    await _refused(url_as, role, "SELECT daybook.owner_secret('default', 'ann')")
    await _refused(url_as, role, "SELECT daybook.webhook_secret('whk_1')")


@pytest.mark.parametrize("role", [role for role in SERVICES if role != "daybook_runner"])
async def test_only_a_runner_learns_that_of_a_delivery(url_as: Callable[[str], str], role: str) -> None:
    await _refused(url_as, role, f"SELECT daybook.delivery_secret('r1', '{SECRET}', '{ids.new_id()}')")


async def test_a_runner_learns_that_of_the_delivery_it_makes_and_of_no_other(owner: Connection, url_as: Callable[[str], str]) -> None:
    runner = await connect(url_as("daybook_runner"), "daybook_runner")
    try:
        for name in ("r1", "r2"):
            lease = name, SECRET, "default", ["default"], [APP], 4, "here", timedelta(seconds=30)
            await runner.execute("SELECT daybook.take_lease($1, $2, $3, $4, $5, $6, $7, $8)", *lease)
        own = await _delivery(owner, {"task": "tsk_1"}, runner="r1")
        subscribed = await _delivery(owner, {"task": "tsk_1", "webhook": "whk_1"}, runner="r1")
        for task, expected in (
            (own, await owner.fetchval("SELECT daybook.owner_secret('default', 'ann')")),
            (subscribed, await owner.fetchval("SELECT daybook.webhook_secret('whk_1')")),
            (await _delivery(owner, {}, runner="r2"), None),
            (await _delivery(owner, {}, runner="r1", lost_to="r2"), None),
            (await _delivery(owner, {}), None),
            (await _delivery(owner, {}, runner="r1", app="texts.count"), None),
            (await _delivery(owner, {}, runner="r1", actor="sql:guest"), None),
            (ids.new_id(), None),
        ):
            assert await runner.fetchval("SELECT daybook.delivery_secret('r1', $1, $2)", SECRET, task) == expected
        assert await runner.fetchval("SELECT daybook.delivery_secret('r1', 'a guess', $1)", own) is None
        await runner.execute("SELECT daybook.end_lease('r1', $1)", SECRET)
        assert await runner.fetchval("SELECT daybook.delivery_secret('r1', $1, $2)", SECRET, own) is None
    finally:
        await runner.close()


async def _delivery(owner: Connection, labels: dict[str, str], *, runner: str = "", lost_to: str = "", app: str = APP, actor: str = ACTOR) -> UUID:
    """The stream of a delivery that this runner has started, and perhaps another after it."""
    task = ids.new_id()
    event = TaskSubmitted(owner="ann", app=app, app_version="1", input=CONTENT, labels=labels, actor=actor)
    appends: list[Append] = [append_of(task, 1, event)]
    appends += [append_of(task, number, started(name)) for number, name in enumerate((runner, lost_to), 2) if name]
    for each in appends:
        assert await _write(owner, each)
    return task


async def _write(owner: Connection, append: Append) -> int:
    """As the owner of the tables, whatever the append functions allow."""
    rows = await owner.fetch(
        "SELECT * FROM log._append(0, ARRAY[$1::uuid], ARRAY[$2::int], ARRAY[$3::uuid], ARRAY[$4::text], ARRAY[$5::text], ARRAY[$6::json], ARRAY[$7::bytea])",
        *(append.stream, append.version, append.id, append.kind, append.namespace, append.data, append.payload),
    )
    return len(rows)


async def _refused(url_as: Callable[[str], str], role: str, statement: str) -> None:
    connection = await connect(url_as(role), role)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()
