"""What both clients ask about schedules, and what they make of the answers."""

import inspect
from datetime import UTC, datetime, timedelta

import pytest
from tests.client.fake_api import AT, SCHEDULE_ID, SCHEDULE_PATH, TASK_ID, Drop, FakeApi, Say, problem, schedule, slot, task

from daybook import Retry
from daybook.client import AsyncClient, AsyncSchedule, AsyncTask, BadRequest, Client, Conflict, Schedule, ScheduleOptions, Task
from daybook.client.sync_methods import Schedules

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


def test_create_sends_what_was_given_and_answers_with_the_schedule(api: FakeApi, client: Client) -> None:
    api.on("POST /v1/schedules", Say(201, schedule()))
    created = client.schedules.create(
        "images.resize",
        "0 9 * * mon-fri",
        {"url": "x"},
        timezone="Europe/Berlin",
        overlap="queue_one",
        catch_up_window=timedelta(minutes=30),
        jitter="5s",
        start_at=NOON,
        max_runs=3,
        labels={"customer": "42"},
        retry=Retry(max_attempts=2),
        paused=True,
        note="not yet",
    )
    assert isinstance(created, Schedule)
    assert (created.id, created.view.words, created.view.counts["overlap"]) == (SCHEDULE_ID, "At 09:00 AM, Monday through Friday", 3)
    assert created.view.next == [datetime(2026, 11, 23, 8, tzinfo=UTC), datetime(2026, 11, 24, 8, tzinfo=UTC)]
    assert created.view.last is not None
    assert created.view.last.task == TASK_ID
    (seen,) = api.seen
    assert seen.json == {
        "app": "images.resize",
        "cron": "0 9 * * mon-fri",
        "input": {"url": "x"},
        "timezone": "Europe/Berlin",
        "overlap": "queue_one",
        "catch_up_window": 1800.0,
        "jitter": "5s",
        "start_at": "2026-12-01T12:00:00+00:00",
        "max_runs": 3,
        "labels": {"customer": "42"},
        "retry": {"max_attempts": 2, "backoff": "1s", "max_backoff": "5m", "factor": 2.0, "non_retryable": []},
        "paused": True,
        "note": "not yet",
    }


def test_nothing_is_created_twice(api: FakeApi, client: Client) -> None:
    api.on("POST /v1/schedules", Drop(), Say(201, schedule()))
    client.schedules.create("hello", "@daily")
    client.schedules.create("hello", "@daily", None, key="nightly")
    first, again, named = api.seen
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"] != named.headers["idempotency-key"] == "nightly"
    assert [first.json, named.json] == [{"app": "hello", "cron": "@daily"}, {"app": "hello", "cron": "@daily", "input": None}]


def test_what_cannot_be_written_is_refused_before_anything_is_sent(api: FakeApi, client: Client) -> None:
    with pytest.raises(ValueError, match="offset"):
        client.schedules.create("hello", "@daily", end_at=datetime(2026, 12, 1))  # noqa: DTZ001 - that is the mistake
    with pytest.raises(ValueError, match="JSON"):
        client.schedules.change(SCHEDULE_ID, input={"x": float("nan")})
    assert api.seen == []


def test_a_change_sends_what_differs_and_takes_away_what_is_none(api: FakeApi, client: Client) -> None:
    api.on(f"PATCH {SCHEDULE_PATH}", Say(200, schedule(2)))
    client.schedules.change(SCHEDULE_ID, cron="@hourly", end_at=None, jitter=timedelta(seconds=5), version=1)
    client.schedules.change(SCHEDULE_ID, input=None)
    first, second = api.seen
    assert first.json == {"cron": "@hourly", "end_at": None, "jitter": 5.0}
    assert first.headers["if-match"] == '"1"'
    assert second.json == {"input": None}
    assert "if-match" not in second.headers


