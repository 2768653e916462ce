"""The table is whole: nothing is missing from it, nothing in it contradicts itself, and its end is the end."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, strategies

from daybook.domain.events import (
    TASK_EVENTS,
    Content,
    TaskCancelled,
    TaskDue,
    TaskEvent,
    TaskExpired,
    TaskFailed,
    TaskLost,
    TaskReleased,
    TaskRescheduled,
    TaskRetried,
    TaskSubmitted,
    TaskSucceeded,
)
from daybook.domain.status import BEGINNING, ENDINGS, TABLE, TERMINAL, WAITING_EVENTS, Status, Transition, allows, diagram, status_after

SOME_DAY = datetime(2026, 3, 14, tzinfo=UTC)
CONTENT = Content(digest="aa" * 32, size_bytes=2)

# The rules once more, by hand, in the words of the design: event, when, in which statuses, and what comes of it.
EXPECTED = {
    ("TaskSubmitted", "run_at given", frozenset({BEGINNING}), "scheduled"),
    ("TaskSubmitted", "now", frozenset({BEGINNING}), "queued"),
    ("TaskRescheduled", "", frozenset({"scheduled", "queued"}), "scheduled"),
    ("TaskDue", "", frozenset({"scheduled"}), "queued"),
    ("TaskStarted", "", frozenset({"queued"}), "running"),
    ("TaskReleased", "", frozenset({"running"}), "queued"),
    ("TaskSucceeded", "", frozenset({"running"}), "success"),
    ("TaskFailed", "to be retried", frozenset({"running"}), "scheduled"),
    ("TaskFailed", "for good", frozenset({"running"}), "error"),
    ("TaskLost", "for good", frozenset({"running"}), "error"),
    ("TaskLost", "to be retried", frozenset({"running"}), "scheduled"),
    ("TaskLost", "at once", frozenset({"running"}), "queued"),
    ("TaskExpired", "", frozenset({"scheduled", "queued"}), "error"),
    ("TaskRetried", "", frozenset({"error", "cancelled"}), "queued"),
    ("TaskCancelRequested", "", frozenset({"running"}), "running"),
    ("TaskCancelled", "", frozenset({"scheduled", "queued", "running"}), "cancelled"),
}

instants = strategies.none() | strategies.datetimes(timezones=strategies.just(UTC))
conditional_events = strategies.one_of(
    instants.map(lambda at: TaskSubmitted(owner="ann", app="hello", app_version="v1", input=CONTENT, run_at=at)),
    instants.map(lambda at: TaskFailed(attempt=1, error=CONTENT, error_type="ValueError", retry_at=at)),
    instants.map(lambda at: TaskLost(attempt=1, retry_at=at)),
    strategies.just(TaskLost(attempt=1, final=True)),
)


def rows_of(event: type[TaskEvent]) -> list[Transition]:
    return [row for row in TABLE if row.event is event]


def reached_from(status: Status | None) -> set[Status]:
    """Every status that some way through the table leads to from this one."""
    seen: set[Status] = set()
    open_ends: list[Status | None] = [status]
    while open_ends:
        start = open_ends.pop()
        steps = {row.to for row in TABLE if start in row.allowed} - seen
        seen |= steps
        open_ends += steps
    return seen


def test_the_table_says_what_the_design_says() -> None:
    assert {(row.event.__name__, row.label, row.allowed, row.to) for row in TABLE} == EXPECTED
    assert len(TABLE) == len(EXPECTED)


@pytest.mark.parametrize("event", TASK_EVENTS)
def test_every_event_of_a_task_has_a_row(event: type[TaskEvent]) -> None:
    assert rows_of(event)


def test_no_row_is_about_an_event_that_does_not_exist() -> None:
    assert {row.event for row in TABLE} == set(TASK_EVENTS)


def test_every_status_can_be_reached() -> None:
    assert reached_from(BEGINNING) == set(Status)


@pytest.mark.parametrize("status", sorted(set(Status) - TERMINAL))
def test_from_every_status_every_end_can_be_reached(status: Status) -> None:
    assert reached_from(status) >= TERMINAL


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_nothing_follows_an_end_but_the_wish_to_try_again(status: Status) -> None:
    follows = [event for event in TASK_EVENTS if allows(status, event)]
    assert follows == ([] if status is Status.SUCCESS else [TaskRetried])
    assert reached_from(status) == (set() if status is Status.SUCCESS else set(Status))


def test_ends_are_three() -> None:
    assert {Status.SUCCESS, Status.ERROR, Status.CANCELLED} == TERMINAL


def test_a_stream_begins_with_a_submission_and_has_no_second_one() -> None:
    assert [event for event in TASK_EVENTS if allows(BEGINNING, event)] == [TaskSubmitted]
    assert not [status for status in Status if allows(status, TaskSubmitted)]


@given(conditional_events)
def test_of_the_rows_of_one_event_exactly_one_applies(event: TaskEvent) -> None:
    applying = [row for row in rows_of(type(event)) if row.condition is not None and row.condition(event)]
    applying = applying or [row for row in rows_of(type(event)) if row.condition is None]
    assert len(applying) == 1
    assert status_after(event) is applying[0].to


def test_a_loss_leads_to_an_end_to_a_wait_or_back_into_the_queue() -> None:
    assert status_after(TaskLost(attempt=1)) is Status.QUEUED
    assert status_after(TaskLost(attempt=1, retry_at=SOME_DAY)) is Status.SCHEDULED
    assert status_after(TaskLost(attempt=1, final=True)) is Status.ERROR
    assert status_after(TaskLost(attempt=1, final=True, retry_at=SOME_DAY)) is Status.ERROR, "what is final is not retried"


@pytest.mark.parametrize("event", TASK_EVENTS)
def test_rows_of_one_event_differ_by_condition_alone(event: type[TaskEvent]) -> None:
    rows = rows_of(event)
    assert len({row.allowed for row in rows}) == 1, "where an event may happen must not depend on what it says"
    assert all(row.condition for row in rows[:-1]), "what comes after a row without a condition is never reached"
    assert len(rows) == 1 or all(row.label for row in rows)
    assert len({row.label for row in rows}) == len(rows)


def test_only_the_events_that_were_tried_have_conditions() -> None:
    assert {row.event for row in TABLE if row.condition} == {TaskSubmitted, TaskFailed, TaskLost}


def test_whoever_waits_for_an_end_or_for_work_knows_what_to_look_for() -> None:
    assert {TaskSucceeded, TaskFailed, TaskLost, TaskExpired, TaskCancelled} == ENDINGS
    assert {TaskSubmitted, TaskRescheduled, TaskDue, TaskReleased, TaskFailed, TaskLost, TaskRetried} == WAITING_EVENTS


def test_the_diagram_has_an_arrow_for_every_row_and_start() -> None:
    head, *lines = diagram().splitlines()
    assert head == "stateDiagram-v2"
    arrows = {tuple(line.strip().split(" --> ", 1)) for line in lines}
    expected: set[tuple[Any, ...]] = {(str(status), "[*]") for status in TERMINAL}
    for row in TABLE:
        name = f"{row.event.__name__} ({row.label})" if row.label else row.event.__name__
        expected |= {("[*]" if start is BEGINNING else str(start), f"{row.to}: {name}") for start in row.allowed}
    assert arrows == expected
    assert len(lines) == len(expected)


def test_the_diagram_is_always_the_same_text() -> None:
    assert "    queued --> cancelled: TaskCancelled\n    running --> cancelled: TaskCancelled\n" in diagram()
    assert "    scheduled --> queued: TaskDue\n" in diagram()


def test_an_end_is_said_in_the_users_words() -> None:
    assert {str(status) for status in Status} == {"scheduled", "queued", "running", "success", "error", "cancelled"}
    assert status_after(TaskFailed(attempt=1, error=CONTENT, error_type="E", retry_at=SOME_DAY)) is Status.SCHEDULED
