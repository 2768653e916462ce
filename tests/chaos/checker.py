"""The checker: what must be true at every quiet moment, whatever was done before. Pure: evidence in, violations out.

It reads the raw log by a small table of its own (which kinds end a task, which end an attempt), since a product that is wrong in the same way as
its checker would always be right. Only the comparison with the read model asks the product's own fold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final

import msgspec

from daybook import ids
from daybook.domain.task import fold
from daybook.log import codec
from daybook.log.envelope import Unreadable

from .evidence import Entry, Evidence
from .history import task_of

_CLOSES_ATTEMPT: Final = frozenset({"task.succeeded.v1", "task.failed.v1", "task.lost.v1", "task.released.v1", "task.cancelled.v1"})
_REPORTS: Final = frozenset({"task.succeeded.v1", "task.failed.v1", "task.lost.v1", "task.released.v1"})
_SURE_APPS: Final = frozenset({"chaos.work", "chaos.plain", "chaos.apart"})
_ENCODE: Final = msgspec.json.Encoder().encode
_COLUMNS: Final = ("version", "attempt", "owner", "app", "app_version", "queue", "priority", "reason", "error_type", "run_at", "submitted_at", "started_at")


def ends(entry: Entry) -> bool:
    """Whether this event ends its task (or a round of it)."""
    match entry.kind:
        case "task.succeeded.v1" | "task.cancelled.v1" | "task.expired.v1":
            return True
        case "task.failed.v1":
            return entry.data.get("retry_at") is None
        case "task.lost.v1":
            return bool(entry.data.get("final"))
        case _:
            return False


def is_open(stream: list[Entry]) -> bool:
    """Whether a task has yet to end."""
    return not any(ends(entry) or entry.kind == "task.erased.v1" for entry in reversed(stream[_round_of(stream) :]))


def violations(evidence: Evidence) -> dict[str, list[str]]:
    """What is not as it must be, by the name of the invariant; empty when all is well."""
    found = {name: list(check(evidence)) for name, check in INVARIANTS.items()}
    return {name: each for name, each in found.items() if each}


def versions_are_gapless(evidence: Evidence) -> Iterator[str]:
    """Each stream's versions are 1, 2, 3 … in the order of the log."""
    for name, stream in (*evidence.tasks.items(), *evidence.others.items()):
        if [entry.version for entry in stream] != list(range(1, len(stream) + 1)):
            yield f"{name}: versions {[entry.version for entry in stream]}"


def streams_begin_once(evidence: Evidence) -> Iterator[str]:
    """A task is submitted once, before anything else happens to it."""
    for task, stream in evidence.tasks.items():
        if [entry.version for entry in stream if entry.kind == "task.submitted.v1"] != [1]:
            yield f"{task} was not submitted once, at first: {_story(stream)}"


def acknowledged_tasks_end_once(evidence: Evidence) -> Iterator[str]:
    """What was answered with a 2xx is in the log and has ended; that it ended once, the next check says."""
    for task in sorted(evidence.acknowledged):
        stream = evidence.tasks.get(task)
        if stream is None:
            yield f"{task} was acknowledged and is not in the log"
        elif is_open(stream):
            yield f"{task} has not ended: {_story(stream)}"


def nothing_follows_an_end(evidence: Evidence) -> Iterator[str]:
    """After the end of a task there is nothing but a new round, or its erasure."""
    for task, stream in evidence.tasks.items():
        for before, after in pairwise(stream):
            if ends(before) and after.kind not in {"task.retried.v1", "task.erased.v1"}:
                yield f"{task}: {after.kind} follows its end: {_story(stream)}"


def attempts_are_fenced(evidence: Evidence) -> Iterator[str]:
    """What is reported is reported of the attempt that runs, and of no other."""
    for task, stream in evidence.tasks.items():
        running = 0
        for entry in stream:
            if entry.kind == "task.started.v1":
                running = entry.data["attempt"]
            elif entry.kind in _REPORTS and entry.data["attempt"] != running:
                yield f"{task}: {entry.kind} of attempt {entry.data['attempt']} while {running or 'none'} runs: {_story(stream)}"
            if entry.kind in _CLOSES_ATTEMPT:
                running = 0


def attempts_rise_by_one(evidence: Evidence) -> Iterator[str]:
    """Attempts are numbered 1, 2, 3 …, and a new one begins only when the one before was lost, released or has failed."""
    for task, stream in evidence.tasks.items():
        last, running = 0, False
        for entry in stream:
            if entry.kind == "task.started.v1":
                if running:
                    yield f"{task}: attempt {entry.data['attempt']} begins while another runs: {_story(stream)}"
                if entry.data["attempt"] != last + 1:
                    yield f"{task}: attempt {entry.data['attempt']} follows {last}: {_story(stream)}"
                last, running = entry.data["attempt"], True
            elif entry.kind in _CLOSES_ATTEMPT:
                running = False


