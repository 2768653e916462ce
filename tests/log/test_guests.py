"""Submitting from SQL: in the caller's own transaction, as whom the guest's row says, and never what the rest of the house could not read."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.log.samples import PUBLISHED, admit_guest, append_of, publish_app, send

from daybook import ids
from daybook.domain.events import AppPublished, Content, Policy, TaskSubmitted
from daybook.domain.task import fold
from daybook.log.codec import unseal
from daybook.log.connections import Connection
from daybook.log.postgres import Log, events_of

SUBMIT = "SELECT daybook.submit_task('hello'{})"


@pytest_asyncio.fixture(loop_scope="session")
async def guest(url_as: Callable[[str], str], owner: Connection) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection of a guest: ann, in the namespace default, where there is an app hello."""
    await publish_app(owner)
    await admit_guest(owner)
    connection = await asyncpg.connect(url_as("daybook_guest"))
    yield connection
    await connection.close()


async def test_what_a_guest_submits_is_what_the_api_would_have_written(guest: Any, owner: Connection, log: Log) -> None:
    policy = Policy(max_attempts=3, timeout_seconds=30, delivery="at_most_once")
    app = AppPublished(app="rich", app_kind="http", version="v7", queue="slow", priority=2, policy=policy, doc="d", input_schema={"a": None})
    await send(owner, "owner", [append_of(ids.derive_id("app", "default", "rich"), 1, app)])
    run_at = datetime.now(UTC) + timedelta(days=1, microseconds=7)
    text = '{"b": 1,  "a": "grüße ☕ \\ud83d\\ude00"}'
    await guest.execute("SET timezone = 'Asia/Kathmandu'; SET datestyle = 'German'")
    stream = await guest.fetchval("SELECT daybook.submit_task('rich', $1, run_at => $2, labels => $3, priority => 1)", text, run_at, '{"k": "v", "empty": ""}')
    [recorded] = await log.load(stream)
    assert isinstance(recorded.event, TaskSubmitted)
    assert recorded.payload is not None
    assert recorded.event == TaskSubmitted(
        actor="sql:daybook_guest",
        owner="ann",
        app="rich",
        app_version="v7",
        input=Content(digest=sha256(recorded.payload).hexdigest(), size_bytes=len(text.encode())),
        queue="slow",
        priority=1,
        run_at=run_at,
        policy=policy,
        labels={"k": "v", "empty": ""},
    )
    assert unseal(recorded.event.input, recorded.payload) == text.encode()
    assert (recorded.version, recorded.namespace, recorded.stream.version) == (1, "default", 7)
    task = fold(events_of([recorded]))
    assert task is not None
    assert task.status == "scheduled"


async def test_with_nothing_but_an_app_everything_has_its_default(guest: Any, log: Log) -> None:
    stream = await guest.fetchval(SUBMIT.format(""))
    [recorded] = await log.load(stream)
    event = recorded.event
    assert isinstance(event, TaskSubmitted)
    assert unseal(event.input, recorded.payload) == b"{}"
    assert event == TaskSubmitted(actor="sql:daybook_guest", owner="ann", app="hello", app_version=PUBLISHED.version, input=event.input)


async def test_the_latest_version_of_the_app_counts(guest: Any, owner: Connection, log: Log) -> None:
    await send(owner, "owner", [append_of(ids.derive_id("app", "default", "hello"), 2, AppPublished(app="hello", app_kind="http", version="2"))])
    [recorded] = await log.load(await guest.fetchval(SUBMIT.format("")))
    assert isinstance(recorded.event, TaskSubmitted)
    assert recorded.event.app_version == "2"


async def test_a_large_input_goes_to_the_blob_store(guest: Any, log: Log, owner: Connection) -> None:
    text = msgspec.json.encode({"a": "x" * 20_000}).decode()
    submit = "SELECT daybook.submit_task('hello', $1, key => 'large')"
    stream = await guest.fetchval(submit, text)
    [recorded] = await log.load(stream)
    assert isinstance(recorded.event, TaskSubmitted)
    content = recorded.event.input
    assert recorded.payload is not None
    assert (content.blob, content.size_bytes, len(recorded.payload)) == (True, len(text), 16)
    assert await log.get_blob(content.digest) == text.encode()
    assert content.digest == sha256(recorded.payload + text.encode()).hexdigest()
    assert await guest.fetchval(submit, text) == stream
    assert await owner.fetchval("SELECT count(*) FROM daybook.blob") == 1


