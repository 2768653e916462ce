"""What attempts say is kept in Postgres: in order, in few rows, within bounds, and never in the way of a report."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio
from tests.bus.parts import running_bus, submit
from tests.runner.test_output import app

from daybook import ids
from daybook.bus.jetstream import Bus
from daybook.domain.events import TaskStarted
from daybook.domain.task import fold
from daybook.lifecycle import Duties
from daybook.log.postgres import Log, events_of
from daybook.stored_output import Chunk, Place, Word, read, read_back, store
from daybook.testing import eventually
from daybook.testing.proxy import Proxy
from daybook_runner import bounds, keeping, output
from daybook_runner.attempt import Attempt
from daybook_runner.keeping import Keeper
from daybook_runner.output import Output

RUNNER = "run_of_a_test"
SECRET = "its secret"


class Desk:
    """A runner's way to speak, without the runner: its lease, its attempts, its output."""

    def __init__(self, log: Log, runner_log: Log, keeper: Keeper, said: Output, proxy: Proxy) -> None:
        self.log = log
        self.runner_log = runner_log
        self.keeper = keeper
        self.output = said
        self.proxy = proxy
        self.statements: list[int] = []

    async def attempt(self, runner: str = RUNNER) -> Attempt:
        """A fresh task whose first attempt this runner has started."""
        stream = await submit(self.log, "images.resize")
        await self.runner_log.append(stream, 2, TaskStarted(attempt=1, runner=runner), namespace="default")
        task = fold(events_of(await self.log.load(stream)))
        assert task is not None
        definition = app.definitions["images.resize"]
        return Attempt(stream=stream, task_id=ids.spell("tsk", stream), namespace="default", task=task, definition=definition, input=b"{}")

    async def rows(self, stream: UUID) -> int:
        """How many rows a task has."""
        count: int = await self.log.pool.fetchval("SELECT count(*) FROM daybook.output WHERE stream = $1", stream)
        return count

    async def words(self, stream: UUID) -> list[Word]:
        """Everything that is stored of it."""
        found: list[Word] = []
        more = True
        while more:
            words, more = await read(self.log.pool, stream, found[-1].place if found else Place(), chunks=2)
            found += words
        return found

    async def warnings(self, stream: UUID) -> list[str]:
        """What its log lines warn of."""
        said = [msgspec.json.decode(word.data) for word in await self.words(stream) if word.type == "log"]
        return [each["message"] for each in said if each["level"] == "warning"]


@asynccontextmanager
async def opened(database_url: str, bus: Bus, *, limit_bytes: int = bounds.DEFAULT_LIMIT_BYTES) -> AsyncIterator[Desk]:
    place = urlsplit(database_url)
    assert place.hostname is not None
    assert place.port is not None
    log = await Log.open(database_url, "api", pool_size=2, writers=1)
    runner_log = await Log.open(database_url, "runner", credentials=(RUNNER, SECRET), pool_size=1, writers=1)
    await runner_log.pool.execute("SELECT daybook.take_lease($1, $2, 'default', '{default}', '{}', 1, 'here', $3)", RUNNER, SECRET, timedelta(seconds=30))
    async with Proxy(place.hostname, place.port) as proxy:
        away = await Log.open(database_url.replace(f":{place.port}/", f":{proxy.port}/"), "runner", pool_size=1)

        async def stored(chunks: Sequence[Chunk]) -> None:
            made.statements.append(len(chunks))
            await store(away.pool, (RUNNER, SECRET), chunks)

        keeper = Keeper(stored)
        made = Desk(log, runner_log, keeper, Output(bus, keeper, limit_bytes=limit_bytes), proxy)
        duties = Duties()
        duties.add("output", made.output.run)
        duties.add("keeping", keeper.run)
        duties.start()
        try:
            yield made
        finally:
            await duties.stop()
            for each in (away, runner_log, log):
                await each.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    async with running_bus(nats_url) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def desk(database_url: str, bus: Bus) -> AsyncIterator[Desk]:
    async with opened(database_url, bus) as made:
        yield made


