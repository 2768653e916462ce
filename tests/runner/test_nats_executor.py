"""NATS apps: real micro-services over a real server, what may be asked, and what answers become."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import nats
import nats.micro
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.micro.request import Request

from daybook.context import Context
from daybook.domain.events import AppKind
from daybook.manifest import Definition, NatsApp
from daybook_runner.executors import Call, Executors, Failure, Outcome, Success
from daybook_runner.executors.nats import NatsExecutor
from daybook_runner.files import LoadError, read_app_file
from daybook_runner.subjects import fill_subject, matches, parse_patterns

Answer = Callable[[Msg], Awaitable[None]]


@pytest_asyncio.fixture(scope="session")
async def connection(nats_url: str) -> AsyncIterator[Client]:
    connected = await nats.connect(nats_url)
    yield connected
    await connected.close()


@pytest_asyncio.fixture(scope="session")
async def executors(connection: Client) -> AsyncIterator[Executors]:
    async def connect() -> Client:
        return connection

    async with Executors(nats_allow="greet.>, orders.*", connect=connect) as made:
        yield made


@pytest_asyncio.fixture
async def answered(connection: Client) -> AsyncIterator[Callable[[Answer], Awaitable[None]]]:
    """Has what is asked on `greet.>` answered like this."""
    made = []

    async def answer(callback: Answer) -> None:
        made.append(await connection.subscribe("greet.>", cb=callback))
        await connection.flush()

    yield answer
    for subscription in made:
        await subscription.unsubscribe()


def call(app: NatsApp, given: Any = None) -> Call:
    return Call(task_id="tsk_1", attempt=2, definition=Definition(app="t", kind="nats", run=app), input={} if given is None else given)


async def run(executors: Executors, app: NatsApp, given: Any = None) -> Outcome:
    return await executors.execute(call(app, given), Context.for_test())


async def failing(executors: Executors, app: NatsApp, given: Any = None) -> Failure:
    outcome = await run(executors, app, given)
    assert isinstance(outcome, Failure), outcome
    return outcome


async def test_a_request_and_its_reply(executors: Executors, answered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREET_TOKEN", "s3cret")
    came: list[Msg] = []

    async def answer(message: Msg) -> None:
        came.append(message)
        await message.respond(b'{"said": "hello", "nul": "\\u0000"}')

    await answered(answer)
    app = NatsApp(subject="greet.{{city}}.now", headers={"Authorization": "Bearer {{env:GREET_TOKEN}}", "X-City": "{{city}}"})
    assert await run(executors, app, {"city": "köln", "n": 3}) == Success(content='{"said":"hello","nul":"\ufffd"}'.encode())
    (message,) = came
    assert message.subject == "greet.köln.now"
    assert json.loads(message.data) == {"city": "köln", "n": 3}
    assert message.headers == {
        "Idempotency-Key": "tsk_1",
        "Daybook-Attempt": "2",
        "Content-Type": "application/json",
        "Authorization": "Bearer s3cret",
        "X-City": "köln",
    }


async def test_a_request_may_be_shaped(executors: Executors, answered: Any) -> None:
    async def answer(message: Msg) -> None:
        await message.respond(message.data)

    await answered(answer)
    app = NatsApp(subject="greet.all", json={"to": "{{name}}", "n": "{{n}}", "fixed": [1]})
    outcome = await run(executors, app, {"name": "Ada", "n": 3})
    assert outcome == Success(content=b'{"to":"Ada","n":3,"fixed":[1]}')


@pytest.mark.parametrize(
    ("reply", "headers", "content", "media_type"),
    [
        (b"", None, b"null", "application/json"),
        (b"plain \x00", None, "plain \ufffd".encode(), "text/plain; charset=utf-8"),
        (b"\xff\x00", None, b"\xff\x00", "application/octet-stream"),
        (b"[1]", {"Content-Type": "text/plain"}, b"[1]", "text/plain; charset=utf-8"),
        (b"\x89PNG", {"Content-Type": "image/png"}, b"\x89PNG", "image/png"),
        (b"<", {"Content-Type": "text/html\x00bad"}, b"<", "application/octet-stream"),
        (b"[" * 100_000, None, b"[" * 100_000, "text/plain; charset=utf-8"),
    ],
)
async def test_other_replies(executors: Executors, answered: Any, reply: bytes, headers: Any, content: bytes, media_type: str) -> None:
    async def answer(message: Msg) -> None:
        await connection_of(message).publish(message.reply, reply, headers=headers)

    await answered(answer)
    assert await run(executors, NatsApp(subject="greet.x")) == Success(content=content, media_type=media_type)


def connection_of(message: Msg) -> Client:
    client: Client = message._client
    return client


async def test_a_micro_service_and_its_errors(executors: Executors, connection: Client) -> None:
    async def handle(request: Request) -> None:
        code = json.loads(request.data)["code"]
        if code:
            await request.respond_error(code, f"it is {code}")
        else:
            await request.respond(b'"done"')

    service = await nats.micro.add_service(connection, name="orders", version="1.0.0")
    await service.add_endpoint(name="make", subject="orders.make", handler=handle)
    await connection.flush()
    app = NatsApp(subject="orders.make")
    assert await run(executors, app, {"code": ""}) == Success(content=b'"done"')
    for code, retryable in (("400", False), ("404", False), ("429", True), ("500", True), ("odd", True)):
        failure = await failing(executors, app, {"code": code})
        assert (failure.error_type, failure.message, failure.retryable) == ("ServiceError", f"orders.make: {code} it is {code}", retryable)
    await service.stop()


async def test_a_service_may_ask_for_time(executors: Executors, answered: Any) -> None:
    async def answer(message: Msg) -> None:
        headers = {"Nats-Service-Error": "busy", "Nats-Service-Error-Code": "503", "Retry-After": "30"}
        await connection_of(message).publish(message.reply, b"", headers=headers)

    await answered(answer)
    failure = await failing(executors, NatsApp(subject="greet.x"))
    assert (failure.message, failure.retryable, failure.retry_after_seconds) == ("greet.x: 503 busy", True, 30.0)


async def test_where_nobody_listens(executors: Executors) -> None:
    failure = await failing(executors, NatsApp(subject="orders.nobody"))
    assert (failure.error_type, failure.message, failure.retryable) == ("NoResponders", "nobody listens on orders.nobody", True)


async def test_where_nobody_answers(connection: Client, answered: Any) -> None:
    async def answer(message: Msg) -> None:
        """Say nothing."""

    async def connect() -> Client:
        return connection

    await answered(answer)
    executor = NatsExecutor(connect, ("greet.*",), timeout_seconds=0.1)
    outcome = await executor.execute(call(NatsApp(subject="greet.x")), Context.for_test())
    assert isinstance(outcome, Failure)
    assert (outcome.error_type, outcome.retryable) == ("NatsTimeout", True)


async def test_a_cancelled_request_waits_no_longer(executors: Executors, answered: Any) -> None:
    asked = asyncio.Event()

    async def answer(message: Msg) -> None:
        asked.set()

    await answered(answer)
    task = asyncio.ensure_future(run(executors, NatsApp(subject="greet.x")))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_without_a_connection(connection: Client) -> None:
    async with Executors(nats_allow="greet.*") as alone:
        failure = await failing(alone, NatsApp(subject="greet.x"))
    assert (failure.error_type, failure.retryable) == ("NatsUnavailable", True)


async def test_a_request_that_is_too_large(executors: Executors, connection: Client) -> None:
    failure = await failing(executors, NatsApp(subject="greet.x"), {"a": "x" * connection.max_payload})
    assert (failure.error_type, failure.retryable) == ("InvalidInput", False)


@pytest.mark.parametrize("subject", ["orders.a.b", "other.x", "daybook.work.default", "$JS.API.INFO", "_INBOX.x", "$SYS.REQ.SERVER.PING", "$KV.a.b"])
async def test_subjects_that_the_runner_does_not_permit(executors: Executors, subject: str) -> None:
    failure = await failing(executors, NatsApp(subject="{{subject}}", allow=(">",)), {"subject": subject})
    assert (failure.error_type, failure.retryable) == ("SubjectRefused", False)


async def test_subjects_that_the_app_does_not_allow(executors: Executors) -> None:
    failure = await failing(executors, NatsApp(subject="{{subject}}", allow=("orders.*",)), {"subject": "greet.x"})
    assert failure.message == "greet.x is not among what the app allows"


async def test_without_the_setting_nothing_is_permitted() -> None:
    async with Executors() as none:
        failure = await failing(none, NatsApp(subject="greet.x"))
    assert failure.message == "DAYBOOK_NATS_ALLOW of this runner does not permit greet.x"


@pytest.mark.parametrize("value", ["a.b", "*", ">", "", " ", "a b", "a\r\nPUB x 0", "a\x00", "a\u2028b"])
def test_a_value_is_no_more_than_a_part_of_a_token(value: str) -> None:
    with pytest.raises(ValueError, match="part of a subject"):
        fill_subject("greet.{{a}}", {"a": value})


def test_a_value_that_is_the_whole_subject_has_tokens() -> None:
    assert fill_subject("{{a}}", {"a": "greet.x.y"}) == "greet.x.y"
    for value in ("greet.*", "greet.>", "greet..x", ".greet", "greet.", "a b"):
        with pytest.raises(ValueError, match="subject"):
            fill_subject("{{a}}", {"a": value})


@pytest.mark.parametrize(
    ("pattern", "subject", "fits"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.b.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("a.>", "a", False),
        ("a.>", "a.b.c", True),
        (">", "a", True),
        ("*.b", "a.b", True),
        ("a.b.c", "a.b", False),
    ],
)
def test_patterns_match_as_in_nats(pattern: str, subject: str, fits: bool) -> None:
    assert matches(pattern, subject) == fits


@pytest.mark.parametrize("text", ["daybook.>", "daybook", "$JS.>", "$SYS.>", "_INBOX.>", "a..b", "a.>.b", "a b", ".", "a.b>"])
def test_settings_that_cannot_be(text: str) -> None:
    with pytest.raises(ValueError, match=r"pattern of subjects|not for apps"):
        parse_patterns(f"ok.*,{text}")


def test_a_setting_is_a_list() -> None:
    assert parse_patterns(" a.*, b.> ,,") == ("a.*", "b.>")
    assert parse_patterns("") == ()


def test_an_app_of_either_kind_comes_from_a_file(tmp_path: Path) -> None:
    cases: dict[AppKind, str] = {
        "nats": 'kind = "nats"\nsubject = "greet.{{city}}"\njson = {name = "{{name}}"}\n[headers]\nA = "{{env:X}}"\n',
        "command": 'kind = "command"\nargv = ["wc", "--", "{{city}}", "{{name}}"]\nresult = "json"\ngrace = "1s"\nlimits = {cpu_seconds = 3}\n',
    }
    for kind, text in cases.items():
        (tmp_path / f"{kind}.toml").write_text(text)
        definition = read_app_file(tmp_path / f"{kind}.toml")
        assert (definition.app, definition.kind) == (kind, kind)
        assert definition.input_schema["required"] == ["city", "name"]
        assert definition.published().app_kind == kind


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('kind = "nats"\nsubject = "{{a}}"', "write out its first token"),
        ('kind = "nats"\nsubject = "{{a}}.b"', "write out its first token"),
        ('kind = "nats"\nsubject = "daybook.poke"', "not for apps"),
        ('kind = "nats"\nsubject = "$JS.API.{{a}}"', "not for apps"),
        ('kind = "nats"\nsubject = "a.>"', "is not a subject"),
        ('kind = "nats"\nsubject = "{{a}}"\nallow = ["daybook.*"]', "not for apps"),
        ('kind = "nats"\nsubject = "a.{{env:X}}"', "only stand in a header"),
        ('kind = "command"\nargv = []', "name the program"),
        ('kind = "command"\nargv = ["{{a}}"]', "never part of the input"),
        ('kind = "command"\nargv = ["a", "{{env:X}}"]', "only stand in a header"),
        ('kind = "command"\nargv = ["a"]\ngrace = "soon"', "not a duration"),
        ('kind = "command"\nargv = ["a"]\nlimits = {cpu_seconds = 0}', "limits.cpu_seconds is a positive number"),
        ('kind = "command"\nargv = ["a"]\nshell = true', "shell"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(LoadError, match=says):
        read_app_file(tmp_path / "a.toml")
