"""The notice of a blocked event loop: said once, with the place, and said again when it is over."""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from daybook.testing import eventually
from daybook_runner.loop_watch import LoopWatch

PATIENCE_SECONDS = 10


class Heard:
    """What was logged, and a way to wait for it that blocks the loop."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.blocked = threading.Event()

    def __call__(self, logger: Any, method: str, entry: Any) -> Any:
        self.entries.append(dict(entry))
        if entry["event"] == "loop.blocked":
            self.blocked.set()
        raise structlog.DropEvent

    def named(self, name: str) -> list[dict[str, Any]]:
        return [entry for entry in self.entries if entry["event"] == name]


@pytest.fixture
def heard() -> Iterator[Heard]:
    listener = Heard()
    before = structlog.get_config()
    structlog.configure(processors=[listener], cache_logger_on_first_use=False)
    yield listener
    structlog.configure(**before)


@pytest.fixture
def watch(heard: Heard) -> Iterator[LoopWatch]:
    watching = LoopWatch(threshold_seconds=0.1)
    yield watching
    watching.stop()


async def hold_the_loop(heard: Heard) -> None:
    """An app's function that waits without `await`, until the notice is there."""
    assert heard.blocked.wait(PATIENCE_SECONDS)
    heard.blocked.clear()


async def test_a_block_is_named_once_and_its_end_is_told(heard: Heard, watch: LoopWatch) -> None:
    watch.start()
    await hold_the_loop(heard)
    await eventually(lambda: len(heard.named("loop.unblocked")) == 1)
    (blocked,), (unblocked,) = heard.named("loop.blocked"), heard.named("loop.unblocked")
    # The wait itself is in the standard library: the place is where the app's code called it.
    assert blocked["at"].startswith(f"{__file__}:")
    assert blocked["at"].endswith("in hold_the_loop")
    assert "heard.blocked.wait" in blocked["stack"]
    assert unblocked["seconds"] >= blocked["seconds"] >= 0.1
    assert json.dumps(heard.entries)


async def test_each_block_has_its_notice(heard: Heard, watch: LoopWatch) -> None:
    watch.start()
    for number in (1, 2):
        await hold_the_loop(heard)
        await eventually(lambda number=number: len(heard.named("loop.unblocked")) == number)  # type: ignore[misc]
    assert len(heard.named("loop.blocked")) == 2


async def test_a_loop_that_turns_is_not_spoken_of(heard: Heard, watch: LoopWatch) -> None:
    watch.start()
    turns = 0

    async def turn_on() -> None:
        nonlocal turns
        async with asyncio.timeout(0.5):
            while True:
                await asyncio.sleep(0)
                turns += 1

    with pytest.raises(TimeoutError):
        await turn_on()
    assert turns > 10
    assert heard.entries == []


async def test_it_stops_at_once_and_can_start_again(heard: Heard, watch: LoopWatch) -> None:
    before = threading.active_count()
    watch.start()
    assert threading.active_count() == before + 1
    watch.stop()
    assert threading.active_count() == before
    watch.start()
    await hold_the_loop(heard)
    await eventually(lambda: len(heard.named("loop.unblocked")) == 1)