def test_a_handle_keeps_the_newest_state(api: FakeApi, client: Client) -> None:
    api.on(f"GET {SCHEDULE_PATH}", Say(200, schedule()), Say(200, schedule(5)))
    api.on(f"PATCH {SCHEDULE_PATH}", Say(200, schedule(2, cron="@daily")))
    api.on(f"POST {SCHEDULE_PATH}/pause", Say(200, schedule(3, paused=True, paused_by="user:ana", note="stop", paused_until=AT)))
    api.on(f"POST {SCHEDULE_PATH}/resume", Say(200, schedule(4)))
    api.on(f"DELETE {SCHEDULE_PATH}", Say(204))
    handle = client.schedules.get(SCHEDULE_ID)
    assert handle.change(cron="@daily") is handle
    assert handle.view.cron == "@daily"
    assert handle.pause(note="stop", until=NOON).view.paused
    assert (handle.view.paused_by, handle.view.note) == ("user:ana", "stop")
    assert not handle.resume().view.paused
    assert handle.refresh().view.version == 5
    handle.delete()
    assert [seen.json for seen in api.seen if seen.method == "POST"] == [{"note": "stop", "until": "2026-12-01T12:00:00+00:00"}, {}]
    assert api.seen[-1].method == "DELETE"


def test_a_trigger_answers_with_a_task_that_can_be_watched(api: FakeApi, client: Client) -> None:
    api.on(f"GET {SCHEDULE_PATH}", Say(200, schedule()))
    api.on(f"POST {SCHEDULE_PATH}/trigger", Drop(), Say(202, task()))
    triggered = client.schedules.get(SCHEDULE_ID).trigger(note="now")
    assert isinstance(triggered, Task)
    assert triggered.id == TASK_ID
    assert isinstance(client.schedules.trigger(SCHEDULE_ID), Task)
    first, again, other = api.asked(f"POST {SCHEDULE_PATH}/trigger")
    assert first.json == {"note": "now"}
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"] != other.headers["idempotency-key"]


def test_a_backfill_says_which_slots(api: FakeApi, client: Client) -> None:
    answer = {"dry_run": True, "slots": ["2026-11-19T08:00:00Z"], "count": 1, "already_fired": 2, "more": True}
    api.on(f"POST {SCHEDULE_PATH}/backfill", Say(200, answer))
    filled = client.schedules.backfill(SCHEDULE_ID, "2026-11-18T00:00:00Z", NOON, dry_run=True, limit=1)
    client.schedules.backfill(SCHEDULE_ID, timedelta(hours=24))
    assert (filled.slots, filled.already_fired, filled.more, filled.dry_run) == ([datetime(2026, 11, 19, 8, tzinfo=UTC)], 2, True, True)
    assert api.seen[0].json == {"since": "2026-11-18T00:00:00Z", "until": "2026-12-01T12:00:00+00:00", "dry_run": True, "limit": 1}
    assert api.seen[1].json == {"since": 86400.0, "dry_run": False}


def test_a_preview_asks_for_what_was_given(api: FakeApi, client: Client) -> None:
    note = {"at": "2027-03-28T01:00:00Z", "kind": "gap", "text": "On 2027-03-28 clocks go forward"}
    answer = {"words": "At 02:30 AM", "timezone": "Europe/Berlin", "next": [{"at": AT, "local": "2026-11-20T11:00:00+01:00"}], "notes": [note]}
    api.on("POST /v1/schedules/preview", Say(200, answer, {"Daybook-Position": "1:1"}))
    shown = client.schedules.preview("30 2 * * *", timezone="Europe/Berlin", dst_gap="skip", after=NOON, count=3)
    assert (shown.words, shown.next[0].local, shown.notes[0].kind) == ("At 02:30 AM", "2026-11-20T11:00:00+01:00", "gap")
    assert api.seen[0].json == {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "dst_gap": "skip", "after": "2026-12-01T12:00:00+00:00", "count": 3}


