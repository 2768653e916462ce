"""Bad bodies are refused with a problem that says where the fault lies, before anything is written."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from tests.api.bad import JSON, STRICT, Bad, assert_problem
from tests.services import Services

from daybook import clock

FITTING = "[" * 63 + "]" * 63


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
    "a queue_ttl of 0": Bad(_submit(queue_ttl=0), 422, "invalid-body", "/queue_ttl"),
    "a queue_ttl of 0s": Bad(_submit(queue_ttl="0s"), 422, "invalid-body", "/queue_ttl"),
    "a deadline that is none": Bad(_submit(deadline="soon"), 422, "invalid-body", "/deadline"),
    "a deadline beyond ten years": Bad(_submit(deadline="999w"), 422, "invalid-body", "/deadline"),
    "a backoff that is none": Bad(_submit(retry={"backoff": "soon"}), 422, "invalid-body", "/retry/backoff"),
    "a negative backoff": Bad(_submit(retry={"max_backoff": -1}), 422, "invalid-body", "/retry/max_backoff"),
    "a factor below 1": Bad(_submit(retry={"factor": 0.5}), 422, "invalid-body", "/retry/factor"),
    "33 types of errors": Bad(_submit(retry={"non_retryable": ["E"] * 33}), 422, "invalid-body", "/retry/non_retryable"),
    "a type of errors without a name": Bad(_submit(retry={"non_retryable": [""]}), 422, "invalid-body", "/retry/non_retryable/0"),
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
    before = await services.events(STRICT)
    for headers in ({}, {"Idempotency-Key": f"bad {name}"}, {"Prefer": "wait=1"}):
        answer = await strict.post("/v1/tasks", content=bad.body, headers=JSON | headers)
        assert_problem(answer, bad.status, bad.code, bad.pointer)
    assert await services.events(STRICT) == before


@pytest.mark.parametrize("name", [name for name in BODIES if name not in {"nothing", "too much"}])
async def test_a_bad_body_is_a_bad_line_of_a_batch(strict: httpx2.AsyncClient, services: Services, name: str) -> None:
    bad = BODIES[name]
    before = await services.events(STRICT)
    content = bad.body if isinstance(bad.body, bytes) else bad.body.encode()
    if b"\n" in content:
        pytest.skip("a line break ends the line")
    answer = await strict.post("/v1/tasks/batch", content=content, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status_code == 200
    (item,) = answer.json()["items"]
    problem = item["problem"]
    assert (problem["status"], problem["code"]) == (bad.status, bad.code)
    assert (answer.json()["accepted"], answer.json()["refused"]) == (0, 1)
    assert await services.events(STRICT) == before


async def test_a_body_without_a_length_is_measured_as_it_comes(strict: httpx2.AsyncClient, services: Services) -> None:
    before = await services.events(STRICT)

    async def endless() -> AsyncIterator[bytes]:
        yield b'{"app":"t.echo","input":{"value":"'
        for _ in range(40):
            yield b"x" * 64 * 1024

    answer = await strict.post("/v1/tasks", content=endless(), headers=JSON)
    assert_problem(answer, 413, "too-large", None)
    assert await services.events(STRICT) == before


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
    before = await services.events(STRICT)
    for path in ("/v1/tasks", "/v1/tasks/tsk_01kbr5vc2ze8trbz1mgbpz5yqd/cancel", "/v1/tasks/tsk_01kbr5vc2ze8trbz1mgbpz5yqd/reschedule"):
        answer = await strict.post(path, content=b'{"app":"t.echo"}', headers=headers)
        assert_problem(answer, status, "unsupported-media-type", None)
    assert await services.events(STRICT) == before


async def test_a_media_type_may_have_parameters_or_be_left_out(strict: httpx2.AsyncClient) -> None:
    for headers in ({"Content-Type": "Application/JSON; charset=utf-8"}, {}):
        assert (await strict.post("/v1/tasks", content=b'{"app":"t.echo"}', headers=headers)).status_code == 202


async def test_a_problem_does_not_repeat_a_large_input(strict: httpx2.AsyncClient) -> None:
    answer = await strict.post("/v1/tasks", json={"app": "t.order", "input": {"name": "x", "count": "y" * 500_000}})
    assert_problem(answer, 422, "invalid-input", "/input/count")
    assert len(answer.content) < 2_000
