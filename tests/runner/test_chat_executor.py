"""Chat apps, against a local endpoint: what is asked, what is told while it comes, and what an attempt used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.runner.chat_endpoint import HEAD, USAGE, WHOLE, calling, chat_app, delta, piece, rounds, run

from daybook.context import Context
from daybook.manifest import Definition
from daybook_runner.executors import Executors, Failure, Success

if TYPE_CHECKING:
    from tests.runner.conftest import LocalServer, Received


async def test_the_answer_is_told_piece_by_piece_and_returned_whole(executors: Executors, server: LocalServer, say: Definition) -> None:
    server.answer = server.streaming(*WHOLE)
    context = Context.for_test()
    outcome = await run(executors, say, context)
    assert isinstance(outcome, Success), outcome
    assert msgspec.json.decode(outcome.content) == {
        "text": "Hello",
        "model": "tiny-1",
        "finish_reason": "stop",
        "usage": USAGE,
    }
    assert context.said == [
        ("chunk", {"text": "Hel"}),
        ("chunk", {"text": "lo"}),
        ("action", {"name": "usage", **USAGE, "rounds": 1, "complete": True}),
    ]


async def test_what_is_asked(executors: Executors, server: LocalServer, say: Definition) -> None:
    server.answer = server.streaming(*WHOLE)
    await run(executors, say)
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


async def test_what_may_be_asked_besides(executors: Executors, server: LocalServer, say: Definition, tmp_path: Path) -> None:
    server.answer = server.streaming(*WHOLE)
    schema = {"type": "object", "properties": {"text": {}}}
    given = {"system": "", "temperature": 0.0, "max_tokens": 5, "include_usage": False, "input_schema": schema}
    await run(executors, chat_app(tmp_path, **given))
    body = msgspec.json.decode(server.requests[0].body)
    assert (body["temperature"], body["max_tokens"]) == (0.0, 5)
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert "stream_options" not in body


async def test_ids_for_openai_do_not_go_to_another_provider(server: LocalServer, say: Definition, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    server.answer = server.streaming(*WHOLE)
    async with Executors() as fresh:
        await run(fresh, say)
    assert not {"openai-organization", "openai-project"} & server.requests[0].headers.keys()


async def test_a_piece_is_told_before_the_next_one_is_sent(executors: Executors, server: LocalServer, say: Definition) -> None:
    heard = asyncio.Event()

    async def answer(request: Received) -> AsyncIterator[bytes]:
        yield HEAD
        yield server.event(piece("first"))
        await heard.wait()
        yield server.event(piece("second", "stop"))

    server.answer = answer
    context = Context(task_id="tsk_7", attempt=1, emit=lambda kind, fields: heard.set())
    async with asyncio.timeout(5):
        assert isinstance(await run(executors, say, context), Success)


async def test_a_cancel_closes_the_stream(executors: Executors, server: LocalServer, say: Definition) -> None:
    heard = asyncio.Event()

    async def answer(request: Received) -> AsyncIterator[bytes]:
        yield HEAD
        while True:
            yield server.event(piece("more", usage=USAGE))

    said: list[tuple[str, dict[str, Any]]] = []

    def hear(kind: str, fields: dict[str, Any]) -> None:
        said.append((kind, fields))
        heard.set()

    server.answer = answer
    context = Context(task_id="tsk_7", attempt=1, emit=hear)
    running = asyncio.create_task(run(executors, say, context))
    await heard.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(5):
        await server.closed_early.wait()
    # Some providers count in every piece, and what they counted last is known even now.
    assert said[-1] == ("action", {"name": "usage", **USAGE, "rounds": 1, "complete": True})


async def test_a_cancel_says_that_an_answer_was_not_counted(executors: Executors, server: LocalServer, say: Definition) -> None:
    heard = asyncio.Event()

    async def answer(request: Received) -> AsyncIterator[bytes]:
        yield HEAD + server.event(piece("more"))
        await asyncio.Event().wait()

    server.answer = answer
    said: list[dict[str, Any]] = []

    def hear(kind: str, fields: dict[str, Any]) -> None:
        said.append(fields)
        heard.set()

    running = asyncio.create_task(run(executors, say, Context(task_id="tsk_7", attempt=1, emit=hear)))
    await heard.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert said[-1] == {"name": "usage", "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "rounds": 1, "complete": False}


async def test_thoughts_are_told_apart_from_the_answer(executors: Executors, server: LocalServer, say: Definition) -> None:
    server.answer = server.streaming(delta({"reasoning_content": "Hm.\x00"}), piece("Hello", "stop"))
    context = Context.for_test()
    outcome = await run(executors, say, context)
    assert isinstance(outcome, Success)
    assert msgspec.json.decode(outcome.content)["text"] == "Hello"
    assert context.said[:2] == [("action", {"name": "thinking", "text": "Hm.\ufffd"}), ("chunk", {"text": "Hello"})]


async def test_a_refusal_by_the_model_is_its_answer(executors: Executors, server: LocalServer, say: Definition) -> None:
    server.answer = server.streaming(delta({"refusal": "I will not."}), piece(None, "stop"))
    outcome = await run(executors, say)
    assert isinstance(outcome, Success)
    assert msgspec.json.decode(outcome.content) == {"text": "I will not.", "model": "tiny-1", "finish_reason": "stop", "usage": None}


async def test_counts_that_are_not_all_there(executors: Executors, server: LocalServer, say: Definition) -> None:
    server.answer = server.streaming(piece("x", "stop"), piece(usage={"prompt_tokens": 3, "completion_tokens": None}) | {"choices": []})
    outcome = await run(executors, say)
    assert isinstance(outcome, Success)
    assert msgspec.json.decode(outcome.content)["usage"] == {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3}


async def test_what_a_failed_attempt_used_is_told(executors: Executors, server: LocalServer, say: Definition) -> None:
    server.answer = rounds(server, calling(("no_such_tool", "{}")), server.answering("500 Oh"))
    context = Context.for_test()
    assert isinstance(await run(executors, say, context), Failure)
    assert context.said[-1] == ("action", {"name": "usage", **USAGE, "rounds": 1, "complete": True})


def test_no_secret_is_in_the_definition(say: Definition) -> None:
    assert "sk-very-secret" not in repr(say)
