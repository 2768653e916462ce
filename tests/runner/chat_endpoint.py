"""An OpenAI-compatible endpoint, as far as a test writes it out: the pieces of its answers, round after round."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from daybook.context import Context
from daybook.manifest import Definition
from daybook_runner.executors import Call, Executors, Failure, Outcome
from daybook_runner.loading import load

if TYPE_CHECKING:
    from tests.runner.conftest import Answer, LocalServer, Received

DONE = b"data: [DONE]\n\n"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def piece(text: str | None = None, finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    """A piece of an answer that adds this text."""
    return delta({} if text is None else {"content": text}, finish_reason, **more)


def delta(added: dict[str, Any], finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    """A piece of an answer that adds anything."""
    choice = {"index": 0, "delta": added, "finish_reason": finish_reason}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "tiny-1", "choices": [choice], **more}


def counted(**counts: int) -> dict[str, Any]:
    """The piece with the usage alone."""
    return piece(usage=USAGE | counts) | {"choices": []}


WHOLE = [piece("Hel"), piece("lo"), piece(None, "stop"), counted(), DONE]


def fragment(index: int | None, arguments: str = "", *, call: str | None = None, name: str | None = None) -> dict[str, Any]:
    """A part of a tool call: the first one has its id and name."""
    function = {"arguments": arguments} | ({"name": name} if name else {})
    parts: dict[str, Any] = {"index": index, "id": call, "type": "function"}
    return {key: value for key, value in parts.items() if value is not None} | {"function": function}


def calling(*calls: tuple[str, str]) -> list[Any]:
    """An answer that calls tools, each of (name, arguments), one piece each."""
    fragments = [fragment(n, arguments, call=f"id_{n}", name=name) for n, (name, arguments) in enumerate(calls)]
    return [*(delta({"tool_calls": [each]}) for each in fragments), piece(None, "tool_calls"), counted(), DONE]


def rounds(server: LocalServer, *answers: list[Any] | Answer) -> Answer:
    """One answer after the other; the last one is repeated."""
    given = [server.streaming(*answer) if isinstance(answer, list) else answer for answer in answers]

    async def answer(request: Received) -> AsyncIterator[bytes]:
        async for part in given[min(len(server.requests), len(given)) - 1](request):
            yield part

    return answer


def asked(server: LocalServer, number: int) -> dict[str, Any]:
    """The body of the endpoint's n-th request, from 1."""
    body: dict[str, Any] = msgspec.json.decode(server.requests[number - 1].body)
    return body


def chat_app(folder: Path, **changes: Any) -> Definition:
    """The app `say`, whose endpoint is in TEST_CHAT_URL."""
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
    return load([str(folder / "say.json")])["say"]


async def run(executors: Executors, definition: Definition, context: Context | None = None) -> Outcome:
    """One attempt of the app `say`."""
    given = {"text": "{{language}} hello", "language": "Welsh"}
    call = Call(task_id="tsk_7", attempt=1, definition=definition, input=given)
    return await executors.execute(call, context or Context.for_test())


async def failing(executors: Executors, definition: Definition) -> Failure:
    """The same, of which no good is expected."""
    outcome = await run(executors, definition)
    assert isinstance(outcome, Failure), outcome
    return outcome
