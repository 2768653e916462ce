"""HTTP apps, against a real server: what is sent, what comes back, and everything that can go wrong between."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import pytest_asyncio

from daybook.context import Context
from daybook.manifest import Definition
from daybook_runner.addresses import parse_networks
from daybook_runner.executors import Call, Executors, Failure, Outcome, Success
from daybook_runner.executors.http import HttpExecutor
from daybook_runner.loading import load

if TYPE_CHECKING:
    from tests.runner.conftest import Answer, LocalServer, Received

LOOPBACK = "127.0.0.0/8, ::1/128"
MEBIBYTE = 1024 * 1024


@pytest_asyncio.fixture
async def executors() -> AsyncIterator[Executors]:
    async with Executors(http_allow=LOOPBACK) as made:
        yield made


def app(folder: Path, **keys: Any) -> Definition:
    (folder / "it.json").write_bytes(msgspec.json.encode({"kind": "http", **keys}))
    return load([str(folder / "it.json")])["it"]


def call(definition: Definition, given: Any) -> Call:
    return Call(task_id="tsk_7", attempt=2, definition=definition, input=given)


async def run(executors: Executors, definition: Definition, given: Any = None) -> Outcome:
    return await executors.execute(call(definition, {} if given is None else given), Context.for_test())


async def failing(executors: Executors, definition: Definition, given: Any = None) -> Failure:
    outcome = await run(executors, definition, given)
    assert isinstance(outcome, Failure), outcome
    return outcome


async def test_the_answer_is_the_result(executors: Executors, server: LocalServer, tmp_path: Path) -> None:
    server.answer = server.answering(body=b'{"n":1}', media_type="application/json; charset=utf-8")
    outcome = await run(executors, app(tmp_path, url=server.url + "/things"))
    assert outcome == Success(content=b'{"n":1}', media_type="application/json; charset=utf-8")
    request = server.requests[0]
    assert (request.method, request.target, request.body) == ("GET", "/things", b"")
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert request.headers["idempotency-key"] == "tsk_7"
    assert request.headers["daybook-attempt"] == "2"


async def test_values_stay_in_their_part_of_the_url(executors: Executors, server: LocalServer, tmp_path: Path) -> None:
    definition = app(tmp_path, url=server.url + "/files/{{name}}?q={{q}}&n={{ n }}")
    definition_input = {"name": "a/../b?x#y %41 é", "q": "1&admin=true", "n": ".."}
    await run(executors, definition, definition_input)
    assert server.requests[0].target == "/files/a%2F..%2Fb%3Fx%23y%20%2541%20%C3%A9?q=1%26admin%3Dtrue&n=.."


@pytest.mark.parametrize("step", [".", ".."])
async def test_a_value_is_no_step_up_in_the_path(executors: Executors, server: LocalServer, tmp_path: Path, step: str) -> None:
    failure = await failing(executors, app(tmp_path, url=server.url + "/files/{{name}}/raw"), {"name": step})
    assert failure.error_type == "InvalidInput"
    assert not server.requests


async def test_headers_and_a_json_body(executors: Executors, server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TOKEN", "s3cret {{who}}")
    definition = app(
        tmp_path,
        url=server.url,
        method="POST",
        headers={"Authorization": "Bearer {{env:TEST_TOKEN}}", "X-Whole": "env:TEST_TOKEN", "X-Who": "{{who}}"},
        json={"to": "{{who}}", "greeting": "Dear {{who}},", "many": ["{{n}}", 1, None]},
        input_schema={"type": "object", "properties": {"who": {"type": "string"}, "n": {"type": "integer"}}},
    )
    await run(executors, definition, {"who": "Ada", "n": 3})
    request = server.requests[0]
    assert request.headers["authorization"] == "Bearer s3cret {{who}}"
    assert request.headers["x-whole"] == "s3cret {{who}}"
    assert request.headers["x-who"] == "Ada"
    assert request.headers["content-type"] == "application/json"
    assert msgspec.json.decode(request.body) == {"to": "Ada", "greeting": "Dear Ada,", "many": [3, 1, None]}
    assert "s3cret" not in repr(definition)


async def test_a_text_body(executors: Executors, server: LocalServer, tmp_path: Path) -> None:
    definition = app(tmp_path, url=server.url, method="PUT", body="<p>{{text}}</p>", headers={"Content-Type": "text/html"})
    await run(executors, definition, {"text": "{{text}} é"})
    assert server.requests[0].body.decode() == "<p>{{text}} é</p>"
    assert server.requests[0].headers["content-type"] == "text/html"


async def test_a_header_cannot_be_broken_out_of(executors: Executors, server: LocalServer, tmp_path: Path) -> None:
    definition = app(tmp_path, url=server.url, headers={"X-Who": "{{who}}"})
    failure = await failing(executors, definition, {"who": "a\r\nX-Admin: yes"})
    assert failure.error_type == "InvalidInput"
    assert not server.requests


@pytest.mark.parametrize("given", [{}, [], "text", {"url": "http://good@127.0.0.1/"}, {"url": "ftp://example.org/"}, {"url": 3}])
async def test_bad_input(executors: Executors, tmp_path: Path, given: Any) -> None:
    failure = await failing(executors, app(tmp_path, url="{{url}}"), given)
    assert (failure.error_type, failure.retryable) == ("InvalidInput", False)


@pytest.mark.parametrize("value", ["\ud800", "a\nb", "\x00"])
async def test_what_cannot_be_sent_is_bad_input(executors: Executors, server: LocalServer, tmp_path: Path, value: Any) -> None:
    failure = await failing(executors, app(tmp_path, url=server.url, headers={"X-Y": "{{value}}"}, json=["{{value}}"]), {"value": value})
    assert failure.error_type == "InvalidInput"
    assert not server.requests


async def test_a_setting_that_is_not_set(executors: Executors, server: LocalServer, tmp_path: Path) -> None:
    definition = app(tmp_path, url=server.url, headers={"Authorization": "env:TEST_NOT_SET"})
    failure = await failing(executors, definition)
    assert failure.error_type == "MissingSetting"
    assert "TEST_NOT_SET" in failure.message


@pytest.mark.parametrize(
    ("status", "body", "media_type", "says"),
    [
        ("404 Not Found", b"", "text/plain", "404 Not Found from http://127.0.0.1:{port}/a"),
        ("422 Nope", b'{"n": 1}', "application/json", '422 Nope from http://127.0.0.1:{port}/a: {"n": 1}'),
        ("500 Oh", b"\x00\xff", "image/png", "500 Oh from http://127.0.0.1:{port}/a"),
        ("500 Oh", b"\x00\xff!", "text/plain", "500 Oh from http://127.0.0.1:{port}/a: \ufffd\ufffd!"),
    ],
)
async def test_any_other_status_is_a_failure(
    executors: Executors, server: LocalServer, tmp_path: Path, status: str, body: bytes, media_type: str, says: str
) -> None:
    server.answer = server.answering(status, body, media_type=media_type)
    failure = await failing(executors, app(tmp_path, url=server.url + "/a?key=s3cret"))
    assert failure.error_type == "HttpStatus"
    assert failure.message == says.replace("{port}", str(server.port))


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        ("302 Found", False),
        ("400 Bad Request", False),
        ("401 Unauthorized", False),
        ("404 Not Found", False),
        ("408 Request Timeout", True),
        ("409 Conflict", True),
        ("410 Gone", False),
        ("422 Unprocessable Content", False),
        ("425 Too Early", True),
        ("429 Too Many Requests", True),
        ("500 Internal Server Error", True),
        ("503 Service Unavailable", True),
    ],
)
async def test_whether_to_try_again_follows_from_the_status(executors: Executors, server: LocalServer, tmp_path: Path, status: str, *, retryable: bool) -> None:
    server.answer = server.answering(status, retry_after="7")
    failure = await failing(executors, app(tmp_path, url=server.url))
    assert (failure.retryable, failure.retry_after_seconds) == (retryable, 7.0 if retryable else None)
    assert len(server.requests) == 1


async def test_a_refusal_that_breaks_off_is_that_refusal(executors: Executors, server: LocalServer, tmp_path: Path) -> None:
    server.answer = raw(b"HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\r\nhalf")
    failure = await failing(executors, app(tmp_path, url=server.url))
    assert (failure.error_type, failure.retryable) == ("HttpStatus", False)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
async def test_redirects_are_not_followed(executors: Executors, server: LocalServer, tmp_path: Path, status: str) -> None:
    server.answer = server.answering(status, location="http://169.254.169.254/latest")
    failure = await failing(executors, app(tmp_path, url=server.url))
    assert failure.error_type == "HttpStatus"
    assert "it leads to http://169.254.169.254/latest, and redirects are not followed" in failure.message
    assert len(server.requests) == 1


async def test_no_cookies_are_kept(executors: Executors, server: LocalServer, tmp_path: Path) -> None:
    server.answer = server.answering(set_cookie="session=of-somebody-else")
    for _ in range(2):
        await run(executors, app(tmp_path, url=server.url))
    assert "cookie" not in server.requests[1].headers


async def test_no_proxy_of_the_environment_is_used(executors: Executors, server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert isinstance(await run(executors, app(tmp_path, url=server.url)), Success)


@pytest.mark.parametrize("size", [10 * MEBIBYTE, 10 * MEBIBYTE + 1])
async def test_an_answer_has_a_bound(executors: Executors, server: LocalServer, tmp_path: Path, size: int) -> None:
    server.answer = server.answering(body=b"x" * size)
    outcome = await run(executors, app(tmp_path, url=server.url))
    assert isinstance(outcome, Success) == (size == 10 * MEBIBYTE)
    assert isinstance(outcome, Success) or outcome.error_type == "AnswerTooLarge"


async def test_a_small_answer_that_inflates_is_stopped_in_time(executors: Executors, server: LocalServer, tmp_path: Path) -> None:
    server.answer = server.answering(body=gzip.compress(b"0" * (96 * MEBIBYTE)), content_encoding="gzip")
    definition = app(tmp_path, url=server.url)
    tracemalloc.start()
    failure = await failing(executors, definition)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert failure.error_type == "AnswerTooLarge"
    assert peak < 64 * MEBIBYTE


async def test_compressed_answers_are_read(executors: Executors, server: LocalServer, tmp_path: Path) -> None:
    server.answer = server.answering(body=gzip.compress(b"hello"), content_encoding="gzip")
    assert await run(executors, app(tmp_path, url=server.url)) == Success(content=b"hello", media_type="text/plain")


@pytest.mark.parametrize(("body", "encoding"), [(b"\x00junk", "br"), (b"no gzip", "gzip"), (gzip.compress(b"hello" * 99)[:-9], "gzip")])
async def test_unreadable_encodings(executors: Executors, server: LocalServer, tmp_path: Path, body: bytes, encoding: str) -> None:
    server.answer = server.answering(body=body, content_encoding=encoding)
    assert (await failing(executors, app(tmp_path, url=server.url))).error_type == "HttpProtocol"


@pytest.mark.parametrize("media_type", [None, "nonsense", "text/html\u00e9", "a/b" + "c" * 300])
async def test_a_media_type_that_is_none(executors: Executors, server: LocalServer, tmp_path: Path, media_type: str | None) -> None:
    server.answer = server.answering(body=b"x", media_type=media_type)
    outcome = await run(executors, app(tmp_path, url=server.url))
    assert outcome == Success(content=b"x", media_type="application/octet-stream")


async def test_what_is_no_http(executors: Executors, server: LocalServer, tmp_path: Path) -> None:
    async def answer(request: Received) -> AsyncIterator[bytes]:
        yield b"SSH-2.0-OpenSSH_9.2\r\n"

    server.answer = answer
    assert (await failing(executors, app(tmp_path, url=server.url))).error_type == "HttpProtocol"


async def test_an_answer_that_breaks_off(executors: Executors, server: LocalServer, tmp_path: Path) -> None:
    async def answer(request: Received) -> AsyncIterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"

    server.answer = answer
    assert (await failing(executors, app(tmp_path, url=server.url))).error_type == "HttpProtocol"


async def test_nobody_there(executors: Executors, tmp_path: Path) -> None:
    failure = await failing(executors, app(tmp_path, url="http://127.0.0.1:1/"))
    assert failure.error_type == "HttpUnreachable"
    failure = await failing(executors, app(tmp_path, url="http://nowhere.invalid/"))
    assert failure.error_type == "HttpUnreachable"


async def test_an_answer_that_does_not_come(server: LocalServer, tmp_path: Path) -> None:
    server.answer = silence
    executor = HttpExecutor(parse_networks(LOOPBACK), timeout_seconds=0.05)
    outcome = await executor.execute(call(app(tmp_path, url=server.url), {}), Context.for_test())
    await executor.aclose()
    assert isinstance(outcome, Failure)
    assert outcome.error_type == "HttpTimeout"
    assert "no answer within 0.05 s" in outcome.message


@pytest.mark.parametrize(
    ("begins", "goes_on"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 1000),
        (b"HTTP/1.1 500 Oh\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n", b""),
    ],
)
async def test_the_exchange_as_a_whole_is_bounded_in_time(server: LocalServer, tmp_path: Path, begins: bytes, goes_on: bytes) -> None:
    async def answer(request: Received) -> AsyncIterator[bytes]:
        yield begins
        while goes_on:
            yield goes_on
        await asyncio.Event().wait()

    server.answer = answer
    executor = HttpExecutor(parse_networks(LOOPBACK), timeout_seconds=0.1)
    outcome = await executor.execute(call(app(tmp_path, url=server.url), {}), Context.for_test())
    await executor.aclose()
    assert isinstance(outcome, Failure)
    assert (outcome.error_type, outcome.retryable) == ("HttpTimeout", True)


async def test_an_answer_without_end_is_too_large(executors: Executors, server: LocalServer, tmp_path: Path) -> None:
    server.answer = raw(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", b"x" * MEBIBYTE)
    failure = await failing(executors, app(tmp_path, url=server.url))
    assert (failure.error_type, failure.retryable) == ("AnswerTooLarge", False)


async def test_a_head_without_end_is_no_http(executors: Executors, server: LocalServer, tmp_path: Path) -> None:
    server.answer = raw(b"HTTP/1.1 200 OK\r\n", b"x-y: z\r\n" * 1000)
    assert (await failing(executors, app(tmp_path, url=server.url))).error_type == "HttpProtocol"


async def test_a_cancel_gets_through(executors: Executors, server: LocalServer, tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def answer(request: Received) -> AsyncIterator[bytes]:
        asked.set()
        async for part in silence(request):
            yield part

    server.answer = answer
    running = asyncio.create_task(run(executors, app(tmp_path, url=server.url)))
    await asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def raw(begins: bytes, goes_on: bytes = b"") -> Answer:
    async def answer(request: Received) -> AsyncIterator[bytes]:
        yield begins
        while goes_on:
            yield goes_on

    return answer


async def silence(request: Received) -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""
