"""What must be true of a house whatever was done to it: the log is sound, the read model is a fold over it, and NATS was told all of it.

The folds here are the rules' own (`domain.task.fold`), never the projection's: a projection that is wrong in the same way as its check would always be right.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
import nats
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from daybook import ids
from daybook.bus import topology
from daybook.domain.events import TaskEvent, TaskStarted, TaskSubmitted
from daybook.domain.status import TERMINAL
from daybook.domain.task import Task, fold
from daybook.log.connections import connect
from daybook.log.envelope import START, Recorded
from daybook.log.postgres import events_of, read_page
from daybook.testing import eventually


class Fact(NamedTuple):
    """A message of the stream of facts."""

    id: str
    subject: str
    version: int


async def whole_log(database_url: str) -> dict[UUID, list[Recorded]]:
    """Every stream of the log, each in the order in which a follower reads it."""
    connection = await connect(database_url, None)
    streams: dict[UUID, list[Recorded]] = {}
    cursor = START
    try:
        while (page := await read_page(connection, cursor, 5000)).events:
            cursor = page.after
            for recorded in page.events:
                streams.setdefault(recorded.stream, []).append(recorded)
        return streams
    finally:
        await connection.close()


async def sound_tasks(database_url: str) -> dict[str, Task]:
    """All tasks by public id, folded from the log. Every stream must be gapless, in order, and nothing but what the rules allow."""
    tasks = {}
    for stream, recorded in (await whole_log(database_url)).items():
        assert [each.version for each in recorded] == list(range(1, len(recorded) + 1)), stream
        if isinstance(recorded[0].event, TaskSubmitted):
            task = fold(events_of(recorded))  # raises for what the table does not allow
            assert task is not None
            assert sum(isinstance(each.event, TaskStarted) for each in recorded) == task.attempt
            tasks[ids.spell("tsk", stream)] = task
    return tasks


async def all_end(database_url: str, task_ids: set[str], timeout_seconds: float = 20.0) -> dict[str, Task]:
    """Wait until none of these tasks is open any more, and return all tasks; the log must be sound."""
    streams = [ids.parse("tsk", task_id) for task_id in task_ids]
    kinds = ["task.succeeded.v1", "task.failed.v1", "task.cancelled.v1"]
    connection = await asyncpg.connect(database_url)
    try:

        async def ended() -> bool:
            query = "SELECT count(DISTINCT stream) FROM log.event WHERE stream = ANY ($1) AND kind = ANY ($2)"
            return bool(await connection.fetchval(query, streams, kinds) == len(streams))

        try:
            await eventually(ended, timeout_seconds)
        except AssertionError:
            tasks = await sound_tasks(database_url)
            open_ones = {task_id: tasks[task_id].status.value if task_id in tasks else "lost" for task_id in task_ids}
            raise AssertionError({task_id: status for task_id, status in open_ones.items() if status not in TERMINAL}) from None
    finally:
        await connection.close()
    return await sound_tasks(database_url)


async def read_model_is_fold(database_url: str, timeout_seconds: float = 15.0) -> None:
    """Wait until `read.task` says exactly what a fold over the log says."""

    async def agrees() -> bool:
        return not await _differences(database_url)

    try:
        await eventually(agrees, timeout_seconds)
    except AssertionError:
        raise AssertionError(await _differences(database_url)) from None


async def facts_are_told(database_url: str, nats_url: str, task_ids: set[str] | None = None, timeout_seconds: float = 15.0) -> None:
    """Wait until every event of the log (or of these tasks) is a fact on NATS. Each stream's facts must be in order, once
    those told twice are told once."""
    wanted = None if task_ids is None else {ids.parse("tsk", task_id) for task_id in task_ids}

    async def missing() -> set[str]:
        streams = await whole_log(database_url)
        events = [each for stream, recorded in streams.items() if wanted is None or stream in wanted for each in recorded]
        return {ids.spell("evt", each.id) for each in events} - {fact.id for fact in await facts(nats_url)}

    async def complete() -> bool:
        return not await missing()

    try:
        await eventually(complete, timeout_seconds)
    except AssertionError:
        raise AssertionError(f"never told: {await missing()}") from None
    assert_in_order([fact for fact in await facts(nats_url) if task_ids is None or fact.subject in task_ids])


def assert_in_order(told: list[Fact]) -> None:
    """Versions of a stream rise by one, from its first fact on; a fact that was told before does not count."""
    last: dict[str, int] = {}
    seen: set[str] = set()
    for fact in told:
        if fact.id in seen:
            continue
        seen.add(fact.id)
        assert fact.version == last.get(fact.subject, 0) + 1, f"version {fact.version} of {fact.subject} was told after {last.get(fact.subject, 0)}"
        last[fact.subject] = fact.version


async def facts(nats_url: str) -> list[Fact]:
    """All that is stored on the stream of facts, in its order."""
    connection = await nats.connect(nats_url)
    try:
        js = connection.jetstream()
        try:
            state = (await js.stream_info(topology.FACTS)).state
        except NotFoundError:
            return []
        if not state.messages:
            return []
        config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, inactive_threshold=5)
        subscription = await js.subscribe(">", stream=topology.FACTS, ordered_consumer=True, config=config)
        told = []
        for _ in range(state.messages):
            headers = (await subscription.next_msg(timeout=5)).headers or {}
            told.append(Fact(headers["ce-id"], headers["ce-subject"], int(headers["ce-sequence"])))
        return told
    finally:
        await connection.close()


async def _differences(database_url: str) -> list[str]:
    connection = await asyncpg.connect(database_url)
    try:
        rows = {row["id"]: dict(row) for row in await connection.fetch("SELECT * FROM read.task")}
    finally:
        await connection.close()
    found = []
    streams = await whole_log(database_url)
    expected = {stream: _row(stream, recorded) for stream, recorded in streams.items() if isinstance(recorded[0].event, TaskEvent)}
    for stream in expected.keys() | rows.keys():
        row = rows.get(stream)
        if row is not None:
            row["labels"] = msgspec.json.decode(row["labels"])
        if row != expected.get(stream):
            found.append(f"the read model says {row}, the log says {expected.get(stream)}")
    return found


def _row(stream: UUID, recorded: list[Recorded]) -> dict[str, Any]:
    task = fold(events_of(recorded))
    assert task is not None
    started: list[datetime] = [each.at for each in recorded if isinstance(each.event, TaskStarted)]
    return {
        "id": stream,
        "version": len(recorded),
        "attempt": len(started),
        "priority": task.priority,
        "namespace": recorded[0].namespace,
        "owner": task.owner,
        "app": task.app,
        "app_version": task.app_version,
        "queue": task.queue,
        "status": task.status.value,
        "reason": task.reason,
        "error_type": task.error_type,
        "labels": task.labels,
        "schedule": ids.parse("sch", task.schedule) if task.schedule else None,
        "run_at": task.run_at,
        "submitted_at": recorded[0].at,
        "started_at": started[-1] if started else None,
        "finished_at": recorded[-1].at if task.status in TERMINAL else None,
    }
