"""What hostile users and hostile servers send through chat and HTTP apps: every attempt ends as a success or a failure whose texts can be stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from tests.runner.chat_endpoint import calling, chat_app, delta, fragment, piece, rounds

from daybook import App, Context
from daybook.manifest import Definition
from daybook.safe_json import safe_text
from daybook_runner.executors import Call, Executors, Failure, Outcome, Success
from daybook_runner.executors.chat import ChatExecutor
from daybook_runner.loading import load

if TYPE_CHECKING:
    from tests.runner.conftest import LocalServer, Received

tools = App("tools")


@tools.task
async def echo(value: Any) -> Any:
    """Return what was given."""
    return value


def hostile(examples: int) -> settings:
    # Each example uses the same server and folder, and leaves nothing there that another one would see.
    return settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


EVIL = ["\x00", "\ud800", "\x1b[2J", "\r\nx: y", "{{env:HOME}}", "../..", "\u202e", "é" * 300, "data: [DONE]\n\n", "NaN"]
TEXTS = some.text(some.characters(codec=None), max_size=30) | some.sampled_from(EVIL)
SCALARS = some.none() | some.booleans() | some.floats() | some.integers(-(10**30), 10**30) | TEXTS
VALUES = some.recursive(SCALARS, lambda inner: some.lists(inner, max_size=4) | some.dictionaries(TEXTS, inner, max_size=4), max_leaves=12)
# What a server can send, which is bytes: JSON with escapes for all that JSON has no place for, or no JSON at all.
SENDABLE = some.recursive(
    some.none() | some.booleans() | some.integers(-(10**30), 10**30) | some.floats(allow_nan=False) | TEXTS.map(safe_text) | some.just("\x00"),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(TEXTS.map(safe_text), inner, max_size=4),
    max_leaves=12,
)
SMALL = some.text(max_size=20)
KEYS = some.sampled_from(
    ["choices", "delta", "content", "tool_calls", "index", "id", "function", "name", "arguments", "finish_reason", "usage", "error", "model"]
)
PIECES = (
    some.builds(piece, SMALL, some.none() | some.just("stop"))
    | some.builds(delta, some.dictionaries(KEYS, SENDABLE, max_size=3), some.none() | some.just("tool_calls"))
    | some.dictionaries(KEYS, SENDABLE, max_size=4)
    | some.binary(max_size=60).map(lambda junk: b"data: " + junk + b"\n\n")
    | some.binary(max_size=60)
)
ARGUMENTS = (
    SENDABLE.map(lambda value: msgspec.json.encode({"value": value}).decode())
    | some.sampled_from(['{"value": "\\ud800"}', '{"value": 1e999}', "", "[]"])
    | SMALL
)
CALLS = some.builds(
    lambda index, arguments, call, name: delta({"tool_calls": [fragment(index, arguments, call=call, name=name)]}),
    some.none() | some.integers(-1, 2),
    ARGUMENTS,
    some.none() | SMALL,
    some.just("tools_echo") | SMALL,
)


@pytest_asyncio.fixture(scope="module")
async def executors() -> AsyncIterator[Executors]:
    async with Executors(http_allow="127.0.0.0/8") as made:
        yield made


@pytest_asyncio.fixture
async def chat(executors: Executors) -> AsyncIterator[ChatExecutor]:
    made = ChatExecutor(executors.execute, tools.definitions)
    yield made
    await made.aclose()


@pytest.fixture
def say(server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Definition:
    monkeypatch.setenv("TEST_CHAT_URL", server.url + "/v1")
    monkeypatch.setenv("TEST_CHAT_KEY", "sk-very-secret")
    anything: dict[str, Any] = {"type": "object", "properties": {"text": {}, "language": {}}}
    return chat_app(tmp_path, tools=["tools.echo"], idle_timeout=5, max_rounds=2, input_schema=anything)


@pytest.fixture
def post(server: LocalServer, tmp_path: Path) -> Definition:
    keys = {
        "kind": "http",
        "method": "POST",
        "url": server.url + "/{{path}}?q={{query}}",
        "headers": {"X-Value": "{{header}}"},
        "json": {"it": "{{body}}"},
        "input_schema": {"type": "object", "properties": {name: {} for name in ("path", "query", "header", "body")}},
    }
    (tmp_path / "post.json").write_bytes(msgspec.json.encode(keys))
    return load([str(tmp_path / "post.json")])["post"]


def assert_storable(outcome: Outcome, context: Any) -> None:
    if isinstance(outcome, Failure):
        for text in (outcome.error_type, outcome.message, outcome.traceback or ""):
            assert safe_text(text) == text
        # What was foreseen has no traceback, and a name of ours.
        assert outcome.traceback is None, outcome
        assert len(outcome.message) < 20_000
    else:
        assert len(outcome.media_type) <= 200
    for _, fields in context.said:
        encoded = msgspec.json.encode(fields)  # raises where there is a surrogate
        assert b"\\u0000" not in encoded.replace(b"\\\\", b"")


async def run(executor: Executors | ChatExecutor, definition: Definition, given: Any) -> Outcome:
    context = Context.for_test()
    outcome = await executor.execute(Call(task_id="tsk_7", attempt=1, definition=definition, input=given), context)
    assert_storable(outcome, context)
    return outcome


@hostile(100)
@given(VALUES, VALUES)
async def test_hostile_input_of_a_prompt(server: LocalServer, say: Definition, chat: ChatExecutor, text: Any, language: Any) -> None:
    server.answer = server.streaming(piece("ok", "stop"))
    await run(chat, say, {"text": text, "language": language})


@hostile(150)
@given(some.lists(PIECES, max_size=5))
async def test_hostile_answers_of_a_model(server: LocalServer, say: Definition, chat: ChatExecutor, pieces: list[Any]) -> None:
    server.requests.clear()
    server.answer = server.streaming(*pieces)
    outcome = await run(chat, say, {"text": "x", "language": "y"})
    if isinstance(outcome, Success):
        assert set(msgspec.json.decode(outcome.content)) == {"text", "model", "finish_reason", "usage"}
        assert b"\\u0000" not in outcome.content.replace(b"\\\\", b"")


@hostile(100)
@given(some.lists(CALLS, min_size=1, max_size=4))
async def test_hostile_calls_of_tools(server: LocalServer, say: Definition, chat: ChatExecutor, calls: list[Any]) -> None:
    server.requests.clear()
    server.answer = rounds(server, [*calls, piece(None, "tool_calls")], [piece("ok", "stop")])
    outcome = await run(chat, say, {"text": "x", "language": "y"})
    assert isinstance(outcome, Success), outcome
    assert len(server.requests) == 2


@hostile(50)
@given(ARGUMENTS)
async def test_hostile_results_of_tools(server: LocalServer, say: Definition, chat: ChatExecutor, arguments: str) -> None:
    server.requests.clear()
    server.answer = rounds(server, calling(("tools_echo", arguments)), [piece("ok", "stop")])
    assert isinstance(await run(chat, say, {"text": "x", "language": "y"}), Success)


@hostile(100)
@given(VALUES, VALUES, VALUES, VALUES)
async def test_hostile_input_of_a_request(server: LocalServer, post: Definition, executors: Executors, path: Any, query: Any, header: Any, body: Any) -> None:
    server.requests.clear()
    server.answer = server.answering(body=b"ok")
    outcome = await run(executors, post, {"path": path, "query": query, "header": header, "body": body})
    assert isinstance(outcome, Success) or outcome.error_type == "InvalidInput", outcome
    for request in server.requests:
        assert request.target.startswith("/")
        assert request.target.count("?") == 1
        assert "x" not in request.headers


OK = b"HTTP/1.1 200 OK"
STATUS_LINES = some.sampled_from([OK, OK, OK, b"HTTP/1.1 429 Wait", b"HTTP/1.1 404 \xff\x00", b"HTTP/1.1 101 Switching", b"HTTP/1.1 204 No", b"HTTP/9 1"])
HEADERS = some.sampled_from(
    [
        b"content-length: 5",
        b"connection: close",
        b"x-y: \xff\x01",
        b"content-length: -1",
        b"content-length: 1" + b"0" * 40,
        b"transfer-encoding: chunked",
        b"transfer-encoding: gzip, chunked",
        b"content-encoding: gzip",
        b"content-type: text/plain; charset=\xff",
        b"content-type: application/json",
        b"retry-after: \xff",
        b"location: http://\x80/",
        b": nothing",
        b"x" * 5000 + b": y",
        b"no colon",
    ]
)


@hostile(150)
@given(STATUS_LINES, some.lists(HEADERS, max_size=3), some.binary(max_size=80))
async def test_hostile_answers_of_a_server(
    server: LocalServer, post: Definition, executors: Executors, status: bytes, headers: list[bytes], body: bytes
) -> None:
    async def answer(request: Received) -> AsyncIterator[bytes]:
        yield b"\r\n".join([status, *headers, b"", body])

    server.answer = answer
    await run(executors, post, {"path": "p", "query": "q", "header": "h", "body": "b"})


@hostile(50)
@given(STATUS_LINES, some.lists(HEADERS, max_size=3), some.binary(max_size=80))
async def test_hostile_answers_of_what_is_no_model(
    server: LocalServer, say: Definition, chat: ChatExecutor, status: bytes, headers: list[bytes], body: bytes
) -> None:
    async def answer(request: Received) -> AsyncIterator[bytes]:
        yield b"\r\n".join([status, *headers, b"", body])

    server.answer = answer
    await run(chat, say, {"text": "x", "language": "y"})
