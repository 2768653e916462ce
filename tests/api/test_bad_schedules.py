"""Bad schedules are refused with a problem that says where the fault lies, before anything is written."""

import json
from typing import Any

import httpx2
import pytest
from tests.api.bad import JSON, STRICT, Bad, assert_problem
from tests.services import Services

from daybook import clock

RULES: dict[str, tuple[dict[str, Any], str]] = {
    "four fields": ({"cron": "* * * *"}, "/cron"),
    "six fields": ({"cron": "* * * * * *"}, "/cron"),
    "five fields with seconds": ({"cron": "* * * * *", "seconds": True}, "/cron"),
    "a minute that is none": ({"cron": "60 * * * *"}, "/cron"),
    "a day that is never": ({"cron": "0 0 30 2 *"}, "/cron"),
    "chance": ({"cron": "R * * * *"}, "/cron"),
    "a name that is none": ({"cron": "@sometimes"}, "/cron"),
    "no expression": ({"cron": ""}, "/cron"),
    "a long expression": ({"cron": "1," * 200 + "1 * * * *"}, "/cron"),
    "an expression that is a number": ({"cron": 5}, "/cron"),
    "no expression at all": ({"cron": None}, "/cron"),
    "a zone that is none": ({"timezone": "Mars/Olympus"}, "/timezone"),
    "a path for a zone": ({"timezone": "../../etc/passwd"}, "/timezone"),
    "a zone in the wrong case": ({"timezone": "europe/berlin"}, "/timezone"),
    "an offset for a zone": ({"timezone": "+01:00"}, "/timezone"),
    "another overlap": ({"overlap": "sometimes"}, "/overlap"),
    "another catch_up": ({"catch_up": "some"}, "/catch_up"),
    "another gap": ({"dst_gap": "both"}, "/dst_gap"),
    "another fold": ({"dst_fold": "never"}, "/dst_fold"),
    "a jitter beyond a day": ({"jitter": "25h"}, "/jitter"),
    "a jitter that is none": ({"jitter": "some"}, "/jitter"),
    "a negative jitter": ({"jitter": -1}, "/jitter"),
    "a window beyond ten years": ({"catch_up_window": "600w"}, "/catch_up_window"),
    "no runs": ({"max_runs": 0}, "/max_runs"),
    "half a run": ({"max_runs": 1.5}, "/max_runs"),
    "no errors": ({"pause_after_errors": 0}, "/pause_after_errors"),
    "a start without an offset": ({"start_at": "2027-01-01T00:00:00"}, "/start_at"),
    "a start far ahead": ({"start_at": "2222-01-01T00:00:00Z"}, "/start_at"),
    "a start beyond the calendar": ({"start_at": "9999-12-31T23:59:59-14:00"}, "/start_at"),
    "a start at the calendar's beginning": ({"start_at": "0001-01-01T00:00:00Z"}, "/start_at"),
    "an end before the start": ({"start_at": "2030-01-01T00:00:00Z", "end_at": "2029-01-01T00:00:00Z"}, "/end_at"),
    "an end at the start": ({"start_at": "2030-01-01T00:00:00Z", "end_at": "2030-01-01T01:00:00+01:00"}, "/end_at"),
    "an end that has passed": ({"end_at": "2020-01-01T00:00:00Z"}, "/end_at"),
    "an end that leaves no slot": ({"cron": "0 0 29 2 *", "start_at": "2029-01-01T00:00:00Z", "end_at": "2031-12-31T00:00:00Z"}, "/end_at"),
    "an end beyond the calendar": ({"end_at": "9999-12-31T23:59:59-14:00"}, "/end_at"),
    "a queue that is none": ({"queue": "a.b"}, "/queue"),
    "priority 9": ({"priority": 9}, "/priority"),
    "a timeout of 0s": ({"timeout": "0s"}, "/timeout"),
    "a backoff that is none": ({"retry": {"backoff": "soon"}}, "/retry/backoff"),
}
TIMES = {"cron", "timezone", "seconds", "dst_gap", "dst_fold", "start_at", "end_at"}
OTHERS: dict[str, tuple[dict[str, Any], int, str, str | None]] = {
    "no app": ({"app": None}, 422, "invalid-body", "/app"),
    "an app that is not there": ({"app": "nothing.here"}, 422, "unknown-app", "/app"),
    "a schema that is violated": ({"app": "t.order", "input": {"name": "x", "count": -1}}, 422, "invalid-input", "/input/count"),
    "an unknown field": ({"crown": "x"}, 400, "invalid-request", "/crown"),
    "a time of its own": ({"run_at": "2030-01-01T00:00:00Z"}, 400, "invalid-request", "/run_at"),
    "NUL in the note": ({"note": "a\0"}, 422, "invalid-body", "/note"),
    "a long note": ({"note": "x" * 501}, 422, "invalid-body", "/note"),
    "too much": ({"input": {"value": "x" * 1024 * 1024}}, 413, "too-large", None),
}


