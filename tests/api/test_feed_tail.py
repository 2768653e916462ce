"""One tail for all who read the feed here: what it costs, who is behind, and how who is behind catches up."""

import asyncio
import random
from collections.abc import AsyncIterator
from itertools import pairwise
from urllib.parse import urlsplit
from uuid import UUID

import httpx2
import msgspec
import pytest
import pytest_asyncio
from tests.api.asking import submit
from tests.api.feed_house import ANN, PAGES, House, Reader, cursor_of, data, house, reading, whole, write
from tests.api.feeding import feed as feeding
from tests.api.feeding import take
from tests.services import Services, serving_api

from daybook.log.connections import LOST
from daybook.testing import eventually
from daybook.testing.proxy import Proxy
from daybook_api.feed import tail as feed
from daybook_api.watching.sse import PIECE_BYTES


@pytest_asyncio.fixture(loop_scope="session")
async def one(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """A house."""
    monkeypatch.setattr(feed, "PAGE", PAGES)
    async with house(database_url) as made:
        yield made


async def test_who_does_not_read_is_told_everything_later_and_nobody_waits(one: House) -> None:
    async with reading(one.stream()) as slow, reading(one.stream()) as quick:
        waiting = [asyncio.create_task(reader.take(3)) for reader in (slow, quick)]
        await eventually(lambda: sum(map(len, one.feed._listening.get("default", {}).values())) == 2)
        first = await one.happen(1)
        assert all(whole(frames, first) for frames in await asyncio.gather(*waiting))
        tasks: list[UUID] = []
        seen: list[dict[str, str]] = []
        for _ in range(8):
            more = await one.happen(50)
            tasks += more
            seen += await quick.take(150)
        assert whole(seen, tasks)
        behind = [each for each in one.feed._present if each.behind]
        assert len(behind) == 1
        assert behind[0]._heard == []
        frames = await slow.take(1200)
        assert [data(frame) for frame in frames] == [data(frame) for frame in seen]
        waiting = [asyncio.create_task(reader.take(3)) for reader in (slow, quick)]
        await eventually(lambda: not behind[0].behind)
        more = await one.happen(1)
        assert all(whole(frames, more) for frames in await asyncio.gather(*waiting))
        assert max(map(len, slow.pieces)) <= PIECE_BYTES


async def test_two_hundred_listeners_cost_one_tail(one: House) -> None:
    """What is told to them all is read once, looked up once, and encoded once."""
    await one.happen(1, owner="bob")
    await one.feed.begin()
    bob = msgspec.structs.replace(ANN, owner="bob")
    start = await one.log.head()
    streams = [one.stream(start, bob if number % 10 == 0 else ANN).frames(30) for number in range(200)]
    readers = [Reader(stream) for stream in streams]
    await asyncio.gather(*(reader.next() for reader in readers))
    taking = [asyncio.create_task(reader.take(6)) for number, reader in enumerate(readers) if number % 10]
    await eventually(lambda: sum(len(each) for owners in one.feed._listening.values() for each in owners.values()) == 180)
    await asyncio.sleep(0)
    one.queries.clear()
    tasks = await one.happen(2)
    told = await asyncio.gather(*taking)
    assert whole(told[0], tasks)
    assert all(frames == told[0] for frames in told)
    await asyncio.sleep(0)
    assert one.queries == []
    for stream in streams:
        await stream.aclose()
    assert (one.feed._present, one.feed._listening, one.hub.watches) == (set(), {}, {})


async def test_a_crowd_that_comes_back_from_about_the_same_place_reads_it_once(one: House) -> None:
    tasks = await one.happen(30)
    async with reading(one.stream()) as reader:
        frames = await reader.take(90)
    one.feed._rest()
    await one.feed.begin()
    await asyncio.sleep(0)
    one.queries.clear()
    places = [cursor_of(frame) for frame in frames[20:60] for _ in range(5)]
    random.Random(5).shuffle(places)
    streams = [one.stream(place).frames(30) for place in places]
    readers = [Reader(stream) for stream in streams]
    expected = [89 - frames.index(next(frame for frame in frames if cursor_of(frame) == place)) for place in places]
    told = await asyncio.gather(*(reader.take(count) for reader, count in zip(readers, expected, strict=True)))
    assert [len(each) for each in told] == expected
    await asyncio.sleep(0)
    assert len(one.queries) < 60, "two hundred readers of ten pages each"
    for stream in streams:
        await stream.aclose()
    assert len(tasks) == 30


async def test_a_tail_without_readers_rests(one: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "_LINGER_SECONDS", 0.0)
    monkeypatch.setattr(feed, "_WAIT_SECONDS", 0.01)
    async with reading(one.stream()) as reader:
        tasks = await one.happen(1)
        frames = await reader.take(3)
        assert whole(frames, tasks)
    await eventually(lambda: one.feed._tail is None)
    assert one.feed._recent == []
    more = await one.happen(2)
    async with reading(one.stream(cursor_of(frames[-1]))) as reader:
        assert whole(await reader.take(6), more)
        tasks = await one.happen(1)
        assert whole(await reader.take(3), tasks)


async def test_a_long_past_is_kept_in_memory_only_as_far_as_it_has_to_be(one: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "_RECENT_FACTS", 50)
    async with reading(one.stream()) as reader:
        tasks = await one.happen(60)
        frames = await reader.take(180)
        await one.told()
        assert sum(len(each.facts) for each in one.feed._recent) == one.feed._recent_facts <= 50
        assert all(earlier.after == later.before for earlier, later in pairwise(one.feed._recent))
        async with reading(one.stream()) as late:
            assert whole(await late.take(180), tasks)
        async with reading(one.stream(cursor_of(frames[150]))) as late:
            assert [data(frame) for frame in await late.take(29)] == [data(frame) for frame in frames[151:]]


async def test_closing_the_hub_ends_all_readers_those_to_come_too(one: House) -> None:
    async with reading(one.stream()) as reader:
        tasks = await one.happen(1)
        assert whole(await reader.take(3), tasks)
        one.hub.close()
        with pytest.raises(StopAsyncIteration):
            await reader.next()
    async with reading(one.stream()) as late:
        assert (await late.next())["event"] == "begin"
        with pytest.raises(StopAsyncIteration):
            await late.next()
    found = await one.stream(await one.log.head()).page(10, 30)
    assert found.items == []


async def test_a_revoked_token_ends_its_stream_and_no_other(services: Services, owner: str) -> None:
    token = await services.token(owner)
    async with services.client(token) as client, services.client(await services.token(owner)) as other, feeding(client) as stream, feeding(other) as goes_on:
        task = await submit(client)
        await take(stream, 3)
        await services.revoke(token)
        assert await stream.next() is None
        await take(goes_on, 3)
        task = await submit(other)
        assert {frame.data["subject"] for frame in await take(goes_on, 3)} == {task["id"]}


async def test_an_api_that_stops_ends_its_feeds_and_leaves_nothing_behind(services: Services, owner: str) -> None:
    async with serving_api(services.settings) as served:
        headers = {"Authorization": f"Bearer {await services.token(owner)}"}
        async with httpx2.AsyncClient(base_url=served.url, headers=headers, timeout=30) as client:
            async with feeding(client) as left:
                task = await submit(client)
                await take(left, 3)
            await eventually(lambda: served.api.gateway.feed._present == set())
            async with feeding(client, types="task") as stream:
                await submit(client)
                frames = await take(stream, 3)
                served.server.handle_exit(2, None)
                assert await stream.next() is None
    async with services.client(await services.token(owner)) as client, feeding(client, frames[0].id) as stream:
        assert [frame.data for frame in await take(stream, 2)] == [frame.data for frame in frames[1:]]
    assert task["id"]


async def test_readers_outlive_an_outage_of_the_database(database_url: str) -> None:
    """Who listens hears the rest when it is over; who has to read the past is sent away, and comes back."""
    place = urlsplit(database_url)
    assert place.hostname is not None
    assert place.port is not None
    async with Proxy(place.hostname, place.port) as proxy, house(database_url.replace(f":{place.port}/", f":{proxy.port}/")) as made:
        await write(database_url, (0, 1))
        async with reading(made.stream()) as reader:
            frames = await reader.take(2)
            waiting = asyncio.create_task(reader.take(3))
            await eventually(lambda: bool(made.feed._listening))
            proxy.refuse()
            made.feed._older.clear()
            await write(database_url, (0, 2, 1))
            async with reading(made.stream()) as late:
                with pytest.raises(StopAsyncIteration):
                    await late.take(5)
            with pytest.raises(LOST):
                await made.stream().page(10, None)
            proxy.heal()
            frames += await waiting
        assert [data(frame)["data"]["reason"] for frame in frames] == ["1", "2", "1", "2", "3"]
        async with reading(made.stream(cursor_of(frames[1]))) as reader:
            assert [data(frame) for frame in await reader.take(3)] == [data(frame) for frame in frames[2:]]
