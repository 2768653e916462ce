"""Lists: every task once, newest first, page by page, whatever is written meanwhile; a cursor is good for its own list only."""

from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.log.samples import SUBMITTED, append_of, send

from daybook import ids
from daybook.log.connections import Connection
from daybook.log.envelope import START, Cursor
from daybook.log.postgres import read_page
from daybook.projections.listing import ListedTask, TaskFilter, list_tasks
from daybook.projections.paging import BadCursor
from daybook.projections.projector import Projector

MINE = TaskFilter(namespace="default", owner="ann")


class Writing:
    """Submits tasks and keeps the read model up."""

    def __init__(self, owner: Connection) -> None:
        self._owner = owner
        self._projector = Projector()
        self._cursor: Cursor = START

    async def submit(self, count: int, namespace: str = "default", **changes: Any) -> list[UUID]:
        """So many tasks, one commit each, and their rows."""
        streams = [ids.new_id() for _ in range(count)]
        for stream in streams:
            await send(self._owner, "api", [append_of(stream, 1, msgspec.structs.replace(SUBMITTED, **changes), namespace=namespace)])
        while (page := await read_page(self._owner, self._cursor, 100)).events:
            await self._projector.apply(self._owner, page.events)
            self._cursor = page.after
        return streams


@pytest.fixture
def writing(owner: Connection) -> Writing:
    return Writing(owner)


async def all_pages(owner: Connection, wanted: TaskFilter, limit: int, between: Callable[[], Any] | None = None) -> list[ListedTask]:
    """Page after page, until there is no next one."""
    tasks, cursor = await list_tasks(owner, wanted, limit=limit, cursor=None)
    while cursor is not None:
        if between is not None:
            await between()
        more, cursor = await list_tasks(owner, wanted, limit=limit, cursor=cursor)
        assert more
        tasks += more
    return tasks


async def test_every_task_is_listed_once_and_newest_first_while_others_are_submitted(writing: Writing, owner: Connection) -> None:
    before = await writing.submit(57)
    listed = await all_pages(owner, MINE, 5, between=lambda: writing.submit(3))
    assert [task.id for task in listed] == before[::-1]
    assert [task.submitted_at for task in listed] == sorted((task.submitted_at for task in listed), reverse=True)


@pytest.mark.parametrize("limit", [1, 7, 19, 20, 21, 200])
async def test_tasks_of_one_instant_are_listed_once(writing: Writing, owner: Connection, limit: int) -> None:
    await owner.execute("ALTER TABLE log.event ALTER COLUMN at SET DEFAULT '2026-03-14 12:00:00.000001Z'")
    submitted = await writing.submit(20)
    listed = await all_pages(owner, MINE, limit)
    assert [task.id for task in listed] == sorted(submitted, reverse=True)


async def test_a_clock_that_steps_back_lists_nothing_twice(writing: Writing, owner: Connection) -> None:
    await owner.execute("ALTER TABLE log.event ALTER COLUMN at SET DEFAULT clock_timestamp() - random() * interval '1 hour'")
    before = await writing.submit(40)
    listed = [task.id for task in await all_pages(owner, MINE, 6, between=lambda: writing.submit(2))]
    assert len(listed) == len(set(listed))
    assert set(before) <= set(listed)


async def test_filters_choose(writing: Writing, owner: Connection) -> None:
    plain = await writing.submit(3)
    other = await writing.submit(2, owner="bob", app="images.resize", queue="slow")
    labelled = await writing.submit(2, labels={"team": "a", "k": 'v"'})
    scheduled = await writing.submit(1, run_at=datetime(2030, 1, 1, tzinfo=UTC))
    foreign = await writing.submit(1, namespace="other")
    schedule = ids.new_id()
    of_schedule = await writing.submit(2, schedule=ids.spell("sch", schedule), slot=datetime(2026, 1, 1, tzinfo=UTC))

    async def found(**wanted: Any) -> set[UUID]:
        return {task.id for task in await all_pages(owner, TaskFilter(**{"namespace": "default"} | wanted), 2)}

    everything = {*plain, *other, *labelled, *scheduled, *of_schedule}
    assert await found() == everything
    assert await found(namespace="other") == set(foreign)
    assert await found(owner="bob") == await found(app="images.resize") == await found(queue="slow") == set(other)
    assert await found(status=("scheduled",)) == set(scheduled)
    assert await found(status=("scheduled", "queued")) == everything
    assert await found(labels={"k": 'v"'}) == await found(labels={"team": "a", "k": 'v"'}) == set(labelled)
    assert await found(schedule=schedule) == set(of_schedule)
    assert await found(schedule=ids.new_id()) == set()
    assert await found(labels={"team": "b"}) == await found(owner="ann'; --") == set()
    middle = (await all_pages(owner, TaskFilter(namespace="default", owner="bob"), 9))[-1].submitted_at
    assert await found(until=middle) == set(plain)
    assert await found(since=middle) == everything - set(plain)
    assert await found(since=middle, until=middle + timedelta(microseconds=1)) == {other[0]}


