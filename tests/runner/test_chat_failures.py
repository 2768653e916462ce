"""Chat apps whose endpoint refuses, stalls, breaks off, and talks nonsense; and what can be wrong before it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.runner.chat_endpoint import DONE, HEAD, calling, chat_app, delta, failing, piece, run

from daybook import clock
from daybook.context import Context
from daybook.manifest import Definition
from daybook_runner.executors import Call, Executors, Failure

if TYPE_CHECKING:
    from tests.runner.conftest import LocalServer, Received


@pytest.mark.parametrize(
    ("status", "error_type", "retryable"),
    [
        ("307 Temporary Redirect", "ProviderRefused", False),
        ("400 Bad Request", "ProviderRefused", False),
        ("401 Unauthorized", "ProviderRefused", False),
        ("404 Not Found", "ProviderRefused", False),
        ("408 Request Timeout", "ProviderRefused", True),
        ("409 Conflict", "ProviderRefused", True),
        ("422 Unprocessable Content", "ProviderRefused", False),
        ("425 Too Early", "ProviderRefused", True),
        ("429 Too Many Requests", "ProviderRateLimited", True),
        ("500 Internal Server Error", "ProviderFailed", True),
        ("503 Service Unavailable", "ProviderFailed", True),
    ],
)
async def test_what_the_provider_refuses(executors: Executors, server: LocalServer, say: Definition, status: str, error_type: str, *, retryable: bool) -> None:
    body = b'{"error": {"message": "sk-very-secret will not do", "type": "x", "code": null}}'
    server.answer = server.answering(status, body, media_type="application/json", location=server.url + "/elsewhere")
    context = Context.for_test()
    failure = await run(executors, say, context)
    message = f"{server.url}/v1: {status[:3]}, (key) will not do"
    assert failure == Failure(error_type=error_type, message=message, retryable=retryable)
    assert len(server.requests) == 1  # trying again is the task's policy
    assert not context.said


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize(("says", "seconds"), [("17", 17.0), ("0", 0.0), ("1.5", 1.5), ("-3", 0.0), ("9" * 40, 86_400.0), ("soon", None), ("nan", None)])
async def test_how_long_the_provider_asks_to_be_left_alone(
    executors: Executors, server: LocalServer, say: Definition, status: str, says: str, seconds: float | None
) -> None:
    server.answer = server.answering(status, retry_after=says)
    assert (await failing(executors, say)).retry_after_seconds == seconds


async def test_a_date_until_when_the_provider_asks_to_be_left_alone(executors: Executors, server: LocalServer, say: Definition) -> None:
    server.answer = server.answering("429 Too Many Requests", retry_after=format_datetime(clock.now() + timedelta(seconds=90), usegmt=True))
    seconds = (await failing(executors, say)).retry_after_seconds
    assert seconds is not None
    assert 60 < seconds <= 90


async def test_of_an_endless_refusal_the_beginning_is_read(executors: Executors, server: LocalServer, say: Definition) -> None:
    async def answer(request: Received) -> AsyncIterator[bytes]:
        yield b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\nno, "
        while True:
            yield b"no, " * 1000

    server.answer = answer
    failure = await failing(executors, say)
    assert (failure.error_type, failure.retryable) == ("ProviderRefused", False)
    assert "no, no" in failure.message
    assert len(failure.message) < 1000


async def test_a_refusal_that_breaks_off_is_that_refusal(executors: Executors, server: LocalServer, say: Definition) -> None:
    async def answer(request: Received) -> AsyncIterator[bytes]:
        yield b"HTTP/1.1 400 Bad Request\r\ncontent-length: 100\r\n\r\nhalf"

    server.answer = answer
    assert (await failing(executors, say)).error_type == "ProviderRefused"


async def test_a_refusal_in_another_form(executors: Executors, server: LocalServer, say: Definition) -> None:
    server.answer = server.answering("502 Bad Gateway", b"<html>nginx</html>", media_type="text/html")
    failure = await failing(executors, say)
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
        ([{"choices": [{"delta": {"content": 3}}]}], "MalformedAnswer", "Expected `str | null`, got `int`"),
        ([piece("Hel", usage={"total_tokens": -1})], "MalformedAnswer", "malformed"),
        ([b"data: " + b"[" * 5000 + b"]" * 5000 + b"\n\n"], "MalformedAnswer", "malformed"),
        ([b"data: \xff\xfe\n\n"], "MalformedAnswer", "malformed"),
        ([b"data: " + b"x" * 17_000_000], "MalformedAnswer", "more than 16777216 bytes"),
        ([*calling(("anything", "{"))[:-3], piece(None, "length")], "MalformedAnswer", "was cut (length) while the model was calling a tool"),
        ([delta({"tool_calls": [{"index": n, "id": f"c{n}"}]}) for n in range(129)], "MalformedAnswer", "more than 128 tools"),
        ([{"nothing": "of the kind"}, DONE], "MalformedAnswer", "there was no answer"),
        ([b'{"choices": [{"message": {"content": "not streamed"}}]}'], "MalformedAnswer", "there was no answer"),
        ([b"<html>proxy</html>"], "MalformedAnswer", "there was no answer"),
        ([piece("x" * 1_000_000)] * 11, "MalformedAnswer", "longer than"),
        ([piece("Hel"), {"error": {"message": "out of memory"}}], "ProviderFailed", "out of memory"),
    ],
)
async def test_what_is_no_answer(executors: Executors, server: LocalServer, say: Definition, pieces: list[Any], error_type: str, says: str) -> None:
    server.answer = server.streaming(*pieces)
    failure = await failing(executors, say)
    assert (failure.error_type, says in failure.message, failure.retryable) == (error_type, True, True), failure


async def test_an_answer_that_breaks_off(executors: Executors, server: LocalServer, say: Definition) -> None:
    async def answer(request: Received) -> AsyncIterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9999\r\n\r\n"
        yield server.event(piece("Hel"))

    server.answer = answer
    assert (await failing(executors, say)).error_type == "ProviderUnreachable"


async def test_an_answer_in_an_encoding_that_was_not_asked_for(executors: Executors, server: LocalServer, say: Definition) -> None:
    server.answer = server.answering(body=b"\x1f\x8b", media_type="text/event-stream", content_encoding="gzip")
    failure = await failing(executors, say)
    assert (failure.error_type, "encoded as 'gzip'" in failure.message) == ("MalformedAnswer", True), failure
    assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("begins", [b"", b"HTTP/1.1 200 OK\r\n", HEAD, HEAD + b": ping\n\n" + b"data: {"])
async def test_a_model_that_is_silent_for_too_long(executors: Executors, server: LocalServer, say: Definition, tmp_path: Path, begins: bytes) -> None:
    async def answer(request: Received) -> AsyncIterator[bytes]:
        yield begins
        await asyncio.Event().wait()

    server.answer = answer
    failure = await failing(executors, chat_app(tmp_path, idle_timeout=0.1))
    assert (failure.error_type, failure.retryable) == ("ProviderTimeout", True), failure


async def test_promises_are_no_answer(executors: Executors, server: LocalServer, say: Definition, tmp_path: Path) -> None:
    async def answer(request: Received) -> AsyncIterator[bytes]:
        while True:
            yield b"HTTP/1.1 100 Continue\r\n\r\n" * 100

    server.answer = answer
    failure = await failing(executors, chat_app(tmp_path, idle_timeout="500ms"))
    assert (failure.error_type, "no answer within 0.5 s" in failure.message) == ("ProviderTimeout", True), failure


async def test_signs_of_life_are_no_answer(executors: Executors, server: LocalServer, say: Definition, tmp_path: Path) -> None:
    async def answer(request: Received) -> AsyncIterator[bytes]:
        yield HEAD + server.event(piece("Hel"))
        while True:
            yield b": ping\n\n" * 1000

    server.answer = answer
    failure = await failing(executors, chat_app(tmp_path, idle_timeout="500ms"))
    assert (failure.error_type, "nothing was said for 0.5 s" in failure.message) == ("ProviderTimeout", True), failure


async def test_nobody_there(executors: Executors, say: Definition, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_CHAT_URL", "http://127.0.0.1:1/v1")
    failure = await failing(executors, say)
    assert failure.error_type == "ProviderUnreachable"
    assert failure.message.startswith("http://127.0.0.1:1/v1: ")


@pytest.mark.parametrize("value", [None, ""])
async def test_a_setting_that_is_not_set(executors: Executors, say: Definition, monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is None:
        monkeypatch.delenv("TEST_CHAT_URL")
    else:
        monkeypatch.setenv("TEST_CHAT_URL", value)
    failure = await failing(executors, say)
    assert failure.error_type == "MissingSetting"
    assert "TEST_CHAT_URL is not set" in failure.message


@pytest.mark.parametrize(("url", "error_type"), [("not a url", "ProviderUnreachable"), ("http://[::1", "InvalidURL")])
async def test_a_base_url_that_is_none(executors: Executors, say: Definition, monkeypatch: pytest.MonkeyPatch, url: str, error_type: str) -> None:
    monkeypatch.setenv("TEST_CHAT_URL", url)
    assert (await failing(executors, say)).error_type == error_type


@pytest.mark.parametrize("given", [{}, {"text": "x"}, None, "x"])
async def test_bad_input(executors: Executors, say: Definition, given: Any) -> None:
    call = Call(task_id="tsk_7", attempt=1, definition=say, input=given)
    outcome = await executors.execute(call, Context.for_test())
    assert isinstance(outcome, Failure)
    assert (outcome.error_type, outcome.retryable) == ("InvalidInput", False)