def test_the_ledger_is_read_over_its_pages_and_no_further_than_asked(api: FakeApi, client: Client) -> None:
    skipped = slot(outcome="skipped", reason="paused", count=60, last="2026-11-20T08:59:00Z", task=None, lateness_ms=None)
    pending = [{"slot": AT, "due_at": AT, "why": "overlap"}]
    planned = [{"slot": "2026-11-23T08:00:00Z", "due_at": "2026-11-23T08:00:03Z"}]
    first = {"items": [slot(), skipped], "next_cursor": "c1", "pending": pending, "planned": planned}
    api.on(f"GET {SCHEDULE_PATH}/slots", Say(200, first), Say(200, {"items": [slot()], "next_cursor": "c2", "pending": [], "planned": []}))
    ledger = client.schedules.slots(SCHEDULE_ID, outcome="fired", limit=3)
    assert [(each.outcome, each.count) for each in ledger.items] == [("fired", 1), ("skipped", 60), ("fired", 1)]
    assert (ledger.pending[0].why, ledger.planned[0].due_at) == ("overlap", datetime(2026, 11, 23, 8, 0, 3, tzinfo=UTC))
    assert ledger.next_cursor == "c2"
    assert [seen.query for seen in api.seen] == [[("outcome", "fired"), ("limit", "3")], [("outcome", "fired"), ("cursor", "c1"), ("limit", "1")]]


def test_a_list_walks_through_its_pages(api: FakeApi, client: Client) -> None:
    api.on("POST /v1/schedules", Say(201, schedule(), {"Daybook-Position": "3:17"}))
    page = {"items": [schedule(), schedule()], "next_cursor": "c1"}
    api.on("GET /v1/schedules", Say(200, page), Say(200, {"items": [schedule(7)], "next_cursor": None}))
    client.schedules.create("hello", "@daily")
    found = list(client.schedules.list(app="images.resize"))
    assert [each.view.version for each in found] == [1, 1, 7]
    assert isinstance(found[0], Schedule)
    first, second = api.asked("GET /v1/schedules")
    assert (first.query, second.query) == ([("app", "images.resize")], [("app", "images.resize"), ("cursor", "c1")])
    assert first.headers["daybook-position"] == "3:17"


def test_refusals_are_raised(api: FakeApi, client: Client) -> None:
    spot = {"pointer": "/cron", "message": "'61' is no minute"}
    api.on("POST /v1/schedules", problem(422, "invalid-cadence", "not a cadence", errors=[spot]))
    api.on(f"PATCH {SCHEDULE_PATH}", problem(412, "version-mismatch", "it is at version 2"))
    with pytest.raises(BadRequest) as caught:
        client.schedules.create("hello", "61 * * * *")
    assert caught.value.problem.errors is not None
    assert caught.value.problem.errors[0].pointer == "/cron"
    with pytest.raises(Conflict):
        client.schedules.change(SCHEDULE_ID, cron="@daily", version=1)


def test_help_names_every_option() -> None:
    parameters = inspect.signature(Schedules.create).parameters
    assert {"app", "cron", "input", "key"} | ScheduleOptions.__annotations__.keys() <= parameters.keys()
    assert "options" not in parameters


async def test_the_async_client_does_the_same(api: FakeApi, aclient: AsyncClient) -> None:
    api.on("POST /v1/schedules", Say(201, schedule()))
    api.on(f"POST {SCHEDULE_PATH}/pause", Say(200, schedule(2, paused=True)))
    api.on(f"POST {SCHEDULE_PATH}/trigger", Say(202, task()))
    api.on(f"GET {SCHEDULE_PATH}/slots", Say(200, {"items": [slot()], "next_cursor": None}))
    api.on("GET /v1/schedules", Say(200, {"items": [schedule(), schedule()], "next_cursor": None}))
    created = await aclient.schedules.create("hello", "@daily", timezone="Asia/Tokyo")
    assert isinstance(created, AsyncSchedule)
    assert (await created.pause(note="stop")).view.paused
    assert isinstance(await created.trigger(), AsyncTask)
    assert [each.task for each in (await created.slots()).items] == [TASK_ID]
    assert [each.id async for each in aclient.schedules.list(limit=1)] == [SCHEDULE_ID]
    assert api.seen[0].json == {"app": "hello", "cron": "@daily", "timezone": "Asia/Tokyo"}
