"""The examples for those who listen on NATS, run as their readers run them; and the follower that fills its own gaps."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from signal import SIGINT
from typing import Any, Final

import nats
from examples.on_nats.follow_exactly_once import BEGINNING, Fact, Follower, Gap, Seen, Told, Word
from nats.aio.client import Client
from tests.e2e.house import ApiService, House

EXAMPLES: Final = Path(__file__).parents[2] / "examples" / "on_nats"
FACTS: Final = ["task.submitted.v1", "task.started.v1", "task.succeeded.v1"]


@asynccontextmanager
async def example(house: House, api: ApiService, name: str, *arguments: str) -> AsyncIterator[Process]:
    """An example as a process of its own, in a folder where `daybook up` seems to run; killed at the end should it still run."""
    (house.folder / ".daybook").mkdir(exist_ok=True)
    here = {"url": api.url, "token": house.token, "nats_url": house.nats.url}
    (house.folder / ".daybook" / "env.json").write_text(json.dumps(here))
    env = {key: value for key, value in os.environ.items() if key != "NATS_URL" and not key.startswith("DAYBOOK_")}
    process = await asyncio.create_subprocess_exec(sys.executable, str(EXAMPLES / name), *arguments, env=env, cwd=house.folder, stdout=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(process: Process) -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return (await process.stdout.readline()).decode().rstrip()


async def ended(process: Process) -> list[str]:
    """What it goes on to print, up to an end without error."""
    async with asyncio.timeout(20):
        said, _ = await process.communicate()
    assert process.returncode == 0
    return said.decode().splitlines()


async def talked(house: House, api: ApiService, words: int = 8) -> str:
    """A task that has said its words, and ended."""
    task_id = await api.accepted("fault.talk", {"words": words, "result_bytes": 1})
    assert await house.gate.knock() == task_id
    house.gate.open(task_id)
    await api.reaches(task_id, "success")
    return task_id


def expected(words: int = 8) -> list[tuple[Any, ...]]:
    """What a follower tells of such a task."""
    said = [(1, 3 * number + part, kind) for number in range(words) for part, kind in ((1, "progress"), (2, "log"), (3, "chunk"))]
    return [(1, FACTS[0]), (2, FACTS[1]), *said, (3, FACTS[2])]


def outline(told: Told) -> tuple[Any, ...]:
    match told:
        case Fact():
            return told[:2]
        case Word():
            return told[:3]
        case Gap():
            return ("gap", *told)


async def test_a_plain_subscriber_sees_the_facts(settled: House, api: ApiService) -> None:
    async with example(settled, api, "watch_facts.py") as process:
        assert await line(process) == "listening"
        task_id = await api.accepted()
        seen = [(await line(process)).split(" ", 4)[1:4] for _ in FACTS]
    assert seen == [[task_id, str(version), kind] for version, kind in enumerate(FACTS, 1)]


async def test_faststream_sees_them_too_and_goes_on_where_it_was(settled: House, api: ApiService) -> None:
    async with example(settled, api, "faststream_facts.py", "3") as process:
        assert await line(process) == "listening"
        first = await api.accepted()
        seen = [(await line(process)).split(" ", 3)[:3] for _ in FACTS]
        await ended(process)
    second = await api.accepted()
    await api.reaches(second, "success")
    async with example(settled, api, "faststream_facts.py") as process:
        assert await line(process) == "listening"
        seen += [(await line(process)).split(" ", 3)[:3] for _ in FACTS]
        process.send_signal(SIGINT)
        await ended(process)
    assert seen == [[task_id, str(version), kind] for task_id in (first, second) for version, kind in enumerate(FACTS, 1)]


async def test_a_task_is_submitted_and_its_result_comes_back(settled: House, api: ApiService) -> None:
    async with example(settled, api, "submit.py", "fault.note", '{"text": "by NATS"}', "ann") as process:
        submitted, result = await ended(process)
    task_id, status = submitted.split()
    assert (status, result) == ("success", '"by NATS"')
    assert (await api.task(task_id))["status"] == "success"


async def test_the_follower_prints_everything_about_a_task(settled: House, api: ApiService) -> None:
    task_id = await api.accepted("fault.talk", {"words": 8, "result_bytes": 1})
    assert await settled.gate.knock() == task_id
    async with example(settled, api, "follow_exactly_once.py", task_id) as process:
        assert await line(process) == f"1 {FACTS[0]}"
        settled.gate.open(task_id)
        printed = [f"1 {FACTS[0]}", *await ended(process)]
    assert printed[:5] == [f"1 {FACTS[0]}", f"2 {FACTS[1]}", "1.1 progress word 1", "1.2 log word.said", "1.3 chunk word 1 "]
    assert (len(printed), printed[-1]) == (2 + 24 + 1, f"3 {FACTS[2]}")


async def test_a_follower_cut_after_every_single_thing_misses_none_and_tells_none_twice(settled: House, api: ApiService) -> None:
    task_id = await api.accepted("fault.talk", {"words": 8, "result_bytes": 1})
    assert await settled.gate.knock() == task_id
    told, seen, cuts = [], BEGINNING, 0
    while seen.version < 3:
        async with connected(settled) as connection:
            follower = Follower(connection, api.client, task_id, seen)
            following = follower.follow()
            told.append(outline(await anext(following)))
            await following.aclose()
            seen, cuts = follower.seen, cuts + 1
        if cuts == 9:
            settled.gate.open(task_id)
    assert told == expected()
    async with connected(settled) as connection:
        assert [told async for told in Follower(connection, api.client, task_id, seen).follow()] == []


async def test_a_follower_that_hears_nothing_still_learns_everything(settled: House, api: ApiService) -> None:
    task_id = await api.accepted("fault.talk", {"words": 8, "result_bytes": 1})
    assert await settled.gate.knock() == task_id
    told = []
    async with connected(settled) as connection:
        async for each in Follower(connection, api.client, task_id, root="nothing.is.here", look_seconds=0.05).follow():
            told.append(outline(each))
            if len(told) == 10:
                settled.gate.open(task_id)
    assert told == expected()


async def test_what_nats_lost_in_the_middle_is_fetched(settled: House, api: ApiService) -> None:
    """Every third message is dropped on its way to the follower, facts and words alike."""
    task_id = await api.accepted("fault.talk", {"words": 200, "result_bytes": 1})
    assert await settled.gate.knock() == task_id
    told, heard = [], 0

    class Lossy(Follower):
        async def _hear_fact(self, message: Any) -> None:
            if self._arrives():
                await super()._hear_fact(message)

        async def _hear_word(self, message: Any) -> None:
            if self._arrives():
                await super()._hear_word(message)

        def _arrives(self) -> bool:
            nonlocal heard
            heard += 1
            return heard % 3 != 0

    async with connected(settled) as connection:
        async for each in Lossy(connection, api.client, task_id, look_seconds=0.5).follow():
            told.append(outline(each))
            if len(told) == 3:
                settled.gate.open(task_id)
    assert (told, heard > 300) == (expected(200), True)


async def test_words_that_are_nowhere_are_told_as_a_gap(settled: House, api: ApiService) -> None:
    task_id = await talked(settled, api)

    class Forgetful(Follower):
        def _hold_word(self, data: dict[str, Any]) -> None:
            if data["n"] not in (4, 5, 6, 11):
                super()._hold_word(data)

    async with connected(settled) as connection:
        told = [outline(each) async for each in Forgetful(connection, api.client, task_id).follow()]
    whole = expected()
    assert told == [*whole[:5], ("gap", 1, 4, 6), *whole[8:12], ("gap", 1, 11, 11), *whole[13:]]


async def test_a_second_round_is_followed_from_where_the_first_ended(settled: House, api: ApiService) -> None:
    task_id = await api.accepted("fault.hold")
    assert await settled.gate.knock() == task_id
    assert (await api.client.post(f"/v1/tasks/{task_id}/cancel")).status_code in (200, 202)
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(connected(settled))
        first = [outline(each) async for each in Follower(connection, api.client, task_id).follow()]
        assert [kind for _, kind in first] == [*FACTS[:2], "task.cancel_requested.v1", "task.cancelled.v1"]
        assert (await api.client.post(f"/v1/tasks/{task_id}/retry")).status_code == 200
        assert await settled.gate.knock() == task_id
        settled.gate.open(task_id)
        second = [outline(each) async for each in Follower(connection, api.client, task_id, Seen(4, 1, 0)).follow()]
    assert second == [(5, "task.retried.v1"), (6, FACTS[1]), (7, FACTS[2])]


@asynccontextmanager
async def connected(house: House) -> AsyncIterator[Client]:
    """A connection to the house's NATS."""
    connection = await nats.connect(house.nats.url)
    try:
        yield connection
    finally:
        await connection.close()