def successes_have_their_effect(evidence: Evidence) -> Iterator[str]:
    """Every success that is recorded was an effect of the same attempt, and no attempt had two."""
    seen: set[tuple[str, int]] = set()
    for effect in evidence.effects:
        if effect.phase == "effect":
            if (effect.task, effect.attempt) in seen:
                yield f"{effect.task}: attempt {effect.attempt} had its effect twice"
            seen.add((effect.task, effect.attempt))
    for task, stream in evidence.tasks.items():
        for entry in stream:
            if entry.kind == "task.succeeded.v1" and stream[0].data["app"].startswith("chaos.") and (task, entry.data["attempt"]) not in seen:
                yield f"{task}: attempt {entry.data['attempt']} succeeded without an effect"


def at_most_once_is_once(evidence: Evidence) -> Iterator[str]:
    """A task that was submitted to run at most once was begun at most once, but for those that were handed back."""
    begun = Counter(effect.task for effect in evidence.effects if effect.phase == "begun")
    for task, stream in evidence.tasks.items():
        if stream[0].data.get("policy", {}).get("delivery") == "at_most_once":
            again = sum(entry.kind in {"task.released.v1", "task.retried.v1"} for entry in stream)
            if begun[task] > 1 + again:
                yield f"{task} was begun {begun[task]} times: {_story(stream)}"


def what_cannot_fail_succeeds(evidence: Evidence) -> Iterator[str]:
    """A task that nobody cancelled, of an app that does not fail, ends well, unless it lost too many runners."""
    for task, stream in evidence.tasks.items():
        last = stream[-1]
        fails = ends(last) and last.kind not in {"task.succeeded.v1", "task.lost.v1"}
        if fails and stream[0].data["app"] in _SURE_APPS and task not in evidence.cancelled:
            yield f"{task} ended as {last.kind} ({last.data.get('error_type') or last.data.get('reason')}): {_story(stream)}"


def tasks_were_asked_for(evidence: Evidence) -> Iterator[str]:
    """Every task in the log was submitted by a client, under the id that its key stands for, and every key has one task."""
    for task in evidence.tasks:
        if task not in evidence.attempted:
            yield f"{task} was submitted by nobody"
    for key, task in evidence.answers:
        if task != task_of(key):
            yield f"key {key} was answered with {task}, not with {task_of(key)}"


def answers_make_sense(evidence: Evidence) -> Iterator[str]:
    """No sensible submit is refused, and no answer is a server's error, but for the one that says that a store is away."""
    yield from evidence.oddities


def read_model_is_the_fold(evidence: Evidence) -> Iterator[str]:
    """`read.task` says of each task what a fold over its events says."""
    for task in sorted(evidence.tasks.keys() | evidence.rows.keys()):
        row, stream = evidence.rows.get(task), evidence.tasks.get(task)
        expected = None if stream is None else _folded(stream)
        shown = None if row is None else {name: row[name] for name in (*_COLUMNS, "status", "finished_at")}
        if shown != expected:
            yield f"{task}: the read model and the log say {_differing(shown, expected)}"


def facts_are_in_the_log(evidence: Evidence) -> Iterator[str]:
    """Whatever was told on NATS happened."""
    for fact in sorted(evidence.told - {entry.id for entry in evidence.entries}):
        yield f"{fact} was told and is not in the log"


def events_are_told(evidence: Evidence) -> Iterator[str]:
    """Whatever happened was told on NATS, at least once."""
    for entry in evidence.entries:
        if entry.id not in evidence.told and entry.id not in evidence.excused:
            yield f"{entry.id} ({entry.kind}, version {entry.version} of {ids.spell('tsk', entry.stream)}) was never told"


INVARIANTS: Final[dict[str, Callable[[Evidence], Iterator[str]]]] = {
    check.__name__: check
    for check in (
        versions_are_gapless,
        streams_begin_once,
        acknowledged_tasks_end_once,
        nothing_follows_an_end,
        attempts_are_fenced,
        attempts_rise_by_one,
        successes_have_their_effect,
        at_most_once_is_once,
        what_cannot_fail_succeeds,
        tasks_were_asked_for,
        answers_make_sense,
        read_model_is_the_fold,
        facts_are_in_the_log,
        events_are_told,
    )
}


def _round_of(stream: list[Entry]) -> int:
    """Where the present round begins."""
    return max((number for number, entry in enumerate(stream) if entry.kind == "task.retried.v1"), default=0)


def _folded(stream: list[Entry]) -> dict[str, Any] | str:
    pairs = []
    for entry in stream:
        event: Any = codec.decode(entry.kind, _ENCODE(entry.data))
        if isinstance(event, Unreadable):
            return f"{entry.kind} cannot be read"
        pairs.append((event, entry.at))
    try:
        task = fold(pairs)
    except ValueError as error:
        return str(error)
    assert task is not None
    shown = {name: getattr(task, name) for name in _COLUMNS}
    return shown | {"status": task.status.value, "finished_at": stream[-1].at if ends(stream[-1]) else None}


def _differing(shown: dict[str, Any] | None, expected: dict[str, Any] | str | None) -> object:
    if shown is None or not isinstance(expected, dict):
        return shown, expected
    return {name: (shown[name], expected[name]) for name in shown if shown[name] != expected[name]}


def _story(stream: list[Entry]) -> str:
    return " → ".join(f"{entry.kind.split('.')[1]}{entry.data.get('attempt', '')}" for entry in stream)
