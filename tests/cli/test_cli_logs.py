"""`daybook task logs`: all of it, the end of it, and what is still to come."""

import json
from typing import Any

import pytest
from tests.cli.conftest import Daybook
from tests.client.fake_api import TASK_ID, TASK_PATH, FakeApi, Say, problem

from daybook.cli import tasks

LOGS = f"GET {TASK_PATH}/logs"


def line(number: int, message: str = "said", *, attempt: int = 1, level: str = "info", **fields: Any) -> dict[str, Any]:
    return {"attempt": attempt, "n": number, "at": "2026-11-20T10:00:00.123456Z", "level": level, "message": message, "fields": fields}


def page(*lines: dict[str, Any], after: str | None = None) -> Say:
    return Say(200, {"items": list(lines), "next_after": after})


def test_every_page_is_printed_and_no_more_is_waited_for(api: FakeApi, daybook: Daybook) -> None:
    api.on(LOGS, page(line(1), line(2), after="1.2"), page(line(3), after="1.3"), page(after="1.3"))
    ran = daybook("task", "logs", TASK_ID, "--level", "warning", "--attempt", "1")
    assert (ran.code, ran.err) == (0, "")
    assert [json.loads(text)["n"] for text in ran.out.splitlines()] == [1, 2, 3]
    wanted = [("attempt", "1"), ("level", "warning")]
    assert [seen.query for seen in api.seen] == [wanted, [*wanted, ("after", "1.2")], [*wanted, ("after", "1.3")]]


def test_the_tail_is_one_answer(api: FakeApi, daybook: Daybook) -> None:
    api.on(LOGS, page(line(8), line(9), after="1.9"))
    ran = daybook("task", "logs", TASK_ID, "--tail", "2", "-o", "json")
    assert json.loads(ran.out) == {"items": [line(8), line(9)], "next_after": "1.9"}
    assert [seen.query for seen in api.seen] == [[("tail", "2")]]


def test_following_goes_on_until_there_can_be_no_more(api: FakeApi, daybook: Daybook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_FOLLOW_SECONDS", 0.01)
    api.on(
        LOGS,
        *(page(line(9), after="1.9"), page(after="1.9"), page(line(10), after="1.10"), problem(503, "busy", "later", headers={"Retry-After": "0"})),
        *(page(after="1.10"), page(line(11))),
    )
    ran = daybook("task", "logs", TASK_ID, "--tail", "1", "--follow")
    assert ran.code == 0
    assert [json.loads(text)["n"] for text in ran.out.splitlines()] == [9, 10, 11]
    assert [dict(seen.query).get("after") for seen in api.seen] == [None, "1.9", "1.9", "1.10", "1.10", "1.10"]


def test_people_get_lines(api: FakeApi, daybook: Daybook) -> None:
    evil = line(2, "\x1b[2Jtwo\nlines", level="error", where="a\nb", exception="Traceback\n  here")
    api.on(LOGS, page(line(1, "one", n=1), evil, line(1, "again", attempt=2)))
    out = daybook("task", "logs", TASK_ID, "-o", "table").out
    assert "\x1b" not in out
    one, two, lines, *trace, header, again = out.splitlines()
    assert one.endswith(":00.123 info    one n=1")
    assert (two[-3:], lines) == ("two", "lines where=a b")
    assert (trace, header) == (["Traceback", "  here"], "--- attempt 2")
    assert again.endswith("info    again")


@pytest.mark.parametrize("words", [("--tail", "0"), ("--tail", "1001"), ("--follow", "-o", "json"), ("--level", "loud")])
def test_what_makes_no_sense_is_not_asked(api: FakeApi, daybook: Daybook, words: tuple[str, ...]) -> None:
    ran = daybook("task", "logs", TASK_ID, *words)
    assert (ran.code, api.seen) == (2, [])


def test_a_task_that_is_not_there(api: FakeApi, daybook: Daybook) -> None:
    api.on(LOGS, problem(404, "not-found", "no such task"))
    assert daybook("task", "logs", TASK_ID).code == 5
