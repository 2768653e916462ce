"""One reader per process: followers that keep up share its pages, one that is behind catches up and then shares them too."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from tests.log.samples import RESCHEDULED, SQL, SUBMITTED

from daybook import ids
from daybook.log import reader as reading
from daybook.log.connections import LOST, Connection, connect
from daybook.log.envelope import START, Cursor, Page, covers, joined
from daybook.log.postgres import Log
from daybook.log.reader import LogReader
from daybook.testing.proxy import Proxy

PAGE = 5


class Counted:
    """A reader, and how often it has asked for a page."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._queries = 0
        self.reader = LogReader(self._connect, page=PAGE)

    async def _connect(self) -> Connection:
        connection = await connect(self._url, None)
        connection.add_query_logger(self._count)
        return connection

    def _count(self, sent: Any) -> None:
        self._queries += sent.query == SQL["page"]

    async def queries(self) -> int:
        """How many pages were asked for so far."""
        await asyncio.sleep(0)  # The driver tells of a query in the next turn of the loop.
        return self._queries

    async def next(self, cursor: Cursor) -> Page:
        """The next page that there is now."""
        return await self.reader.page_after(cursor, 0)

    async def to_the_end(self, cursor: Cursor) -> list[Page]:
        """All pages that there are now; the last of them is empty."""
        pages = [await self.next(cursor)]
        while pages[-1].events:
            pages.append(await self.next(pages[-1].after))
        return pages


@pytest_asyncio.fixture(loop_scope="session")
async def counted(database_url: str) -> AsyncIterator[Counted]:
    made = Counted(database_url)
    yield made
    await made.reader.close()


async def test_followers_at_one_place_share_one_query(counted: Counted, log: Log) -> None:
    await _append(log, 3)
    one, other = await asyncio.gather(counted.next(START), counted.next(START))
    assert one is other
    assert len(one.events) == 3
    assert await counted.queries() == 1


async def test_one_that_is_behind_lands_on_the_pages_of_the_others(counted: Counted, log: Log) -> None:
    await _append(log, 8)
    ahead = (await counted.to_the_end(START))[-1].after
    await _append(log, 3)
    ahead = (await counted.next(ahead)).after
    for _ in range(20):  # So many pages ago that nobody remembers.
        await _append(log, 1)
        ahead = (await counted.next(ahead)).after
    behind = START
    seen = []
    while not covers(behind, ahead):
        page = await counted.next(behind)
        assert page.events
        assert covers(ahead, page.after), "it must not run past the others"
        seen += [event.id for event in page.events]
        behind = page.after
    assert behind == ahead
    assert len(seen) == len(set(seen)) == 31
    await _append(log, 1)
    queries = await counted.queries()
    assert await counted.next(behind) is await counted.next(ahead)
    assert await counted.queries() == queries + 1


async def test_two_that_come_from_different_places_meet(counted: Counted, log: Log) -> None:
    """Cursors of other processes were cut elsewhere: each is ahead of the other in some lane."""
    await _append(log, 1)
    streams = [await _append(log, 1) for _ in range(2)]
    for stream in streams:
        await log.append(stream, 2, RESCHEDULED, namespace="default")
    everything = [event for page in await counted.to_the_end(START) for event in page.events]
    one, other = list(START), list(START)
    one[everything[0].lane] = everything[0].position
    other[(everything[0].lane + 1) % 64] = 10**6  # A lane in which nothing lies behind it.
    fresh = LogReader(counted._connect, page=PAGE)
    ends = []
    for start in (tuple(one), tuple(other)):
        page = await fresh.page_after(start, 0)
        while page.events:
            page = await fresh.page_after(page.after, 0)
        ends.append(page.after)
    assert covers(ends[1], ends[0])
    assert joined(ends[0], tuple(other)) == ends[1]
    await _append(log, 1)
    assert len((await fresh.page_after(ends[0], 0)).events) == 1
    assert len((await fresh.page_after(ends[1], 0)).events) == 1
    await fresh.close()


async def test_who_waits_is_woken(counted: Counted, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "POLL_SECONDS", 60.0)
    await counted.next(START)
    log.on_commit(lambda position, _: counted.reader.wake(position))
    waiting = [asyncio.create_task(counted.reader.page_after(START, 30)) for _ in range(3)]
    await asyncio.sleep(0)
    await _append(log, 1)
    pages = await asyncio.wait_for(asyncio.gather(*waiting), 5)
    assert {len(page.events) for page in pages} == {1}


async def test_who_is_not_woken_looks_again_all_the_same(counted: Counted, log: Log) -> None:
    waiting = asyncio.create_task(counted.reader.page_after(START, 30))
    await asyncio.sleep(0)
    await _append(log, 1)
    page = await asyncio.wait_for(waiting, 5)
    assert len(page.events) == 1


async def test_who_waits_for_nothing_is_told_so_in_time(counted: Counted) -> None:
    page = await asyncio.wait_for(counted.reader.page_after(START, 0.05), 5)
    assert page == Page(START, [], START)


async def test_a_lost_connection_is_told_and_made_again(url_as: Callable[[str], str], through: Callable[[str], str], proxy: Proxy, log: Log) -> None:
    cut = Counted(through(url_as("daybook_api")))
    await _append(log, 1)
    page = await cut.next(START)
    proxy.cut()
    with pytest.raises(LOST):
        await cut.next(page.after)
    assert [event.id for event in (await cut.next(START)).events] == [event.id for event in page.events]
    await cut.reader.close()


async def test_after_a_lost_connection_nothing_is_remembered(url_as: Callable[[str], str], through: Callable[[str], str], proxy: Proxy, log: Log) -> None:
    """The server that answers next may be one that never had the last events; what it has instead must not be skipped."""
    cut = Counted(through(url_as("daybook_api")))
    await _append(log, 1)
    page = await cut.next(START)
    proxy.cut()
    with pytest.raises(LOST):
        await cut.next(page.after)
    queries = await cut.queries()
    await cut.next(START)
    assert await cut.queries() == queries + 1
    await cut.reader.close()


async def _append(log: Log, count: int) -> UUID:
    streams = [ids.new_id() for _ in range(count)]
    await asyncio.gather(*(log.append(stream, 1, SUBMITTED, namespace="default") for stream in streams))
    return streams[0]
