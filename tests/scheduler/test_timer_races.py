"""Whoever reschedules, cancels or wants at once races the timer: whatever comes of it, a task is due once for the last time that it was given, never
before it, or it is cancelled; never both, and never neither.

Random stories, told over HTTP to a real API while two real schedulers keep the timers. Most blows are aimed at the millisecond in which the timer
goes off, several at once. Each story ends with the tasks' streams, read by a table of three lines that is not the product's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

import httpx2
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from tests.services import running_scheduler, serving_api

from daybook import clock, ids
from daybook.access import issue_token
from daybook.domain.events import AppPublished, TaskCancelled, TaskDue, TaskRescheduled, TaskSubmitted
from daybook.log.connections import Connection
from daybook.log.envelope import Recorded
from daybook.log.postgres import Log
from daybook.settings import Settings
from daybook.testing import eventually

T = TypeVar("T")
LONGEST: Final = 300
PATIENCE: Final = 10.0
APP: Final = AppPublished(app="races.none", app_kind="python", version="1", queue="nobody")

# A story is not made shorter: told again, it would be another race.
STORIES: Final = settings(
    max_examples=12,
    stateful_step_count=10,
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.too_slow],
)

delays = st.integers(0, LONGEST).map(lambda number: timedelta(milliseconds=number))
# Around the moment of the timer: it is set for a millisecond, goes off within a few, and what is sent then arrives after a few more.
offsets = st.integers(-15, 15).map(lambda number: timedelta(milliseconds=number))


class Blow(NamedTuple):
    """What is done to a task: `cancel`, `run-now`, or `reschedule` by a delay. `aim` is when, from the moment of its timer; None is at once."""

    what: str
    delay: timedelta
    aim: timedelta | None


blows = st.lists(st.builds(Blow, st.sampled_from(["reschedule", "reschedule", "run-now", "cancel"]), delays, st.none() | offsets), min_size=1, max_size=3)


class Target:
    """A task, and what was answered to whoever wanted something of it."""

    def __init__(self, task_id: str, run_at: datetime) -> None:
        stream = ids.parse("tsk", task_id)
        assert stream is not None
        self.id, self.stream, self.run_at = task_id, stream, run_at
        self.cancelled = False
        self.given: set[datetime] = set()
        """The times that were acknowledged."""


class World:
    """An API, two schedulers, and the log."""

    def __init__(self, client: httpx2.AsyncClient, log: Log) -> None:
        self.client, self.log = client, log
        self.loop = asyncio.get_running_loop()

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run in the loop of the world, from the thread in which stories are told."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    async def submit(self, delay: timedelta) -> Target:
        """A new task."""
        run_at = clock.now() + delay
        answer = await self.client.post("/v1/tasks", json={"app": APP.app, "run_at": run_at.isoformat()})
        assert answer.status_code == 202, answer.text
        return Target(answer.json()["id"], run_at)

    async def strike(self, target: Target, blows: list[Blow]) -> None:
        """All of these, each when it is to be."""
        moment = target.run_at
        await asyncio.gather(*(self._strike(target, blow, moment) for blow in blows))

    async def settled(self, target: Target) -> list[Recorded]:
        """The whole stream of a task, once it waits for nothing but a runner, or is cancelled."""

        async def found() -> list[Recorded]:
            recorded = await self.log.load(target.stream)
            return recorded if isinstance(recorded[-1].event, TaskDue | TaskCancelled) else []

        return await eventually(found, PATIENCE)

    async def _strike(self, target: Target, blow: Blow, moment: datetime) -> None:
        run_at = max(moment, clock.now()) + blow.delay
        body = {"run_at": run_at.isoformat()} if blow.what == "reschedule" else None
        if blow.aim is not None:
            await asyncio.sleep((moment + blow.aim - clock.now()).total_seconds())
        answer = await self.client.post(f"/v1/tasks/{target.id}/{blow.what}", json=body)
        if answer.status_code == 409:
            assert answer.json()["status"] == 409
            assert isinstance((await self.log.load(target.stream))[-1].event, TaskCancelled), answer.text
            return
        assert answer.status_code == 200, answer.text
        if blow.what == "cancel":
            target.cancelled = True
        elif blow.what == "reschedule":
            target.given.add(run_at)
            target.run_at = run_at


class Races(RuleBasedStateMachine):
    """A story: tasks are submitted, and struck while their timers run down, or when they have gone off."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[Target] = []

    @initialize(delay=delays)
    def begin(self, delay: timedelta) -> None:
        self.targets.append(self.world.wait(self.world.submit(delay)))

    @precondition(lambda self: len(self.targets) < 6)
    @rule(delay=delays)
    def submit(self, delay: timedelta) -> None:
        self.targets.append(self.world.wait(self.world.submit(delay)))

    @rule(number=st.integers(0, 5), blows=blows)
    def strike(self, number: int, blows: list[Blow]) -> None:
        self.world.wait(self.world.strike(self.targets[number % len(self.targets)], blows))

    @rule(each=st.lists(blows, min_size=2, max_size=6))
    def strike_many(self, each: list[list[Blow]]) -> None:
        async def all_of_them() -> None:
            await asyncio.gather(*(self.world.strike(target, blows) for target, blows in zip(self.targets, each, strict=False)))

        self.world.wait(all_of_them())

    @rule(number=st.integers(0, 5))
    def let_it_go_off(self, number: int) -> None:
        self.world.wait(self.world.settled(self.targets[number % len(self.targets)]))

    def teardown(self) -> None:
        for target in self.targets:
            assert_one_end(target, self.world.wait(self.world.settled(target)))


