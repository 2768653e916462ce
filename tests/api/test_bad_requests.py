"""Bad parameters, positions, preconditions, ids and changes are refused by name, before anything is written."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

import httpx2
import msgspec
import pytest
from tests.api.bad import JSON, STRICT, Bad, assert_problem
from tests.services import Services

QUERIES = {
    "an unknown parameter": "statsu=error",
    "an unknown status": "status=errored",
    "an empty status": "status=",
    "a status twice": "status=error&status=running",
    "limit 0": "limit=0",
    "limit 201": "limit=201",
    "limit abc": "limit=abc",
    "limit in other digits": "limit=%D9%A1",
    "a huge limit": "limit=" + "9" * 5000,
    "limit twice": "limit=1&limit=2",
    "a label without a value": "label=a",
    "a label without a name": "label=:a",
    "two values of a label": "label=a:1&label=a:2",
    "no time": "since=yesterday",
    "a time without an offset": "since=2026-01-01T00:00:00",
    "a negative duration": "since=-1h",
    "the first hour of the calendar": "since=0001-01-01T00:00:00%2B14:00",
    "the last hour of the calendar": "until=9999-12-31T23:59:59-14:00",
    "no cursor": "cursor=abc",
    "a cursor that is no text": "cursor=%FF",
    "a cursor of something else": "cursor=WyJhIiwxXQ",
    "an empty cursor": "cursor=",
    "NUL in the app": "app=%00",
    "NUL in the owner": "owner=a%00",
    "NUL in the queue": "queue=%00b",
    "NUL in a label": "label=a:%00",
    "a lone surrogate": "app=%ED%A0%80",
    "no UTF-8": "queue=%C3",
    "101 parameters": "&".join(f"label=a{number}:b" for number in range(101)),
}


@pytest.mark.parametrize("name", QUERIES)
async def test_a_bad_query_is_refused_by_the_name_of_its_parameter(strict: httpx2.AsyncClient, name: str) -> None:
    query = QUERIES[name]
    answer = await strict.get(f"/v1/tasks?{query}")
    assert_problem(answer, 400, "invalid-request", None)
    if "%" not in query and name != "101 parameters":
        assert query.partition("=")[0] in answer.json()["detail"]


async def test_a_cursor_that_was_tampered_with_is_refused(strict: httpx2.AsyncClient) -> None:
    for _ in range(2):
        await strict.post("/v1/tasks", json={"app": "t.echo"})
    await strict.get("/v1/tasks", headers={"Daybook-Position": (await strict.post("/v1/tasks", json={"app": "t.echo"})).headers["Daybook-Position"]})
    cursor = (await strict.get("/v1/tasks?limit=1")).json()["next_cursor"]
    digest, submitted_at, task = msgspec.json.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    for forged in ("0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00", submitted_at + "x"):
        bad = urlsafe_b64encode(msgspec.json.encode([digest, forged, task])).decode()
        assert_problem(await strict.get("/v1/tasks", params={"limit": "1", "cursor": bad}), 400, "invalid-request", None)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_parameters_are_refused_wherever_there_are_none(strict: httpx2.AsyncClient, services: Services, method: str) -> None:
    before = await services.events(STRICT)
    task = "/v1/tasks/tsk_01kbr5vc2ze8trbz1mgbpz5yqd"
    paths = {
        "GET": [task, f"{task}/result", f"{task}/events", "/v1/apps", "/v1/apps/t.echo"],
        "POST": ["/v1/tasks", "/v1/tasks/batch", f"{task}/cancel", f"{task}/reschedule"],
    }
    for path in paths[method]:
        answer = await strict.request(method, f"{path}?verbose=1", content=b'{"app":"t.echo"}' if method == "POST" else None)
        assert_problem(answer, 400, "invalid-request", None)
        assert "verbose" in answer.json()["detail"]
    assert await services.events(STRICT) == before


@pytest.mark.parametrize("position", ["", "abc", "1", "1:", ":1", "64:1", "-1:1", "1:1:1", "9" * 5000 + ":1", "1:" + "9" * 19, "1:1,", ",".join(["1:1"] * 65)])
async def test_a_bad_position_is_refused(strict: httpx2.AsyncClient, position: str) -> None:
    assert_problem(await strict.get("/v1/tasks", headers={"Daybook-Position": position}), 400, "invalid-request", None)


@pytest.mark.parametrize("version", ["", "abc", '"abc"', 'W/"1"', '"1', '"1", "2"', "-1", "1.0", "9" * 5000])
async def test_a_bad_precondition_is_refused(strict: httpx2.AsyncClient, services: Services, version: str) -> None:
    location = (await strict.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"})).headers["Location"]
    before = await services.events(STRICT)
    for change, body in (("cancel", {}), ("reschedule", {"delay": "2h"})):
        assert_problem(await strict.post(f"{location}/{change}", json=body, headers={"If-Match": version}), 400, "invalid-request", None)
    assert await services.events(STRICT) == before


IDS = [
    "x",
    "tsk_",
    "tsk_01kbr5vc2ze8trbz1mgbpz5yq",
    "tsk_01KBR5VC2ZE8TRBZ1MGBPZ5YQD",
    "tok_01kbr5vc2ze8trbz1mgbpz5yqd",
    "tsk_8zzzzzzzzzzzzzzzzzzzzzzzzz",
    "%00",
    "..%2F..",
]


@pytest.mark.parametrize("task_id", IDS)
async def test_a_bad_id_names_nothing(strict: httpx2.AsyncClient, task_id: str) -> None:
    for method, rest in (("GET", ""), ("GET", "/result"), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/reschedule")):
        answer = await strict.request(method, f"/v1/tasks/{task_id}{rest}", content=b'{"delay":1}' if rest == "/reschedule" else None)
        assert_problem(answer, 404, "not-found", None)


RESCHEDULES = {
    "nothing": Bad("{}", 422, "invalid-body", "/run_at"),
    "null": Bad('{"run_at":null}', 422, "invalid-body", "/run_at"),
    "both": Bad('{"run_at":"2027-01-01T00:00:00Z","delay":1}', 422, "invalid-body", "/delay"),
    "the past": Bad('{"run_at":"2001-01-01T00:00:00Z"}', 422, "in-the-past", "/run_at"),
    "no offset": Bad('{"run_at":"2027-01-01T00:00:00"}', 422, "invalid-body", "/run_at"),
    "the far future": Bad('{"run_at":"2327-01-01T00:00:00Z"}', 422, "invalid-body", "/run_at"),
    "an unknown field": Bad('{"at":"2027-01-01T00:00:00Z"}', 400, "invalid-request", "/at"),
    "no body": Bad("", 400, "malformed-json", None),
}


@pytest.mark.parametrize("name", RESCHEDULES)
async def test_a_bad_reschedule_is_refused(strict: httpx2.AsyncClient, services: Services, name: str) -> None:
    bad = RESCHEDULES[name]
    location = (await strict.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"})).headers["Location"]
    before = await services.events(STRICT)
    assert_problem(await strict.post(f"{location}/reschedule", content=bad.body, headers=JSON), bad.status, bad.code, bad.pointer)
    assert await services.events(STRICT) == before


CANCELS = {
    "NUL": Bad('{"reason":"\\u0000"}', 422, "invalid-body", "/reason"),
    "a long reason": Bad(json.dumps({"reason": "x" * 501}), 422, "invalid-body", "/reason"),
    "a lone surrogate": Bad('{"reason":"\\ud800"}', 400, "malformed-json", "/reason"),
    "an unknown field": Bad('{"why":""}', 400, "invalid-request", "/why"),
    "no JSON": Bad("because", 400, "malformed-json", None),
}


@pytest.mark.parametrize("name", CANCELS)
async def test_a_bad_cancel_is_refused(strict: httpx2.AsyncClient, services: Services, name: str) -> None:
    bad = CANCELS[name]
    location = (await strict.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"})).headers["Location"]
    before = await services.events(STRICT)
    assert_problem(await strict.post(f"{location}/cancel", content=bad.body, headers=JSON), bad.status, bad.code, bad.pointer)
    assert await services.events(STRICT) == before
