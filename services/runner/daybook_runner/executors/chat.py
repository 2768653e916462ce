"""Runs chat apps: one prompt to an OpenAI-compatible endpoint, whose answer is said piece by piece while it comes and
is the result when it is whole.

The result is `{"text", "model", "finish_reason", "usage"}`. An answer that breaks off, is too long, or is no answer is
a failure, and so is whatever the provider refuses: `ProviderRateLimited`, `ProviderRefused`, `ProviderFailed`,
`ProviderUnreachable`, `ProviderTimeout`. Nothing is tried again here: that is the task's policy, not the client's.
"""

from typing import Any, Final

import httpx2
import msgspec
import openai
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from daybook.context import Context
from daybook.manifest import ChatApp
from daybook.safe_json import safe_text

from ..references import MissingSetting, resolve
from ..templates import MissingVariable, render
from .outcomes import outcome_of
from .protocol import Call, Failure, Outcome

_ANSWER_LENGTH: Final = 10 * 1024 * 1024
_TIMEOUT: Final = httpx2.Timeout(600, connect=10)
"""Between two pieces of an answer; the attempt as a whole is bounded by its policy."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider counted."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a chat app. `usage` is None where the provider does not count."""

    text: str
    model: str
    finish_reason: str
    usage: Usage | None


class Malformed(Exception):
    """The provider sent something that is not an answer."""


class ChatExecutor:
    """Talks to providers, with one client for each endpoint and key."""

    def __init__(self) -> None:
        self._clients: dict[tuple[str, str], openai.AsyncOpenAI] = {}

    async def execute(self, call: Call, context: Context) -> Outcome:
        """Ask, pass on each piece of the answer as a chunk, and return the whole."""
        app = call.definition.run
        assert isinstance(app, ChatApp)
        if not isinstance(call.input, dict):
            return Failure(error_type="InvalidInput", message="the input is not an object")
        try:
            base_url, model, key = resolve(app.base_url), resolve(app.model), resolve(app.api_key) or "none"
            messages = _messages(app, call.input)
        except MissingSetting as error:
            return Failure(error_type="MissingSetting", message=str(error))
        except MissingVariable as error:
            return Failure(error_type="InvalidInput", message=str(error))
        try:
            return outcome_of(await self._ask(app, call, context, self._client(base_url, key), model, messages))
        except (openai.OpenAIError, httpx2.HTTPError, Malformed) as error:
            return _failure_of(error, base_url, key)

    async def aclose(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            await client.close()

    async def _ask(
        self,
        app: ChatApp,
        call: Call,
        context: Context,
        client: openai.AsyncOpenAI,
        model: str,
        messages: list[ChatCompletionMessageParam],
    ) -> Answer:
        stream = await client.chat.completions.create(
            model=model,
            messages=messages,
            stream=True,
            stream_options={"include_usage": True} if app.include_usage else openai.omit,
            temperature=openai.omit if app.temperature is None else app.temperature,
            max_tokens=openai.omit if app.max_tokens is None else app.max_tokens,
            extra_headers={"Idempotency-Key": call.task_id},
        )
        answer = _Growing(model)
        async with stream:
            try:
                async for piece in stream:
                    if text := answer.take(piece):
                        await context.chunk(text)
            except (ValueError, AttributeError, TypeError) as error:
                # What the client raises for a piece that is no JSON, or lacks its parts, depends on where it stumbles.
                raise Malformed(f"a piece of the answer is malformed: {error}") from error
        return answer.whole()

    def _client(self, base_url: str, key: str) -> openai.AsyncOpenAI:
        client = self._clients.get((base_url, key))
        if client is None:
            client = openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=_TIMEOUT)
            # The client takes these from OPENAI_ORG_ID and OPENAI_PROJECT_ID for whichever provider; they are OpenAI's
            # business alone.
            client.organization = client.project = None
            self._clients[base_url, key] = client
        return client


class _Growing:
    """An answer that is still coming."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._texts: list[str] = []
        self._length = 0
        self._finish_reason: str | None = None
        self._usage: Usage | None = None

    def take(self, piece: ChatCompletionChunk) -> str:
        """The text that this piece adds."""
        self._model = piece.model or self._model
        if usage := piece.usage:
            self._usage = Usage(
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
                total_tokens=usage.total_tokens,
            )
        # A piece with the usage alone has no choices.
        added = "".join(choice.delta.content or "" for choice in piece.choices or ())
        self._finish_reason = next((choice.finish_reason for choice in piece.choices or () if choice.finish_reason), self._finish_reason)
        self._texts.append(added)
        self._length += len(added)
        if self._length > _ANSWER_LENGTH:
            raise Malformed(f"the answer is longer than {_ANSWER_LENGTH} characters")
        return added

    def whole(self) -> Answer:
        """The answer, if it came to its end. Raises Malformed."""
        if self._finish_reason is None:
            raise Malformed("the answer ended before it was complete" if self._length else "there was no answer in what was sent")
        return Answer(text="".join(self._texts), model=self._model, finish_reason=self._finish_reason, usage=self._usage)


def _messages(app: ChatApp, values: dict[str, Any]) -> list[ChatCompletionMessageParam]:
    prompt: ChatCompletionMessageParam = {"role": "user", "content": safe_text(render(app.prompt, values))}
    if not app.system:
        return [prompt]
    return [{"role": "system", "content": safe_text(render(app.system, values))}, prompt]


def _failure_of(error: Exception, base_url: str, key: str) -> Failure:
    match error:
        case openai.APITimeoutError():
            kind, said = "ProviderTimeout", "no answer in time"
        case openai.APIConnectionError() | httpx2.HTTPError():
            kind, said = "ProviderUnreachable", f"{error.__cause__ or error}"
        case openai.APIStatusError(status_code=status):
            kind = "ProviderRateLimited" if status == 429 else "ProviderFailed" if status >= 500 else "ProviderRefused"
            said = f"{status}, {_provider_message(error)}"
        case openai.APIError():
            kind, said = "ProviderFailed", error.message
        case _:
            kind, said = "MalformedAnswer", str(error)
    # Some providers quote the key they were sent.
    said = said.replace(key, "(key)") if len(key) >= 8 else said
    return Failure(error_type=kind, message=safe_text(f"{_shown(base_url)}: {said}")[:4000])


def _provider_message(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict):
        return str(body.get("message") or body.get("detail") or body)
    return str(body or error.message).strip()[:500]


def _shown(base_url: str) -> str:
    url = httpx2.URL(base_url)
    return f"{url.scheme}://{url.host}" + (f":{url.port}" if url.port else "") + url.path