OTHERS = [
    TaskFilter(namespace="other", owner="ann"),
    TaskFilter(namespace="default"),
    TaskFilter(namespace="default", owner="bob"),
    TaskFilter(namespace="default", owner="ann", app="hello"),
    TaskFilter(namespace="default", owner="ann", queue="default"),
    TaskFilter(namespace="default", owner="ann", status=("queued",)),
    TaskFilter(namespace="default", owner="ann", schedule=UUID(int=1)),
    TaskFilter(namespace="default", owner="ann", labels={"a": "b"}),
    TaskFilter(namespace="default", owner="ann", since=datetime(2026, 1, 1, tzinfo=UTC)),
    TaskFilter(namespace="default", owner="ann", until=datetime(2036, 1, 1, tzinfo=UTC)),
]


async def test_a_cursor_of_one_filter_is_none_of_another(writing: Writing, owner: Connection) -> None:
    await writing.submit(3)
    for wanted in (MINE, *OTHERS):
        _, cursor = await list_tasks(owner, MINE, limit=2, cursor=None)
        assert cursor is not None
        if wanted is MINE:
            await list_tasks(owner, wanted, limit=2, cursor=cursor)
        else:
            with pytest.raises(BadCursor, match="another filter"):
                await list_tasks(owner, wanted, limit=2, cursor=cursor)


async def test_a_window_that_moves_with_the_clock_stays_where_it_was_on_the_first_page(writing: Writing, owner: Connection) -> None:
    """`since=24h` is another instant for each request."""
    submitted = await writing.submit(6)
    first = (await all_pages(owner, MINE, 9))[-1].submitted_at
    listed, cursor = await list_tasks(owner, TaskFilter(namespace="default", owner="ann", since=first), limit=4, cursor=None)
    later = TaskFilter(namespace="default", owner="ann", since=first + timedelta(days=1))
    more, end = await list_tasks(owner, later, limit=4, cursor=cursor)
    assert [task.id for task in listed + more] == submitted[::-1]
    assert end is None


def forged(*changes: Any) -> str:
    """A cursor that was never given out: right digest, any key."""
    return urlsafe_b64encode(msgspec.json.encode((MINE.digest(), *changes))).decode().rstrip("=")


NO_ID = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "=",
        "é",
        "AAAA",
        "[]",
        forged(),
        forged("2026-01-01T00:00:00Z", "x"),
        forged("2026-01-01T00:00:00", NO_ID),
        forged(None, NO_ID),
        forged("2026-01-01T00:00:00Z", NO_ID, "2026-01-01T00:00:00"),
        forged("0001-01-01T00:00:00+14:00", NO_ID),
        forged("9999-12-31T23:59:59.999999-14:00", NO_ID),
        forged("2026-01-01T00:00:00Z", NO_ID, "0001-01-01T00:00:00+14:00"),
        forged("2026-01-01T00:00:00Z", NO_ID, None, "9999-12-31T23:59:59.999999-14:00"),
    ],
)
async def test_what_is_no_cursor_is_refused(owner: Connection, cursor: str) -> None:
    with pytest.raises(BadCursor, match="not a cursor"):
        await list_tasks(owner, MINE, limit=2, cursor=cursor)


async def test_the_ends_of_the_calendar_are_times_like_others(writing: Writing, owner: Connection) -> None:
    await writing.submit(1)
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert len(await all_pages(owner, TaskFilter(namespace="default", since=first, until=last), 2)) == 1
    assert await all_pages(owner, TaskFilter(namespace="default", since=last), 2) == []
    assert await all_pages(owner, TaskFilter(namespace="default", until=first), 2) == []


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60) | st.binary(max_size=60).map(lambda noise: urlsafe_b64encode(noise).decode()))
async def test_noise_is_no_cursor(owner: Connection, text: str) -> None:
    with pytest.raises(BadCursor):
        await list_tasks(owner, MINE, limit=2, cursor=text)