@pytest.mark.parametrize("name", [*RULES, *OTHERS])
async def test_a_bad_schedule_is_refused_before_anything_is_written(strict: httpx2.AsyncClient, services: Services, name: str) -> None:
    more, status, code, pointer = OTHERS[name] if name in OTHERS else (RULES[name][0], 422, "invalid-body", RULES[name][1])
    before = await services.events(STRICT)
    for headers in ({}, {"Idempotency-Key": f"bad {name}"}):
        answer = await strict.post("/v1/schedules", json={"app": "t.echo", "cron": "@daily", **more}, headers=headers)
        assert_problem(answer, status, code, pointer)
    assert await services.events(STRICT) == before


@pytest.fixture
async def schedule(client: httpx2.AsyncClient) -> str:
    """Where one is."""
    return (await client.post("/v1/schedules", json={"app": "t.order", "input": {"name": "x"}, "cron": "0 0 1 1 *"})).headers["Location"]


@pytest.mark.parametrize("name", RULES)
async def test_a_bad_change_is_refused_and_changes_nothing(client: httpx2.AsyncClient, schedule: str, name: str) -> None:
    more, pointer = RULES[name]
    answer = await client.patch(schedule, json=more)
    assert_problem(answer, 422, "invalid-body", pointer)
    assert (await client.get(schedule)).json()["version"] == 1


@pytest.mark.parametrize(
    ("method", "more", "bad"),
    [
        ("PATCH", "", Bad('{"app":"t.echo"}', 400, "invalid-request", "/app")),
        ("PATCH", "", Bad('{"paused":true}', 400, "invalid-request", "/paused")),
        ("PATCH", "", Bad('{"input":{"name":""}}', 422, "invalid-input", "/input/name")),
        ("PATCH", "", Bad('{"input":null}', 422, "invalid-input", "/input")),
        ("PATCH", "", Bad("", 400, "malformed-json", None)),
        ("POST", "/pause", Bad('{"until":"then"}', 422, "invalid-body", "/until")),
        ("POST", "/pause", Bad('{"until":"2020-01-01T00:00:00Z"}', 422, "in-the-past", "/until")),
        ("POST", "/pause", Bad('{"until":"0s"}', 422, "in-the-past", "/until")),
        ("POST", "/pause", Bad('{"until":"0001-01-01T00:00:00+14:00"}', 422, "invalid-body", "/until")),
        ("POST", "/pause", Bad('{"reason":"x"}', 400, "invalid-request", "/reason")),
        ("POST", "/resume", Bad("[]", 422, "invalid-body", "")),
        ("POST", "/trigger", Bad('{"input":{}}', 400, "invalid-request", "/input")),
        ("POST", "/backfill", Bad("{}", 422, "invalid-body", "")),
        ("POST", "/backfill", Bad('{"since":"then"}', 422, "invalid-body", "/since")),
        ("POST", "/backfill", Bad('{"since":"1h","until":"2222-01-01T00:00:00Z"}', 422, "invalid-body", "/until")),
        ("POST", "/backfill", Bad('{"since":"1h","limit":501}', 422, "invalid-body", "/limit")),
        ("POST", "/backfill", Bad('{"since":"1h","limit":0}', 422, "invalid-body", "/limit")),
    ],
)
async def test_a_bad_wish_is_refused(client: httpx2.AsyncClient, schedule: str, method: str, more: str, bad: Bad) -> None:
    answer = await client.request(method, schedule + more, content=bad.body, headers=JSON)
    assert_problem(answer, bad.status, bad.code, bad.pointer)
    assert (await client.get(schedule)).json()["version"] == 1


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_that_is_none_is_refused(client: httpx2.AsyncClient, schedule: str, key: str) -> None:
    for path, body in (("/v1/schedules", {"app": "t.echo", "cron": "@daily"}), (f"{schedule}/trigger", {})):
        answer = await client.post(path, json=body, headers={"Idempotency-Key": key})
        assert_problem(answer, 400, "invalid-request", None)


