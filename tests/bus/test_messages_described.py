"""Every message that is published is as /asyncapi.json describes it: whatever travels on `daybook.>` while services work is
held against the document, and so are the answers to requests. Kinds of events that are hard to provoke are put into the log
and told by the relay."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from tests.api.on_nats import Asker, Reply
from tests.bus.described import Described
from tests.bus.parts import everything, open_log, settled
from tests.services import Services, fresh_database, running_services

from daybook import App, Context, Retry, ids
from daybook.bus import topology
from daybook.bus.jetstream import Bus
from daybook.domain.events import OTHER_EVENTS, TASK_EVENTS, AppPublished, Event, TaskSubmitted, WebhookCreated, kind_of
from daybook.domain.schedule_events import SCHEDULE_EVENTS, ScheduleCreated
from daybook.log import codec
from daybook.log.connections import connect
from daybook.relay import Relay
from daybook.settings import Settings
from daybook_api.asyncapi.document import describe
from daybook_api.asyncapi.examples import EXAMPLES
from daybook_api.over_nats.verbs import VERBS
from daybook_local.nats import EmbeddedNats
from daybook_local.postgres import EmbeddedPostgres

REGISTRY: Final = {kind_of(event) for event in TASK_EVENTS + SCHEDULE_EVENTS + OTHER_EVENTS}
HARD_TO_PROVOKE: Final = {"task.lost.v1", "task.released.v1", "slots.skipped.v1"}
NOT_FACTS: Final = {"live.progress", "live.log", "live.chunk", "live.action", "doorbell", "cancel", "poke"}

app = App("d")


@app.task
async def speaks(ctx: Context) -> str:
    """Say one of each, and the odd ones."""
    await ctx.progress(1, total=4, message="first")
    await ctx.progress(float("nan"))
    ctx.log.bind(page=1).warning("second\x00", n=2, odd=object())
    print("third")
    await ctx.chunk("fourth \ud800")
    ctx.say("action", {"name": "tool.call.start", "id": "call_1", "tool": "texts.statistics", "arguments": "{}"})
    return "said"


@app.task(retry=Retry(max_attempts=2, backoff="10ms"))
async def fails() -> None:
    """Fail."""
    raise ValueError("as it should")


@app.task
async def waits() -> None:
    """Wait to be stopped."""
    await asyncio.Event().wait()


class Overheard:
    """All that was told on `daybook.>`."""

    def __init__(self) -> None:
        self.messages: list[Msg] = []
        self._grown = asyncio.Condition()

    async def hear(self, message: Msg) -> None:
        async with self._grown:
            self.messages.append(message)
            self._grown.notify_all()

    async def until(self, kind: str, about: str = "", count: int = 1) -> None:
        """Return when so many facts of a kind were told."""

        def told() -> bool:
            facts = [message.headers for message in self.messages if message.headers and message.headers.get("ce-type") == kind]
            return len([headers for headers in facts if about in ("", headers["ce-subject"])]) >= count

        async with asyncio.timeout(15), self._grown:
            await self._grown.wait_for(told)


class Ran(NamedTuple):
    """What came of it all."""

    described: Described
    told: list[Msg]
    replies: list[tuple[str, Reply]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ran(postgres: EmbeddedPostgres, template_database: str, session_folder: Path) -> AsyncIterator[Ran]:
    """Services that did everything once, while somebody listened."""
    server = EmbeddedNats(Path(tempfile.mkdtemp(prefix="described-", dir=session_folder)) / "nats")
    server.start()
    async with AsyncExitStack() as stack:
        stack.callback(server.stop)
        url = await stack.enter_async_context(fresh_database(postgres, template_database))
        listener = await nats.connect(server.url)
        stack.push_async_callback(listener.close)
        overheard, replies = Overheard(), list[tuple[str, Reply]]()
        await listener.subscribe("daybook.>", cb=overheard.hear)
        await settled(listener)
        services = await stack.enter_async_context(running_services(Settings(database_url=url, nats_url=server.url), app))
        await asyncio.gather(
            work(services, overheard),
            ask_everything(Asker(listener, "ann"), overheard, replies),
            come_and_go(services, overheard),
        )
        yield Ran(Described(json.loads(describe(services.api.app))), overheard.messages, replies)


async def work(services: Services, overheard: Overheard) -> None:
    """Tasks that end in every way."""
    async with services.client(await services.token()) as client:

        async def submitted(name: str, **more: Any) -> str:
            answer = await client.post("/v1/tasks", json={"app": f"d.{name}", "input": {}, **more})
            assert answer.status_code == 202, answer.text
            return str(answer.json()["id"])

        async def change(path: str, **body: Any) -> None:
            answer = await client.post(f"/v1/tasks/{path}", json=body or None)
            assert answer.status_code in (200, 202), answer.text

        speaking, failing, waiting = await submitted("speaks", labels={"team": "blau & grün"}), await submitted("fails"), await submitted("waits")
        expiring = await submitted("speaks", queue="nobody", queue_ttl=0.05)
        later = await submitted("speaks", delay="1h")
        await change(f"{later}/reschedule", delay="2h")
        await change(f"{later}/run-now")
        await overheard.until("task.started.v1", waiting)
        await change(f"{waiting}/cancel", reason="enough")
        await overheard.until("task.failed.v1", failing, 2)
        await change(f"{failing}/retry", reason="once more")
        for kind, task, count in (
            ("succeeded", speaking, 1),
            ("succeeded", later, 1),
            ("cancelled", waiting, 1),
            ("failed", failing, 4),
            ("expired", expiring, 1),
        ):
            await overheard.until(f"task.{kind}.v1", task, count)


async def come_and_go(services: Services, overheard: Overheard) -> None:
    """A token is issued and revoked, a webhook made and deleted."""
    async with services.client(await services.token("eve")) as client:
        made = await client.post("/v1/webhooks", json={"url": "https://example.net/ended", "events": ["task.error"], "app": "nobody.knows"})
        assert made.status_code == 201, made.text
        assert (await client.delete(f"/v1/webhooks/{made.json()['id']}")).status_code == 204
    await overheard.until("webhook.deleted.v1")
    await services.revoke(await services.token("bob"))
    await overheard.until("token.revoked.v1")


async def ask_everything(asker: Asker, overheard: Overheard, replies: list[tuple[str, Reply]]) -> None:
    """Every verb, and some that are refused."""

    async def ask(verb: str, headers: dict[str, str] | None = None, /, **fields: Any) -> Reply:
        replies.append((verb, await asker.ask(verb, headers, **fields)))
        return replies[-1][1]

    await overheard.until("app.published.v1", count=len(app.definitions))
    task = (await ask("tasks.submit", {"Prefer": "wait=15", "Idempotency-Key": "k"}, app="d.speaks", input={})).json["id"]
    assert (await ask("tasks.submit", None, app="d.speaks", cron="0 0 1 1 *")).status == 201
    for verb in ("get", "result", "events", "logs", "output"):
        assert (await ask(f"tasks.{verb}", None, id=task)).status == 200
    assert (await ask("tasks.get", {"If-None-Match": '"3"'}, id=task)).status == 304
    await ask("tasks.logs", None, id=task, level="warning", tail=1)
    position = replies[0][1].headers["Daybook-Position"]
    assert (await ask("tasks.list", {"Daybook-Position": position}, status=["success", "error"], limit=5, label=["a:b"])).status == 200
    again = (await ask("tasks.rerun", None, id=task, delay="1h")).json["id"]
    for verb, fields in (("reschedule", {"delay": 60}), ("run_now", {}), ("cancel", {"reason": "no"}), ("retry", {})):
        await ask(f"tasks.{verb}", None, id=again, **fields)
    schedule = (await ask("schedules.create", None, app="d.speaks", cron="0 0 1 1 *", note="yearly")).json["id"]
    answers = [
        await ask("schedules.change", None, id=schedule, cron="0 0 2 1 *", start_at="2020-01-01T00:00:00Z"),
        await ask("schedules.pause", None, id=schedule, note="a while"),
        await ask("schedules.resume", None, id=schedule),
        await ask("schedules.trigger", None, id=schedule),
        await ask("schedules.backfill", None, id=schedule, since="2020-06-01T00:00:00Z", limit=1),
    ]
    assert [answer.status for answer in answers] == [200, 200, 200, 202, 202]
    await overheard.until("slot.fired.v1", schedule, 2)
    for verb, fields in (
        ("get", {"id": schedule}),
        ("slots", {"id": schedule}),
        ("list", {}),
        ("preview", {"cron": "0 9 * * *"}),
        ("delete", {"id": schedule}),
    ):
        await ask(f"schedules.{verb}", None, **fields)
    await overheard.until("schedule.deleted.v1", schedule)
    for wanted in ({}, {"cursor": "start", "limit": 5, "types": ["task", "slot.fired"]}):
        assert (await ask("events.list", None, **wanted)).status == 200
    await ask("apps.list")
    await ask("apps.get", None, app="d.speaks")
    for verb, refused in (
        ("tasks.get", {"id": "tsk_none"}),
        ("tasks.submit", {"app": "nobody.knows"}),
        ("tasks.list", {"limit": 0}),
        ("schedules.preview", {"cron": "?"}),
    ):
        assert (await ask(verb, None, **refused)).status >= 400


async def test_every_message_of_real_runs_is_described(ran: Ran) -> None:
    seen = {ran.described.check(message.subject, message.headers, message.data) for message in ran.told if not is_refused(message)}
    requests = {f"{verb}.request" for verb in VERBS}
    assert seen >= (REGISTRY - HARD_TO_PROVOKE) | NOT_FACTS | requests


async def test_every_answer_is_described(ran: Ran) -> None:
    seen = {ran.described.check_answer(verb, reply.headers, reply.body) for verb, reply in ran.replies}
    assert seen == {f"{verb}.answer" for verb in VERBS} | {"problem"}


async def test_every_kind_of_event_is_told_as_described(database_url: str, bus: Bus, client: Client, js: JetStreamContext, ran: Ran) -> None:
    overheard = Overheard()
    await client.subscribe("daybook.*.*.fact.>", cb=overheard.hear)
    await settled(client)
    large = AppPublished(app="large", app_kind="python", version="1", doc="x" * client.max_payload)
    await put(database_url, [*EXAMPLES.values(), large])
    async with open_log(database_url) as log:
        connection = await connect(database_url, "daybook_api")
        try:
            await Relay(log, bus).apply(connection, await everything(log))
        finally:
            await connection.close()
    await settled(client)
    assert (await js.stream_info(topology.FACTS)).state.messages == len(EXAMPLES) + 1
    await overheard.until("app.published.v1", count=2)
    seen = [ran.described.check(message.subject, message.headers, message.data) for message in overheard.messages]
    assert (set(seen), len(seen)) == (REGISTRY, len(EXAMPLES) + 1)
    (omitted,) = [message.headers or {} for message in overheard.messages if not message.data]
    assert int(omitted["daybook-omitted-bytes"]) > client.max_payload


async def put(database_url: str, events: Sequence[Event]) -> None:
    """Put events into the log that no single service may append: those of one task, one schedule, one webhook, and others."""
    streams = {"task": ids.new_id(), "schedule": ids.new_id(), "webhook": ids.new_id()}
    versions: Counter[UUID] = Counter()
    connection = await asyncpg.connect(database_url)
    try:
        for position, event in enumerate(sorted(events, key=lambda event: not isinstance(event, TaskSubmitted | ScheduleCreated | WebhookCreated)), 1):
            kind = kind_of(event)
            stream = streams.get({"slot": "schedule", "slots": "schedule"}.get(noun := kind.split(".")[0], noun), ids.new_id())
            versions[stream] += 1
            row = (position, stream, versions[stream], ids.new_id(), kind, codec.encode(event).decode())
            columns = "lane, position, stream, version, id, kind, namespace, data"
            await connection.execute(f"INSERT INTO log.event ({columns}) VALUES (0, $1, $2, $3, $4, $5, 'default', $6)", *row)
    finally:
        await connection.close()


def changed(**fields: Any) -> Callable[[Msg], tuple[str, dict[str, str], bytes]]:
    """A message with other fields; None takes one away."""

    def change(message: Msg) -> tuple[str, dict[str, str], bytes]:
        body = {name: value for name, value in {**json.loads(message.data), **fields}.items() if value is not None}
        return message.subject, dict(message.headers or {}), json.dumps(body).encode()

    return change


def with_headers(**fields: Any) -> Callable[[Msg], tuple[str, dict[str, str], bytes]]:
    def change(message: Msg) -> tuple[str, dict[str, str], bytes]:
        headers = {
            name: value for name, value in {**(message.headers or {}), **{key.replace("_", "-"): value for key, value in fields.items()}}.items() if value
        }
        return message.subject, headers, message.data

    return change


def told_as(verb: str) -> Callable[[Msg], tuple[str, dict[str, str], bytes]]:
    def change(message: Msg) -> tuple[str, dict[str, str], bytes]:
        return f"{message.subject.rpartition('.')[0]}.{verb}", dict(message.headers or {}), message.data

    return change


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        ("task.started.v1", changed(surprise=1)),
        ("task.started.v1", changed(attempt=None)),
        ("task.started.v1", changed(attempt="one")),
        ("task.started.v1", changed(overdue_at="tomorrow")),
        ("task.started.v1", changed(kind="task.begun.v1")),
        ("task.submitted.v1", changed(input={"digest": "00", "size_bytes": 1, "text": "of the user"})),
        ("task.started.v1", with_headers(ce_type="task.begun.v1")),
        ("task.started.v1", with_headers(ce_sequence="0")),
        ("task.started.v1", with_headers(ce_id=None)),
        ("task.started.v1", with_headers(ce_surprise="1")),
        ("task.started.v1", with_headers(daybook_omitted_bytes="7")),
        ("task.started.v1", told_as("queued")),
        ("task.started.v1", told_as("begun")),
        ("live.progress", changed(percent=101)),
        ("live.log", changed(level="fatal")),
        ("live.chunk", changed(n=0)),
        ("live.chunk", changed(text=None)),
        ("live.chunk", with_headers(ce_id="evt_1")),
        ("doorbell", lambda message: (message.subject, {}, b'["task"]')),
        ("poke", changed(lane=64)),
        ("cancel", changed(do="obey")),
        ("tasks.list.request", changed(limit=0)),
        ("tasks.get.request", changed(surprise=1)),
    ],
)
async def test_a_message_that_is_another_is_caught(ran: Ran, name: str, mutant: Callable[[Msg], tuple[str, dict[str, str], bytes]]) -> None:
    message = next(each for each in ran.told if not is_refused(each) and ran.described.check(each.subject, each.headers, each.data) == name)
    with pytest.raises(AssertionError):
        ran.described.check(*mutant(message))


def is_refused(message: Msg) -> bool:
    """Whether this is one of the requests that are wrong on purpose."""
    return message.data in (b'{"id": "tsk_none"}', b'{"limit": 0}')