async def test_the_task_exists_when_and_only_when_the_transaction_commits(guest: Any, log: Log, owner: Connection) -> None:
    rolled_back = guest.transaction()
    await rolled_back.start()
    gone = await guest.fetchval("SELECT daybook.submit_task('hello', $1)", '"' + "x" * 20_000 + '"')
    assert await log.load(gone) == []
    await rolled_back.rollback()
    async with guest.transaction():
        first = await guest.fetchval(SUBMIT.format(""))
        savepoint = guest.transaction()
        await savepoint.start()
        second = await guest.fetchval(SUBMIT.format(""))
        await savepoint.rollback()
        third = await guest.fetchval(SUBMIT.format(""))
        assert await log.load_many([first, second, third]) == {}
    assert set(await log.load_many([gone, first, second, third])) == {first, third}
    assert await owner.fetchval("SELECT count(*) FROM daybook.blob") == 0


async def test_a_transaction_keeps_to_one_lane(guest: Any, owner: Connection) -> None:
    async with guest.transaction():
        streams = [await guest.fetchval(SUBMIT.format("")) for _ in range(5)]
    rows = await owner.fetch("SELECT DISTINCT lane FROM log.event WHERE stream = ANY ($1)", streams)
    assert len(rows) == 1


async def test_a_task_that_readers_see_survives_a_crash_of_the_database(guest: Any) -> None:
    """A follower may have told of it: so a guest that commits asynchronously does not, where it has submitted."""
    await guest.execute("SET synchronous_commit = off")
    async with guest.transaction():
        assert await guest.fetchval("SHOW synchronous_commit") == "off"
        await guest.fetchval(SUBMIT.format(""))
        assert await guest.fetchval("SHOW synchronous_commit") == "on"
    assert await guest.fetchval("SHOW synchronous_commit") == "off"
    await guest.execute("SET synchronous_commit = remote_apply")
    async with guest.transaction():
        await guest.fetchval(SUBMIT.format(""))
        assert await guest.fetchval("SHOW synchronous_commit") == "remote_apply"


async def test_a_key_names_one_task(guest: Any, log: Log) -> None:
    submit = "SELECT daybook.submit_task('hello', key => $1)"
    stream = await guest.fetchval(submit, "k1")
    assert stream == await guest.fetchval(submit, "k1") == ids.derive_id("sql", "default", "ann", "k1")
    assert stream != await guest.fetchval(submit, "k2")
    assert stream != ids.derive_id("http", "default", "ann", "k1"), "an open transaction of a guest must not block the API's key"
    assert len(await log.load(stream)) == 1


async def test_a_key_is_its_owners_alone(guest: Any, owner: Connection) -> None:
    first = await guest.fetchval("SELECT daybook.submit_task('hello', key => 'k')")
    await owner.execute("UPDATE daybook.guest SET owner = 'bob'")
    assert await guest.fetchval("SELECT daybook.submit_task('hello', key => 'k')") != first


async def test_namespace_and_owner_come_from_the_guests_row(guest: Any, owner: Connection, log: Log) -> None:
    await publish_app(owner, "other", "theirs")
    with pytest.raises(asyncpg.PostgresError, match="no app theirs in namespace default"):
        await guest.fetchval("SELECT daybook.submit_task('theirs')")
    await owner.execute("UPDATE daybook.guest SET namespace = 'other', owner = 'bob'")
    [recorded] = await log.load(await guest.fetchval("SELECT daybook.submit_task('theirs')"))
    assert isinstance(recorded.event, TaskSubmitted)
    assert (recorded.namespace, recorded.event.owner) == ("other", "bob")


