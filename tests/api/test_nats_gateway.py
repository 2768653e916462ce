"""Over NATS one asks for the same, and hears the same, as over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest_asyncio
from nats.aio.client import Client as Connection
from tests.api import asking
from tests.api.apps import Gate
from tests.api.on_nats import Asker, Reply, connected
from tests.services import Services

from daybook.bus import subjects
from daybook.testing import eventually


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def connection(services: Services) -> AsyncIterator[Connection]:
    """A connection to the API's NATS."""
    async with connected(services.settings.nats_url) as made:
        await services.api.gateway.bus.connected()
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def asker(connection: Connection, owner: str) -> Asker:
    """The test's owner, as they speak NATS."""
    return Asker(connection, owner)


async def test_a_task_is_submitted_and_seen_by_either_door(asker: Asker, client: httpx2.AsyncClient) -> None:
    submitted = await asker.ask("tasks.submit", app="t.echo", input={"value": "ä"})
    assert (submitted.status, submitted.headers["Content-Type"]) == (202, "application/json")
    task = submitted.json["id"]
    assert submitted.headers["Location"] == f"/v1/tasks/{task}"
    await asking.until(client, submitted.json, "success")
    told = await asker.ask("tasks.get", id=task)
    over_http = await client.get(f"/v1/tasks/{task}")
    assert (told.status, told.body) == (200, over_http.content)
    assert told.headers["ETag"] == over_http.headers["ETag"]
    result = await asker.ask("tasks.result", id=task)
    assert (result.json, result.headers["Content-Type"]) == ("ä", "application/json")
    for verb in ("events", "logs", "output"):
        assert (await asker.ask(f"tasks.{verb}", id=task)).body == (await client.get(f"/v1/tasks/{task}/{verb}")).content


async def test_the_first_bytes_are_enough(asker: Asker) -> None:
    reply = await asker.send("tasks.submit", b'{"app":"t.echo","input":{}}')
    assert reply.json["app"] == "t.echo"
    assert (await asker.send("apps.list", b"")).status == 200


async def test_the_end_can_be_waited_for(asker: Asker) -> None:
    reply = await asker.ask("tasks.submit", {"Prefer": "wait=10"}, app="t.echo", input={"value": 1})
    assert (reply.status, reply.json["status"], reply.headers["Preference-Applied"]) == (200, "success", "wait=10")


async def test_who_waits_keeps_nobody_else_waiting(asker: Asker, gate: Gate) -> None:
    waiting = asyncio.create_task(asker.ask("tasks.submit", {"Prefer": "wait=30"}, app="t.gated", input={"gate": gate.name}))
    await gate.reached()
    assert (await asker.ask("tasks.submit", {"Prefer": "wait=10"}, app="t.echo")).status == 200
    assert not waiting.done()
    gate.opened.set()
    assert (await waiting).json["status"] == "success"


async def test_a_change_can_be_waited_for(asker: Asker) -> None:
    submitted = await asker.ask("tasks.submit", app="t.echo", delay="1h")
    same = await asker.ask("tasks.get", {"If-None-Match": submitted.headers["ETag"]}, id=submitted.json["id"])
    assert (same.status, same.body) == (304, b"")
    asked = {"If-None-Match": submitted.headers["ETag"], "Prefer": "wait=10"}
    waiting = asyncio.create_task(asker.ask("tasks.get", asked, id=submitted.json["id"]))
    await asker.ask("tasks.run_now", id=submitted.json["id"])
    assert (await waiting).json["version"] > 1


async def test_a_task_is_changed(asker: Asker) -> None:
    task = (await asker.ask("tasks.submit", app="t.echo", delay="1h")).json["id"]
    moved = await asker.ask("tasks.reschedule", {"If-Match": '"1"'}, id=task, delay="2h")
    assert (moved.status, moved.headers["ETag"]) == (200, '"2"')
    assert (await asker.ask("tasks.reschedule", {"If-Match": '"1"'}, id=task, delay="3h")).json["code"] == "version-mismatch"
    cancelled = await asker.ask("tasks.cancel", id=task, reason="no more")
    assert (cancelled.json["status"], cancelled.json["cancellation"]["reason"]) == ("cancelled", "no more")
    assert (await asker.ask("tasks.retry", id=task, reason="after all")).status == 200
    again = await asker.ask("tasks.rerun", {"Prefer": "wait=10"}, id=task, input={"value": 7})
    assert (again.json["rerun_of"], again.json["status"]) == (task, "success")


async def test_what_was_written_is_listed(asker: Asker) -> None:
    last: Reply | None = None
    for color in ("red", "blue", "blue"):
        last = await asker.ask("tasks.submit", app="t.echo", delay="1h", labels={"color": color, "size": "l"})
    assert last is not None
    position = {"Daybook-Position": last.headers["Daybook-Position"]}
    page = await asker.ask("tasks.list", position, status=["scheduled", "queued"], limit=2)
    assert len(page.json["items"]) == 2
    rest = await asker.ask("tasks.list", status="scheduled,queued", limit=2, cursor=page.json["next_cursor"])
    assert len(rest.json["items"]) == 1
    assert len((await asker.ask("tasks.list", label=["color:blue", "size:l"], app="t.echo", since="1h")).json["items"]) == 2
    assert (await asker.ask("tasks.list", status=["error"])).json["items"] == []


