"""What the commands about schedules print, ask and return, against a scripted API."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Daybook
from tests.client.fake_api import AT, SCHEDULE_ID, SCHEDULE_PATH, TASK_ID, TASK_PATH, FakeApi, Say, problem, schedule, slot, task


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On a wide terminal, on a machine whose clocks show UTC."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_create_needs_an_app_and_a_cron(api: FakeApi, daybook: Daybook) -> None:
    api.on("POST /v1/schedules", Say(201, schedule()))
    ran = daybook("schedule", "create", "hello", "@daily")
    assert (ran.code, json.loads(ran.out)) == (0, schedule())
    assert f"daybook schedule slots {SCHEDULE_ID}" in ran.err
    assert api.seen[0].json == {"app": "hello", "cron": "@daily"}
    assert api.seen[0].headers["idempotency-key"]


def test_create_sends_all_that_is_given(api: FakeApi, daybook: Daybook) -> None:
    api.on("POST /v1/schedules", Say(201, schedule()))
    daybook(
        *("schedule", "create", "images.resize", "*/5 * * * * *", "url=x", "width:=800", "--seconds", "--timezone", "Europe/Berlin"),
        *("--overlap", "cancel_previous", "--catch-up", "all", "--catch-up-window", "2h", "--jitter", "30s", "--dst-gap", "skip", "--dst-fold", "twice"),
        *("--start-at", "2026-12-01T09:00", "--end-at", "2027-01-01T00:00:00Z", "--max-runs", "9", "--pause-after-errors", "2"),
        *("--queue", "slow", "--priority", "1", "--label", "a=b", "--timeout", "5m", "--max-attempts", "3", "--queue-ttl", "1h", "--deadline", "1d"),
        *("--paused", "--note", "not yet", "--key", "k"),
    )
    (seen,) = api.seen
    assert seen.headers["idempotency-key"] == "k"
    assert seen.json == {
        "app": "images.resize",
        "cron": "*/5 * * * * *",
        "input": {"url": "x", "width": 800},
        "seconds": True,
        "timezone": "Europe/Berlin",
        "overlap": "cancel_previous",
        "catch_up": "all",
        "catch_up_window": "2h",
        "jitter": "30s",
        "dst_gap": "skip",
        "dst_fold": "twice",
        "start_at": "2026-12-01T09:00:00+00:00",
        "end_at": "2027-01-01T00:00:00+00:00",
        "max_runs": 9,
        "pause_after_errors": 2,
        "queue": "slow",
        "priority": 1,
        "labels": {"a": "b"},
        "timeout": "5m",
        "retry": {"max_attempts": 3},
        "queue_ttl": "1h",
        "deadline": "1d",
        "paused": True,
        "note": "not yet",
    }


def test_run_with_cron_creates_a_schedule(api: FakeApi, daybook: Daybook, at_home: Path) -> None:
    api.on("POST /v1/schedules", Say(201, schedule()))
    (at_home / "in.json").write_text('{"name": "Ada"}')
    ran = daybook("run", "hello", "@in.json", "--cron", "0 9 * * *", "--timezone", "Asia/Tokyo", "--queue", "slow", "--max-attempts", "2", "--key", "k")
    assert (ran.code, json.loads(ran.out)["id"]) == (0, SCHEDULE_ID)
    assert api.seen[0].json == {
        "app": "hello",
        "cron": "0 9 * * *",
        "input": {"name": "Ada"},
        "timezone": "Asia/Tokyo",
        "queue": "slow",
        "retry": {"max_attempts": 2},
    }
    assert api.seen[0].headers["idempotency-key"] == "k"


def test_last_is_the_schedule_created_last_and_no_task(api: FakeApi, daybook: Daybook) -> None:
    api.on("POST /v1/schedules", Say(201, schedule()))
    api.on("POST /v1/tasks", Say(202, task()))
    api.on(f"GET {SCHEDULE_PATH}", Say(200, schedule()))
    api.on(f"GET {TASK_PATH}", Say(200, task()))
    assert daybook("schedule", "show", "@last").code == 2
    daybook("schedule", "create", "hello", "@daily")
    daybook("run", "hello")
    assert json.loads(daybook("schedule", "show", "@last").out)["id"] == SCHEDULE_ID
    assert json.loads(daybook("task", "show", "@last").out)["id"] == TASK_ID


def test_a_list_shows_words_and_how_each_stands(api: FakeApi, daybook: Daybook) -> None:
    page = {"items": [schedule(app="evil[bold]\x1b[2J"), schedule(paused=True), schedule(next=[])], "next_cursor": "c1"}
    api.on("GET /v1/schedules", Say(200, page))
    ran = daybook("schedule", "ls", "--app", "hello", "--owner", "ana", "--limit", "3")
    assert [json.loads(line)["id"] for line in ran.out.splitlines()] == [SCHEDULE_ID] * 3
    assert api.seen[0].query == [("app", "hello"), ("owner", "ana"), ("limit", "3")]
    out = daybook("schedule", "ls", "--limit", "3", "-o", "table").out
    for words in ("At 09:00 AM, Monday through Friday", "active", "paused", "over", "evil[bold]", "see --limit"):
        assert words in out
    assert "\x1b[2J" not in out


def test_show_tells_the_next_times_on_both_clocks(api: FakeApi, daybook: Daybook) -> None:
    paused: dict[str, Any] = {"paused": True, "paused_by": "user:ana", "paused_until": "2026-12-01T08:00:00Z", "note": "the printer is broken"}
    rule: dict[str, Any] = {"jitter_seconds": 30.0, "max_runs": 100, "end_at": "2027-01-01T00:00:00Z", "pause_after_errors": 3}
    api.on(f"GET {SCHEDULE_PATH}", Say(200, schedule(**paused, **rule)))
    out = daybook("schedule", "show", SCHEDULE_ID, "-o", "table").out
    for words in (
        "At 09:00 AM, Monday through Friday",
        "0 9 * * mon-fri  in Europe/Berlin",
        "2026-11-23 09:00:00 CET  08:00:00 UTC",
        "2026-11-24 09:00:00 CET  08:00:00 UTC",
        "paused by user:ana until 2026-12-01 09:00:00 CET",
        "the printer is broken",
        "until 2027-01-01 01:00:00 CET, 12 of 100 runs",
        "overlap skip; catch-up latest within 60m",
        "jitter 30s; paused after 3 errors in a row",
        "12 fired, 3 overlap  ",
        "2026-11-20 09:00:00 CET",
        TASK_ID,
        "cat.png",
    ):
        assert words in out, words


def test_one_clock_is_enough_where_both_show_the_same(api: FakeApi, daybook: Daybook) -> None:
    api.on(f"GET {SCHEDULE_PATH}", Say(200, schedule(timezone="UTC")))
    out = daybook("schedule", "show", SCHEDULE_ID, "-o", "table").out
    assert out.count("2026-11-23 08:00:00 UTC") == 1


def test_a_zone_that_is_unknown_here_is_shown_in_utc(api: FakeApi, daybook: Daybook) -> None:
    api.on(f"GET {SCHEDULE_PATH}", Say(200, schedule(timezone="Mars/Olympus")))
    ran = daybook("schedule", "show", SCHEDULE_ID, "-o", "table")
    assert (ran.code, "2026-11-23 08:00:00 UTC" in ran.out, "Mars/Olympus" in ran.out) == (0, True, True)


def test_a_change_sends_what_differs(api: FakeApi, daybook: Daybook) -> None:
    api.on(f"GET {SCHEDULE_PATH}", Say(200, schedule(input={"url": "u", "width": 1})))
    api.on(f"PATCH {SCHEDULE_PATH}", Say(200, schedule(2)))
    ran = daybook("schedule", "change", SCHEDULE_ID, "--cron", "@hourly", "--jitter", "5s", "--without", "end-at", "--without", "max-runs")
    assert (ran.code, json.loads(ran.out)["version"]) == (0, 2)
    daybook("schedule", "change", SCHEDULE_ID, "--input", "width:=2", "mode=fit", "--queue", "slow")
    bodies = [seen.json for seen in api.asked(f"PATCH {SCHEDULE_PATH}")]
    assert bodies == [
        {"cron": "@hourly", "jitter": "5s", "end_at": None, "max_runs": None},
        {"input": {"url": "u", "width": 2, "mode": "fit"}, "queue": "slow"},
    ]


def test_preview_shows_instants_and_what_clocks_do(api: FakeApi, daybook: Daybook) -> None:
    note = "On 2027-03-28 clocks go forward from 02:00 to 03:00 in Europe/Berlin: 02:30 does not exist, and is left out"
    answer = {
        "words": "At 02:30 AM",
        "timezone": "Europe/Berlin",
        "next": [{"at": "2027-03-27T01:30:00Z", "local": "2027-03-27T02:30:00+01:00"}, {"at": "2027-03-29T00:30:00Z", "local": "2027-03-29T02:30:00+02:00"}],
        "notes": [{"at": "2027-03-28T01:00:00Z", "kind": "gap", "text": note}],
    }
    api.on("POST /v1/schedules/preview", Say(200, answer))
    out = daybook(
        "schedule", "preview", "30 2 * * *", "--timezone", "Europe/Berlin", "--dst-gap", "skip", "--after", "2027-03-26", "--count", "2", "-o", "table"
    ).out
    for words in ("At 02:30 AM", "2027-03-27 02:30:00 CET", "2027-03-29 02:30:00 CEST  00:30:00 UTC", f"note: {note}"):
        assert words in out, words
    assert api.seen[0].json == {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "dst_gap": "skip", "after": "2027-03-26T00:00:00+00:00", "count": 2}


def test_pause_and_resume_carry_a_note(api: FakeApi, daybook: Daybook) -> None:
    api.on(f"POST {SCHEDULE_PATH}/pause", Say(200, schedule(2, paused=True, note="moving")))
    api.on(f"POST {SCHEDULE_PATH}/resume", Say(200, schedule(3)))
    paused = daybook("schedule", "pause", SCHEDULE_ID, "--note", "moving", "--until", "2h", "-o", "table")
    resumed = daybook("schedule", "resume", SCHEDULE_ID)
    assert (paused.code, resumed.code, "moving" in paused.out, json.loads(resumed.out)["version"]) == (0, 0, True, 3)
    daybook("schedule", "pause", SCHEDULE_ID, "--until", "2126-12-01T09:00")
    assert [seen.json for seen in api.seen] == [{"note": "moving", "until": 7200.0}, {}, {"until": "2126-12-01T09:00:00+00:00"}]


def test_a_trigger_is_a_task_and_the_last_one(api: FakeApi, daybook: Daybook) -> None:
    api.on(f"POST {SCHEDULE_PATH}/trigger", Say(202, task()))
    api.on(f"GET {TASK_PATH}", Say(200, task("success", 3)))
    ran = daybook("schedule", "trigger", SCHEDULE_ID, "--note", "for the boss")
    assert (ran.code, json.loads(ran.out)["id"]) == (0, TASK_ID)
    assert f"daybook task watch {TASK_ID}" in ran.err
    assert api.seen[0].json == {"note": "for the boss"}
    assert json.loads(daybook("task", "show", "@last").out)["status"] == "success"


def test_backfill_counts_from_now_or_takes_instants(api: FakeApi, daybook: Daybook) -> None:
    answer = {"dry_run": True, "slots": ["2026-11-19T08:00:00Z", "2026-11-20T08:00:00Z"], "count": 2, "already_fired": 1, "already_waiting": 3, "more": True}
    api.on(f"POST {SCHEDULE_PATH}/backfill", Say(200, answer))
    api.on(f"GET {SCHEDULE_PATH}", Say(200, schedule()))
    ran = daybook("schedule", "backfill", SCHEDULE_ID, "--since", "24h", "--dry-run", "--limit", "2", "-o", "table")
    for words in ("2026-11-19 09:00:00 CET", "2 would be fired, 1 had been, 3 are waiting for it", "see --limit"):
        assert words in ran.out, words
    assert api.seen[0].json == {"since": 86400.0, "dry_run": True, "limit": 2}
    assert json.loads(daybook("schedule", "backfill", SCHEDULE_ID, "--since", "2026-11-18", "--until", "2026-11-19T00:00:00Z").out) == answer
    assert api.seen[-1].json == {"since": "2026-11-18T00:00:00+00:00", "until": "2026-11-19T00:00:00+00:00", "dry_run": False}


def test_the_ledger_says_what_became_of_each_slot(api: FakeApi, daybook: Daybook) -> None:
    skipped = slot(outcome="skipped", reason="paused", count=86_400, last="2026-11-21T07:59:59Z", task=None, lateness_ms=None)
    body = {
        "items": [slot(), slot(lateness_ms=12_000.0, reason="backfill"), skipped],
        "next_cursor": None,
        "pending": [{"slot": f"2026-11-20T10:0{n}:00Z", "due_at": AT, "why": why} for n, why in enumerate(["paused", "paused", "overlap"])],
        "planned": [{"slot": "2126-11-23T08:00:00Z", "due_at": "2126-11-23T08:00:03Z"}, {"slot": "2126-11-24T08:00:00Z", "due_at": "2126-11-24T08:00:00Z"}],
    }
    api.on(f"GET {SCHEDULE_PATH}/slots", Say(200, body))
    api.on(f"GET {SCHEDULE_PATH}", Say(200, schedule()))
    assert daybook("schedule", "slots", SCHEDULE_ID, "-o", "json").out == json.dumps(body) + "\n"
    assert [json.loads(line)["outcome"] for line in daybook("schedule", "slots", SCHEDULE_ID).out.splitlines()] == ["fired", "fired", "skipped"]
    out = daybook("schedule", "slots", SCHEDULE_ID, "--outcome", "fired", "-o", "table").out
    lines = [" ".join(line.split()) for line in out.splitlines()[1:]]
    assert [line.split()[3] for line in lines] == ["planned", "planned", "pending", "pending", "fired", "fired", "skipped"]
    assert lines[2:] == [
        "2026-11-20 11:02:00 CET pending overlap",
        "2026-11-20 11:00:00 CET pending paused 2 slots to 11:01:00",
        f"2026-11-20 09:00:00 CET fired slot 12ms {TASK_ID}",
        f"2026-11-20 09:00:00 CET fired backfill 12s {TASK_ID}",
        "2026-11-20 09:00:00 CET skipped paused 86400 slots to 2026-11-21 08:59:59",
    ]
    assert out.index("2126-11-24") < out.index("2126-11-23"), "what is furthest stands first, as in the ledger"


def test_the_ledger_goes_over_pages_and_keeps_what_is_planned(api: FakeApi, daybook: Daybook) -> None:
    planned = [{"slot": AT, "due_at": AT}]
    first = {"items": [slot()] * 200, "next_cursor": "c1", "pending": [], "planned": planned}
    api.on(f"GET {SCHEDULE_PATH}/slots", Say(200, first), Say(200, first | {"items": [slot()] * 50, "next_cursor": None, "planned": []}))
    ran = daybook("schedule", "slots", SCHEDULE_ID, "--limit", "250", "-o", "json")
    merged = json.loads(ran.out)
    assert (len(merged["items"]), merged["next_cursor"], merged["planned"]) == (250, None, planned)


def test_the_tasks_of_a_schedule_are_listed_and_name_it(api: FakeApi, daybook: Daybook) -> None:
    api.on("GET /v1/tasks", Say(200, {"items": [task(schedule=SCHEDULE_ID)], "next_cursor": None}))
    api.on(f"GET {TASK_PATH}", Say(200, task(schedule=SCHEDULE_ID, slot="2026-11-20T08:00:00Z")))
    assert json.loads(daybook("task", "ls", "--schedule", SCHEDULE_ID).out)["schedule"] == SCHEDULE_ID
    assert ("schedule", SCHEDULE_ID) in api.seen[0].query
    assert f"{SCHEDULE_ID}, its slot of 2026-11-20T08:00:00+00:00" in daybook("task", "show", TASK_ID, "-o", "table").out


def test_rm_prints_no_data(api: FakeApi, daybook: Daybook) -> None:
    api.on(f"DELETE {SCHEDULE_PATH}", Say(204))
    ran = daybook("schedule", "rm", SCHEDULE_ID)
    assert (ran.code, ran.out) == (0, "")
    assert SCHEDULE_ID in ran.err
    assert daybook("schedule", "rm", "sch_other").code == 5


def test_a_bad_expression_is_a_usage_error_that_points_to_it(api: FakeApi, daybook: Daybook) -> None:
    spot = {"pointer": "/cron", "message": "'61' is no minute"}
    api.on("POST /v1/schedules", problem(422, "invalid-cadence", "this is not a cadence", errors=[spot]))
    ran = daybook("schedule", "create", "hello", "61 * * * *")
    assert (ran.code, ran.out) == (2, "")
    assert "/cron  '61' is no minute" in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ["schedule", "create", "hello"],
        ["schedule", "create", "hello", "@daily", "not-a-pair"],
        ["schedule", "create", "hello", "@daily", "--overlap", "sometimes"],
        ["schedule", "create", "hello", "@daily", "--label", "no-value"],
        ["schedule", "create", "hello", "@daily", "--start-at", "tomorrow"],
        ["schedule", "change", SCHEDULE_ID],
        ["schedule", "change", SCHEDULE_ID, "--without", "app"],
        ["schedule", "backfill", SCHEDULE_ID],
        ["schedule", "backfill", SCHEDULE_ID, "--since", "yesterday"],
        ["schedule", "pause", SCHEDULE_ID, "--until", "soon"],
        ["schedule", "slots", SCHEDULE_ID, "--outcome", "lost"],
        ["schedule", "slots", SCHEDULE_ID, "--limit", "0"],
        ["schedule", "ls", "--limit", "0"],
        ["schedule", "rm", "@last"],
        ["run", "hello", "--cron", "@daily", "--in", "5m"],
        ["run", "hello", "--cron", "@daily", "--watch"],
        ["run", "hello", "--timezone", "UTC"],
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_asked(api: FakeApi, daybook: Daybook, words: list[str]) -> None:
    ran = daybook(*words)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err
    assert "Traceback" not in ran.err
    assert api.seen == []


@pytest.mark.parametrize("command", ["create", "change", "preview", "pause", "backfill", "slots"])
def test_help_shows_an_example(daybook: Daybook, command: str) -> None:
    shown = daybook("schedule", command, "--help").out
    assert f"    daybook schedule {command} " in shown
