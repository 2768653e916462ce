"""Load, fold, decide, append: a command meets the task as it is now, however often somebody else was faster."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from tests.log.samples import SUBMITTED
from tests.log.test_parking import append_unreadable

from daybook import ids
from daybook.domain.commands import Cancel, Reschedule
from daybook.domain.events import TaskCancelled, TaskRescheduled
from daybook.domain.refusals import AlreadyDone, Contended, NotAllowed, NotFound, Refusal
from daybook.domain.status import Status
from daybook.domain.task import Task
from daybook.handling import Handled, handle
from daybook.log.connections import Connection
from daybook.log.envelope import Appended, Position, Recorded, StreamUnreadable
from daybook.log.postgres import Log

NOW = datetime(2027, 1, 1, tzinfo=UTC)
CANCEL = Cancel(actor="user:ann")


def anybody(recorded: list[Recorded], task: Task) -> None:
    """Permits everything."""


async def submit(log: Log) -> UUID:
    stream = ids.new_id()
    await log.append(stream, 1, SUBMITTED, namespace="default")
    return stream


async def test_a_command_becomes_the_next_event(log: Log) -> None:
    stream = await submit(log)
    handled = await handle(log, stream, CANCEL, NOW, permits=anybody)
    assert isinstance(handled, Handled)
    first, second = await log.load(stream)
    assert (second.event, handled.event) == (TaskCancelled(actor="user:ann"),) * 2
    assert handled.position == Position(second.lane, second.position)
    assert (handled.task.status, handled.task.version, handled.task.finished_at) == (Status.CANCELLED, 2, second.at)
    assert second.namespace == first.namespace


async def test_of_many_that_change_one_task_all_are_decided_on_what_is_there(log: Log) -> None:
    """Each reschedule is good after any other; each cancel only once."""
    stream = await submit(log)
    commands = [Reschedule(actor=f"user:{number}", run_at=NOW + timedelta(hours=number)) for number in range(5)]
    outcomes = await asyncio.gather(*(handle(log, stream, command, NOW, permits=anybody) for command in commands))
    assert all(isinstance(outcome, Handled) for outcome in outcomes)
    recorded = await log.load(stream)
    assert sorted(each.event.actor for each in recorded[1:] if isinstance(each.event, TaskRescheduled)) == [f"user:{number}" for number in range(5)]
    outcomes = await asyncio.gather(*(handle(log, stream, CANCEL, NOW, permits=anybody) for _ in range(5)))
    assert sum(isinstance(outcome, Handled) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, AlreadyDone) for outcome in outcomes) == 4
    assert isinstance(await handle(log, stream, commands[0], NOW, permits=anybody), NotAllowed)


async def test_who_is_always_too_late_is_told_so(url_as: Callable[[str], str]) -> None:
    one_by_one = await Log.open(url_as("daybook_api"), "api", pool_size=1, writers=1)
    stream = await submit(one_by_one)
    others: list[asyncio.Future[Appended]] = []

    def permits(recorded: list[Recorded], task: Task) -> None:
        """Somebody else is faster, each time."""
        others.append(one_by_one.append(stream, task.version + 1, TaskRescheduled(run_at=NOW), namespace="default"))

    assert isinstance(await handle(one_by_one, stream, CANCEL, NOW, permits=permits), Contended)
    await asyncio.gather(*others)
    assert len(await one_by_one.load(stream)) == 1 + len(others)
    await one_by_one.close()


async def test_what_does_not_exist_or_is_not_permitted_stays_as_it_is(log: Log) -> None:
    assert isinstance(await handle(log, ids.new_id(), CANCEL, NOW, permits=anybody), NotFound)
    stream = await submit(log)
    seen: list[Task] = []

    def permits(recorded: list[Recorded], task: Task) -> Refusal:
        seen.append(task)
        return NotFound()

    assert isinstance(await handle(log, stream, CANCEL, NOW, permits=permits), NotFound)
    assert [task.owner for task in seen] == ["ann"]
    assert len(await log.load(stream)) == 1


async def test_nothing_is_decided_on_a_stream_that_cannot_be_read(log: Log, owner: Connection) -> None:
    stream = await submit(log)
    await append_unreadable(owner, stream, 2)
    with pytest.raises(StreamUnreadable):
        await handle(log, stream, CANCEL, NOW, permits=anybody)
    assert len(await log.load(stream)) == 2
