"""A bad request is refused over NATS as it is over HTTP, word for word."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from tests.api.bad import JSON, STRICT
from tests.api.on_nats import Asker, Reply, connected
from tests.api.test_bad_bodies import BODIES
from tests.api.test_bad_requests import CANCELS, IDS, RESCHEDULES
from tests.services import Services

TASK = "tsk_01kbr5vc2ze8trbz1mgbpz5yqd"

LISTS: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown field": ({"statsu": "error"}, "statsu=error"),
    "an unknown status": ({"status": ["error", "errored"]}, "status=error,errored"),
    "no status": ({"status": []}, "status="),
    "limit 0": ({"limit": 0}, "limit=0"),
    "half a limit": ({"limit": 1.5}, "limit=1.5"),
    "a huge limit": ({"limit": "9" * 5000}, "limit=" + "9" * 5000),
    "a label without a value": ({"label": ["a:b", "c"]}, "label=a:b&label=c"),
    "two values of a label": ({"label": ["a:1", "a:2"]}, "label=a:1&label=a:2"),
    "no time": ({"since": "yesterday"}, "since=yesterday"),
    "a time without an offset": ({"until": "2026-01-01T00:00:00"}, "until=2026-01-01T00:00:00"),
    "another owner": ({"owner": "böb & sons=1"}, "owner=b%C3%B6b+%26+sons%3D1"),
    "no cursor": ({"cursor": "a+b%20c"}, "cursor=a%2Bb%2520c"),
    "a schedule that is none": ({"schedule": "sch_"}, "schedule=sch_"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def asker(services: Services) -> AsyncIterator[Asker]:
    """The one who asks over HTTP as `strict`, over NATS."""
    async with connected(services.settings.nats_url) as connection:
        await services.api.gateway.bus.connected()
        yield Asker(connection, "ann", STRICT)


def assert_same(reply: Reply, answer: httpx2.Response) -> None:
    """The reply is the very problem that HTTP answered, but for what names the request."""
    problem = answer.json()
    assert reply.status == answer.status_code >= 400
    assert reply.headers["Content-Type"] == answer.headers["Content-Type"] == "application/problem+json"
    assert reply.headers["X-Request-Id"] == reply.json["request_id"]
    named = ("instance", "request_id")
    assert {name: value for name, value in reply.json.items() if name not in named} == {name: value for name, value in problem.items() if name not in named}
    assert " ".join(problem["detail"].split())[:300] == reply.headers["Nats-Service-Error"]


@pytest.mark.parametrize("name", [name for name, bad in BODIES.items() if bad.body])
async def test_a_bad_body(strict: httpx2.AsyncClient, asker: Asker, services: Services, name: str) -> None:
    body = BODIES[name].body
    payload = body.encode() if isinstance(body, str) else body
    before = await services.events(STRICT)
    assert_same(await asker.send("tasks.submit", payload), await strict.post("/v1/tasks", content=body, headers=JSON))
    assert await services.events(STRICT) == before


async def test_nothing_is_an_empty_object(strict: httpx2.AsyncClient, asker: Asker) -> None:
    for verb, path in (("tasks.submit", "/v1/tasks"), ("schedules.create", "/v1/schedules"), ("schedules.preview", "/v1/schedules/preview")):
        assert_same(await asker.send(verb, b""), await strict.post(path, content=b"{}", headers=JSON))


@pytest.mark.parametrize("name", LISTS)
async def test_a_bad_list(strict: httpx2.AsyncClient, asker: Asker, name: str) -> None:
    fields, query = LISTS[name]
    assert_same(await asker.ask("tasks.list", **fields), await strict.get(f"/v1/tasks?{query}"))


@pytest.mark.parametrize("verb", ["tasks.get", "tasks.result", "tasks.events", "tasks.cancel", "tasks.reschedule", "schedules.get", "schedules.slots"])
async def test_a_bad_id_names_nothing(asker: Asker, verb: str) -> None:
    more: dict[str, Any] = {"delay": 1} if verb == "tasks.reschedule" else {}
    for name in (*IDS, TASK, f"{TASK}/cancel", "../tasks", "..", "", "tsk_x?limit=1", "a b", "ü", f"{TASK}\n"):
        assert (await asker.ask(verb, id=name, **more)).json["code"] == "not-found", name


@pytest.mark.parametrize("given", [{}, {"id": None}, {"id": 7}, {"id": [TASK]}])
async def test_an_id_is_text_and_cannot_be_left_out(asker: Asker, given: dict[str, Any]) -> None:
    for verb in ("tasks.get", "tasks.cancel", "schedules.delete"):
        problem = (await asker.send(verb, json.dumps(given).encode())).json
        assert (problem["code"], problem["errors"][0]["pointer"]) == ("invalid-body", "/id")


@pytest.mark.parametrize("field", ["status", "label", "limit"])
async def test_a_parameter_is_text_or_a_number(asker: Asker, field: str) -> None:
    for value in ({"a": 1}, [["error"]], True, [None]):
        fields: dict[str, Any] = {field: value}
        problem = (await asker.ask("tasks.list", **fields)).json
        assert problem["code"] == "invalid-request"
        assert field in problem["detail"]


@pytest.mark.parametrize("verb", ["reschedule", "cancel"])
async def test_a_bad_change(strict: httpx2.AsyncClient, asker: Asker, verb: str) -> None:
    task = (await strict.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"})).json()["id"]
    for bad in (RESCHEDULES if verb == "reschedule" else CANCELS).values():
        body = bad.body if isinstance(bad.body, str) else bad.body.decode()
        if body.startswith("{") and '"\\ud800"' not in body:
            with_id = body.replace("{", f'{{"id":"{task}"' + ("" if body == "{}" else ","), 1)
            assert_same(await asker.send(f"tasks.{verb}", with_id.encode()), await strict.post(f"/v1/tasks/{task}/{verb}", content=body, headers=JSON))


@pytest.mark.parametrize(
    "payload", [b"[]", b"null", b'"x"', b"{", b'{"id":}', b"\xff", b'{"id":"\\ud800"}', b'{"id":"a\\u0000"}', b'{"id":' + b"[" * 70 + b"]" * 70 + b"}"]
)
async def test_what_is_no_object_is_no_request(asker: Asker, payload: bytes) -> None:
    for verb in ("tasks.get", "tasks.list", "tasks.cancel"):
        problem = (await asker.send(verb, payload)).json
        assert problem["code"] in {"malformed-json", "invalid-body"}, problem


@pytest.mark.parametrize("headers", [{"If-Match": "abc"}, {"Idempotency-Key": "ü"}, {"Idempotency-Key": "x" * 256}, {"Daybook-Position": "1"}])
async def test_a_bad_header(strict: httpx2.AsyncClient, asker: Asker, headers: dict[str, str]) -> None:
    if "If-Match" in headers:
        task = (await strict.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"})).json()["id"]
        assert_same(await asker.ask("tasks.cancel", headers, id=task), await strict.post(f"/v1/tasks/{task}/cancel", headers=headers))
    elif "Daybook-Position" in headers:
        assert_same(await asker.ask("tasks.list", headers), await strict.get("/v1/tasks", headers=headers))
    else:
        utf8 = {name: value.encode() for name, value in headers.items()}
        over_http = await strict.post("/v1/tasks", json={"app": "t.echo"}, headers=utf8)  # type: ignore[arg-type]
        assert_same(await asker.ask("tasks.submit", headers, app="t.echo"), over_http)


async def test_a_problem_of_more_than_a_line_is_a_line_in_its_header(asker: Asker) -> None:
    reply = await asker.ask("tasks.submit", app="no\r\nDaybook-Status: 200\r\napp " + "x" * 90)
    assert reply.status == 422
    assert "\n" not in reply.headers["Nats-Service-Error"]
