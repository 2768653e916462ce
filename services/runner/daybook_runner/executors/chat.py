"""Runs chat apps: a prompt to an OpenAI-compatible endpoint, and, as long as the model asks for tools (`chat_tools.py`),
what they said and another round. The answer is said piece by piece while it comes; the last round's is the result.

The result is `{"text", "model", "finish_reason", "usage"}`, the usage summed over all rounds; it is also said as the
action `usage`, however the attempt ends. An answer that breaks off, is too long, or is no answer is a failure, and so
is whatever the provider refuses: `ProviderRateLimited`, `ProviderRefused`, `ProviderFailed`, `ProviderUnreachable`,
`ProviderTimeout`. Nothing is tried again here: that is the task's policy, not the client's.
"""

import asyncio
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, cast

import httpx2
import msgspec
import openai
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolUnionParam

from daybook.context import Context
from daybook.manifest import ChatApp, Definition
from daybook.safe_json import safe_text

from ..files import LoadError
from ..references import MissingSetting, resolve
from ..templates import MissingVariable, render
from .chat_client import Malformed, make_client, patience
from .chat_stream import Reply, Stalled, Usage, next_piece, opened
from .chat_tools import CallApp, Toolbox, ToolCall, ToolRuns, cut, echoed
from .outcomes import outcome_of
from .protocol import Call, Failure, Outcome
from .statuses import is_retryable, retry_after_seconds