async def test_an_answer_that_no_message_can_hold_says_what_to_do(asker: Asker, connection: Connection) -> None:
    made = await asker.ask("tasks.submit", {"Prefer": "wait=10"}, app="t.large", input={"size": connection.max_payload - 400})
    fits = await asker.ask("tasks.result", id=made.json["id"])
    assert (fits.status, len(fits.body)) == (200, connection.max_payload - 400 + 2)
    made = await asker.ask("tasks.submit", {"Prefer": "wait=10"}, app="t.large", input={"size": connection.max_payload})
    reply = await asker.ask("tasks.result", id=made.json["id"])
    assert (reply.status, reply.json["code"], reply.headers["ETag"]) == (413, "too-large", made.headers["ETag"])
    assert "over HTTP" in reply.json["hint"]


async def test_schedules_have_all_their_verbs(asker: Asker) -> None:
    seen = await asker.ask("schedules.preview", cron="0 7 * * *", timezone="Europe/Berlin", count=3)
    assert len(seen.json["next"]) == 3
    made = await asker.ask("schedules.create", app="t.echo", cron="0 7 * * *", input={"value": 1})
    assert made.status == 201
    name = made.json["id"]
    assert (await asker.ask("tasks.submit", app="t.echo", cron="0 8 * * *")).status == 201
    position = {"Daybook-Position": made.headers["Daybook-Position"]}
    assert name in [each["id"] for each in (await asker.ask("schedules.list", position, app="t.echo")).json["items"]]
    assert (await asker.ask("schedules.change", id=name, cron="0 9 * * *")).json["cron"] == "0 9 * * *"
    assert (await asker.ask("schedules.pause", id=name, note="holidays")).json["paused"]
    resumed = await asker.ask("schedules.resume", id=name)
    assert not resumed.json["paused"]
    assert (await asker.ask("schedules.trigger", {"Prefer": "wait=5"}, id=name)).status == 202
    assert (await asker.ask("schedules.backfill", id=name, since="48h", dry_run=True)).json["count"] >= 1
    position = {"Daybook-Position": resumed.headers["Daybook-Position"]}
    assert (await asker.ask("schedules.slots", position, id=name, limit=5)).json["planned"]
    assert (await asker.ask("schedules.get", id=name)).json["id"] == name
    gone = await asker.ask("schedules.delete", id=name)
    assert (gone.status, gone.body) == (204, b"")
    assert (await asker.ask("schedules.get", id=name)).status == 404


async def test_apps_are_shown(asker: Asker, client: httpx2.AsyncClient) -> None:
    assert (await asker.ask("apps.list")).body == (await client.get("/v1/apps")).content
    assert (await asker.ask("apps.get", app="t.echo")).body == (await client.get("/v1/apps/t.echo")).content


async def test_the_feed_is_read_page_by_page(asker: Asker, client: httpx2.AsyncClient) -> None:
    begin = (await asker.ask("events.list")).json["next_cursor"]
    waiting = asyncio.create_task(asker.ask("events.list", {"Prefer": "wait=10"}, cursor=begin, types=["task.queued", "task.scheduled"], limit=5))
    task = (await asker.ask("tasks.submit", app="t.echo", delay="1h")).json["id"]
    page = await waiting
    assert [event["subject"] for event in page.json["items"]] == [task]
    over_http = await client.get("/v1/events", params={"cursor": begin, "types": "task.queued,task.scheduled", "limit": "1"})
    assert over_http.json()["items"] == page.json["items"]
    assert (await asker.ask("events.list", types=["nothing"])).json["code"] == "invalid-request"


async def test_a_key_is_the_same_at_both_doors(asker: Asker, client: httpx2.AsyncClient) -> None:
    key, body = {"Idempotency-Key": "one"}, b'{"app":"t.echo"}'
    first = await asker.send("tasks.submit", body, key)
    again = await asker.send("tasks.submit", body, key)
    over_http = await client.post("/v1/tasks", content=body, headers=key)
    assert again.headers["Idempotency-Replayed"] == over_http.headers["Idempotency-Replayed"] == "true"
    assert first.json["id"] == again.json["id"] == over_http.json()["id"]
    assert (await asker.send("tasks.submit", b'{"app":"t.order"}', key)).json["code"] in {"idempotency-key-reused", "invalid-input"}
    rerun = {"id": first.json["id"], "input": {"value": 2}}
    reruns = [await asker.send("tasks.rerun", json.dumps(rerun).encode(), {"idempotency-key": "two"}) for _ in range(2)]
    assert reruns[0].json["id"] == reruns[1].json["id"] != first.json["id"]


