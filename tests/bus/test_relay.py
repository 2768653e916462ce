"""The relay, over a real log and a real server: every event becomes a fact, in the order of its stream, whatever is in the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import msgspec
import nats.errors
import pytest
import pytest_asyncio
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError
from tests.bus.parts import everything, open_log, submit
from tests.scheduler.schedules import create

from daybook import ids
from daybook.bus import topology
from daybook.bus.jetstream import Bus
from daybook.domain.events import AppPublished, Event, TaskCancelRequested, TaskRescheduled, kind_of
from daybook.domain.schedule_events import ScheduleCreated, ScheduleDeleted, SchedulePaused, ScheduleResumed, SlotFired
from daybook.log.connections import Connection, connect
from daybook.log.envelope import Recorded, Unreadable
from daybook.log.postgres import Log
from daybook.relay import Relay
from daybook.testing import NOON


class Relaying:
    """A relay, and what its follower would give it."""

    def __init__(self, log: Log, bus: Bus, connection: Connection) -> None:
        self.log = log
        self.relay = Relay(log, bus)
        self.connection = connection
        self._told = 0

    async def tell(self) -> None:
        """Have the relay tell what it was not told yet, as one page."""
        events = await everything(self.log)
        await self.relay.apply(self.connection, events[self._told :])
        self._told = len(events)

    async def begin_again(self) -> None:
        """What happens when the follower crashed: it starts from a cursor that may be old."""
        await self.relay.begin(self.connection)
        self._told = 0


@pytest_asyncio.fixture(loop_scope="session")
async def relaying(database_url: str, bus: Bus) -> AsyncIterator[Relaying]:
    async with open_log(database_url) as log:
        connection = await connect(database_url, "daybook_api")
        yield Relaying(log, bus, connection)
        await connection.close()


async def grow(log: Log, stream: UUID, version: int, event: Event) -> None:
    await log.append(stream, version, event, namespace="default")


async def told(js: JetStreamContext) -> list[RawStreamMsg]:
    """All facts, as they are stored."""
    state = (await js.stream_info(topology.FACTS)).state
    return [await js.get_msg(topology.FACTS, number) for number in range(state.first_seq, state.last_seq + 1)]


def versions(facts: list[RawStreamMsg], stream: UUID) -> list[int]:
    """The versions of one task, in the order in which they are stored."""
    public_id = ids.spell("tsk", stream)
    return [int(fact.headers["ce-sequence"]) for fact in facts if fact.headers and fact.headers["ce-subject"] == public_id]


async def test_an_event_becomes_a_cloud_event(relaying: Relaying, js: JetStreamContext) -> None:
    task = await submit(relaying.log, "images.resize")
    await relaying.tell()
    (recorded,) = await everything(relaying.log)
    (fact,) = await told(js)
    assert fact.subject == f"daybook.default.ann.fact.images-resize.{ids.spell('tsk', task)}.queued"
    assert fact.data == recorded.data
    assert fact.headers == {
        "Nats-Msg-Id": ids.spell("evt", recorded.id),
        "Nats-Expected-Stream": "DAYBOOK_FACTS",
        "ce-id": ids.spell("evt", recorded.id),
        "ce-sequence": "1",
        "ce-source": "/daybook/default",
        "ce-specversion": "1.0",
        "ce-subject": ids.spell("tsk", task),
        "ce-time": recorded.at.isoformat(),
        "ce-type": "task.submitted.v1",
        "content-type": "application/json",
    }


async def test_what_happens_to_a_schedule_is_told_under_its_name(relaying: Relaying, js: JetStreamContext) -> None:
    schedule = await create(relaying.log, app="images.resize")
    name = ids.spell("sch", schedule)
    await relaying.tell()
    relaying.relay = Relay(relaying.log, relaying.relay._bus)
    events: list[Event] = [SlotFired(slot=NOON, task="tsk_1", cause="trigger"), SchedulePaused(reason="a rest"), ScheduleResumed(), ScheduleDeleted()]
    for version, event in enumerate(events, 2):
        await grow(relaying.log, schedule, version, event)
    await relaying.tell()
    facts = await told(js)
    verbs = ["created", "fired", "paused", "resumed", "deleted"]
    assert [fact.subject for fact in facts] == [f"daybook.default.ann.fact.images-resize.{name}.{verb}" for verb in verbs]
    assert [fact.headers["ce-type"] for fact in facts if fact.headers] == [kind_of(ScheduleCreated), *map(kind_of, events)]
    assert {fact.headers["ce-subject"] for fact in facts if fact.headers} == {name}


async def test_pages_are_told_whole_and_in_order(relaying: Relaying, js: JetStreamContext) -> None:
    for _ in range(3):
        tasks = [await submit(relaying.log) for _ in range(5)]
        for task in tasks:
            await grow(relaying.log, task, 2, TaskRescheduled(run_at=NOON))
            await grow(relaying.log, task, 3, TaskRescheduled(run_at=NOON))
        await relaying.tell()
    facts = await told(js)
    assert [fact.headers["ce-id"] for fact in facts if fact.headers] == [ids.spell("evt", each.id) for each in await everything(relaying.log)]


async def test_a_later_event_finds_its_subject_after_a_restart(relaying: Relaying, js: JetStreamContext) -> None:
    task = await submit(relaying.log, "images.resize")
    await relaying.tell()
    await grow(relaying.log, task, 2, TaskRescheduled(run_at=NOON))
    relaying.relay = Relay(relaying.log, relaying.relay._bus)
    await relaying.tell()
    assert (await told(js))[-1].subject == f"daybook.default.ann.fact.images-resize.{ids.spell('tsk', task)}.scheduled"


async def test_a_page_told_again_is_stored_once(relaying: Relaying, js: JetStreamContext) -> None:
    task = await submit(relaying.log)
    await grow(relaying.log, task, 2, TaskRescheduled(run_at=NOON))
    await relaying.tell()
    await relaying.begin_again()
    await grow(relaying.log, task, 3, TaskRescheduled(run_at=NOON))
    await relaying.tell()
    assert versions(await told(js), task) == [1, 2, 3]


async def test_two_relays_at_once_do_not_harm_each_other(relaying: Relaying, js: JetStreamContext) -> None:
    """For a moment there may be two: one that was frozen and its successor."""
    other = Relaying(relaying.log, relaying.relay._bus, relaying.connection)
    tasks = []
    for _ in range(3):
        task = await submit(relaying.log)
        await grow(relaying.log, task, 2, TaskRescheduled(run_at=NOON))
        tasks.append(task)
        await relaying.tell()
        await other.tell()
        await grow(relaying.log, task, 3, TaskRescheduled(run_at=NOON))
        await other.tell()
        await relaying.tell()
    facts = await told(js)
    assert [versions(facts, task) for task in tasks] == [[1, 2, 3]] * 3


@pytest.mark.parametrize("pages_before", [0, 1])
async def test_nothing_overtakes_a_fact_that_was_not_stored(relaying: Relaying, js: JetStreamContext, pages_before: int) -> None:
    """The server refuses the first event of a task, for some reason of its own; then the second must not be told either."""
    for _ in range(pages_before):
        await submit(relaying.log)
        await relaying.tell()
    facts = next(each for each in topology.STREAMS if each.name == topology.FACTS)
    await js.update_stream(facts.evolve(max_msg_size=2000))
    other = await submit(relaying.log)
    task = await submit(relaying.log, labels={"long": "x" * 2000})
    await grow(relaying.log, task, 2, TaskRescheduled(run_at=NOON))
    await grow(relaying.log, other, 2, TaskRescheduled(run_at=NOON))
    await grow(relaying.log, task, 3, TaskRescheduled(run_at=NOON))
    with pytest.raises(APIError, match="exceeds maximum"):
        await relaying.tell()
    assert versions(await told(js), task) == []
    assert versions(await told(js), other) in ([1], [1, 2])
    await js.update_stream(facts)
    await relaying.begin_again()
    await relaying.tell()
    assert (versions(await told(js), task), versions(await told(js), other)) == ([1, 2, 3], [1, 2])


async def test_a_fact_that_was_not_stored_is_missed_whoever_comes_after_it(relaying: Relaying, js: JetStreamContext) -> None:
    await submit(relaying.log)
    await relaying.tell()
    facts = next(each for each in topology.STREAMS if each.name == topology.FACTS)
    await js.update_stream(facts.evolve(max_msg_size=2000))
    task, other = await submit(relaying.log, labels={"long": "x" * 2000}), await submit(relaying.log)
    with pytest.raises(APIError, match="exceeds maximum"):
        await relaying.tell()
    await js.update_stream(facts)
    await relaying.tell()
    assert (versions(await told(js), task), versions(await told(js), other)) == ([1], [1])


async def test_a_deleted_stream_is_made_at_once_and_the_page_told_again(relaying: Relaying, js: JetStreamContext) -> None:
    first = await submit(relaying.log)
    await relaying.tell()
    await js.delete_stream(topology.FACTS)
    second = await submit(relaying.log)
    await grow(relaying.log, second, 2, TaskRescheduled(run_at=NOON))
    with pytest.raises(nats.errors.Error):
        await relaying.tell()
    await relaying.tell()  # no waiting: it has made the stream itself
    facts = await told(js)
    assert (versions(facts, first), versions(facts, second)) == ([], [1, 2])


async def test_a_stream_that_was_emptied_meanwhile_gets_the_whole_page(relaying: Relaying, js: JetStreamContext) -> None:
    await submit(relaying.log)
    await relaying.tell()
    await js.delete_stream(topology.FACTS)
    await topology.ensure(js)
    task = await submit(relaying.log)
    await grow(relaying.log, task, 2, TaskRescheduled(run_at=NOON))
    await relaying.tell()
    assert versions(await told(js), task) == [1, 2]


async def test_a_fact_too_large_for_the_server_is_told_without_its_body(relaying: Relaying, js: JetStreamContext, database_url: str) -> None:
    async with open_log(database_url, "owner") as owner:
        manifest = AppPublished(app="huge", app_kind="python", version="1", input_schema={"description": "x" * 3_000_000}, actor="owner")
        await owner.append(ids.derive_id("app", "default", "huge"), 1, manifest, namespace="default")
    task = await submit(relaying.log)
    await relaying.tell()
    facts = await told(js)
    assert facts[0].headers is not None
    assert (facts[0].data or b"", int(facts[0].headers["daybook-omitted-bytes"]) > 3_000_000) == (b"", True)
    assert versions(facts, task) == [1]


async def test_an_event_from_the_future_is_told_as_it_is(relaying: Relaying, js: JetStreamContext) -> None:
    task = await submit(relaying.log)
    (recorded,) = await everything(relaying.log)
    future = Recorded(
        *(0, 999, task, 2, ids.new_id(), "default", NOON, msgspec.json.encode({"kind": "task.sung.v9"}), Unreadable("task.sung.v9", "unknown kind"))
    )
    await relaying.relay.apply(relaying.connection, [recorded])
    relaying.relay = Relay(relaying.log, relaying.relay._bus)
    await relaying.relay.apply(relaying.connection, [future])
    fact = (await told(js))[-1]
    assert fact.subject == f"daybook.default.ann.fact.hello.{ids.spell('tsk', task)}.sung"
    assert fact.headers is not None
    assert fact.headers["ce-type"] == "task.sung.v9"


async def test_a_wish_to_cancel_is_told_by_its_name(relaying: Relaying, js: JetStreamContext) -> None:
    task = await submit(relaying.log)
    await grow(relaying.log, task, 2, TaskCancelRequested(actor="user:ann"))
    await relaying.tell()
    assert [fact.subject.rpartition(".")[2] for fact in await told(js) if fact.subject] == ["queued", "cancel_requested"]


async def test_messages_of_others_on_the_stream_cost_no_fact(relaying: Relaying, js: JetStreamContext) -> None:
    """Another relay, or a fact told again long after, and the stream holds more than this relay has told."""
    await submit(relaying.log)
    await relaying.tell()
    await js.publish("daybook.default.ann.fact.foreign.tsk_1.queued", b"{}")
    task = await submit(relaying.log)
    await grow(relaying.log, task, 2, TaskRescheduled(run_at=NOON))
    other = await submit(relaying.log)
    await relaying.tell()
    assert (versions(await told(js), task), versions(await told(js), other)) == ([1, 2], [1])
