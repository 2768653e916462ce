"""Webhooks from the command line and from Python, on a real system: what is created is told, and what is printed is so."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import TypeAlias

import pytest
import pytest_asyncio
import structlog
from tests.cli.conftest import Daybook, Ran
from tests.services import fresh_database, running_services
from tests.webhook_receiver import Receiver, receiving

from daybook import App, AsyncClient, Client
from daybook.client import NotFound
from daybook.settings import Settings
from daybook.testing import eventually
from daybook_local.nats import EmbeddedNats
from daybook_local.postgres import EmbeddedPostgres

Type: TypeAlias = Callable[..., Awaitable[Ran]]

app = App("bell")


@app.task
async def toll(times: int = 1) -> int:
    """Toll it."""
    return times


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
    async with fresh_database(postgres, template_database) as url:
        settings = Settings(database_url=url, nats_url=nats.url, http_allow="127.0.0.1/32")
        async with running_services(settings, app) as services:
            yield services.url, await services.token("ana")


@pytest_asyncio.fixture(loop_scope="session")
async def typed(address: tuple[str, str], daybook: Daybook, monkeypatch: pytest.MonkeyPatch) -> Type:
    """Type a command: on another thread, since the services run on this one."""
    url, token = address
    monkeypatch.setenv("DAYBOOK_URL", url)
    monkeypatch.setenv("DAYBOOK_TOKEN", token)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: asyncio.to_thread(daybook, *words)


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[Receiver]:
    """Somebody who wants to hear."""
    async with receiving() as opened:
        yield opened


async def test_a_webhook_from_its_creation_to_its_end(typed: Type, receiver: Receiver) -> None:
    made = await typed("webhook", "create", receiver.url, "--event", "task.success", "--event", "task.error", "--app", "bell.toll", "--note", "tower")
    assert made.code == 0, made.err
    webhook = json.loads(made.out)
    assert (webhook["events"], webhook["app"], webhook["note"]) == (["task.success", "task.error"], "bell.toll", "tower")
    secret = (await typed("webhook", "secret", webhook["id"])).out.strip()
    assert (await typed("webhook", "test", webhook["id"])).code == 0
    assert (await receiver.next()).opened(secret)["type"] == "webhook.test"
    assert (await typed("run", "bell.toll", "--watch")).code == 0
    assert (await receiver.next()).opened(secret)["type"] == "task.success"
    for about in ("@last", webhook["id"]):
        await eventually(partial(_shows, typed, "daybook.webhook", "deliveries", about), 15)
    await eventually(partial(_shows, typed, "tower", "ls", "-o", "table"), 15)
    assert (await typed("webhook", "rm", webhook["id"])).code == 0
    # Each command is a client of its own, which knows nothing of what another wrote.
    await eventually(partial(_shows, typed, "no webhooks", "ls", "-o", "table"), 15)
    assert (await typed("webhook", "secret", webhook["id"])).code == 5


async def test_a_task_names_whom_it_tells(typed: Type, receiver: Receiver) -> None:
    secret = (await typed("webhook", "secret")).out.strip()
    submitted = await typed("run", "bell.toll", "times:=3", "--on-finish", receiver.url)
    assert json.loads(submitted.out)["on_finish"] == {"url": receiver.url}
    assert (await receiver.next()).opened(secret)["data"]["id"] == json.loads(submitted.out)["id"]
    created = await typed("run", "bell.toll", "--cron", "@yearly", "--on-finish", receiver.url)
    assert json.loads(created.out)["on_finish"] == {"url": receiver.url}
    refused = await typed("run", "bell.toll", "--on-finish", "nonsense")
    assert refused.code == 2
    assert "https://" in refused.err


async def test_both_clients_do_the_same(address: tuple[str, str], receiver: Receiver) -> None:
    def blocking() -> str:
        with Client(*address) as client:
            webhook = client.webhooks.create(receiver.url, events=["task.cancelled"], note="from Python")
            assert [each.id for each in client.webhooks.list()] == [webhook.id]
            assert client.webhooks.get(webhook.id) == webhook
            assert client.webhooks.test(webhook.id).result() == {"status": 200, "answer": "thanks"}
            return webhook.id

    webhook = await asyncio.to_thread(blocking)
    async with AsyncClient(*address) as client:
        assert (await receiver.next()).opened(await client.webhooks.secret(webhook))["data"] == {"webhook": webhook}
        task = await client.tasks.submit("bell.toll", {"times": 2}, on_finish=f"{receiver.url}?own")
        assert (await receiver.next()).opened(await client.webhooks.secret())["data"]["id"] == task.id
        assert len([each async for each in client.webhooks.deliveries(webhook)]) == 1
        await client.webhooks.delete(webhook)
        with pytest.raises(NotFound):
            await client.webhooks.get(webhook)


async def _shows(typed: Type, words: str, *command: str) -> bool:
    """Whether the command prints these words."""
    return words in (await typed("webhook", *command)).out
