"""Chat apps, against a local endpoint that streams, refuses, breaks off, and talks nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import pytest_asyncio

from daybook.context import Context
from daybook.manifest import Definition
from daybook_runner.executors import Call, Executors, Failure, Outcome, Success
from daybook_runner.loading import load

if TYPE_CHECKING:
    from tests.runner.conftest import LocalServer, Received

DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def piece(text: str | None = None, finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "tiny-1", "choices": [choice], **more}


WHOLE = [piece("Hel"), piece("lo"), piece(None, "stop"), piece(usage=USAGE) | {"choices": []}, DONE]


@pytest_asyncio.fixture(scope="session")
async def executors() -> AsyncIterator[Executors]:
    async with Executors() as made:
        yield made


@pytest.fixture
def app(server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Definition:
    monkeypatch.setenv("TEST_CHAT_URL", server.url + "/v1")
    monkeypatch.setenv("TEST_CHAT_KEY", "sk-very-secret")
    return chat_app(tmp_path)


def chat_app(folder: Path, **changes: Any) -> Definition:
    keys = {
        "kind": "chat",
        "base_url": "env:TEST_CHAT_URL",
        "model": "env:TEST_CHAT_MODEL|tiny",
        "api_key": "env:TEST_CHAT_KEY",
        "system": "Answer in {{language}}.",
        "prompt": "Say: {{text}}",
        **changes,
    }
    (folder / "say.json").write_bytes(msgspec.json.encode(keys))
    return load([str(folder)])["say"]


async def run(executors: Executors, definition: Definition, context: Context | None = None) -> Outcome:
    given = {"text": "{{language}} hello", "language": "Welsh"}
    call = Call(task_id="tsk_7", attempt=1, definition=definition, input=given)
    return await executors.execute(call, context or Context.for_test())


async def failing(executors: Executors, definition: Definition) -> Failure:
    outcome = await run(executors, definition)
    assert isinstance(outcome, Failure), outcome
    return outcome


async def test_the_answer_is_told_piece_by_piece_and_returned_whole(executors: Executors, server: LocalServer, app: Definition) -> None:
    server.answer = server.streaming(*WHOLE)
    context = Context.for_test()
    outcome = await run(executors, app, context)
    assert isinstance(outcome, Success), outcome
    assert msgspec.json.decode(outcome.content) == {
        "text": "Hello",
        "model": "tiny-1",
        "finish_reason": "stop",
        "usage": USAGE,
    }
    assert context.said == [("chunk", {"text": "Hel"}), ("chunk", {"text": "lo"})]


async def test_what_is_asked(executors: Executors, server: LocalServer, app: Definition) -> None:
    server.answer = server.streaming(*WHOLE)
    await run(executors, app)
    request = server.requests[0]
    assert (request.method, request.target) == ("POST", "/v1/chat/completions")
    assert request.headers["authorization"] == "Bearer sk-very-secret"
    assert request.headers["idempotency-key"] == "tsk_7"
    assert msgspec.json.decode(request.body) == {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "Answer in Welsh."},
            {"role": "user", "content": "Say: {{language}} hello"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_what_may_be_asked_besides(executors: Executors, server: LocalServer, app: Definition, tmp_path: Path) -> None:
    server.answer = server.streaming(*WHOLE)
    schema = {"type": "object", "properties": {"text": {}}}
    given = {"system": "", "temperature": 0.0, "max_tokens": 5, "include_usage": False, "input_schema": schema}
    await run(executors, chat_app(tmp_path, **given))
    body = msgspec.json.decode(server.requests[0].body)
    assert (body["temperature"], body["max_tokens"]) == (0.0, 5)
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert "stream_options" not in body


async def test_ids_for_openai_do_not_go_to_another_provider(server: LocalServer, app: Definition, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    server.answer = server.streaming(*WHOLE)
    async with Executors() as fresh:
        await run(fresh, app)
    assert not {"openai-organization", "openai-project"} & server.requests[0].headers.keys()


async def test_a_piece_is_told_before_the_next_one_is_sent(executors: Executors, server: LocalServer, app: Definition) -> None:
    heard = asyncio.Event()

    async def answer(request: Received) -> AsyncIterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        yield server.event(piece("first"))
        await heard.wait()
        yield server.event(piece("second", "stop"))

    server.answer = answer
    context = Context(task_id="tsk_7", attempt=1, emit=lambda kind, fields: heard.set())
    async with asyncio.timeout(5):
        assert isinstance(await run(executors, app, context), Success)


async def test_a_cancel_closes_the_stream(executors: Executors, server: LocalServer, app: Definition) -> None:
    heard = asyncio.Event()

    async def answer(request: Received) -> AsyncIterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        while True:
            yield server.event(piece("more"))

    server.answer = answer
    context = Context(task_id="tsk_7", attempt=1, emit=lambda kind, fields: heard.set())
    running = asyncio.create_task(run(executors, app, context))
    await heard.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(5):
        await server.closed_early.wait()


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        ("400 Bad Request", "ProviderRefused"),
        ("401 Unauthorized", "ProviderRefused"),
        ("404 Not Found", "ProviderRefused"),
        ("429 Too Many Requests", "ProviderRateLimited"),
        ("500 Internal Server Error", "ProviderFailed"),
        ("503 Service Unavailable", "ProviderFailed"),
    ],
)
async def test_what_the_provider_refuses(executors: Executors, server: LocalServer, app: Definition, status: str, error_type: str) -> None:
    body = b'{"error": {"message": "sk-very-secret will not do", "type": "x", "code": null}}'
    server.answer = server.answering(status, body, media_type="application/json")
    failure = await failing(executors, app)
    assert failure.error_type == error_type
    assert failure.message == f"{server.url}/v1: {status[:3]}, (key) will not do"
    assert len(server.requests) == 1  # trying again is the task's policy


async def test_a_refusal_in_another_form(executors: Executors, server: LocalServer, app: Definition) -> None:
    server.answer = server.answering("502 Bad Gateway", b"<html>nginx</html>", media_type="text/html")
    failure = await failing(executors, app)
    assert failure == Failure(error_type="ProviderFailed", message=f"{server.url}/v1: 502, <html>nginx</html>")


@pytest.mark.parametrize(
    ("pieces", "error_type", "says"),
    [
        ([], "MalformedAnswer", "there was no answer"),
        ([DONE], "MalformedAnswer", "there was no answer"),
        ([piece("Hel")], "MalformedAnswer", "ended before it was complete"),
        ([piece("Hel"), DONE], "MalformedAnswer", "ended before it was complete"),
        ([b"data: {not json}\n\n"], "MalformedAnswer", "a piece of the answer is malformed"),
        ([b"data: [1, 2]\n\n"], "MalformedAnswer", "malformed"),
        ([{"choices": "none"}], "MalformedAnswer", "malformed"),
        ([{"choices": [{"delta": {"content": 3}}]}], "MalformedAnswer", "malformed"),
        ([{"nothing": "of the kind"}, DONE], "MalformedAnswer", "there was no answer"),
        ([b'{"choices": [{"message": {"content": "not streamed"}}]}'], "MalformedAnswer", "there was no answer"),
        ([b"<html>proxy</html>"], "MalformedAnswer", "there was no answer"),
        ([piece("x" * 1_000_000)] * 11, "MalformedAnswer", "longer than"),
        ([piece("Hel"), {"error": {"message": "out of memory"}}], "ProviderFailed", "out of memory"),
    ],
)
async def test_what_is_no_answer(executors: Executors, server: LocalServer, app: Definition, pieces: list[Any], error_type: str, says: str) -> None:
    server.answer = server.streaming(*pieces)
    failure = await failing(executors, app)
    assert (failure.error_type, says in failure.message) == (error_type, True), failure


async def test_an_answer_that_breaks_off(executors: Executors, server: LocalServer, app: Definition) -> None:
    async def answer(request: Received) -> AsyncIterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9999\r\n\r\n"
        yield server.event(piece("Hel"))

    server.answer = answer
    assert (await failing(executors, app)).error_type == "ProviderUnreachable"


async def test_nobody_there(executors: Executors, app: Definition, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_CHAT_URL", "http://127.0.0.1:1/v1")
    failure = await failing(executors, app)
    assert failure.error_type == "ProviderUnreachable"
    assert failure.message.startswith("http://127.0.0.1:1/v1: ")


@pytest.mark.parametrize("value", [None, ""])
async def test_a_setting_that_is_not_set(executors: Executors, app: Definition, monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is None:
        monkeypatch.delenv("TEST_CHAT_URL")
    else:
        monkeypatch.setenv("TEST_CHAT_URL", value)
    failure = await failing(executors, app)
    assert failure.error_type == "MissingSetting"
    assert "TEST_CHAT_URL is not set" in failure.message


@pytest.mark.parametrize(("url", "error_type"), [("not a url", "ProviderUnreachable"), ("http://[::1", "InvalidURL")])
async def test_a_base_url_that_is_none(executors: Executors, app: Definition, monkeypatch: pytest.MonkeyPatch, url: str, error_type: str) -> None:
    monkeypatch.setenv("TEST_CHAT_URL", url)
    assert (await failing(executors, app)).error_type == error_type


@pytest.mark.parametrize("given", [{}, {"text": "x"}, None, "x"])
async def test_bad_input(executors: Executors, app: Definition, given: Any) -> None:
    call = Call(task_id="tsk_7", attempt=1, definition=app, input=given)
    outcome = await executors.execute(call, Context.for_test())
    assert isinstance(outcome, Failure)
    assert outcome.error_type == "InvalidInput"


def test_no_secret_is_in_the_definition(app: Definition) -> None:
    assert "sk-very-secret" not in repr(app)
