"""What cannot be digested stops its own stream and nothing else, is remembered, and is tried again at the next start."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio
from tests.log.noting import TABLE, Host, Notes, hosted, noted, running, until_caught_up, until_noted
from tests.log.samples import RESCHEDULED, SUBMITTED, append_of

from daybook import ids
from daybook.domain.events import TaskDue
from daybook.log import codec
from daybook.log.connections import Connection
from daybook.log.envelope import Append, Fenced
from daybook.log.postgres import Log
from daybook.testing import eventually

FROM_THE_FUTURE = "task.paused.v1"


@pytest_asyncio.fixture(loop_scope="session")
async def host(database_url: str, owner: Connection) -> AsyncIterator[Host]:
    await owner.execute(TABLE)
    async with hosted(database_url) as opened:
        yield opened


async def test_an_event_that_cannot_be_read_parks_its_stream_and_no_other(host: Host, log: Log, owner: Connection) -> None:
    odd, other = await _submit(log), await _submit(log)
    async with running(host.follower(Notes())):
        await append_unreadable(owner, odd, 2)
        await append_unreadable(owner, odd, 3)
        await log.append(other, 2, RESCHEDULED, namespace="default")
        await until_caught_up(owner, log)
    assert set(await noted(owner)) == {(odd, 1), (other, 1), (other, 2)}
    [parked] = await owner.fetch("SELECT follower, stream, version, error FROM log.parked")
    assert (parked["follower"], parked["stream"], parked["version"]) == ("notes", odd, 2)
    assert FROM_THE_FUTURE in parked["error"]


async def test_what_was_unreadable_is_read_by_the_release_that_can(host: Host, log: Log, owner: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = await _submit(log)
    notes = Notes()
    async with running(host.follower(notes)):
        await append_unreadable(owner, odd, 2)
        await log.append(odd, 3, RESCHEDULED, namespace="default")
        await until_caught_up(owner, log)
    async with running(host.follower(notes)):
        other = await _submit(log)
        await eventually(lambda: _is_noted(owner, other, 1))
        await log.append(odd, 4, RESCHEDULED, namespace="default")
        await until_caught_up(owner, log)
    assert [version for stream, version in await noted(owner) if stream == odd] == [1]
    monkeypatch.setitem(codec._DECODERS, FROM_THE_FUTURE, msgspec.json.Decoder(TaskDue))
    await owner.execute("DELETE FROM public.noted WHERE stream = $1", odd)  # A projection would know that it has version 1 already.
    async with running(host.follower(notes)):
        await log.append(odd, 5, RESCHEDULED, namespace="default")
        await eventually(lambda: _is_noted(owner, odd, 5))
    assert [version for stream, version in await noted(owner) if stream == odd] == [1, 2, 3, 4, 5]
    assert await owner.fetch("SELECT * FROM log.parked") == []


async def test_what_a_handler_cannot_digest_parks_its_stream_and_no_other(host: Host, log: Log, owner: Connection) -> None:
    streams = [await _submit(log) for _ in range(10)]
    notes = Notes()
    notes.poison = {streams[3], streams[7]}
    async with running(host.follower(notes)):
        await until_noted(owner, 8)
        for stream in streams:
            await log.append(stream, 2, RESCHEDULED, namespace="default")
        await until_noted(owner, 16)
        await until_caught_up(owner, log)
    assert {stream for stream, _ in await noted(owner)} == set(streams) - notes.poison
    assert {row["stream"] for row in await owner.fetch("SELECT stream FROM log.parked")} == notes.poison
    notes.poison = {streams[7]}
    async with running(host.follower(notes)):
        await until_noted(owner, 18)
        assert await owner.fetchval("SELECT stream FROM log.parked") == streams[7]
        await log.append(streams[3], 3, RESCHEDULED, namespace="default")
        await until_noted(owner, 19)
    assert [version for stream, version in await noted(owner) if stream == streams[3]] == [1, 2, 3]


async def test_what_one_follower_cannot_digest_another_may(host: Host, log: Log, owner: Connection) -> None:
    weak, strong = Notes("weak"), Notes("strong")
    stream = await _submit(log)
    weak.poison = {stream}
    async with running(host.follower(weak)), running(host.follower(strong)):
        await until_noted(owner, 1, "strong")
        await until_caught_up(owner, log, "weak")
    assert await owner.fetchval("SELECT array_agg(follower) FROM log.parked") == ["weak"]


async def test_an_overtaken_holder_does_not_unpark(host: Host, log: Log, owner: Connection) -> None:
    stream = await _submit(log)
    notes = Notes()
    notes.poison = {stream}
    async with running(host.follower(notes)):
        await eventually(lambda: owner.fetchval("SELECT count(*) FROM log.parked"))
    notes.poison = set()
    # Somebody takes over between this holder's start and its retry.
    notes.before_noting = "UPDATE log.cursor SET epoch = epoch + 1, holder = 'other'"
    with pytest.raises(Fenced):
        await asyncio.wait_for(host.follower(notes).run(), 5)
    assert await noted(owner) == []
    assert await owner.fetchval("SELECT count(*) FROM log.parked") == 1


async def append_unreadable(owner: Connection, stream: UUID, version: int) -> None:
    """What a later release will write."""
    row: Append = append_of(stream, version, TaskDue())._replace(kind=FROM_THE_FUTURE, data=b'{"kind":"task.due.v1"}')
    rows = await owner.fetch("SELECT * FROM log._append(log._take_lane(), $1, $2, $3, $4, $5, $6, $7)", *([value] for value in row))
    assert len(rows) == 1


async def _submit(log: Log) -> UUID:
    stream = ids.new_id()
    await log.append(stream, 1, SUBMITTED, namespace="default")
    return stream


async def _is_noted(owner: Connection, stream: UUID, version: int) -> bool:
    return (stream, version) in await noted(owner)