def assert_one_end(target: Target, recorded: list[Recorded]) -> None:
    """Each time that a task was given ends in one of three ways: it is due, not before; it is given another; it is cancelled, and that is the end."""
    waits_until: datetime | None = None
    for number, each in enumerate(recorded, 1):
        assert each.version == number
        match each.event:
            case TaskSubmitted(run_at=run_at) | TaskRescheduled(run_at=run_at):
                waits_until = run_at
                target.given.discard(run_at)
            case TaskDue():
                assert waits_until is not None, f"due twice: {story(recorded)}"
                assert each.at >= waits_until, f"early: {story(recorded)}"
                assert each.at - waits_until < timedelta(seconds=PATIENCE), f"late: {story(recorded)}"
                waits_until = None
            case TaskCancelled():
                assert number == len(recorded), f"cancelled, and more: {story(recorded)}"
            case _:
                raise AssertionError(story(recorded))
    cancelled = isinstance(recorded[-1].event, TaskCancelled)
    assert cancelled or waits_until is None, f"never due: {story(recorded)}"
    assert cancelled or not target.cancelled, f"cancelled, said the answer: {story(recorded)}"
    assert not target.given, f"acknowledged, and not there: {target.given}, {story(recorded)}"


def story(recorded: list[Recorded]) -> str:
    return " → ".join(f"{type(each.event).__name__}@{each.at:%S.%f}{_given(each.event)}" for each in recorded)


def _given(event: object) -> str:
    return f" for {event.run_at:%S.%f}" if isinstance(event, TaskSubmitted | TaskRescheduled) and event.run_at else ""


@asynccontextmanager
async def opened(given: Settings, log: Log) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(serving_api(given))
        for _ in range(2):
            await stack.enter_async_context(running_scheduler(given))
        token = await issue_token(given.database_url, "default", "ann", ("submit", "read"), "for races")
        headers = {"Authorization": f"Bearer {token}"}
        client = await stack.enter_async_context(httpx2.AsyncClient(base_url=served.url, headers=headers, timeout=30, trust_env=False, verify=False))
        await eventually(lambda: _is_known(client))
        yield World(client, log)


async def _is_known(client: httpx2.AsyncClient) -> bool:
    return (await client.get(f"/v1/apps/{APP.app}")).status_code == 200


async def test_the_timer_and_whoever_wants_otherwise_never_both_win(settings: Settings, log: Log, owner: Connection) -> None:
    await _publish(settings.database_url)
    async with opened(settings, log) as world:
        Races.world = world
        await asyncio.to_thread(run_state_machine_as_test, Races, settings=STORIES)

        async def no_timer_is_left() -> bool:
            return bool(await owner.fetchval("SELECT count(*) = 0 FROM read.timer"))

        await eventually(no_timer_is_left)
        told = await owner.fetch("SELECT kind, count(*) FROM log.event WHERE kind LIKE 'task.%' GROUP BY kind ORDER BY kind")
        print({row["kind"]: row["count"] for row in told})


async def _publish(url: str) -> None:
    log = await Log.open(url, "owner", pool_size=1, writers=1)
    await log.append(ids.derive_id("app", "default", APP.app), 1, APP, namespace="default")
    await log.close()
