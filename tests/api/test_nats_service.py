"""The micro-service: others find it, processes share its work, and it is there again after everything that befalls NATS."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import nats.errors
import pytest
import pytest_asyncio
from msgspec.structs import replace
from nats.aio.client import Client as Connection
from tests.api.apps import app
from tests.api.on_nats import Asker, Reply, connected
from tests.services import ServedApi, serving_api

from daybook import ids
from daybook.access import issue_token
from daybook.log.postgres import Log
from daybook.settings import Settings
from daybook.testing import eventually
from daybook_api.over_nats.verbs import VERBS
from daybook_local.nats import EmbeddedNats

BODY = b'{"app":"t.echo","delay":"1h"}'
WAITING = {"If-None-Match": '"1"', "Prefer": "wait=30"}


@pytest_asyncio.fixture(loop_scope="session")
async def settings(database_url: str, nats_server: EmbeddedNats) -> Settings:
    """A database that knows the apps, and a NATS of the test's own."""
    log = await Log.open(database_url, "owner", pool_size=1, writers=1)
    for definition in app.definitions.values():
        published = definition.published("a test")
        await log.append(ids.derive_id("app", "default", published.app), 1, published, namespace="default")
    await log.close()
    return Settings(database_url=database_url, nats_url=nats_server.url)


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[ServedApi]:
    """An API process that NATS knows."""
    async with serving_api(settings) as served:
        await served.api.gateway.bus.connected()
        yield served