_MESSAGE_LENGTH: Final = 4_000
_ID_LENGTH: Final = 64


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a chat app. `usage` is None where the provider does not count."""

    text: str
    model: str
    finish_reason: str
    usage: Usage | None


class TooManyRounds(Exception):
    """The model asks for tools again and again."""


async def _no_app(call: Call, context: Context) -> Outcome:
    return Failure(error_type="UnknownTool", message="this runner has no tools")


class ChatExecutor:
    """Talks to providers, with one client for each endpoint and key. `call_app` runs the tools, which are found among
    the `definitions`."""

    def __init__(self, call_app: CallApp = _no_app, definitions: Mapping[str, Definition] | None = None) -> None:
        self._call_app = call_app
        self._definitions = {} if definitions is None else definitions
        self._toolboxes: dict[str, Toolbox] = {}
        self._clients: dict[tuple[str, str], openai.AsyncOpenAI] = {}

    async def execute(self, call: Call, context: Context) -> Outcome:
        """Ask, pass on each piece of the answer as a chunk, run the tools that the model asks for, and return the last
        answer."""
        app = call.definition.run
        assert isinstance(app, ChatApp)
        if not isinstance(call.input, dict):
            return Failure(error_type="InvalidInput", message="the input is not an object", retryable=False)
        try:
            base_url, model, key = resolve(app.base_url), resolve(app.model), resolve(app.api_key) or "none"
            messages = _messages(app, call.input)
            tools = self._toolbox(call.definition)
        except MissingSetting as error:
            return Failure(error_type="MissingSetting", message=str(error))
        except (MissingVariable, ValueError, OverflowError, RecursionError) as error:
            return Failure(error_type="InvalidInput", message=safe_text(str(error))[:1000], retryable=False)
        except LoadError as error:
            return Failure(error_type="UnknownTool", message=str(error))
        talk = _Conversation(app, call, context, self._client(base_url, key), model, messages, tools)
        runs = ToolRuns(tools, call, context, self._call_app)
        try:
            return outcome_of(await talk.run(runs))
        except (openai.OpenAIError, httpx2.HTTPError, Malformed, Stalled, TooManyRounds) as error:
            return _failure_of(error, base_url, key)
        finally:
            # What was used is to be paid for, even if it came to nothing: a cancellation passes through here too.
            talk.say_usage()

    async def aclose(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            await client.close()

    def _toolbox(self, definition: Definition) -> Toolbox:
        toolbox = self._toolboxes.get(definition.version)
        if toolbox is None:
            toolbox = self._toolboxes[definition.version] = Toolbox(definition, self._definitions)
        return toolbox

    def _client(self, base_url: str, key: str) -> openai.AsyncOpenAI:
        client = self._clients.get((base_url, key))
        if client is None:
            client = self._clients[base_url, key] = make_client(base_url, key)
        return client


class _Conversation:
    """The rounds of one attempt, and what they used."""

    def __init__(
        self, app: ChatApp, call: Call, context: Context, client: openai.AsyncOpenAI, model: str, messages: list[dict[str, Any]], tools: Toolbox
    ) -> None:
        self._app = app
        self._call = call
        self._context = context
        self._client = client
        self._model = model
        self._messages = messages
        self._tools = tools
        self._rounds = 0
        self._begun = 0
        self._counted: list[Usage] = []

    @property
    def usage(self) -> Usage | None:
        """What was counted so far; None when nothing was."""
        return sum(self._counted, Usage()) if self._counted else None

    async def run(self, runs: ToolRuns) -> Answer:
        """Ask until the model needs no more tools. Raises TooManyRounds, and what `_ask` raises."""
        while True:
            self._rounds += 1
            reply = await self._ask()
            calls = _named(reply.calls, self._rounds)
            if not calls:
                # A reply that has no finish reason is not finished, and raised.
                return Answer(text=reply.text, model=reply.model, finish_reason=reply.finish_reason or "", usage=self.usage)
            if self._rounds == self._app.max_rounds:
                raise TooManyRounds(f"the model still asks for tools in round {self._rounds}, the last one")
            told = await runs.run(calls)
            self._messages.append({"role": "assistant", "content": safe_text(reply.text) or None, "tool_calls": [echoed(call) for call in calls]})
            self._messages += [{"role": "tool", "tool_call_id": call.id, "content": content} for call, content in zip(calls, told, strict=True)]

    def say_usage(self) -> None:
        """Say what was used. It is not `complete` when an answer was not counted, as happens to one that is cut
        off."""
        if self._begun:
            counts = msgspec.structs.asdict(self.usage or Usage())
            complete = len(self._counted) == self._begun
            self._context.say("action", {"name": "usage", **counts, "rounds": self._begun, "complete": complete})

    async def _ask(self) -> Reply:
        app = self._app
        asked = self._client.chat.completions.create(
            model=self._model,
            messages=cast("list[ChatCompletionMessageParam]", self._messages),
            stream=True,
            stream_options={"include_usage": True} if app.include_usage else openai.omit,
            temperature=openai.omit if app.temperature is None else app.temperature,
            max_tokens=openai.omit if app.max_tokens is None else app.max_tokens,
            tools=cast("list[ChatCompletionToolUnionParam]", self._tools.offered) or openai.omit,
            extra_headers={"Idempotency-Key": self._key()},
            timeout=patience(app.idle_seconds),
        )
        stream = await opened(asked, app.idle_seconds)
        self._begun += 1
        reply = Reply(self._model)
        try:
            async with stream:
                while (piece := await next_piece(stream, app.idle_seconds)) is not None:
                    reply.take(piece)
                    if piece.thought:
                        self._context.say("action", {"name": "thinking", "text": safe_text(piece.thought)})
                    if piece.text:
                        await self._context.chunk(piece.text)
                    else:
                        # Thousands of empty pieces may come in one reading; everything else has its turn between them.
                        await asyncio.sleep(0)
        finally:
            if reply.usage:
                self._counted.append(reply.usage)
        reply.finish()
        return reply

    def _key(self) -> str:
        """The same for the same question in every attempt. Later rounds ask something else, so their keys differ."""
        if self._rounds == 1:
            return self._call.task_id
        return f"{self._call.task_id}-{sha256(msgspec.json.encode(self._messages)).hexdigest()[:16]}"


def _messages(app: ChatApp, values: dict[str, Any]) -> list[dict[str, Any]]:
    prompt = {"role": "user", "content": safe_text(render(app.prompt, values))}
    if not app.system:
        return [prompt]
    return [{"role": "system", "content": safe_text(render(app.system, values))}, prompt]


def _named(calls: list[ToolCall], number: int) -> list[ToolCall]:
    """The calls with ids that tell them apart, whatever the provider calls them."""
    ids = [safe_text(call.id)[:_ID_LENGTH] for call in calls]
    return [
        msgspec.structs.replace(call, id=own if own and ids.count(own) == 1 else f"call_{number}_{position}")
        for position, (call, own) in enumerate(zip(calls, ids, strict=True), 1)
    ]


def _failure_of(error: Exception, base_url: str, key: str) -> Failure:
    retryable, retry_after = True, None
    match error:
        case openai.APITimeoutError() | Stalled():
            kind, said = "ProviderTimeout", str(error) if isinstance(error, Stalled) else "no answer in time"
        case openai.APIConnectionError() | httpx2.HTTPError():
            kind, said = "ProviderUnreachable", f"{error.__cause__ or error}"
        case openai.APIStatusError(status_code=status):
            kind = "ProviderRateLimited" if status == 429 else "ProviderFailed" if status >= 500 else "ProviderRefused"
            said = f"{status}, {_provider_message(error)}"
            retryable, retry_after = is_retryable(status), retry_after_seconds(status, error.response.headers.get("retry-after"))
        case openai.APIError():
            kind, said = "ProviderFailed", error.message
        case TooManyRounds():
            kind, said, retryable = "TooManyRounds", str(error), False
        case _:
            kind, said = "MalformedAnswer", str(error)
    # Some providers quote the key they were sent.
    said = said.replace(key, "(key)") if len(key) >= 8 else said
    message = safe_text(f"{_shown(base_url)}: {said}")[:_MESSAGE_LENGTH]
    return Failure(error_type=kind, message=message, retryable=retryable, retry_after_seconds=retry_after)


def _provider_message(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict):
        return cut(str(body.get("message") or body.get("detail") or body), _MESSAGE_LENGTH)
    return str(body or error.message).strip()[:500]


def _shown(base_url: str) -> str:
    url = httpx2.URL(base_url)
    return f"{url.scheme}://{url.host}" + (f":{url.port}" if url.port else "") + url.path
