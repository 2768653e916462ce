"""Duties: each goes on whatever happens to it, all end together, and one that is done is done."""

from __future__ import annotations

import asyncio
import signal

import pytest

from daybook import lifecycle
from daybook.lifecycle import Duties, until_signal
from daybook.testing import eventually


async def test_a_duty_that_crashes_starts_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "_FIRST_PAUSE_SECONDS", 0.001)
    starts: list[int] = []
    going = asyncio.Event()

    async def duty() -> None:
        starts.append(1)
        if len(starts) < 4:
            raise ConnectionError("away")
        going.set()
        await asyncio.Event().wait()

    duties = Duties()
    duties.add("stubborn", duty)
    duties.start()
    await asyncio.wait_for(going.wait(), 5)
    await duties.stop()
    assert len(starts) == 4


async def test_a_duty_that_returns_is_done_and_leaves_the_loop_to_others() -> None:
    starts: list[str] = []

    async def duty() -> None:
        starts.append("once")
        if len(starts) > 1:
            raise AssertionError("it never waits: started again and again, it would let nobody else run")

    duties = Duties()
    duties.add("brief", duty)
    duties.start()
    await eventually(lambda: starts)
    await duties.stop()
    assert starts == ["once"]


async def test_all_end_together_and_after_their_own_farewell() -> None:
    farewells: list[str] = []
    begun = asyncio.Barrier(3)

    async def duty(name: str) -> None:
        try:
            await begun.wait()
            await asyncio.Event().wait()
        finally:
            farewells.append(name)

    duties = Duties()
    for name in ("one", "other"):
        duties.add(name, lambda name=name: duty(name))  # type: ignore[misc]
    duties.start()
    await begun.wait()
    await duties.stop()
    assert sorted(farewells) == ["one", "other"]


async def test_a_duty_that_misses_its_cancellation_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "_CANCEL_AGAIN_SECONDS", 0.001)
    told: list[str] = []
    going = asyncio.Event()

    async def duty() -> None:
        while True:
            try:
                going.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told.append("stop")
                if len(told) > 2:
                    raise

    duties = Duties()
    duties.add("deaf", duty)
    duties.start()
    await asyncio.wait_for(going.wait(), 5)
    await asyncio.wait_for(duties.stop(), 5)
    assert told == ["stop"] * 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_is_waited_for(number: signal.Signals) -> None:
    waiting = asyncio.create_task(until_signal())
    await asyncio.sleep(0)
    signal.raise_signal(number)
    await asyncio.wait_for(waiting, 5)
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().remove_signal_handler(each)
