"""What the commands print, ask and return, against a scripted API."""

import io
import json
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Daybook
from tests.client.fake_api import AT, TASK_ID, TASK_PATH, Drop, FakeApi, Say, failed, problem, task

EVENT = {"id": "evt_1", "kind": "task.submitted.v1", "version": 1, "at": AT, "data": {"app": "images.resize"}}


def test_run_submits_and_prints_the_body_of_the_api(api: FakeApi, daybook: Daybook) -> None:
    api.on("POST /v1/tasks", Say(202, task()))
    ran = daybook(
        *("run", "images.resize", "url=https://x/y?a=b", "width:=800", "--in", "10m", "--label", "customer=42"),
        *("--queue", "slow", "--priority", "1", "--key", "order-7"),
    )
    assert ran.code == 0
    assert ran.out == json.dumps(task()) + "\n"
    assert f"daybook task watch {TASK_ID}" in ran.err
    (seen,) = api.seen
    assert seen.json == {
        "app": "images.resize",
        "input": {"url": "https://x/y?a=b", "width": 800},
        "delay": "10m",
        "labels": {"customer": "42"},
        "queue": "slow",
        "priority": 1,
    }
    assert seen.headers["idempotency-key"] == "order-7"


def test_run_reads_files_and_stdin(api: FakeApi, daybook: Daybook, at_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api.on("POST /v1/tasks", Say(202, task()))
    (at_home / "in.json").write_text('{"a": 1, "b": 2}')
    daybook("run", "hello", "@in.json", "b:=3")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[1, 2]")))
    daybook("run", "hello", "-")
    daybook("run", "hello")
    assert [seen.json.get("input", "nothing") for seen in api.seen] == [{"a": 1, "b": 3}, [1, 2], "nothing"]


def test_a_field_may_come_from_a_file(api: FakeApi, daybook: Daybook, at_home: Path) -> None:
    api.on("POST /v1/tasks", Say(202, task()))
    (at_home / "letter.txt").write_text('Dear "Ada",\n', encoding="utf-8")
    (at_home / "sizes.json").write_text("[1, 2]")
    daybook("run", "hello", "text=@letter.txt", "sizes:=@sizes.json", "mail=a@b", """handle:="@ada\"""")
    assert api.seen[0].json["input"] == {"text": 'Dear "Ada",\n', "sizes": [1, 2], "mail": "a@b", "handle": "@ada"}


def test_a_time_without_an_offset_is_local(api: FakeApi, daybook: Daybook, monkeypatch: pytest.MonkeyPatch) -> None:
    api.on("POST /v1/tasks", Say(202, task("scheduled", run_at=AT)))
    daybook("run", "hello", "--at", "2026-12-01T09:00:00Z")
    daybook("run", "hello", "--at", "2026-12-01T09:00")
    absolute, local = (seen.json["run_at"] for seen in api.seen)
    assert absolute == "2026-12-01T09:00:00+00:00"
    assert local.startswith("2026-12-01T09:00:00")
    assert len(local) == len(absolute)


def test_last_is_the_task_submitted_last(api: FakeApi, daybook: Daybook) -> None:
    api.on("POST /v1/tasks", Say(202, task()))
    api.on(f"GET {TASK_PATH}", Say(200, task("running", 2)))
    daybook("run", "hello")
    assert json.loads(daybook("task", "show", "@last").out)["status"] == "running"


def test_last_lives_beside_the_local_server(api: FakeApi, daybook: Daybook, at_home: Path) -> None:
    (at_home / ".daybook").mkdir()
    (at_home / ".daybook" / "env.json").write_text(json.dumps({"url": api.url, "token": "dbk_local"}))
    api.on("POST /v1/tasks", Say(202, task()))
    daybook("run", "hello")
    assert (at_home / ".daybook" / "last").read_text().strip() == TASK_ID


def test_a_list_prints_a_line_for_each_task_over_all_pages(api: FakeApi, daybook: Daybook) -> None:
    first = {"items": [task()] * 200, "next_cursor": "c1"}
    second = {"items": [task("running", 2)] * 50, "next_cursor": "c2"}
    api.on("GET /v1/tasks", Say(200, first), Say(200, second))
    ran = daybook("task", "ls", "--limit", "250", "--status", "queued,running", "--label", "a=b", "--since", "24h")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert (ran.code, len(lines), lines[-1]["status"]) == (0, 250, "running")
    assert api.seen[0].query == [("status", "queued,running"), ("since", "86400s"), ("limit", "200"), ("label", "a:b")]
    assert dict(api.seen[1].query)["limit"] == "50"


def test_json_is_exactly_the_body_of_the_api(api: FakeApi, daybook: Daybook) -> None:
    body = {"items": [task()], "next_cursor": None}
    api.on("GET /v1/tasks", Say(200, body))
    assert daybook("task", "ls", "-o", "json").out == json.dumps(body) + "\n"


def test_a_table_shows_what_people_look_for(api: FakeApi, daybook: Daybook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    shown = task("error", 3, error_type="ValueError", app="evil\x1b[2J[bold]")
    api.on("GET /v1/tasks", Say(200, {"items": [shown], "next_cursor": "c1"}))
    out = daybook("task", "ls", "-o", "table", "--limit", "1").out
    assert TASK_ID in out
    assert "error ValueError" in out
    assert " ago" in out
    assert "3.2s" in out
    assert "--limit" in out
    assert "[bold]" in out, "what a task is called is not markup"
    assert "\x1b[2J" not in out, "what a task is called does not drive the terminal"


def test_show_tells_everything(api: FakeApi, daybook: Daybook) -> None:
    attempt = {"attempt": 1, "runner": "run_1", "started_at": AT, "ended_at": AT, "outcome": "error"}
    api.on(f"GET {TASK_PATH}", Say(200, failed() | {"attempts": [attempt]}))
    out = daybook("task", "show", TASK_ID, "-o", "table").out
    for word in ("images.resize", "too large", "attempt 1", "customer=42", "cat.png"):
        assert word in out


def test_events_are_printed_as_lines_and_as_a_table(api: FakeApi, daybook: Daybook) -> None:
    api.on(f"GET {TASK_PATH}/events", Say(200, {"items": [EVENT]}))
    assert json.loads(daybook("task", "events", TASK_ID).out) == EVENT
    assert "task.submitted.v1" in daybook("task", "events", TASK_ID, "-o", "table").out


def test_apps_are_listed_and_shown(api: FakeApi, daybook: Daybook) -> None:
    policy = {"max_attempts": 4, "backoff_seconds": 0.5, "non_retryable": ["ValueError"], "deadline_seconds": None}
    app = {"app": "hello", "kind": "python", "doc": "Says hello.\nTwice.", "input_schema": {"type": "object"}, "policy": policy}
    api.on("GET /v1/apps", Say(200, {"items": [app]}))
    api.on("GET /v1/apps/hello", Say(200, app))
    assert json.loads(daybook("app", "ls").out) == app
    assert "Says hello." in daybook("app", "ls", "-o", "table").out
    shown = daybook("app", "show", "hello", "-o", "table").out
    for words in ('"type": "object"', "max_attempts = 4", "backoff_seconds = 0.5", 'non_retryable = ["ValueError"]'):
        assert words in shown
    assert "deadline" not in shown


def test_a_result_is_printed_as_the_app_made_it(api: FakeApi, daybook: Daybook) -> None:
    api.on(
        f"GET {TASK_PATH}/result",
        Say(200, b'{"width":800}'),
        Say(200, b"two\nlines", {"Content-Type": "text/plain"}),
    )
    assert daybook("task", "result", TASK_ID).out == '{"width":800}\n'
    assert daybook("task", "result", TASK_ID).out == "two\nlines"


@pytest.mark.parametrize(
    ("code", "ended", "exit_code", "words"),
    [
        ("task-failed", failed(), 1, "too large"),
        ("task-cancelled", task("cancelled", 2, reason="typo"), 3, "typo"),
        ("not-finished", task("running", 2), 6, "not-finished"),
    ],
)
def test_a_missing_result_says_why(api: FakeApi, daybook: Daybook, code: str, ended: dict[str, object], exit_code: int, words: str) -> None:
    api.on(f"GET {TASK_PATH}/result", problem(409, code, "no result"))
    api.on(f"GET {TASK_PATH}", Say(200, ended))
    ran = daybook("task", "result", TASK_ID)
    assert (ran.code, ran.out) == (exit_code, "")
    assert words in ran.err


@pytest.mark.parametrize(("ended", "exit_code"), [(task("success", 3), 0), (failed(), 1), (task("cancelled", 2), 3)])
def test_wait_ends_with_the_code_of_the_status(api: FakeApi, daybook: Daybook, ended: dict[str, object], exit_code: int) -> None:
    api.on(f"GET {TASK_PATH}", Say(200, task("running", 2)), Say(200, ended))
    ran = daybook("task", "wait", TASK_ID)
    assert (ran.code, json.loads(ran.out)) == (exit_code, ended)


def test_wait_times_out(api: FakeApi, daybook: Daybook) -> None:
    api.on(f"GET {TASK_PATH}", Say(200, task()), Say(304))
    ran = daybook("task", "wait", TASK_ID, "--timeout", "20ms")
    assert (ran.code, ran.out) == (124, "")
    assert "it goes on" in ran.err


def test_cancel_and_reschedule_ask_and_print(api: FakeApi, daybook: Daybook) -> None:
    api.on(f"POST {TASK_PATH}/cancel", Say(202, task("running", 2)))
    api.on(f"POST {TASK_PATH}/reschedule", Say(200, task("scheduled", 2, run_at=AT)))
    cancelled = daybook("task", "cancel", TASK_ID, "--reason", "typo")
    moved = daybook("task", "reschedule", TASK_ID, "--in", "1h", "-o", "table")
    assert (cancelled.code, moved.code) == (0, 0)
    assert "asked" in cancelled.err
    assert "scheduled" in moved.out
    assert [seen.json for seen in api.seen] == [{"reason": "typo"}, {"delay": "1h"}]


def test_run_bounds_what_it_submits(api: FakeApi, daybook: Daybook) -> None:
    api.on("POST /v1/tasks", Say(202, task()))
    daybook("run", "hello", "--timeout", "5m", "--max-attempts", "3", "--queue-ttl", "1h", "--deadline", "1d")
    assert api.seen[0].json == {"app": "hello", "timeout": "5m", "retry": {"max_attempts": 3}, "queue_ttl": "1h", "deadline": "1d"}


def test_retry_and_run_now_ask_and_print(api: FakeApi, daybook: Daybook) -> None:
    api.on(f"POST {TASK_PATH}/retry", Say(200, task("queued", 4, attempt=1)))
    api.on(f"POST {TASK_PATH}/run-now", Say(200, task("scheduled", 2, run_at=AT)))
    retried = daybook("task", "retry", TASK_ID, "--reason", "the line is back")
    moved = daybook("task", "run-now", TASK_ID, "-o", "table")
    assert (retried.code, json.loads(retried.out)["version"]) == (0, 4)
    assert (moved.code, "scheduled" in moved.out) == (0, True)
    assert [seen.json for seen in api.seen] == [{"reason": "the line is back"}, {}]


def test_rerun_is_a_new_task_and_the_last_one(api: FakeApi, daybook: Daybook) -> None:
    new = TASK_ID[:-1] + "0"
    api.on(f"POST {TASK_PATH}/rerun", Say(202, task(id=new, rerun_of=TASK_ID)))
    api.on(f"GET /v1/tasks/{new}", Say(200, task(id=new, rerun_of=TASK_ID)))
    ran = daybook("task", "rerun", TASK_ID, "--in", "10m", "--queue", "slow", "--priority", "1", "--label", "a=b", "--key", "again")
    assert (ran.code, json.loads(ran.out)["id"]) == (0, new)
    (seen,) = api.seen
    assert seen.json == {"delay": "10m", "queue": "slow", "priority": 1, "labels": {"a": "b"}}
    assert seen.headers["idempotency-key"] == "again"
    assert TASK_ID in daybook("task", "show", "@last", "-o", "table").out


def test_rerun_changes_the_input_in_parts_or_as_a_whole(api: FakeApi, daybook: Daybook, at_home: Path) -> None:
    api.on(f"GET {TASK_PATH}", Say(200, task(input={"url": "u", "width": 1})), Say(200, task(input=[1])))
    api.on(f"POST {TASK_PATH}/rerun", Say(202, task()))
    (at_home / "in.json").write_text("[2]")
    daybook("task", "rerun", TASK_ID, "--input", "width:=2", "mode=fit", "--queue", "slow")
    daybook("task", "rerun", TASK_ID, "--input", "@in.json")
    daybook("task", "rerun", TASK_ID)
    bodies = [seen.json for seen in api.asked(f"POST {TASK_PATH}/rerun")]
    assert bodies == [{"input": {"url": "u", "width": 2, "mode": "fit"}, "queue": "slow"}, {"input": [2]}, {}]
    refused = daybook("task", "rerun", TASK_ID, "--input", "width:=2")
    assert (refused.code, refused.out) == (2, "")
    assert "no JSON object" in refused.err
    assert len(api.asked(f"POST {TASK_PATH}/rerun")) == 3


def test_show_tells_how_each_attempt_ended(api: FakeApi, daybook: Daybook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    attempt = {"attempt": 1, "runner": "run_1", "started_at": AT, "ended_at": AT, "outcome": "error", "reason": "retry_backoff", "error_type": "IOError"}
    lost = attempt | {"attempt": 2, "outcome": "lost", "reason": "lost_runner", "error_type": "RunnerLost"}
    waiting = task("scheduled", 6, reason="retry_backoff", error_type="IOError", run_at=AT, retry_at=AT, deadline_at=AT, rerun_of="tsk_before")
    api.on(f"GET {TASK_PATH}", Say(200, waiting | {"attempts": [attempt, lost]}))
    out = daybook("task", "show", TASK_ID, "-o", "table").out
    for words in ("scheduled retry_backoff", "error IOError after", "lost lost_runner after", "tried again", "deadline", "tsk_before"):
        assert words in out
    stopped = {"requested_by": "user:root", "requested_at": AT, "reason": "too dear"}
    api.on(f"GET {TASK_PATH}", Say(200, task("cancelled", 3, reason="too dear", cancellation=stopped)))
    assert "user:root" in daybook("task", "show", TASK_ID, "-o", "table").out
    api.on(f"GET {TASK_PATH}/result", problem(409, "task-cancelled", "it was cancelled"))
    assert "(too dear; wanted by user:root)" in daybook("task", "result", TASK_ID).err


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (400, "invalid-request", 2),
        (422, "input-invalid", 2),
        (401, "unauthorized", 4),
        (403, "forbidden", 4),
        (404, "not-found", 5),
        (409, "already-finished", 6),
        (412, "version-mismatch", 6),
        (503, "busy", 7),
        (500, "internal", 1),
    ],
)
def test_each_refusal_has_its_exit_code_and_is_explained(api: FakeApi, daybook: Daybook, status: int, code: str, exit_code: int) -> None:
    errors = [{"pointer": "/input/url", "message": "is not a URL"}]
    refusal = problem(status, code, "it will not do", headers={"Retry-After": "0"}, errors=errors, hint="try this", request_id="req_1")
    api.on("POST /v1/tasks", refusal)
    ran = daybook("run", "hello")
    assert (ran.code, ran.out) == (exit_code, "")
    for words in (f"error: {code}: it will not do", "/input/url  is not a URL", "hint: try this"):
        assert words in ran.err
    assert "Traceback" not in ran.err


def test_an_api_that_hangs_up_is_unreachable(api: FakeApi, daybook: Daybook) -> None:
    api.on("GET /v1/apps", Drop())
    ran = daybook("app", "ls")
    assert (ran.code, ran.out) == (7, "")
    assert "trying again" in ran.err
    assert "cannot be reached" in ran.err
