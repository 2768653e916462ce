"""Streams and consumers: made at start, made again when they are gone, and otherwise left as they are."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from tests.bus.parts import running_bus

from daybook.bus import jetstream, topology
from daybook.bus.jetstream import Bus
from daybook.testing import eventually
from daybook_local.nats import EmbeddedNats

NAMES = ["DAYBOOK_FACTS", "DAYBOOK_LIVE", "DAYBOOK_WORK"]


async def test_everything_is_made_once(js: JetStreamContext) -> None:
    made, made_at = await topology.ensure(js, ("default", "slow"))
    assert made == [*NAMES, "work-default", "work-slow"]
    again = await topology.ensure(js, ("default", "slow"))
    assert again == ([], made_at)
    assert {info.config.name for info in await js.streams_info()} == set(NAMES)
    assert {info.name for info in await js.consumers_info(topology.WORK)} == {"work-default", "work-slow"}


async def test_a_deleted_stream_is_made_again_and_is_known_to_be_another(js: JetStreamContext) -> None:
    _, before = await topology.ensure(js, ("default",))
    await js.delete_stream(topology.WORK)
    made, after = await topology.ensure(js, ("default",))
    assert made == ["DAYBOOK_WORK", "work-default"]
    assert (before[:2], before[2] != after[2]) == (after[:2], True)


async def test_what_an_operator_changed_stays(js: JetStreamContext) -> None:
    await topology.ensure(js)
    stream = next(each for each in topology.STREAMS if each.name == topology.FACTS)
    await js.update_stream(stream.evolve(max_age=3600))
    await topology.ensure(js)
    assert (await js.stream_info(topology.FACTS)).config.max_age == 3600


async def test_some_that_start_together_do_not_disturb_each_other(js: JetStreamContext, client: Client) -> None:
    answers = await asyncio.gather(*(topology.ensure(client.jetstream(), ("default",)) for _ in range(8)))
    assert len({made_at for _, made_at in answers}) == 1


async def test_a_running_bus_makes_what_somebody_deletes(nats_server: EmbeddedNats, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jetstream, "_HEAL_SECONDS", 0.2)
    async with running_bus(nats_server.url) as bus:
        losses = bus.losses
        await js.delete_stream(topology.FACTS)
        await js.delete_consumer(topology.WORK, "work-default")

        async def is_whole() -> bool:
            try:
                await js.stream_info(topology.FACTS)
                await js.consumer_info(topology.WORK, "work-default")
            except NotFoundError:
                return False
            return True

        await eventually(is_whole)
        await eventually(lambda: bus.losses > losses)


async def test_facts_are_kept_for_a_day_and_doorbells_in_memory_only(bus: Bus, js: JetStreamContext, nats_server: EmbeddedNats) -> None:
    facts, work = await js.stream_info(topology.FACTS), await js.stream_info(topology.WORK)
    assert (facts.config.storage, facts.config.max_age, facts.config.subjects) == ("file", 24 * 3600, ["daybook.*.*.fact.>"])
    assert (work.config.storage, work.config.retention, work.config.subjects) == ("memory", "workqueue", ["daybook.work.*"])
    assert msgspec.to_builtins(facts.config.duplicate_window) == topology.DUPLICATE_WINDOW_SECONDS
