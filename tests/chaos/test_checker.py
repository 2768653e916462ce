"""The checker, tested like anything else that is trusted: sound evidence passes, and each kind of harm is noticed by the invariant that is meant to.

The harm is done to evidence that is otherwise sound: one task that was lost once, taken over, and has succeeded.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from tests.chaos.checker import INVARIANTS, ends, is_open, violations
from tests.chaos.evidence import Effect, Entry, Evidence
from tests.chaos.history import task_of
from tests.chaos.report import latency

from daybook import ids
from daybook.domain.events import Content, Policy, TaskCancelled, TaskEvent, TaskFailed, TaskLost, TaskStarted, TaskSubmitted, TaskSucceeded, kind_of
from daybook.domain.task import fold
from daybook.log import codec

KEY = "a-key"
TASK = task_of(KEY)
RESULT = Content(digest="0" * 64, size_bytes=2)
STORY: tuple[TaskEvent, ...] = (
    TaskSubmitted(owner="ann", app="chaos.work", app_version="1", input=RESULT),
    TaskStarted(attempt=1, runner="run_a"),
    TaskLost(attempt=1, runner="run_a"),
    TaskStarted(attempt=2, runner="run_b"),
    TaskSucceeded(attempt=2, result=RESULT),
)


def entry(version: int, event: TaskEvent) -> Entry:
    stream = ids.parse("tsk", TASK)
    assert stream is not None
    return Entry(
        stream=stream,
        version=version,
        id=ids.spell("evt", UUID(int=version)),
        kind=kind_of(event),
        data=msgspec.json.decode(codec.encode(event)),
        at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=version),
    )


def row_of(stream: list[Entry]) -> dict[str, Any]:
    task = fold((codec.decode(each.kind, msgspec.json.encode(each.data)), each.at) for each in stream)  # type: ignore[misc]
    assert task is not None
    return msgspec.structs.asdict(task) | {"status": task.status.value}


def sound() -> Evidence:
    stream = [entry(version, event) for version, event in enumerate(STORY, 1)]
    return Evidence(
        tasks={TASK: stream},
        others={},
        rows={TASK: row_of(stream)},
        effects=[Effect(task=TASK, attempt=number, pid=number, at=0.0, phase="effect") for number in (1, 2)],
        told=frozenset(each.id for each in stream),
        excused=frozenset(),
        acknowledged=frozenset({TASK}),
        cancelled=frozenset(),
        attempted={TASK: KEY},
        answers=[(KEY, TASK)],
        oddities=[],
        pids={"run_a": 1, "run_b": 2},
    )


def retold(*events: TaskEvent) -> Evidence:
    """The same with other events, and everything else as those would have it."""
    stream = [entry(version, event) for version, event in enumerate(events, 1)]
    return change(tasks={TASK: stream}, told=frozenset(each.id for each in stream))


def change(**fields: Any) -> Evidence:
    return msgspec.structs.replace(sound(), **fields)


SUBMITTED, STARTED, LOST, AGAIN, SUCCEEDED = STORY
HARM: dict[str, list[Callable[[], Evidence]]] = {
    "versions_are_gapless": [lambda: change(tasks={TASK: [*sound().tasks[TASK][:2], *sound().tasks[TASK][3:]]})],
    "streams_begin_once": [lambda: retold(SUBMITTED, SUBMITTED), lambda: retold(STARTED)],
    "acknowledged_tasks_end_once": [lambda: retold(*STORY[:-1]), lambda: change(tasks={}), lambda: retold(SUBMITTED)],
    "nothing_follows_an_end": [lambda: retold(*STORY, SUCCEEDED), lambda: retold(*STORY, TaskStarted(attempt=3, runner="run_a"))],
    "attempts_are_fenced": [
        lambda: retold(*STORY[:-1], TaskSucceeded(attempt=1, result=RESULT)),
        lambda: retold(SUBMITTED, STARTED, LOST, TaskSucceeded(attempt=1, result=RESULT)),
    ],
    "attempts_rise_by_one": [
        lambda: retold(SUBMITTED, STARTED, AGAIN, SUCCEEDED),
        lambda: retold(SUBMITTED, STARTED, LOST, TaskStarted(attempt=3, runner="run_b"), TaskSucceeded(attempt=3, result=RESULT)),
        lambda: retold(SUBMITTED, STARTED, STARTED),
    ],
    "successes_have_their_effect": [lambda: change(effects=sound().effects[:1]), lambda: change(effects=sound().effects * 2)],
    "at_most_once_is_once": [
        lambda: msgspec.structs.replace(
            retold(msgspec.structs.replace(SUBMITTED, policy=Policy(delivery="at_most_once")), *STORY[1:]),
            effects=[Effect(task=TASK, attempt=number, pid=number, at=0.0, phase="begun") for number in (1, 2)],
        ),
    ],
    "what_cannot_fail_succeeds": [lambda: retold(SUBMITTED, STARTED, TaskCancelled(attempt=1))],
    "tasks_were_asked_for": [lambda: change(attempted={}), lambda: change(answers=[("another-key", TASK)])],
    "answers_make_sense": [lambda: change(oddities=["submit was answered 500"])],
    "read_model_is_the_fold": [
        lambda: change(rows={}),
        lambda: change(rows={TASK: sound().rows[TASK] | {"status": "running"}}),
        lambda: change(tasks={}),
    ],
    "facts_are_in_the_log": [lambda: change(told=sound().told | {ids.spell("evt", UUID(int=99))})],
    "events_are_told": [lambda: change(told=frozenset())],
}


def test_sound_evidence_passes() -> None:
    assert violations(sound()) == {}


@pytest.mark.parametrize(("name", "harm"), [(name, harm) for name, harms in HARM.items() for harm in harms])
def test_harm_is_noticed(name: str, harm: Callable[[], Evidence]) -> None:
    assert name in violations(harm())


def test_every_invariant_is_tested() -> None:
    assert HARM.keys() == INVARIANTS.keys()


def test_facts_that_went_with_their_store_are_excused() -> None:
    assert violations(change(told=frozenset(), excused=sound().told)) == {}


def test_a_new_round_opens_an_ended_task() -> None:
    failed = entry(3, TaskFailed(attempt=1, error=RESULT, error_type="E"))
    retried = msgspec.structs.replace(failed, version=4, kind="task.retried.v1", data={})
    begun = [entry(1, SUBMITTED), entry(2, STARTED)]
    assert ends(failed)
    assert not is_open([*begun, failed])
    assert is_open([*begun, failed, retried])
    assert not is_open([*begun, failed, retried, entry(5, AGAIN), entry(6, SUCCEEDED)])
    assert not ends(msgspec.structs.replace(failed, data={"retry_at": "2026-01-01T00:00:00Z"}))


def test_percentiles_are_of_the_nearest_rank() -> None:
    measured = latency(range(1, 201))
    assert (measured.count, measured.p50, measured.p95, measured.p99, measured.worst) == (200, 101, 191, 199, 200)
    assert latency([]).worst == 0
