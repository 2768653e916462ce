"""/v1/schedules: what is made, shown, listed, changed, paused and deleted. Nothing here comes due; that is in `test_ledger`."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from tests.services import Services

from daybook import clock, ids
from daybook.domain.events import AppPublished
from daybook.testing import eventually

YEARLY = {"app": "t.echo", "cron": "0 0 1 1 *"}
SHAPE = {
    *("id", "app", "app_version", "input", "cron", "timezone", "seconds", "overlap", "catch_up", "catch_up_window_seconds", "jitter_seconds", "on_finish"),
    *("dst_gap", "dst_fold", "start_at", "end_at", "max_runs", "pause_after_errors", "queue", "priority", "labels", "policy", "paused"),
    *("paused_until", "paused_by", "note", "owner", "version", "created_at", "words", "next", "last", "runs", "counts"),
}


async def made(client: httpx2.AsyncClient, **more: Any) -> dict[str, Any]:
    """A schedule, made."""
    answer = await client.post("/v1/schedules", json=YEARLY | more)
    assert answer.status_code == 201, answer.text
    schedule: dict[str, Any] = answer.json()
    return schedule


def path(schedule: dict[str, Any]) -> str:
    return f"/v1/schedules/{schedule['id']}"


async def test_what_is_left_out_is_as_usual(client: httpx2.AsyncClient, owner: str) -> None:
    answer = await client.post("/v1/schedules", json=YEARLY)
    schedule = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == path(schedule)
    assert answer.headers["ETag"] == '"1"'
    assert "Daybook-Position" in answer.headers
    assert "Idempotency-Replayed" not in answer.headers
    assert set(schedule) == SHAPE
    usual = {"timezone": "UTC", "seconds": False, "overlap": "skip", "catch_up": "latest", "catch_up_window_seconds": 3600, "jitter_seconds": 0}
    usual |= {"dst_gap": "next", "dst_fold": "once", "queue": "default", "priority": 3, "labels": {}, "input": {}, "paused": False, "runs": 0}
    nothing = dict.fromkeys(("start_at", "end_at", "max_runs", "pause_after_errors", "paused_until", "paused_by", "note", "last"))
    assert {name: schedule[name] for name in usual | nothing} == usual | nothing
    assert (schedule["owner"], schedule["version"]) == (owner, 1)
    assert schedule["words"] == "At 00:00, on day 1 of the month, only in January, in UTC"
    year = datetime.now(UTC).year
    assert schedule["next"] == [f"{year + ahead}-01-01T00:00:00Z" for ahead in range(1, 6)]
    assert schedule["counts"] == dict.fromkeys(("fired", "overlap", "missed", "paused", "ended", "limit", "changed"), 0)
    assert (await client.get(path(schedule))).json() == schedule


async def test_what_is_said_is_kept(client: httpx2.AsyncClient) -> None:
    said = {
        "input": {"value": "ä"},
        "cron": "*/10 30 9 * * mon-fri",
        "seconds": True,
        "timezone": "Europe/Berlin",
        "overlap": "queue_one",
        "catch_up": "all",
        "dst_gap": "skip",
        "dst_fold": "twice",
        "start_at": "2027-01-01T00:00:00+01:00",
        "end_at": "2027-12-31T00:00:00Z",
        "max_runs": 7,
        "pause_after_errors": 3,
        "queue": "nobody",
        "priority": 1,
        "labels": {"a": "b"},
        "paused": True,
        "note": "not yet",
    }
    schedule = await made(client, catch_up_window="2h", jitter=90, timeout="5m", retry={"max_attempts": 4, "backoff": "2s"}, delivery="at_most_once", **said)
    assert {name: schedule[name] for name in said} == said | {"start_at": "2026-12-31T23:00:00Z"}
    assert (schedule["catch_up_window_seconds"], schedule["jitter_seconds"]) == (7200, 90)
    policy = {"timeout_seconds": 300, "max_attempts": 4, "backoff_seconds": 2, "backoff_factor": 2, "delivery": "at_most_once"}
    assert {name: schedule["policy"][name] for name in policy} == policy
    assert schedule["paused_by"] == f"user:{schedule['owner']}"
    assert schedule["next"] == []
    assert schedule["words"].endswith("in Europe/Berlin")


async def test_a_large_input_comes_back_whole(client: httpx2.AsyncClient) -> None:
    schedule = await made(client, input={"value": "x" * 50_000})
    assert schedule["input"] == (await client.get(path(schedule))).json()["input"] == {"value": "x" * 50_000}


async def test_a_submit_with_cron_makes_a_schedule(client: httpx2.AsyncClient) -> None:
    body = {"app": "t.careful", "input": {"good": 1}, "cron": "@monthly", "timezone": "Asia/Tokyo", "priority": 2, "labels": {"a": "b"}, "timeout": "2m"}
    answer = await client.post("/v1/tasks", json=body, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 201, answer.text
    schedule = answer.json()
    assert answer.headers["Location"] == path(schedule)
    assert set(schedule) == SHAPE
    said = {name: body[name] for name in ("app", "input", "cron", "timezone", "priority", "labels")}
    assert {name: schedule[name] for name in said} == said
    assert (schedule["policy"]["timeout_seconds"], schedule["policy"]["queue_ttl_seconds"], schedule["policy"]["max_attempts"]) == (120, 3600, 4)
    assert (await client.get("/v1/tasks", headers={"Daybook-Position": answer.headers["Daybook-Position"]})).json()["items"] == []
    again = await client.post("/v1/tasks", json=body, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.headers["Idempotency-Replayed"], again.json()["id"]) == (201, "true", schedule["id"])


async def test_a_key_makes_one_schedule(client: httpx2.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post("/v1/schedules", json=YEARLY, headers={"Idempotency-Key": "once"}) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len({answer.headers["Daybook-Position"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    other = await client.post("/v1/schedules", json=YEARLY | {"priority": 1}, headers={"Idempotency-Key": "once"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    task = await client.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"}, headers={"Idempotency-Key": "once"})
    assert task.status_code == 202


async def test_a_replay_shows_the_schedule_as_it_is_now(client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    body = YEARLY | {"end_at": clock.after(400 * 86400).isoformat(), "input": {"value": "x" * 9000}}
    first = (await client.post("/v1/schedules", json=body, headers={"Idempotency-Key": "now"})).json()
    await client.patch(path(first), json={"priority": 1})
    # By then there is no slot left, and a new schedule would be refused.
    later = clock.after(399 * 86400)
    monkeypatch.setattr(clock, "now", lambda: later)
    again = await client.post("/v1/schedules", json=body, headers={"Idempotency-Key": "now"})
    assert (again.status_code, again.headers["ETag"], again.json()["priority"]) == (201, '"2"', 1)
    assert (await client.post("/v1/schedules", json=body, headers={"Idempotency-Key": "new"})).status_code == 422
    await client.delete(path(first))
    deleted = await client.post("/v1/schedules", json=body, headers={"Idempotency-Key": "now"})
    assert (deleted.status_code, deleted.json()["code"]) == (422, "idempotency-key-reused")
    assert "deleted" in deleted.json()["detail"]


async def test_lists_page_by_key_newest_first(client: httpx2.AsyncClient, services: Services) -> None:
    schedules = [(await made(client, labels={"n": str(number)}))["id"] for number in range(5)]
    odd = await client.post("/v1/schedules", json={"app": "t.order", "input": {"name": "x"}, "cron": "@yearly"})
    at = {"Daybook-Position": odd.headers["Daybook-Position"]}
    first = (await client.get("/v1/schedules", params={"limit": "4"}, headers=at)).json()
    assert [item["id"] for item in first["items"]] == [odd.json()["id"], *schedules[:1:-1]]
    assert set(first["items"][0]) == SHAPE - {"input"}
    assert first["items"][1]["words"] == (await client.get(f"/v1/schedules/{schedules[4]}")).json()["words"]
    answer = await client.get("/v1/schedules", params={"limit": "4", "cursor": first["next_cursor"]})
    assert [item["id"] for item in answer.json()["items"]] == schedules[1::-1]
    assert answer.json()["next_cursor"] is None
    assert "Link" not in answer.headers
    linked = (await client.get("/v1/schedules", params={"limit": "4"})).headers["Link"]
    assert (await client.get(linked[1:].split(">")[0])).json() == answer.json()
    assert [item["id"] for item in (await client.get("/v1/schedules", params={"app": "t.order"})).json()["items"]] == [odd.json()["id"]]
    for params in ({"cursor": first["next_cursor"], "app": "t.echo"}, {"cursor": "x"}, {"limit": "0"}, {"status": "queued"}):
        assert (await client.get("/v1/schedules", params=params)).status_code == 400, params
    async with services.client(await services.token("root", scopes=("admin",))) as admin:
        owner = first["items"][0]["owner"]
        items = (await admin.get("/v1/schedules", params={"owner": owner})).json()["items"]
        assert {item["id"] for item in items} == {odd.json()["id"], *schedules}
    assert (await client.get("/v1/schedules", params={"owner": "root"})).status_code == 403


async def test_what_is_listed_is_what_the_log_says(client: httpx2.AsyncClient) -> None:
    paused = await made(client, paused=True, note="n")
    changed = await made(client)
    await client.patch(path(changed), json={"cron": "@daily", "labels": {"a": "b"}})
    gone = await made(client)
    deleted = await client.delete(path(gone))
    listed = (await client.get("/v1/schedules", headers={"Daybook-Position": deleted.headers["Daybook-Position"]})).json()["items"]
    assert [item["id"] for item in listed] == [changed["id"], paused["id"]]
    for item in listed:
        schedule = (await client.get(f"/v1/schedules/{item['id']}")).json()
        assert {name: schedule[name] for name in item} == item


async def test_a_change_changes_what_it_names(client: httpx2.AsyncClient) -> None:
    said = {"timezone": "Europe/Berlin", "jitter": "1m", "max_runs": 3, "timeout": "1m", "labels": {"a": "b"}, "input": {"value": 1}}
    before = await made(client, retry={"max_attempts": 2}, **said)
    changes = {"cron": "30 6 * * *", "priority": 1, "timeout": "2m", "input": {"value": 2}}
    answer = await client.patch(path(before), json=changes)
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"2"')
    after = answer.json()
    assert after["policy"]["timeout_seconds"] == 120
    assert after["policy"]["max_attempts"] == 2
    same = SHAPE - {"cron", "priority", "input", "policy", "version", "words", "next"}
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert [after[name] for name in ("cron", "priority", "input", "version")] == ["30 6 * * *", 1, {"value": 2}, 2]
    assert (await client.get(path(before))).json() == after


async def test_null_takes_back_what_was_said(client: httpx2.AsyncClient) -> None:
    more: dict[str, Any] = {"timezone": "Europe/Berlin", "overlap": "allow", "catch_up_window": "5m", "jitter": "1m", "start_at": "2027-01-01T00:00:00Z"}
    more |= {"end_at": "2029-01-01T00:00:00Z", "max_runs": 3, "pause_after_errors": 2, "queue": "nobody", "priority": 1, "labels": {"a": "b"}}
    limits = {"timeout": "5s", "retry": {"max_attempts": 9, "factor": 5}, "delivery": "at_most_once"}
    usual = await made(client, app="t.careful", input={"good": 1})
    before = await made(client, app="t.careful", input={"good": 1}, **more, **limits)
    after = (await client.patch(path(before), json=dict.fromkeys({**more, **limits}))).json()
    own = {"id", "version", "created_at"}
    assert {name: after[name] for name in SHAPE - own} == {name: usual[name] for name in SHAPE - own}
    refused = await client.patch(path(before), json={"cron": None})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/cron")


@pytest.mark.parametrize(
    "same", [{}, {"cron": "0 0 1 1 *"}, {"input": {"value": 1}}, {"jitter": "60s", "timezone": None, "labels": {}}, {"retry": {}, "timeout": None}]
)
async def test_what_is_so_already_is_no_change(client: httpx2.AsyncClient, same: dict[str, Any]) -> None:
    before = await made(client, input={"value": 1}, jitter="1m")
    answer = await client.patch(path(before), json=same, headers={"Content-Type": "application/merge-patch+json"})
    assert (answer.status_code, answer.headers["ETag"], answer.json()) == (200, '"1"', before)
    assert "Daybook-Position" in answer.headers


async def test_a_change_takes_the_app_as_it_is_today(services: Services) -> None:
    def version(number: int, schema: dict[str, object]) -> AppPublished:
        return AppPublished(app="changing", app_kind="python", version=str(number), input_schema=schema, actor="a test")

    await services.announce(version(1, {}), "schedules")
    async with services.client(await services.token("ann", namespace="schedules")) as client:
        old = await made(client, app="changing", input="text")
        good = await made(client, app="changing", input={"a": 1})
        await services.announce(version(2, {"type": "object"}), "schedules", number=2)

        async def is_known() -> bool:
            return (await client.post("/v1/tasks", json={"app": "changing", "input": "text"})).status_code == 422

        await eventually(is_known)
        assert (await client.get(path(old))).json()["app_version"] == "1"
        refused = await client.patch(path(old), json={"priority": 1})
        assert (refused.status_code, refused.json()["code"], refused.json()["errors"][0]["pointer"]) == (422, "invalid-input", "/input")
        assert (await client.patch(path(old), json={"input": {}})).json()["app_version"] == "2"
        again = (await client.patch(path(good), json={})).json()
        assert (again["app_version"], again["version"], again["input"]) == ("2", 2, {"a": 1})


async def test_pause_and_resume(client: httpx2.AsyncClient, owner: str) -> None:
    schedule = await made(client)
    answer = await client.post(f"{path(schedule)}/pause", json={"note": "holidays"})
    paused = answer.json()
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"2"')
    assert (paused["paused"], paused["note"], paused["paused_by"], paused["paused_until"], paused["next"]) == (True, "holidays", f"user:{owner}", None, [])
    again = await client.post(f"{path(schedule)}/pause", json={"note": "holidays"})
    assert (again.json(), again.headers["Daybook-Position"]) == (paused, answer.headers["Daybook-Position"])
    for until in ("30d", 30 * 86400, (clock.now() + timedelta(days=30)).isoformat()):
        timed = (await client.post(f"{path(schedule)}/pause", json={"until": until})).json()
        assert abs(datetime.fromisoformat(timed["paused_until"]) - clock.now() - timedelta(days=30)) < timedelta(minutes=1)
        assert timed["note"] is None
    assert timed["next"] == [slot for slot in schedule["next"] if slot > timed["paused_until"]]
    for _ in range(2):
        resumed = await client.post(f"{path(schedule)}/resume", json={"note": "back"})
        assert (resumed.status_code, resumed.headers["ETag"]) == (200, '"6"')
    same = SHAPE - {"version"}
    assert {name: resumed.json()[name] for name in same} == {name: schedule[name] for name in same}
    assert (await client.post(f"{path(schedule)}/pause")).json()["paused"] is True


async def test_a_deleted_schedule_is_not_there_but_its_ledger_is(client: httpx2.AsyncClient) -> None:
    schedule = await made(client)
    for _ in range(2):
        answer = await client.delete(path(schedule))
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (204, b"", '"2"')
    for method, more in (("GET", ""), ("PATCH", ""), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/trigger"), ("POST", "/backfill")):
        body = {"since": "1h"} if more == "/backfill" else {}
        refused = await client.request(method, path(schedule) + more, json=None if method == "GET" else body)
        assert (refused.status_code, refused.json()["code"]) == (404, "not-found"), (method, more)
        assert "schedule" in refused.json()["detail"]
    ledger = await client.get(f"{path(schedule)}/slots", headers={"Daybook-Position": answer.headers["Daybook-Position"]})
    assert ledger.json() == {"items": [], "next_cursor": None, "pending": [], "planned": []}


async def test_changes_can_be_made_to_depend_on_the_version(client: httpx2.AsyncClient) -> None:
    schedule = await made(client)
    for method, more in (("PATCH", ""), ("POST", "/pause"), ("POST", "/resume"), ("DELETE", "")):
        refused = await client.request(method, path(schedule) + more, json=None if method == "DELETE" else {}, headers={"If-Match": '"2"'})
        assert (refused.status_code, refused.json()["code"]) == (412, "version-mismatch"), (method, more)
        assert "it is 1 now" in refused.json()["detail"]
    changes = [client.patch(path(schedule), json={"max_runs": number}, headers={"If-Match": '"1"'}) for number in range(1, 21)]
    answers = await asyncio.gather(*changes)
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 19
    assert (await client.post(f"{path(schedule)}/pause", headers={"If-Match": "2"})).headers["ETag"] == '"3"'
    assert (await client.delete(path(schedule), headers={"If-Match": "*"})).status_code == 204


async def test_changes_at_once_are_all_made(client: httpx2.AsyncClient) -> None:
    schedule = await made(client)
    bodies: list[dict[str, Any]] = [{"priority": 1}, {"jitter": "5s"}, {"max_runs": 9}, {"input": {"value": 3}}]
    answers = await asyncio.gather(*(client.patch(path(schedule), json=body) for body in bodies))
    assert {answer.status_code for answer in answers} == {200}
    after = (await client.get(path(schedule))).json()
    assert [after[name] for name in ("priority", "jitter_seconds", "max_runs", "input", "version")] == [1, 5, 9, {"value": 3}, 5]


async def test_what_is_no_schedule_is_not_found(client: httpx2.AsyncClient) -> None:
    task = (await client.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"})).json()["id"]
    for schedule in ("x", task, task.replace("tsk", "sch"), ids.spell("sch", ids.new_id())):
        for url in (f"/v1/schedules/{schedule}", f"/v1/schedules/{schedule}/slots"):
            answer = await client.get(url)
            assert (answer.status_code, answer.json()["code"]) == (404, "not-found"), url
    options = await client.options("/v1/schedules/x")
    assert (options.status_code, options.headers["Allow"]) == (204, "DELETE, GET, OPTIONS, PATCH")