async def test_thousands_of_chunks_make_a_handful_of_rows(desk: Desk) -> None:
    attempt = await desk.attempt()
    voice = desk.output.voice(attempt)
    for number in range(5_000):
        voice.emit("chunk", {"text": f"token {number} "})
        if number % 1_000 == 0:
            await asyncio.sleep(0)
    await voice.end()
    words = await desk.words(attempt.stream)
    assert [word.place for word in words] == [Place(1, number) for number in range(1, 5_001)]
    assert [msgspec.json.decode(word.data)["text"] for word in words] == [f"token {number} " for number in range(5_000)]
    assert await desk.rows(attempt.stream) <= 5
    assert sum(desk.statements) == await desk.rows(attempt.stream)


async def test_all_who_spoke_are_kept_by_one_statement_without_being_asked(desk: Desk) -> None:
    attempts = [await desk.attempt() for _ in range(10)]
    for voice in [desk.output.voice(attempt) for attempt in attempts]:
        for number in range(3):
            voice.emit("progress", {"current": number})
    for attempt in attempts:
        await eventually(lambda attempt=attempt: desk.words(attempt.stream))  # type: ignore[misc]
        assert [word.place.number for word in await desk.words(attempt.stream)] == [1, 2, 3]
    assert desk.statements == [10]


async def test_the_ends_of_others_make_no_rows_for_one_who_goes_on(desk: Desk) -> None:
    lasting = await desk.attempt()
    speaking = desk.output.voice(lasting)
    for other in [await desk.attempt() for _ in range(20)]:
        speaking.emit("chunk", {"text": "x"})
        voice = desk.output.voice(other)
        voice.emit("chunk", {"text": "y"})
        await voice.end()
        assert await desk.rows(other.stream) == 1
    await speaking.end()
    assert len(await desk.words(lasting.stream)) == 20
    assert await desk.rows(lasting.stream) <= 3


async def test_an_attempt_that_says_nothing_costs_nothing(desk: Desk) -> None:
    attempt = await desk.attempt()
    await desk.output.voice(attempt).end()
    assert (desk.statements, await desk.rows(attempt.stream)) == ([], 0)


async def test_what_goes_beyond_the_limit_is_cut_and_says_so(database_url: str, bus: Bus) -> None:
    async with opened(database_url, bus, limit_bytes=10_000) as desk:
        attempt = await desk.attempt()
        voice = desk.output.voice(attempt)
        for _ in range(200):
            voice.emit("chunk", {"text": "x" * 1_000})
        voice.emit("chunk", {"text": "y" * 10_000_000})
        await voice.end()
        words = await desk.words(attempt.stream)
        assert [word.place.number for word in words] == list(range(1, len(words) + 1))
        assert 9_000 < sum(len(word.data) for word in words) < 12_000
        chunks = sum(word.type == "chunk" for word in words)
        cut_here, counted = await desk.warnings(attempt.stream)
        assert "limit" in cut_here
        # The last chunk would have been told in 153 pieces.
        assert counted == f"the output was cut: {200 - chunks + 153} messages, {(200 - chunks) * 1_000 + 10_000_000} bytes dropped"


async def test_who_speaks_too_fast_is_cut_and_says_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "BURST", 100)
    monkeypatch.setattr(bounds, "PER_SECOND", 0)
    attempt = await desk.attempt()
    voice = desk.output.voice(attempt)
    for _ in range(1_000):
        voice.emit("progress", {"message": "abc"})
    # Told by itself, though the attempt goes on and says no more.
    await eventually(lambda: desk.warnings(attempt.stream))
    assert await desk.warnings(attempt.stream) == ["the output was cut: 900 messages, 2700 bytes dropped"]
    await voice.end()
    assert [word.place.number for word in await desk.words(attempt.stream)] == list(range(1, 102))


async def test_after_its_end_an_attempt_says_nothing(desk: Desk) -> None:
    attempt = await desk.attempt()
    voice = desk.output.voice(attempt)
    voice.emit("chunk", {"text": "x"})
    await voice.end()
    voice.emit("chunk", {"text": "y"})
    await desk.output.all_kept()
    assert len(await desk.words(attempt.stream)) == 1