@asynccontextmanager
async def ann_over_http(served: ServedApi, settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """Ann, at the other door."""
    token = await issue_token(settings.database_url, "default", "ann", ("submit", "read"), "for a test", None)
    async with httpx2.AsyncClient(base_url=served.url, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False, verify=False) as client:
        yield client


async def told(connection: Connection, subject: str) -> Any:
    """What a service says of itself."""
    return json.loads((await connection.request(subject, timeout=5)).data)


async def told_by_all(connection: Connection, subject: str, most: int) -> list[Any]:
    """What so many services say of themselves."""
    inbox = connection.new_inbox()
    heard = await connection.subscribe(inbox, max_msgs=most)
    await connection.publish(subject, reply=inbox)
    return [json.loads((await heard.next_msg(timeout=5)).data) for _ in range(most)]


async def test_it_is_found_by_those_who_look_for_services(settings: Settings, nats_server: EmbeddedNats) -> None:
    async with serving(settings), connected(nats_server.url) as connection:
        info = await told(connection, "$SRV.INFO.daybook")
        assert (info["name"], info["type"]) == ("daybook", "io.nats.micro.v1.info_response")
        assert {each["subject"]: each["metadata"]["operation"] for each in info["endpoints"]} == {
            f"daybook.*.*.api.{verb}": operation for verb, operation in VERBS.items()
        }
        assert {each["queue_group"] for each in info["endpoints"]} == {"daybook-api"}
        assert (await told(connection, "$SRV.PING"))["id"] == info["id"]
        assert (await told(connection, f"$SRV.STATS.daybook.{info['id']}"))["started"]


async def test_where_requests_are_not_wanted_nobody_answers(settings: Settings, nats_server: EmbeddedNats) -> None:
    async with serving_api(replace(settings, nats_requests=False)) as closed, connected(nats_server.url) as connection:
        await closed.api.gateway.bus.connected()
        for subject in (Asker(connection, "ann").subject("apps.list"), "$SRV.PING"):
            with pytest.raises(nats.errors.NoRespondersError):
                await connection.request(subject, b"", timeout=5)


async def test_it_counts_what_it_did_and_tells_nobody_what_was_asked(settings: Settings, nats_server: EmbeddedNats) -> None:
    async with serving(settings), connected(nats_server.url) as connection:
        asker = Asker(connection, "ann")
        for name in ("t.echo", "t.echo", "very.private"):
            await asker.ask("tasks.submit", app=name)
        await connection.publish(asker.subject("tasks.submit"), b"{}", reply="orders.new")
        await asker.ask("tasks.submit", app="t.echo")
        stats = await told(connection, "$SRV.STATS.daybook")
        submit = next(each for each in stats["endpoints"] if each["name"] == "tasks-submit")
        assert (submit["num_requests"], submit["num_errors"]) == (5, 2)
        assert 0 < submit["average_processing_time"] <= submit["processing_time"]
        assert submit["last_error"].startswith("400:")
        assert "private" not in json.dumps(stats)
        assert sum(each["num_requests"] for each in stats["endpoints"]) == 5


@pytest.mark.parametrize("verb", ["PING", "INFO", "STATS"])
async def test_it_tells_of_itself_to_inboxes_alone(settings: Settings, nats_server: EmbeddedNats, verb: str) -> None:
    async with serving(settings), connected(nats_server.url) as connection:
        overheard = await connection.subscribe("daybook.default.bob.fact.>")
        await connection.publish(f"$SRV.{verb}.daybook", reply="daybook.default.bob.fact.t-echo.tsk_x.success")
        # One after the other: when the second was answered, the first had been.
        await told(connection, f"$SRV.{verb}.daybook")
        await connection.flush()
        assert overheard.pending_msgs == 0


async def test_an_unknown_verb_has_no_listener(settings: Settings, nats_server: EmbeddedNats) -> None:
    async with serving(settings), connected(nats_server.url) as connection:
        with pytest.raises(nats.errors.NoRespondersError):
            await Asker(connection, "ann").ask("tasks.explode")


async def test_processes_share_the_work(settings: Settings, nats_server: EmbeddedNats) -> None:
    async with serving(settings) as one, serving(settings), connected(nats_server.url) as connection:
        asker = Asker(connection, "ann")
        replies = await asyncio.gather(*(asker.ask("tasks.submit", app="t.echo", delay="1h") for _ in range(60)))
        assert len({reply.json["id"] for reply in replies}) == 60
        served = [sum(each["num_requests"] for each in stats["endpoints"]) for stats in await told_by_all(connection, "$SRV.STATS.daybook", 2)]
        assert sum(served) == 60
        assert min(served) > 0
        await one.api.nats.drain()
        replies = await asyncio.gather(*(asker.ask("tasks.submit", app="t.echo", delay="1h") for _ in range(20)))
        assert {reply.status for reply in replies} == {202}


async def test_it_is_there_after_a_restart_of_nats(settings: Settings, nats_server: EmbeddedNats) -> None:
    nats_server.stop()
    async with serving_api(settings) as served, asyncio.timeout(30):
        nats_server.start()
        await served.api.gateway.bus.connected()
        async with connected(nats_server.url) as connection:
            assert (await Asker(connection, "ann").ask("apps.list")).status == 200
        losses = served.api.gateway.bus.losses
        nats_server.kill()
        nats_server.start()
        await eventually(lambda: served.api.gateway.bus.losses > losses and served.api.gateway.bus.is_connected, 10)
        async with connected(nats_server.url) as connection:
            assert (await Asker(connection, "ann").ask("apps.list")).status == 200


async def test_a_new_connection_has_the_service_too(settings: Settings, nats_server: EmbeddedNats) -> None:
    async with serving(settings) as served, connected(nats_server.url) as connection:
        before = await told(connection, "$SRV.INFO.daybook")
        lost = await served.api.gateway.bus.connected()
        await lost.close()
        await eventually(lambda: served.api.gateway.bus.is_connected)
        info = await told_by_all(connection, "$SRV.INFO.daybook", 1)
        assert info[0]["id"] != before["id"]
        assert info[0]["endpoints"] == before["endpoints"]
        assert (await Asker(connection, "ann").ask("apps.list")).status == 200


async def test_one_owner_cannot_keep_all_others_waiting(settings: Settings, nats_server: EmbeddedNats) -> None:
    async with serving(settings) as served, connected(nats_server.url) as connection:
        ann, bob = Asker(connection, "ann"), Asker(connection, "bob")
        task = (await ann.ask("tasks.submit", app="t.echo", delay="1h")).json["id"]
        asked = [asyncio.create_task(ann.ask("tasks.get", WAITING, id=task)) for _ in range(260)]
        refused = [await first for first in asyncio.as_completed(asked[256:])]
        assert {(reply.status, reply.json["code"], reply.headers["Retry-After"]) for reply in refused} == {(503, "unavailable", "1")}
        assert (await ann.ask("tasks.cancel", id=task)).status == 503
        assert (await bob.ask("apps.list")).status == 200
        async with ann_over_http(served, settings) as client:
            assert (await client.post(f"/v1/tasks/{task}/cancel")).status_code == 200
        assert {reply.json["status"] for reply in await asyncio.gather(*asked[:256])} == {"cancelled"}
        assert (await ann.ask("apps.list")).status == 200


async def test_who_waits_hears_before_the_process_ends(settings: Settings, nats_server: EmbeddedNats) -> None:
    async with connected(nats_server.url) as connection:
        asker = Asker(connection, "ann")
        async with serving(settings):
            task = (await asker.ask("tasks.submit", app="t.echo", delay="1h")).json["id"]
            waiting = asyncio.create_task(asker.ask("tasks.get", WAITING, id=task))
            await asker.ask("tasks.get", id=task)  # comes after the other on the same subject
        assert (await waiting).status == 304
        with pytest.raises(nats.errors.NoRespondersError):
            await asker.ask("apps.list")


async def test_what_was_begun_is_finished_and_nothing_new_is_taken(settings: Settings, nats_server: EmbeddedNats) -> None:
    async with serving(settings) as served, connected(nats_server.url) as connection:
        asker = Asker(connection, "ann")
        task = (await asker.ask("tasks.submit", app="t.echo", delay="1h")).json["id"]
        waiting = asyncio.create_task(asker.ask("tasks.get", WAITING, id=task))
        await asker.ask("tasks.get", id=task)
        draining = asyncio.create_task(served.api.nats.drain())
        await eventually(lambda: _has_no_listener(asker))
        assert not draining.done()
        async with ann_over_http(served, settings) as client:
            assert (await client.post(f"/v1/tasks/{task}/cancel")).status_code == 200
        assert (await waiting).json["status"] == "cancelled"
        await draining


async def test_nothing_that_was_taken_goes_unanswered(settings: Settings, nats_server: EmbeddedNats) -> None:
    async with serving(settings) as served, connected(nats_server.url) as connection:
        asker = Asker(connection, "ann")
        await asker.ask("apps.list")

        async def ask(number: int) -> Reply | None:
            try:
                return await asker.send("tasks.submit", BODY, {"Idempotency-Key": str(number)})
            except nats.errors.NoRespondersError:
                return None

        first = [asyncio.create_task(ask(number)) for number in range(100)]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        late = [asyncio.create_task(ask(number)) for number in range(100, 200)]
        await served.api.nats.drain()
        replies = await asyncio.gather(*first, *late)
        assert {reply.status for reply in replies if reply is not None} == {202}
        async with ann_over_http(served, settings) as client:
            again = [client.post("/v1/tasks", content=BODY, headers={"Idempotency-Key": str(number)}) for number in range(200)]
            answers = await asyncio.gather(*again)
        # A request that had no listener was not carried out behind the asker's back.
        assert [reply is not None for reply in replies] == ["Idempotency-Replayed" in answer.headers for answer in answers]


async def _has_no_listener(asker: Asker) -> bool:
    try:
        await asker.ask("apps.list")
    except nats.errors.NoRespondersError:
        return True
    return False