async def test_somebody_else_s_task_is_not_there(connection: Connection, asker: Asker, owner: str) -> None:
    task = (await asker.ask("tasks.submit", app="t.echo", delay="1h")).json["id"]
    others = (Asker(connection, f"{owner}-other"), Asker(connection, owner, namespace="strict"))
    for other in others:
        for verb in ("tasks.get", "tasks.cancel", "tasks.events", "tasks.run_now"):
            assert (await other.ask(verb, id=task)).json["code"] == "not-found"
        assert (await other.ask("tasks.list", status=["scheduled"])).json["items"] == []
    assert (await others[0].ask("tasks.list", owner=owner)).json["code"] == "forbidden"
    assert (await asker.ask("tasks.get", id=task)).json["status"] == "scheduled"


async def test_the_subject_says_who_asks_and_no_header_does(connection: Connection, services: Services, asker: Asker, owner: str) -> None:
    task = (await asker.ask("tasks.submit", app="t.echo", delay="1h")).json["id"]
    other = Asker(connection, f"{owner}-other")
    powerful = await services.token(owner, scopes=("submit", "read", "act_as", "admin"))
    forged: list[dict[str, str]] = [
        {"Authorization": f"Bearer {powerful}"},
        {"authorization": f"Bearer {powerful}", "Host": "127.0.0.1", "Cookie": "daybook_session=x"},
        {"Daybook.Principal": owner, "Forwarded": "for=127.0.0.1"},
    ]
    for headers in forged:
        assert (await other.ask("tasks.get", headers, id=task)).json["code"] == "not-found"
    assert (await other.ask("tasks.get", {"Daybook-Owner": owner}, id=task)).json["code"] == "forbidden"
    assert (await asker.ask("tasks.get", {"Daybook-Owner": owner}, id=task)).status == 200


async def test_no_http_request_can_vouch_for_itself(services: Services) -> None:
    async with services.client(None, **{"daybook.principal": "ann", "daybook-principal": "ann"}) as client:
        assert (await client.get("/v1/tasks")).status_code == 401


async def test_an_owner_with_any_name_has_a_digest_and_says_the_name(connection: Connection, services: Services, owner: str) -> None:
    name = f"{owner} Ünal@example.com"
    asker = Asker(connection, subjects.owner_token(name))
    submitted = await asker.ask("tasks.submit", {"daybook-owner": name}, app="t.echo", delay="1h")
    assert submitted.json["owner"] == name
    async with services.client(await services.token(name)) as client:
        assert (await client.get(f"/v1/tasks/{submitted.json['id']}")).status_code == 200
    refused: dict[str, dict[str, str] | None] = {"nobody": None, "another": {"Daybook-Owner": owner}, "the digest": {"Daybook-Owner": asker.owner}}
    for headers in refused.values():
        assert (await asker.ask("tasks.get", headers, id=submitted.json["id"])).json["code"] == "forbidden"
    for text in ("", "x" * 129, "a\tb"):
        assert (await asker.ask("tasks.get", {"Daybook-Owner": text}, id=submitted.json["id"])).json["code"] == "invalid-request"


async def test_a_namespace_has_a_name(connection: Connection) -> None:
    assert (await Asker(connection, "ann", namespace="No-Name").ask("apps.list")).json["code"] == "invalid-request"
    assert (await Asker(connection, "Ann").ask("apps.list")).json["code"] == "forbidden"


async def test_nobody_needs_to_wait_for_a_reply(connection: Connection, asker: Asker) -> None:
    await connection.publish(asker.subject("tasks.submit"), b'{"app":"t.echo","labels":{"told":"nobody"}}')
    found: list[Any] = await eventually(lambda: _labelled(asker, "told:nobody"))
    assert [each["app"] for each in found] == ["t.echo"]


async def test_replies_go_to_inboxes_and_nowhere_else(connection: Connection, asker: Asker) -> None:
    forged = f"daybook.default.{asker.owner}.fact.t-echo.tsk_x.success"
    heard = await connection.subscribe(f"daybook.default.{asker.owner}.fact.>")
    for subject in (forged, "daybook.work.default", "$JS.API.STREAM.PURGE.DAYBOOK_WORK", "orders.new"):
        await connection.publish(asker.subject("tasks.submit"), b'{"app":"t.echo","delay":"1h"}', reply=subject)
    # What comes after them on the same subject is answered, so they had their turn.
    honest = await asker.ask("tasks.submit", app="t.echo", delay="1h")
    listed = await asker.ask("tasks.list", {"Daybook-Position": honest.headers["Daybook-Position"]})
    assert [each["id"] for each in listed.json["items"]] == [honest.json["id"]]
    assert honest.json["id"] in (await heard.next_msg(timeout=5)).subject
    await heard.unsubscribe()


async def _labelled(asker: Asker, label: str) -> list[Any]:
    items: list[Any] = (await asker.ask("tasks.list", label=label)).json["items"]
    return items
