"""Who is told of an end, decided page by page: over a real log, with pages as a reader gives them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from time import perf_counter
from uuid import UUID

import pytest
import pytest_asyncio

from daybook import ids
from daybook.blobs import open_blobs
from daybook.domain.events import Content, Event, TaskCancelled, TaskRetried, TaskSubmitted, WebhookCreated, WebhookDeleted
from daybook.log.connections import Connection, connect
from daybook.log.envelope import START, Page, Recorded
from daybook.log.postgres import Log, read_page
from daybook.projections.projector import rebuild
from daybook.webhook_deliveries import FOLLOWER, WebhookDeliveries, WebhooksBehind
from daybook.webhooks import APP, checked_url

CONTENT = Content(digest="00" * 32, size_bytes=2)
URL = "https://example.net/hook"


class Desk:
    """A log, a handler over it, and the page of everything that is in the log."""

    def __init__(self, log: Log, connection: Connection, url: str) -> None:
        self.log = log
        self.connection = connection
        self.handler = WebhookDeliveries(log, open_blobs("", log))
        self._url = url

    async def ended(self, *, on_finish: str = "", owner: str = "ann", app: str = "hello") -> UUID:
        """A task that was submitted and cancelled."""
        stream = ids.new_id()
        await self.say(stream, 1, TaskSubmitted(owner=owner, app=app, app_version="1", input=CONTENT, on_finish=on_finish))
        await self.say(stream, 2, TaskCancelled())
        return stream

    async def say(self, stream: UUID, version: int, event: Event) -> None:
        """Append an event."""
        await self.log.append(stream, version, event, namespace="default")

    async def read(self) -> Page:
        """Everything, read as the handler's follower would."""
        page = await read_page(self.connection, START, 1000)
        assert len(page.events) < 1000
        return page

    async def tell(self, events: list[Recorded]) -> bool:
        """Have the handler look at these events."""
        return await self.handler.apply(self.connection, [each for each in events if isinstance(each.event, Event) and self.handler.concerns(each.event)])

    async def deliveries(self) -> list[tuple[str, str]]:
        """The tasks and webhooks of all deliveries."""
        events = [each.event for each in (await self.read()).events]
        found = [event.labels for event in events if isinstance(event, TaskSubmitted) and event.app == APP]
        return sorted((labels["task"], labels.get("webhook", "")) for labels in found)

    async def project(self) -> None:
        """Bring the read models up to date."""
        await rebuild(self._url)


@pytest_asyncio.fixture(loop_scope="session")
async def desk(database_url: str, url_as: Callable[[str], str]) -> AsyncIterator[Desk]:
    """A handler with nothing behind it, and nothing before."""
    log = await Log.open(url_as("daybook_api"), "api", pool_size=2, writers=1)
    await log.open_writer()
    connection = await connect(url_as("daybook_api"), "daybook_api")
    made = Desk(log, connection, database_url)
    await made.handler.begin(connection)
    yield made
    await connection.close()
    await log.close()


def name(task: UUID) -> str:
    return ids.spell("tsk", task)


async def test_looking_at_a_page_again_submits_nothing_again(desk: Desk) -> None:
    webhook = ids.new_id()
    await desk.say(webhook, 1, WebhookCreated(owner="ann", url=URL))
    task = await desk.ended(on_finish=URL)
    page = await desk.read()
    assert await desk.tell(page.events)
    expected = sorted([(name(task), ""), (name(task), ids.spell("whk", webhook))])
    assert await desk.deliveries() == expected
    await desk.handler.begin(desk.connection)
    await desk.tell(page.events)
    assert await desk.deliveries() == expected


async def test_an_end_is_told_though_the_task_has_gone_on_since(desk: Desk) -> None:
    task = await desk.ended(on_finish=URL)
    await desk.say(task, 3, TaskRetried())
    await desk.say(task, 4, TaskCancelled())
    await desk.tell((await desk.read()).events)
    assert await desk.deliveries() == [(name(task), "")] * 2


async def test_the_beginning_of_a_task_may_lie_before_what_this_process_has_read(desk: Desk) -> None:
    told, silent = await desk.ended(on_finish=URL), await desk.ended()
    ends = [each for each in (await desk.read()).events if isinstance(each.event, TaskCancelled)]
    assert {each.stream for each in ends} == {told, silent}
    await desk.tell(ends)
    assert await desk.deliveries() == [(name(told), "")]


async def test_a_webhook_that_was_made_before_is_known_and_one_that_was_deleted_is_not(desk: Desk) -> None:
    kept, deleted = ids.new_id(), ids.new_id()
    early = await desk.ended()
    for webhook in (kept, deleted):
        await desk.say(webhook, 1, WebhookCreated(owner="ann", url=URL))
    await desk.say(deleted, 2, WebhookDeleted())
    await desk.project()
    await desk.handler.begin(desk.connection)
    late = await desk.ended()
    await desk.ended(owner="bob")
    # Ends from before it was made are in the page, too: a follower may come back to them.
    page = await desk.read()
    await desk.tell([each for each in page.events if not isinstance(each.event, WebhookCreated | WebhookDeleted)])
    assert early != late
    assert await desk.deliveries() == [(name(late), ids.spell("whk", kept))]


async def test_it_does_not_begin_before_all_webhooks_are_known(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daybook.webhook_deliveries._PATIENCE_SECONDS", 0.1)
    await desk.say(ids.new_id(), 1, WebhookCreated(owner="ann", url=URL))
    page = await desk.read()
    await desk.connection.execute("INSERT INTO log.cursor (follower, positions) VALUES ($1, $2)", FOLLOWER, page.after)
    with pytest.raises(WebhooksBehind):
        await desk.handler.begin(desk.connection)
    await desk.project()
    await desk.handler.begin(desk.connection)


async def test_an_end_that_nobody_wants_to_hear_of_costs_no_query(desk: Desk) -> None:
    for _ in range(50):
        await desk.ended()
    page = await desk.read()
    # A log that was never opened: whoever asked it anything would be told so.
    closed = Log(desk.log.url, "api", (), 1)
    handler = WebhookDeliveries(closed, open_blobs("", closed))
    begun = perf_counter()
    for _ in range(20):
        assert not await handler.apply(desk.connection, page.events)
    per_event = (perf_counter() - begun) / (20 * len(page.events))
    # About a microsecond; the bound is for machines that do something else as well.
    assert per_event < 50e-6, f"{per_event * 1e6:.1f} µs"


async def test_what_it_remembers_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daybook.webhook_deliveries._MOST_REMEMBERED", 10)
    told = [await desk.ended(on_finish=f"{URL}?{number}") for number in range(20)]
    page = await desk.read()
    await desk.tell([each for each in page.events if isinstance(each.event, TaskSubmitted)])
    await desk.tell([each for each in page.events if isinstance(each.event, TaskCancelled)])
    assert await desk.deliveries() == sorted((name(task), "") for task in told)


@pytest.mark.parametrize("url", ["https://example.net", "http://[2001:db8::1]:8080/a?b=%20#c", "https://xn--exmple-cua.net/", "HTTPS://EXAMPLE.NET/"])
def test_a_url_that_can_be_told_is_taken_as_it_is(url: str) -> None:
    assert checked_url(url) == url