async def test_while_the_database_is_away_words_wait_and_ends_do_not(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_KEEP_SECONDS", 0.2)
    attempt = await desk.attempt()
    voice = desk.output.voice(attempt)
    desk.proxy.refuse()
    voice.emit("chunk", {"text": "x"})
    async with asyncio.timeout(2):
        await voice.end()
    assert await desk.rows(attempt.stream) == 0
    desk.proxy.heal()
    await desk.keeper.all_kept()
    assert len(await desk.words(attempt.stream)) == 1
    assert desk.keeper.waiting_bytes == 0


async def test_what_does_not_fit_into_memory_meanwhile_is_cut_and_says_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MOST_WAITING_BYTES", 20_000)
    attempt = await desk.attempt()
    voice = desk.output.voice(attempt)
    desk.proxy.refuse()
    for _ in range(100):
        voice.emit("chunk", {"text": "x" * 1_000})
    assert 20_000 <= desk.keeper.waiting_bytes < 22_000
    desk.proxy.heal()
    await voice.end()
    await desk.keeper.all_kept()
    words = await desk.words(attempt.stream)
    (warning,) = await desk.warnings(attempt.stream)
    assert warning == f"the output was cut: {101 - len(words)} messages could not be kept while the database was away"
    assert words[-1].place == Place(1, 101)


async def test_in_doubt_the_same_is_sent_again_and_stored_once(desk: Desk) -> None:
    connecting, attempt = desk.output.voice(await desk.attempt()), await desk.attempt()
    connecting.emit("chunk", {"text": "w"})
    await connecting.end()
    voice = desk.output.voice(attempt)
    # The statement arrives, and its answer is lost.
    lost = desk.proxy.cut_at("answer")
    voice.emit("chunk", {"text": "x"})
    await voice.end()
    assert lost.done()
    assert desk.statements == [1, 1, 1]
    assert len(await desk.words(attempt.stream)) == 1


async def test_one_that_is_refused_does_not_take_the_others_with_it(desk: Desk) -> None:
    own, forged = await desk.attempt(), await desk.attempt()
    forged = msgspec.structs.replace(forged, stream=await submit(desk.log))
    for attempt in (forged, own):
        desk.output.voice(attempt).emit("chunk", {"text": "x"})
    await desk.output.all_kept()
    assert (await desk.rows(own.stream), await desk.rows(forged.stream)) == (1, 0)
    voice = desk.output.voice(await desk.attempt())
    voice.emit("chunk", {"text": "x"})
    await voice.end()
    assert desk.keeper.waiting_bytes == 0


async def test_log_lines_are_found_from_the_end_without_reading_everything(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "LARGEST_CHUNK_BYTES", 2_000)
    attempt = await desk.attempt()
    voice = desk.output.voice(attempt)
    for number in range(300):
        voice.emit("log" if number % 100 == 50 else "chunk", {"level": "info", "message": f"{number}", "fields": {}})
    await voice.end()
    assert await desk.rows(attempt.stream) > 10
    words, before = await read_back(desk.log.pool, attempt.stream, Place(2), chunks=1)
    assert [msgspec.json.decode(word.data)["message"] for word in words if word.type == "log"] == ["250"]
    assert before is not None
    words, before = await read_back(desk.log.pool, attempt.stream, before, chunks=5)
    assert [msgspec.json.decode(word.data)["message"] for word in words if word.type == "log"] == ["50", "150"]
    assert before is None
    logs, more = await read(desk.log.pool, attempt.stream, Place(), only_logs=True)
    assert ([word.place.number for word in logs if word.type == "log"], more) == ([51, 151, 251], False)


@pytest.mark.parametrize("number", [1, 2, 17, 18, 19, 299, 300, 301])
async def test_reading_begins_anywhere(desk: Desk, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(keeping, "LARGEST_CHUNK_BYTES", 2_000)
    attempt = await desk.attempt()
    voice = desk.output.voice(attempt)
    for _ in range(300):
        voice.emit("chunk", {"text": "x"})
    await voice.end()
    words, _ = await read(desk.log.pool, attempt.stream, Place(1, number - 1), chunks=1_000)
    assert [word.place.number for word in words] == list(range(number, 301))
    assert (await read(desk.log.pool, attempt.stream, Place(2)))[0] == []
    assert (await read(desk.log.pool, attempt.stream, Place(), attempt=2))[0] == []
