"""Bad input is refused with a problem that says where the fault lies, before anything is written."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, NamedTuple

import httpx2
import msgspec
import pytest
import pytest_asyncio
from tests.api.apps import app
from tests.services import Services

from daybook import clock

NAMESPACE = "strict"
JSON = {"Content-Type": "application/json"}
DEEP = "[" * 65 + "]" * 65
FITTING = "[" * 63 + "]" * 63


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def strict(services: Services) -> AsyncIterator[httpx2.AsyncClient]:
    """A client in a namespace where nothing else happens, so that every new event would be seen."""
    for definition in app.definitions.values():
        await services.announce(definition.published("a test"), NAMESPACE)
    async with services.client(await services.token("ann", namespace=NAMESPACE)) as connected:
        yield connected


class Bad(NamedTuple):
    """A body, and what is said about it."""

    body: str | bytes
    status: int
    code: str
    pointer: str | None
    """Where the fault lies; None where there is no place to point at."""


def _submit(**fields: Any) -> str:
    return json.dumps({"app": "t.echo", **fields})


def _raw(field: str, value: str) -> str:
    return f'{{"app":"t.echo","{field}":{value}}}'


BODIES = {
    "nothing": Bad(b"", 400, "malformed-json", None),
    "no JSON": Bad("app=t.echo", 400, "malformed-json", None),
    "half of it": Bad('{"app":"t.ec', 400, "malformed-json", None),
    "more than it": Bad('{"app":"t.echo"} {}', 400, "malformed-json", None),
    "a comma too many": Bad('{"app":"t.echo",}', 400, "malformed-json", None),
    "a byte order mark": Bad(b'\xef\xbb\xbf{"app":"t.echo"}', 400, "malformed-json", None),
    "no UTF-8": Bad(b'{"app":"t.echo","input":{"value":"\xff"}}', 400, "malformed-json", None),
    "UTF-16": Bad('{"app":"t.echo"}'.encode("utf-16"), 400, "malformed-json", None),
    "an array": Bad("[]", 422, "invalid-body", ""),
    "null": Bad("null", 422, "invalid-body", ""),
    "no app": Bad("{}", 422, "invalid-body", ""),
    "an app that is a number": Bad('{"app":1}', 422, "invalid-body", "/app"),
    "an empty app": Bad('{"app":""}', 422, "invalid-body", "/app"),
    "an app with a long name": Bad(json.dumps({"app": "x" * 129}), 422, "invalid-body", "/app"),
    "an app that is not there": Bad('{"app":"nothing.here"}', 422, "unknown-app", "/app"),
    "an unknown field": Bad(_submit(inptu={}), 400, "invalid-request", "/inptu"),
    "an unknown field in a field": Bad(_submit(retry={"max/attempts": 2}), 400, "invalid-request", "/retry/max~1attempts"),
    "NUL in the app": Bad('{"app":"t.echo\\u0000"}', 422, "invalid-body", "/app"),
    "NUL in the input": Bad(_raw("input", '{"value":["a","b\\u0000c"]}'), 422, "invalid-body", "/input/value/1"),
    "NUL in a name of the input": Bad(_raw("input", '{"a\\u0000":1}'), 422, "invalid-body", "/input/a\ufffd"),
    "NUL in a label": Bad(_raw("labels", '{"a":"\\u0000"}'), 422, "invalid-body", "/labels/a"),
    "NUL in a label's name": Bad(_raw("labels", '{"\\u0000":"a"}'), 422, "invalid-body", "/labels/\ufffd"),
    "a NUL byte": Bad(b'{"app":"t.echo","input":{"value":"\x00"}}', 400, "malformed-json", None),
    "a lone surrogate": Bad(_raw("input", '{"value":"\\ud800"}'), 400, "malformed-json", "/input/value"),
    "a lone low surrogate": Bad(_raw("labels", '{"a":"\\udc00"}'), 400, "malformed-json", "/labels/a"),
    "a surrogate in bytes": Bad(b'{"app":"t.echo","input":{"value":"\xed\xa0\x80"}}', 400, "malformed-json", None),
    "NaN": Bad(_raw("input", '{"value":NaN}'), 400, "malformed-json", "/input/value"),
    "Infinity": Bad(_raw("input", '{"value":[1,-Infinity]}'), 400, "malformed-json", "/input/value/1"),
    "1e400": Bad(_raw("input", '{"value":{"n":1e400}}'), 422, "invalid-body", "/input/value/n"),
    "-1e400": Bad(_raw("delay", "-1e400"), 422, "invalid-body", "/delay"),
    "an enormous integer": Bad(_raw("input", '{"value":' + "9" * 5000 + "}"), 422, "invalid-body", "/input"),
    "an enormous priority": Bad(_raw("priority", "9" * 5000), 422, "invalid-body", "/priority"),
    "65 levels": Bad(_raw("input", f'{{"value":{FITTING}}}'), 422, "invalid-body", "/input/value" + "/0" * 62),
    "thousands of levels": Bad(_raw("input", "[" * 5000 + "]" * 5000), 422, "invalid-body", ""),
    "levels without an end": Bad("[" * 100_000, 422, "invalid-body", ""),
    "a schema that is violated": Bad('{"app":"t.order","input":{"name":"x","count":-1}}', 422, "invalid-input", "/input/count"),
    "a schema that is violated deep down": Bad('{"app":"t.order","input":{"name":"x","lines":[1,"2"]}}', 422, "invalid-input", "/input/lines/1"),
    "an input that lacks something": Bad('{"app":"t.order","input":{}}', 422, "invalid-input", "/input"),
    "no timestamp": Bad(_submit(run_at="tomorrow"), 422, "invalid-body", "/run_at"),
    "a day that is none": Bad(_submit(run_at="2027-02-30T00:00:00Z"), 422, "invalid-body", "/run_at"),
    "a time without an offset": Bad(_submit(run_at="2027-01-01T00:00:00"), 422, "invalid-body", "/run_at"),
    "a date": Bad(_submit(run_at="2027-01-01"), 422, "invalid-body", "/run_at"),
    "a number of seconds since an epoch": Bad(_submit(run_at=1_800_000_000), 422, "invalid-body", "/run_at"),
    "a time long ago": Bad(_submit(run_at="2001-01-01T00:00:00Z"), 422, "in-the-past", "/run_at"),
    "the first hour of the calendar": Bad(_submit(run_at="0001-01-01T00:00:00+14:00"), 422, "in-the-past", "/run_at"),
    "the last hour of the calendar": Bad(_submit(run_at="9999-12-31T23:59:59-14:00"), 422, "invalid-body", "/run_at"),
    "a time and a delay": Bad(_submit(run_at="2027-01-01T00:00:00Z", delay="1m"), 422, "invalid-body", "/delay"),
    "a delay that is none": Bad(_submit(delay="soon"), 422, "invalid-body", "/delay"),
    "a delay of decades": Bad(_submit(delay="600w"), 422, "invalid-body", "/delay"),
    "a delay of ages": Bad(_submit(delay=1e300), 422, "invalid-body", "/delay"),
    "a negative delay": Bad(_submit(delay=-1), 422, "invalid-body", "/delay"),
    "true for a delay": Bad(_submit(delay=True), 422, "invalid-body", "/delay"),
    "a timeout of 0": Bad(_submit(timeout=0), 422, "invalid-body", "/timeout"),
    "a timeout of 0s": Bad(_submit(timeout="0s"), 422, "invalid-body", "/timeout"),
    "a queue with a name that is none": Bad(_submit(queue="a.b"), 422, "invalid-body", "/queue"),
    "a queue with a line break": Bad(_submit(queue="default\n"), 422, "invalid-body", "/queue"),
    "priority 0": Bad(_submit(priority=0), 422, "invalid-body", "/priority"),
    "priority 1.5": Bad(_submit(priority=1.5), 422, "invalid-body", "/priority"),
    "a label that is a number": Bad(_submit(labels={"a": 1}), 422, "invalid-body", "/labels"),
    "a label without a name": Bad(_submit(labels={"": "a"}), 422, "invalid-body", "/labels"),
    "33 labels": Bad(_submit(labels={str(number): "" for number in range(33)}), 422, "invalid-body", "/labels"),
    "a long label": Bad(_submit(labels={"a": "x" * 257}), 422, "invalid-body", "/labels"),
    "101 attempts": Bad(_submit(retry={"max_attempts": 101}), 422, "invalid-body", "/retry/max_attempts"),
    "another delivery": Bad(_submit(delivery="exactly_once"), 422, "invalid-body", "/delivery"),
    "too much": Bad(_submit(input={"value": "x" * 1024 * 1024}), 413, "too-large", None),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_bad_body_is_refused_before_anything_is_written(strict: httpx2.AsyncClient, services: Services, name: str) -> None:
    bad = BODIES[name]
    before = await services.events(NAMESPACE)
    for headers in ({}, {"Idempotency-Key": f"bad {name}"}, {"Prefer": "wait=1"}):
        answer = await strict.post("/v1/tasks", content=bad.body, headers=JSON | headers)
        _assert_problem(answer, bad.status, bad.code, bad.pointer)
    assert await services.events(NAMESPACE) == before


@pytest.mark.parametrize("name", [name for name in BODIES if name not in {"nothing", "too much"}])
async def test_a_bad_body_is_a_bad_line_of_a_batch(strict: httpx2.AsyncClient, services: Services, name: str) -> None:
    bad = BODIES[name]
    before = await services.events(NAMESPACE)
    content = bad.body if isinstance(bad.body, bytes) else bad.body.encode()
    if b"\n" in content:
        pytest.skip("a line break ends the line")
    answer = await strict.post("/v1/tasks/batch", content=content, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status_code == 200
    (item,) = answer.json()["items"]
    problem = item["problem"]
    assert (problem["status"], problem["code"]) == (bad.status, bad.code)
    assert (answer.json()["accepted"], answer.json()["refused"]) == (0, 1)
    assert await services.events(NAMESPACE) == before


async def test_a_body_without_a_length_is_measured_as_it_comes(strict: httpx2.AsyncClient, services: Services) -> None:
    before = await services.events(NAMESPACE)

    async def endless() -> AsyncIterator[bytes]:
        yield b'{"app":"t.echo","input":{"value":"'
        for _ in range(40):
            yield b"x" * 64 * 1024

    answer = await strict.post("/v1/tasks", content=endless(), headers=JSON)
    _assert_problem(answer, 413, "too-large", None)
    assert await services.events(NAMESPACE) == before


async def test_a_time_in_the_past_beyond_a_minute_is_refused(strict: httpx2.AsyncClient) -> None:
    for ago, status in ((timedelta(seconds=55), 202), (timedelta(seconds=65), 422)):
        answer = await strict.post("/v1/tasks", json={"app": "t.echo", "run_at": (clock.now() - ago).isoformat()})
        assert answer.status_code == status


async def test_what_looks_bad_and_is_not_is_accepted_and_kept_as_it_came(strict: httpx2.AsyncClient) -> None:
    for value in ('"\\\\u0000"', '"\\ud83d\\ude00"', FITTING[1:-1], "1e308", "9" * 300, '"[[[[' + "[" * 100 + '"', '"\\"' + "[" * 100 + '"', "-0.0", "{}"):
        body = _raw("input", f'{{"value":{value}}}')
        answer = await strict.post("/v1/tasks", content=body, headers=JSON)
        assert answer.status_code == 202, (value[:40], answer.text)
        task = await strict.get(answer.headers["Location"])
        assert f'"input":{{"value":{value}}}'.encode() in task.content


HEADERS: dict[str, tuple[list[tuple[str, str]], int]] = {
    "no JSON": ([("Content-Type", "text/plain")], 415),
    "a form": ([("Content-Type", "application/x-www-form-urlencoded")], 415),
    "lines": ([("Content-Type", "application/x-ndjson")], 415),
    "two media types": ([("Content-Type", "application/json"), ("Content-Type", "text/plain")], 415),
    "one media type twice": ([("Content-Type", "application/json"), ("Content-Type", "application/json")], 415),
    "an empty media type": ([("Content-Type", "")], 415),
}


@pytest.mark.parametrize("name", HEADERS)
async def test_another_media_type_is_refused(strict: httpx2.AsyncClient, services: Services, name: str) -> None:
    headers, status = HEADERS[name]
    before = await services.events(NAMESPACE)
    for path in ("/v1/tasks", "/v1/tasks/tsk_01kbr5vc2ze8trbz1mgbpz5yqd/cancel", "/v1/tasks/tsk_01kbr5vc2ze8trbz1mgbpz5yqd/reschedule"):
        answer = await strict.post(path, content=b'{"app":"t.echo"}', headers=headers)
        _assert_problem(answer, status, "unsupported-media-type", None)
    assert await services.events(NAMESPACE) == before


async def test_a_media_type_may_have_parameters_or_be_left_out(strict: httpx2.AsyncClient) -> None:
    for headers in ({"Content-Type": "Application/JSON; charset=utf-8"}, {}):
        assert (await strict.post("/v1/tasks", content=b'{"app":"t.echo"}', headers=headers)).status_code == 202


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
    _assert_problem(answer, 400, "invalid-request", None)
    if "%" not in query and name != "101 parameters":
        assert query.partition("=")[0] in answer.json()["detail"]


async def test_a_cursor_that_was_tampered_with_is_refused(strict: httpx2.AsyncClient) -> None:
    from base64 import urlsafe_b64decode, urlsafe_b64encode

    for _ in range(2):
        await strict.post("/v1/tasks", json={"app": "t.echo"})
    await strict.get("/v1/tasks", headers={"Daybook-Position": (await strict.post("/v1/tasks", json={"app": "t.echo"})).headers["Daybook-Position"]})
    cursor = (await strict.get("/v1/tasks?limit=1")).json()["next_cursor"]
    digest, submitted_at, task = msgspec.json.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    for forged in ("0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00", submitted_at + "x"):
        bad = urlsafe_b64encode(msgspec.json.encode([digest, forged, task])).decode()
        _assert_problem(await strict.get("/v1/tasks", params={"limit": "1", "cursor": bad}), 400, "invalid-request", None)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_parameters_are_refused_wherever_there_are_none(strict: httpx2.AsyncClient, services: Services, method: str) -> None:
    before = await services.events(NAMESPACE)
    task = "/v1/tasks/tsk_01kbr5vc2ze8trbz1mgbpz5yqd"
    paths = {"GET": (task, f"{task}/result", f"{task}/events", "/v1/apps", "/v1/apps/t.echo")}
    paths["POST"] = ("/v1/tasks", "/v1/tasks/batch", f"{task}/cancel", f"{task}/reschedule")
    for path in paths[method]:
        answer = await strict.request(method, f"{path}?verbose=1", content=b'{"app":"t.echo"}' if method == "POST" else None)
        _assert_problem(answer, 400, "invalid-request", None)
        assert "verbose" in answer.json()["detail"]
    assert await services.events(NAMESPACE) == before


@pytest.mark.parametrize("position", ["", "abc", "1", "1:", ":1", "64:1", "-1:1", "1:1:1", "9" * 5000 + ":1", "1:" + "9" * 19, "1:1,", ",".join(["1:1"] * 65)])
async def test_a_bad_position_is_refused(strict: httpx2.AsyncClient, position: str) -> None:
    _assert_problem(await strict.get("/v1/tasks", headers={"Daybook-Position": position}), 400, "invalid-request", None)


@pytest.mark.parametrize("version", ["", "abc", '"abc"', 'W/"1"', '"1', '"1", "2"', "-1", "1.0", "9" * 5000])
async def test_a_bad_precondition_is_refused(strict: httpx2.AsyncClient, services: Services, version: str) -> None:
    location = (await strict.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"})).headers["Location"]
    before = await services.events(NAMESPACE)
    for change, body in (("cancel", {}), ("reschedule", {"delay": "2h"})):
        _assert_problem(await strict.post(f"{location}/{change}", json=body, headers={"If-Match": version}), 400, "invalid-request", None)
    assert await services.events(NAMESPACE) == before


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
        _assert_problem(answer, 404, "not-found", None)


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
    before = await services.events(NAMESPACE)
    _assert_problem(await strict.post(f"{location}/reschedule", content=bad.body, headers=JSON), bad.status, bad.code, bad.pointer)
    assert await services.events(NAMESPACE) == before


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
    before = await services.events(NAMESPACE)
    _assert_problem(await strict.post(f"{location}/cancel", content=bad.body, headers=JSON), bad.status, bad.code, bad.pointer)
    assert await services.events(NAMESPACE) == before


async def test_a_problem_does_not_repeat_a_large_input(strict: httpx2.AsyncClient) -> None:
    answer = await strict.post("/v1/tasks", json={"app": "t.order", "input": {"name": "x", "count": "y" * 500_000}})
    _assert_problem(answer, 422, "invalid-input", "/input/count")
    assert len(answer.content) < 2_000


def _assert_problem(answer: httpx2.Response, status: int, code: str, pointer: str | None) -> None:
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code), answer.text
    assert problem["type"] == f"urn:daybook:problem:{code}"
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert set(problem) == {"type", "title", "status", "detail", "instance", "code", "request_id", "errors", "hint"}
    assert [spot["pointer"] for spot in problem["errors"]] == ([] if pointer is None else [pointer])
    assert "Traceback" not in answer.text
    assert "asyncpg" not in answer.text
