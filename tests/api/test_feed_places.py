"""The places of the feed, over a log that many write to: whoever comes back with one is told exactly what followed, also at
another process, and also where the two have read the log in different pages."""

import asyncio
import random
from collections.abc import AsyncIterator
from itertools import pairwise
from uuid import UUID

import pytest
import pytest_asyncio
from tests.api.feed_house import PAGES, House, cursor_of, data, house, reading, whole, write

from daybook import ids
from daybook.log.connections import connect
from daybook.log.envelope import LANES, START, covers
from daybook.testing import eventually
from daybook_api.feed import tail as feed


@pytest_asyncio.fixture(loop_scope="session")
async def one(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """A house."""
    monkeypatch.setattr(feed, "PAGE", PAGES)
    async with house(database_url) as made:
        yield made


async def test_what_many_writers_write_is_told_once_and_in_order_wherever_it_is_cut(one: House) -> None:
    async with reading(one.stream()) as live:
        await live.next()
        tasks = await one.happen(20)
        frames = await live.take(60)
    assert whole(frames, tasks)
    assert len({cursor.index(0) for cursor in map(cursor_of, frames)}) > 1, "one lane is no test"
    assert all(covers(cursor_of(later), cursor_of(earlier)) for earlier, later in pairwise(frames))
    for cut in range(0, 60, 7):
        async with reading(one.stream(cursor_of(frames[cut]))) as again:
            assert [data(frame) for frame in await again.take(59 - cut)] == [data(frame) for frame in frames[cut + 1 :]]


async def test_cuts_at_random_between_two_processes_and_what_comes_meanwhile(one: House, database_url: str) -> None:
    """Each process has pages of its own, so the places of one lie askew to the tail of the other."""
    chance = random.Random(20261123)
    async with house(database_url) as other:
        cursor = START
        told: list[dict[str, str]] = []
        tasks: list[UUID] = []
        while len(told) < 300:
            if len(tasks) < 100:
                tasks += await chance.choice((one, other)).happen(chance.randint(1, 12))
            async with reading(chance.choice((one, other)).stream(cursor)) as reader:
                frames = await reader.take(min(chance.randint(1, 20), 3 * len(tasks) - len(told)))
            told += frames
            if frames:
                cursor = cursor_of(frames[-1])
        assert whole(told[: 3 * len(tasks)], tasks)


async def test_who_has_seen_more_than_the_tail_is_told_nothing_twice(one: House, database_url: str) -> None:
    async with house(database_url, runs=False) as behind:
        await behind.feed.begin()
        tail = behind.feed.tail
        tasks = await one.happen(10)
        async with reading(one.stream()) as reader:
            frames = await reader.take(30)
        for cut in (0, 11, 28, 29):
            async with reading(behind.stream(cursor_of(frames[cut]))) as reader:
                assert (await reader.next())["id"] == frames[cut]["id"]
                assert behind.feed.tail == tail
                if cut == 11:
                    waiting = asyncio.create_task(reader.take(18))
                    await eventually(lambda: bool(behind.feed._listening))
                    behind.duties.start()
                    rest = await waiting
                    assert {data(frame)["id"] for frame in rest} == {data(frame)["id"] for frame in frames[12:]}
                    await behind.told()
                    tail = behind.feed.tail
        assert whole(frames, tasks)


@pytest.mark.parametrize("behind_the_tail", [True, False])
async def test_places_that_lie_askew_are_told_from_as_exactly(database_url: str, behind_the_tail: bool) -> None:
    """What was committed late has a lower position than what another process has told before; its places have seen that."""
    lanes = (0, 1, 0, 2, 1, 2, 0, 1)
    seen = (2, 5, 8)
    async with house(database_url, runs=False) as one:
        await one.feed.begin()
        positions = await write(database_url, lanes)
        places = [0] * LANES
        for number in seen:
            places[lanes[number - 1]] = positions[number - 1]
        askew = tuple(places)
        expected = [number for number, lane in enumerate(lanes, 1) if positions[number - 1] > askew[lane]]
        assert set(expected) == {1, 3, 4, 6, 7}
        one.duties.start()
        if behind_the_tail:
            await one.told()
        async with reading(one.stream(askew)) as reader:
            frames = await reader.take(len(expected))
        assert [data(frame)["data"]["reason"] for frame in frames] == [str(number) for number in expected]
        for told, frame in enumerate(frames, 1):
            found = await one.stream(cursor_of(frame)).page(100, None)
            assert [fact.recorded.position for fact in found.items] == [positions[number - 1] for number in expected[told:]]
            found = await one.stream(askew).page(told, None)
            assert found.next_cursor == frame["id"]


async def test_a_stream_whose_first_event_nobody_knows_is_told_to_nobody(one: House) -> None:
    stream = ids.new_id()
    connection = await connect(one.log.url, None)
    try:
        await connection.execute(
            "INSERT INTO log.event (lane, version, position, stream, id, kind, namespace, data)"
            """ SELECT 0, n, nextval('log.position'), $1, gen_random_uuid(), 'task.' || word || '.v9', 'default', '{"owner":"ann"}'"""
            " FROM (VALUES (1, 'submitted'), (2, 'done')) AS t (n, word)",
            stream,
        )
        tasks = await one.happen(1, 1)
        await connection.execute(
            "INSERT INTO log.event (lane, version, position, stream, id, kind, namespace, data)"
            """ VALUES (0, 2, nextval('log.position'), $1, gen_random_uuid(), 'task.praised.v2', 'default', '{"kind":"task.praised.v2","by":"bob"}')""",
            tasks[0],
        )
    finally:
        await connection.close()
    async with reading(one.stream()) as reader:
        known, unknown = await reader.take(2)
    assert data(known)["kind"] == "task.submitted.v1"
    said = data(unknown)
    assert (unknown["event"], said["kind"], said["status"], said["owner"], said["data"]) == ("task.praised", "task.praised.v2", None, "ann", {"by": "bob"})
