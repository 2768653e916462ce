"""Schedules from the command line, on a real system: what is created fires, and what is printed is so."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeAlias

import pytest
import pytest_asyncio
import structlog
from tests.cli.conftest import Daybook, Ran
from tests.services import fresh_database, running_services

from daybook import App
from daybook.settings import Settings
from daybook.testing.waiting import eventually
from daybook_local.nats import EmbeddedNats
from daybook_local.postgres import EmbeddedPostgres

Type: TypeAlias = Callable[..., Awaitable[Ran]]

app = App("bell")


@app.task
async def ring(name: str = "nobody", times: int = 1) -> str:
    """Ring it."""
    return " ".join([name] * times)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    """The services are in this process; what they log is not to be taken for what a command prints."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def address(postgres: EmbeddedPostgres, template_database: str, nats: EmbeddedNats) -> AsyncIterator[tuple[str, str]]:
    """An API, a scheduler and a runner; where they are, and a token."""
    async with (
        fresh_database(postgres, template_database) as url,
        running_services(Settings(database_url=url, nats_url=nats.url), app) as services,
    ):
        yield services.url, await services.token("ana")


@pytest_asyncio.fixture(loop_scope="session")
async def typed(address: tuple[str, str], daybook: Daybook, monkeypatch: pytest.MonkeyPatch) -> Type:
    """Type a command: on another thread, since the services run on this one."""
    url, token = address
    monkeypatch.setenv("DAYBOOK_URL", url)
    monkeypatch.setenv("DAYBOOK_TOKEN", token)
    monkeypatch.setenv("COLUMNS", "160")
    return lambda *words: asyncio.to_thread(daybook, *words)


async def test_a_schedule_from_its_first_slot_to_its_end(typed: Type) -> None:
    created = await typed("schedule", "create", "bell.ring", "* * * * * *", "name=Ada", "--seconds")
    assert created.code == 0, created.err
    view = json.loads(created.out)
    assert (view["words"], view["input"], view["paused"]) == ("Every second, in UTC", {"name": "Ada"}, False)

    async def submitted() -> list[str]:
        return [json.loads(line)["id"] for line in (await typed("task", "ls", "--schedule", "@last")).out.splitlines()]

    task = (await eventually(submitted, timeout_seconds=10))[-1]
    ended = await typed("task", "wait", task, "--timeout", "10s")
    assert (ended.code, json.loads(ended.out)["schedule"]) == (0, view["id"])
    assert (await typed("task", "result", task)).out == '"Ada"\n'
    fired = json.loads((await typed("schedule", "slots", "@last", "--outcome", "fired")).out.splitlines()[-1])
    assert (fired["task"], fired["reason"]) == (task, "slot")
    assert 0 <= fired["lateness_ms"] < 10_000

    paused = await typed("schedule", "pause", "@last", "--note", "the neighbours sleep", "-o", "table")
    assert "paused by user:ana: the neighbours sleep" in paused.out
    triggered = await typed("schedule", "trigger", "@last", "--note", "one more", "--watch")
    assert (triggered.code, triggered.out) == (0, '"Ada"\n')

    async def ledger() -> str:
        table = (await typed("schedule", "slots", "@last", "-o", "table")).out
        return table if "trigger" in table else ""

    table = await eventually(ledger)
    assert "UTC  fired    slot" in table
    assert task in table

    words = ("schedule", "change", "@last", "--cron", "0 9 * * mon-fri", "--timezone", "Asia/Tokyo", "--input", "times:=2")
    refused = await typed(*words)
    assert (refused.code, refused.out, "/cron" in refused.err) == (2, "", True), "there is still a field of seconds"
    changed = json.loads((await typed(*words, "--without", "seconds")).out)
    assert (changed["input"], changed["cron"], changed["timezone"]) == ({"name": "Ada", "times": 2}, "0 9 * * mon-fri", "Asia/Tokyo")

    listed = await typed("schedule", "ls", "-o", "table")
    assert view["id"] in listed.out
    assert (await typed("schedule", "rm", "@last")).code == 0
    assert (await typed("schedule", "show", "@last")).code == 5

    async def is_off_the_list() -> bool:
        return (await typed("schedule", "ls")).out == ""

    # Another command has no part in what this one wrote; its list may be a moment older.
    await eventually(is_off_the_list)
    assert "fired" in (await typed("schedule", "slots", "@last", "-o", "table")).out, "the ledger outlives its schedule"


async def test_run_with_cron_and_the_preview_of_it_agree(typed: Type) -> None:
    words = ("--cron", "30 2 * * *", "--timezone", "Europe/Berlin")
    created = json.loads((await typed("run", "bell.ring", "name=Bob", *words)).out)
    seen = json.loads((await typed("schedule", "preview", "30 2 * * *", "--timezone", "Europe/Berlin")).out)
    assert (seen["words"], [each["at"] for each in seen["next"]]) == (created["words"], created["next"])
    shown = await typed("schedule", "preview", "30 2 * * *", "--timezone", "Europe/Berlin", "--dst-gap", "skip", "--after", "2027-03-26T12:00Z", "-o", "table")
    assert "2027-03-27 02:30:00 CET" in shown.out
    assert "2027-03-28 0" not in shown.out
    assert "note: On 2027-03-28 clocks go forward" in shown.out


async def test_past_slots_are_filled_in(typed: Type) -> None:
    assert (await typed("schedule", "create", "bell.ring", "0 * * * *", "name=Eve", "--overlap", "allow")).code == 0
    backfill = ("schedule", "backfill", "@last", "--since", "2024-02-29T22:30Z", "--until", "2024-03-01T00:30Z")
    would = json.loads((await typed(*backfill, "--dry-run")).out)
    assert (would["slots"], would["dry_run"]) == (["2024-02-29T23:00:00Z", "2024-03-01T00:00:00Z"], True)
    told = await typed(*backfill, "-o", "table")
    assert "2 are fired" in told.out

    async def is_filled() -> bool:
        lines = [json.loads(line) for line in (await typed("schedule", "slots", "@last")).out.splitlines()]
        filled: bool = would["slots"] == [line["slot"] for line in reversed(lines) if line["reason"] == "backfill"]
        return filled

    await eventually(is_filled, timeout_seconds=10)
    again = json.loads((await typed(*backfill, "--dry-run")).out)
    assert (again["count"], again["already_fired"]) == (0, 2)


async def test_what_is_refused_is_pointed_to(typed: Type) -> None:
    bad = await typed("schedule", "create", "bell.ring", "61 * * * *")
    assert (bad.code, bad.out) == (2, "")
    assert "/cron" in bad.err
    lost = await typed("schedule", "create", "bell.ring", "@daily", "--timezone", "Mars/Olympus")
    assert (lost.code, "/timezone" in lost.err) == (2, True)
    misfit = await typed("schedule", "create", "bell.ring", "@daily", "times=often")
    assert (misfit.code, "/input/times" in misfit.err) == (2, True)
    assert (await typed("schedule", "create", "no-such-app", "@daily")).code in {2, 5}