@pytest.mark.parametrize("query", ["outcome=missed", "outcome=", "limit=0", "limit=x", "cursor=x", "since=1h", "outcome=fired&outcome=fired"])
async def test_a_ledger_has_its_parameters_and_no_others(client: httpx2.AsyncClient, schedule: str, query: str) -> None:
    assert_problem(await client.get(f"{schedule}/slots?{query}"), 400, "invalid-request", None)


@pytest.mark.parametrize(
    ("more", "pointers"),
    [
        ({"cron": "@daily", "run_at": "2030-01-01T00:00:00Z"}, ["/run_at"]),
        ({"cron": "@daily", "delay": "1h"}, ["/delay"]),
        ({"cron": "@daily", "run_at": "2030-01-01T00:00:00Z", "delay": "1h"}, ["/run_at", "/delay"]),
        ({"cron": "@daily", "timezone": "Mars/Olympus"}, ["/timezone"]),
        ({"cron": "never"}, ["/cron"]),
        ({"timezone": "Europe/Berlin"}, ["/timezone"]),
        ({"delay": "1h", "timezone": "Europe/Berlin"}, ["/timezone"]),
    ],
)
async def test_a_submit_is_for_one_time_or_for_cron(strict: httpx2.AsyncClient, services: Services, more: dict[str, Any], pointers: list[str]) -> None:
    before = await services.events(STRICT)
    answer = await strict.post("/v1/tasks", json={"app": "t.echo", **more})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-body")
    assert [spot["pointer"] for spot in answer.json()["errors"]] == pointers
    assert await services.events(STRICT) == before


async def test_a_batch_makes_no_schedules(strict: httpx2.AsyncClient) -> None:
    answer = await strict.post("/v1/tasks/batch", json=[{"app": "t.echo", "cron": "@daily"}])
    problem = answer.json()["items"][0]["problem"]
    assert (problem["code"], problem["errors"][0]["pointer"]) == ("invalid-request", "/cron")


@pytest.mark.parametrize(
    "name", [name for name in RULES if set(RULES[name][0]) <= {"cron", "timezone", "seconds", "dst_gap", "dst_fold", "start_at", "end_at"}]
)
async def test_a_preview_refuses_what_a_schedule_would(client: httpx2.AsyncClient, name: str) -> None:
    more, pointer = RULES[name]
    answer = await client.post("/v1/schedules/preview", json={"cron": "@daily", **more})
    assert_problem(answer, 422, "invalid-body", pointer)


@pytest.mark.parametrize("more", [{"count": 0}, {"count": 101}, {"after": "now"}, {"after": "0001-01-01T00:00:00+14:00"}])
async def test_a_preview_has_bounds(client: httpx2.AsyncClient, more: dict[str, Any]) -> None:
    assert_problem(await client.post("/v1/schedules/preview", json={"cron": "@daily", **more}), 422, "invalid-body", f"/{next(iter(more))}")


async def test_it_takes_no_time_to_say_no(client: httpx2.AsyncClient) -> None:
    """What is never due is searched for in nine years of a zone that changes its clocks."""
    for cron in ("0 0 31 2,4,6,9,11 *", "* * 31 2 *", ",".join(["*/1"] * 60) + " * 30 2 *"):
        body = json.dumps({"cron": cron, "timezone": "Africa/Casablanca"})
        before = clock.now()
        answer = await client.post("/v1/schedules/preview", content=body, headers=JSON)
        assert_problem(answer, 422, "invalid-body", "/cron")
        assert (clock.now() - before).total_seconds() < 1
