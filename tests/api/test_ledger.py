"""Slots, from outside: a schedule fires, its tasks run, and the ledger says what became of every slot; triggers and
backfills fire out of turn."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from tests.api.apps import Gate
from tests.api.asking import instant, until

from daybook import clock
from daybook.testing import eventually

EVERY_SECOND = {"app": "t.echo", "cron": "* * * * * *", "seconds": True}
YEARLY = {"app": "t.echo", "cron": "0 0 1 1 *"}
SECOND = timedelta(seconds=1)

Make = Callable[..., Awaitable[str]]
Ledger = dict[str, Any]


@pytest.fixture
async def make(client: httpx2.AsyncClient) -> AsyncIterator[Make]:
    """Makes schedules, which end with the test."""
    made: list[str] = []

    async def create(**body: Any) -> str:
        answer = await client.post("/v1/schedules", json=body)
        assert answer.status_code == 201, answer.text
        made.append(answer.headers["Location"])
        return made[-1]

    yield create
    for schedule in made:
        await client.delete(schedule)


async def ledger(client: httpx2.AsyncClient, schedule: str, **params: str) -> Ledger:
    """The first page."""
    answer = await client.get(f"{schedule}/slots", params=params)
    assert answer.status_code == 200, answer.text
    found: Ledger = answer.json()
    return found


async def decided(client: httpx2.AsyncClient, schedule: str, slots: int, **params: str) -> Ledger:
    """The ledger, once it tells of so many slots."""
    found: Ledger = {}

    async def there() -> bool:
        nonlocal found
        found = await ledger(client, schedule, **params)
        count: int = sum(item["count"] for item in found["items"])
        return count >= slots

    await eventually(there, timeout_seconds=15)
    return found


def slots_of(items: list[dict[str, Any]]) -> list[datetime]:
    """Every single slot that lines of a ledger of a per-second schedule tell of, oldest first."""
    return [instant(item["slot"]) + number * SECOND for item in reversed(items) for number in range(item["count"])]


async def test_a_schedule_fires_every_second_and_its_ledger_says_so(client: httpx2.AsyncClient, make: Make) -> None:
    schedule = await make(**EVERY_SECOND, overlap="allow", input={"value": 7})
    made = (await client.get(schedule)).json()
    preview = (await client.post("/v1/schedules/preview", json={"cron": "* * * * * *", "seconds": True, "after": made["created_at"]})).json()
    assert preview["words"] == made["words"]
    found = await decided(client, schedule, 3)
    items = found["items"][::-1]
    assert [item["slot"] for item in items[:3]] == [slot["at"] for slot in preview["next"][:3]]
    assert slots_of(found["items"]) == [instant(items[0]["slot"]) + number * SECOND for number in range(len(items))]
    for item in items:
        assert (item["outcome"], item["reason"], item["count"], item["last"], item["due_at"]) == ("fired", "slot", 1, item["slot"], item["slot"])
        assert 0 <= item["lateness_ms"] < 5000
        assert instant(item["decided_at"]) - instant(item["due_at"]) == timedelta(milliseconds=item["lateness_ms"])
        task = await until(client, {"links": {"self": f"/v1/tasks/{item['task']}"}}, "success")
        assert (task["schedule"], task["slot"], task["input"], task["reason"]) == (made["id"], item["slot"], {"value": 7}, "")
    assert all(instant(slot["slot"]) > instant(items[-1]["slot"]) for slot in found["planned"])
    assert len(found["planned"]) == 5
    answer = await client.post(f"{schedule}/pause")
    paused = answer.json()
    assert paused["counts"]["fired"] == paused["runs"] >= 3
    assert paused["last"]["task"].startswith("tsk_")
    at = {"Daybook-Position": answer.headers["Daybook-Position"]}
    of_schedule = (await client.get("/v1/tasks", params={"schedule": made["id"]}, headers=at)).json()["items"]
    assert {item["task"] for item in items} <= {task["id"] for task in of_schedule}
    assert {task["schedule"] for task in of_schedule} == {made["id"]}


async def test_slots_of_a_pause_are_told_as_one_line(client: httpx2.AsyncClient, make: Make) -> None:
    schedule = await make(**EVERY_SECOND, paused=True)
    begun = instant((await client.get(schedule)).json()["created_at"])

    async def waiting() -> bool:
        return len((await ledger(client, schedule))["pending"]) >= 2

    await eventually(waiting)
    found = await ledger(client, schedule)
    assert ({slot["why"] for slot in found["pending"]}, found["items"], found["planned"]) == ({"paused"}, [], [])
    resumed = await client.post(f"{schedule}/resume")
    # Another pause, so that nothing is added while the test looks.
    await client.post(f"{schedule}/pause")
    found = await decided(client, schedule, 2, outcome="skipped")
    (line,) = found["items"]
    assert (line["outcome"], line["reason"], line["task"], line["lateness_ms"]) == ("skipped", "paused", None, None)
    assert instant(line["slot"]) - begun <= SECOND
    assert (instant(line["last"]) - instant(line["slot"])) / SECOND == line["count"] - 1
    assert (await client.get(schedule)).json()["counts"]["paused"] == line["count"]
    assert resumed.json()["paused"] is False


async def test_a_slot_that_overlaps_is_skipped_and_the_counts_say_so(client: httpx2.AsyncClient, make: Make, gate: Gate) -> None:
    schedule = await make(**EVERY_SECOND | {"app": "t.gated", "input": {"gate": gate.name}})
    await gate.reached()
    found = await decided(client, schedule, 2)
    gate.opened.set()
    fired, *_ = [item for item in found["items"] if item["outcome"] == "fired"]
    assert {item["reason"] for item in found["items"] if item is not fired} == {"overlap"}
    counts = (await client.get(schedule)).json()["counts"]
    assert counts["overlap"] >= sum(item["count"] for item in found["items"] if item["reason"] == "overlap") > 0
    assert counts["fired"] >= 1


async def test_slots_that_wait_in_line_say_what_for(client: httpx2.AsyncClient, make: Make, gate: Gate) -> None:
    schedule = await make(**EVERY_SECOND | {"app": "t.gated", "input": {"gate": gate.name}, "overlap": "queue_all"})
    await gate.reached()

    async def waiting() -> bool:
        found = await ledger(client, schedule)
        return {slot["why"] for slot in found["pending"]} == {"waiting for an earlier task"}

    await eventually(waiting)
    gate.opened.set()
    assert len((await decided(client, schedule, 2, outcome="fired"))["items"]) >= 2


async def test_max_runs_end_it(client: httpx2.AsyncClient, make: Make) -> None:
    schedule = await make(**EVERY_SECOND, overlap="allow", max_runs=2)
    assert 1 <= len((await client.get(schedule)).json()["next"]) <= 2

    async def over() -> bool:
        return bool((await client.get(schedule)).json()["runs"] == 2)

    await eventually(over)
    shown = (await client.get(schedule)).json()
    assert (shown["next"], shown["counts"]["fired"]) == ([], 2)
    found = await decided(client, schedule, 2)
    assert ([item["outcome"] for item in found["items"]], found["pending"], found["planned"]) == (["fired"] * 2, [], [])
    # What would have been due since then may be made up for; it never fires of its own accord.
    more = (await client.post(f"{schedule}/backfill", json={"since": shown["created_at"], "dry_run": True})).json()
    assert more["already_fired"] == 2


async def test_jitter_moves_when_a_slot_fires_and_not_the_slot(client: httpx2.AsyncClient, make: Make) -> None:
    schedule = await make(app="t.echo", cron="*/2 * * * * *", seconds=True, jitter="2s", overlap="allow")
    planned = (await ledger(client, schedule))["planned"]
    assert all(timedelta(0) < instant(slot["due_at"]) - instant(slot["slot"]) < 2 * SECOND for slot in planned)
    fired: dict[str, Any] = {}

    async def there() -> bool:
        nonlocal fired
        fired = {item["slot"]: item for item in (await ledger(client, schedule))["items"]}
        return planned[0]["slot"] in fired

    await eventually(there)
    first = fired[planned[0]["slot"]]
    assert first["due_at"] == planned[0]["due_at"]
    assert 0 <= first["lateness_ms"] < 5000


async def test_a_ledger_pages_by_key(client: httpx2.AsyncClient, make: Make) -> None:
    schedule = await make(**YEARLY)
    answers = [await client.post(f"{schedule}/trigger", json={"note": str(number)}) for number in range(5)]
    positions = ",".join(answer.headers["Daybook-Position"] for answer in answers)
    tasks = [answer.json()["id"] for answer in answers]
    first = await client.get(f"{schedule}/slots", params={"limit": "3"}, headers={"Daybook-Position": positions})
    assert [item["task"] for item in first.json()["items"]] == tasks[:1:-1]
    rest = await client.get(first.headers["Link"][1:].split(">")[0])
    assert ([item["task"] for item in rest.json()["items"]], rest.json()["next_cursor"]) == (tasks[1::-1], None)
    cursor = first.json()["next_cursor"]
    assert (await ledger(client, schedule, cursor=cursor))["items"] == rest.json()["items"]
    assert (await client.get(f"{schedule}/slots", params={"cursor": cursor, "outcome": "fired"})).status_code == 400
    other = await make(**YEARLY)
    assert (await client.get(f"{other}/slots", params={"cursor": cursor})).status_code == 400
    assert (await ledger(client, schedule, outcome="skipped"))["items"] == []


async def test_a_trigger_submits_the_task_now_and_while_paused(client: httpx2.AsyncClient, make: Make, owner: str) -> None:
    schedule = await make(**YEARLY, input={"value": 1}, labels={"a": "b"}, timeout="5m", paused=True)
    before = clock.now()
    answer = await client.post(f"{schedule}/trigger", json={"note": "to see"})
    task = answer.json()
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == answer.headers["Operation-Location"] == task["links"]["self"]
    assert (task["input"], task["labels"], task["owner"], task["status"]) == ({"value": 1}, {"a": "b"}, owner, "queued")
    assert f"/v1/schedules/{task['schedule']}" == schedule
    slot = instant(task["slot"])
    assert before <= slot <= clock.now()
    assert slot.microsecond
    shown = (await client.get(schedule)).json()
    assert (shown["last"]["slot"], shown["last"]["task"]) == (task["slot"], task["id"])
    assert (shown["runs"], shown["counts"]["fired"], shown["paused"], shown["version"]) == (0, 1, True, 2)
    at = {"Daybook-Position": answer.headers["Daybook-Position"]}
    (item,) = (await client.get(f"{schedule}/slots", headers=at)).json()["items"]
    assert (item["reason"], item["task"], item["slot"]) == ("trigger", task["id"], task["slot"])
    assert (await client.get("/v1/tasks", headers=at)).json()["items"][0]["id"] == task["id"]
    assert (await until(client, task, "success"))["attempt"] == 1


async def test_a_trigger_takes_the_input_as_it_is_then(client: httpx2.AsyncClient, make: Make) -> None:
    schedule = await make(**YEARLY, input={"value": 1})
    for value in (2, "x" * 20_000, 3):
        await client.patch(schedule, json={"input": {"value": value}})
        await client.patch(schedule, json={"priority": 1})
        task = (await client.post(f"{schedule}/trigger")).json()
        assert (task["input"], task["priority"]) == ({"value": value}, 1)


async def test_a_trigger_with_a_key_is_one_trigger(client: httpx2.AsyncClient, make: Make) -> None:
    schedule = await make(**YEARLY)
    key = {"Idempotency-Key": "now"}
    answers = await asyncio.gather(*(client.post(f"{schedule}/trigger", json={"note": "n"}, headers=key) for _ in range(5)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    again = await client.post(f"{schedule}/trigger", json={"note": "n"}, headers=key)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
    assert {answer.json()["id"] for answer in answers if answer.status_code == 202} == {again.json()["id"]}
    assert (await client.get(schedule)).json()["counts"]["fired"] == 1
    other = await client.post(f"{schedule}/trigger", json={"note": "m"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert (await client.post(f"{schedule}/trigger", json={"note": "n"}, headers={"Idempotency-Key": "then"})).json()["id"] != again.json()["id"]


async def test_a_backfill_fires_past_slots_and_none_twice(client: httpx2.AsyncClient, make: Make) -> None:
    schedule = await make(app="t.echo", cron="0 0 * * *", input={"value": 5}, overlap="allow")
    today = clock.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [today - timedelta(days=ago) for ago in (2, 1, 0)]
    expected = [f"{day:%Y-%m-%dT%H:%M:%SZ}" for day in days]
    gap = {"since": (today - timedelta(days=3)).isoformat(), "until": today.isoformat()}
    dry = await client.post(f"{schedule}/backfill", json=gap | {"dry_run": True})
    assert (dry.status_code, dry.json()["slots"], dry.json()["dry_run"]) == (200, expected, True)
    assert (await client.get(schedule)).json()["version"] == 1
    capped = (await client.post(f"{schedule}/backfill", json=gap | {"dry_run": True, "limit": 2})).json()
    assert (capped["slots"], capped["count"], capped["more"], capped["next_since"]) == (expected[:2], 2, True, expected[1])
    answer = await client.post(f"{schedule}/backfill", json=gap | {"limit": 2})
    assert (answer.status_code, answer.json()["slots"]) == (202, expected[:2])
    found = await decided(client, schedule, 2)
    assert [(item["slot"], item["reason"], item["outcome"]) for item in found["items"]] == [(slot, "backfill", "fired") for slot in expected[1::-1]]
    for item in found["items"]:
        task = await until(client, {"links": {"self": f"/v1/tasks/{item['task']}"}}, "success")
        assert (task["slot"], task["input"]) == (item["slot"], {"value": 5})
    rest = await client.post(f"{schedule}/backfill", json=gap)
    assert rest.status_code == 202
    assert {name: rest.json()[name] for name in ("slots", "count", "already_fired", "more", "next_since")} == {
        "slots": expected[2:],
        "count": 1,
        "already_fired": 2,
        "more": False,
        "next_since": None,
    }
    await decided(client, schedule, 3)

    async def nothing_left() -> bool:
        again = await client.post(f"{schedule}/backfill", json=gap)
        return (again.status_code, again.json()["already_fired"], again.json()["slots"]) == (200, 3, [])

    await eventually(nothing_left)
    shown = (await client.get(schedule)).json()
    assert (shown["counts"]["fired"], shown["runs"]) == (3, 0)


async def test_backfilled_slots_wait_for_the_end_of_a_pause(client: httpx2.AsyncClient, make: Make) -> None:
    schedule = await make(**YEARLY, paused=True)
    gap = {"since": "1100d"}
    asked = (await client.post(f"{schedule}/backfill", json=gap)).json()
    assert asked["count"] == 3
    again = (await client.post(f"{schedule}/backfill", json=gap)).json()
    assert (again["count"], again["already_waiting"], again["already_fired"]) == (0, 3, 0)

    async def in_line() -> bool:
        return [(slot["slot"], slot["why"]) for slot in (await ledger(client, schedule))["pending"]] == [(slot, "backfill") for slot in asked["slots"]]

    await eventually(in_line)
    await client.post(f"{schedule}/resume")
    found = await decided(client, schedule, 3)
    assert [item["slot"] for item in found["items"]] == asked["slots"][::-1]


async def test_a_backfill_leaves_alone_what_is_still_to_be_decided(client: httpx2.AsyncClient, make: Make, gate: Gate) -> None:
    """Slots that wait in line will fire of their own accord."""
    schedule = await make(**EVERY_SECOND | {"app": "t.gated", "input": {"gate": gate.name}, "overlap": "queue_all"})
    await gate.reached()

    async def waiting() -> bool:
        return len((await ledger(client, schedule))["pending"]) >= 2

    await eventually(waiting)
    created = (await client.get(schedule)).json()["created_at"]
    asked = (await client.post(f"{schedule}/backfill", json={"since": created, "dry_run": True})).json()
    assert (asked["slots"], asked["already_fired"], asked["more"]) == ([], 1, False)


async def test_no_more_wait_than_may(client: httpx2.AsyncClient, make: Make) -> None:
    schedule = await make(app="t.echo", cron="* * * * *", paused=True)
    asked = (await client.post(f"{schedule}/backfill", json={"since": "30d", "limit": 500})).json()
    assert (asked["count"], asked["more"]) == (500, True)
    full = await client.post(f"{schedule}/backfill", json={"since": asked["next_since"]})
    assert (full.status_code, full.json()["count"], full.json()["more"], full.json()["next_since"]) == (200, 0, True, asked["next_since"])
    waiting = (await ledger(client, schedule))["pending"]
    assert len(waiting) <= 50


@pytest.mark.parametrize("text", ["tsk_01kbr5vc2ze8trbz1mgbpz5yqd", "x", "", "sch_"])
async def test_tasks_are_those_of_a_schedule_and_of_nothing_else(client: httpx2.AsyncClient, text: str) -> None:
    refused = await client.get("/v1/tasks", params={"schedule": text})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid-request")
    assert "schedule" in refused.json()["detail"]