async def test_who_is_not_listed_is_no_guest(guest: Any, owner: Connection, url_as: Callable[[str], str]) -> None:
    await owner.execute("DELETE FROM daybook.guest")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="is not a guest"):
        await guest.fetchval(SUBMIT.format(""))
    await owner.execute("INSERT INTO daybook.guest VALUES ('daybook_api', 'default', 'ann')")
    stranger = await asyncpg.connect(url_as("daybook_api"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await stranger.fetchval(SUBMIT.format(""))  # Listed, but without the role.
    await stranger.close()


async def test_nobody_becomes_a_guest_by_changing_roles(owner: Connection) -> None:
    """The guest is who logged in, not whom that one acts as."""
    await publish_app(owner)
    await admit_guest(owner)
    async with owner.transaction():
        await owner.execute("SET LOCAL ROLE daybook_guest")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="is not a guest"):
            await owner.fetchval(SUBMIT.format(""))


BAD: dict[str, str | None] = {
    "input => NULL": "input",
    'input => \'{"a": "\\u0000"}\'': None,
    'input => \'{"a": "\\ud800"}\'': None,
    "input => '{\"\\u0000\": 1}'": None,
    "input => '{'": None,
    "input => json_build_object('a', repeat('x', 1048576))": "1 MiB",
    "input => (repeat('[', 66) || repeat(']', 66))::json": "64 levels",
    "run_at => 'infinity'": "run_at",
    "run_at => '-infinity'": "run_at",
    "run_at => '12026-01-01'": "run_at",
    "run_at => now() - interval '2 minutes'": "run_at",
    "run_at => now() + interval '11 years'": "run_at",
    "priority => 0": "priority",
    "priority => 6": "priority",
    "queue => ''": "queue",
    "queue => 'Slow'": "queue",
    "queue => E'slow\\n'": "queue",
    "queue => 'a.>'": "queue",
    "key => ''": "key",
    "key => repeat('k', 256)": "key",
    "key => E'a\\x1fb'": "key",
    "labels => '[]'": None,
    "labels => '1'": None,
    "labels => '{\"a\": 1}'": "labels",
    "labels => '{\"a\": null}'": "labels",
    'labels => \'{"a": {"b": "c"}}\'': "labels",
    'labels => \'{"a": "\\u0000"}\'': None,
    'labels => \'{"": "a"}\'': "labels",
    "labels => json_build_object(repeat('k', 129), 'v')": "labels",
    "labels => json_build_object('k', repeat('v', 257))": "labels",
    "labels => (SELECT json_object_agg(n, 'v') FROM generate_series(1, 33) n)": "labels",
}


async def test_what_the_api_would_refuse_is_refused(guest: Any, owner: Connection) -> None:
    for arguments, why in BAD.items():
        with pytest.raises(asyncpg.PostgresError, match=why):
            assert await guest.fetchval(SUBMIT.format(", " + arguments)) is None, arguments
    assert await owner.fetchval("SELECT count(*) FROM log.event WHERE kind = 'task.submitted.v1'") == 0


async def test_an_app_that_was_announced_with_an_odd_queue_is_refused(guest: Any, owner: Connection) -> None:
    await send(owner, "owner", [append_of(ids.derive_id("app", "default", "odd"), 1, AppPublished(app="odd", app_kind="http", version="1", queue="a.>"))])
    with pytest.raises(asyncpg.InvalidParameterValueError, match="a queue is named"):
        await guest.fetchval("SELECT daybook.submit_task('odd')")


async def test_a_guest_is_listed_with_names_that_can_be_told(owner: Connection) -> None:
    for namespace, name in (("Default", "ann"), ("a.b", "ann"), ("", "ann"), ("default", ""), ("default", "a" * 129)):
        with pytest.raises(asyncpg.CheckViolationError):
            await admit_guest(owner, namespace=namespace, guest_owner=name)


async def test_an_odd_lane_of_the_caller_harms_nobody_else(guest: Any, owner: Connection) -> None:
    for lane in ("64", "-1", "x"):
        await guest.execute(f"SET daybook.lane = '{lane}'")
        with pytest.raises(asyncpg.PostgresError):
            await guest.fetchval(SUBMIT.format(""))
    await guest.execute("RESET daybook.lane")
    await guest.fetchval(SUBMIT.format(""))
    assert await owner.fetchval("SELECT count(*) FROM log.event WHERE kind = 'task.submitted.v1'") == 1


PARTS = st.lists(st.text(st.characters(exclude_characters="\x1f\x00", exclude_categories=["Cs"])), min_size=1, max_size=5)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(many=st.lists(PARTS, min_size=1, max_size=20))
async def test_ids_are_derived_alike_in_sql_and_in_python(owner: Connection, many: list[list[str]]) -> None:
    statement = await owner.prepare("SELECT daybook.derive_id(VARIADIC $1::text[])")
    derived: list[UUID] = [await statement.fetchval(parts) for parts in many]
    assert derived == [ids.derive_id(*parts) for parts in many]


@pytest.mark.parametrize(
    ("parts", "derived"),
    [  # The same as in tests/shared/test_ids.py, for ever.
        (("a",), "ca978112-ca1b-8dca-bac2-31b39a23dc4d"),
        (("a", "b"), "f04cdced-9736-869d-a610-3f08a4daaf8c"),
        (("",), "e3b0c442-98fc-8c14-9afb-f4c8996fb924"),
        (("key", "default", "ann", "grüße ☕"), "aa055799-d2ba-82ff-9b80-c6d0958b075b"),
    ],
)
async def test_an_id_derived_in_sql_is_the_same_for_ever(owner: Connection, parts: tuple[str, ...], derived: str) -> None:
    assert await owner.fetchval("SELECT daybook.derive_id(VARIADIC $1::text[])", parts) == UUID(derived)
