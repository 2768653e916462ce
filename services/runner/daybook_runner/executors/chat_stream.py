"""One answer of a model, from the pieces in which it comes to the whole.

The client hands over pieces as the provider wrote them, unchecked; here each is converted strictly, and anything that
is no piece is `Malformed`. So is an answer that ends before it is complete, or is longer than a result may be. A model
that is silent for too long has `Stalled`.
"""

import asyncio
from collections.abc import Awaitable
from typing import Annotated, Final, TypeAlias

import httpx2
import msgspec
import openai
from openai import AsyncStream
from openai.types.chat import ChatCompletionChunk

from .chat_client import Malformed
from .chat_tools import ToolCall

_ANSWER_LENGTH: Final = 10 * 1024 * 1024
_MOST_PIECES: Final = 1_000_000
_MOST_CALLS: Final = 128

Pieces: TypeAlias = AsyncStream[ChatCompletionChunk]
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class Stalled(Exception):
    """The provider said nothing for too long."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What providers counted."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            total_tokens=self.total_tokens + other.total_tokens,
        )


class _Counted(msgspec.Struct, frozen=True, kw_only=True):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    total_tokens: _Count | None = None

    def usage(self) -> Usage:
        prompt, completion = self.prompt_tokens or 0, self.completion_tokens or 0
        return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=self.total_tokens or prompt + completion)


class _Function(msgspec.Struct, frozen=True, kw_only=True):
    name: str | None = None
    arguments: str | None = None


class _Fragment(msgspec.Struct, frozen=True, kw_only=True):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, frozen=True, kw_only=True):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Fragment] | None = None


class _Choice(msgspec.Struct, frozen=True, kw_only=True):
    delta: _Delta | None = None
    finish_reason: str | None = None


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """What matters of one piece. One with the usage alone has no choices."""

    model: str | None = None
    choices: list[_Choice] | None = None
    usage: _Counted | None = None

    @property
    def text(self) -> str:
        """What this piece adds to the answer. A model that refuses says so in a field of its own."""
        deltas = (choice.delta for choice in self.choices or () if choice.delta)
        return "".join((delta.content or "") + (delta.refusal or "") for delta in deltas)

    @property
    def thought(self) -> str:
        """What this piece adds to the reasoning that comes before the answer, where a provider shows it."""
        return "".join(choice.delta.reasoning_content or "" for choice in self.choices or () if choice.delta)


class _GrowingCall:
    """A call of a tool, of which the arguments are still coming."""

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class Reply:
    """An answer that is still coming. Take each piece; when there are no more, `finish` it."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self._texts: list[str] = []
        self._calls: list[_GrowingCall] = []
        self._length = 0
        self._pieces = 0

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._texts)

    @property
    def calls(self) -> list[ToolCall]:
        """The tools that the model wants to have called."""
        return [ToolCall(id=call.id, name=call.name, arguments="".join(call.arguments)) for call in self._calls]

    def take(self, piece: Piece) -> None:
        """Add one piece. Raises Malformed when there are too many of them, or they say too much."""
        self.model = piece.model or self.model
        self.usage = piece.usage.usage() if piece.usage else self.usage
        self._texts.append(piece.text)
        self._length += len(piece.text) + len(piece.thought)
        for choice in piece.choices or ():
            self.finish_reason = choice.finish_reason or self.finish_reason
            for fragment in (choice.delta and choice.delta.tool_calls) or ():
                self._take_fragment(fragment)
        self._pieces += 1
        if self._length > _ANSWER_LENGTH:
            raise Malformed(f"the answer is longer than {_ANSWER_LENGTH} characters")
        if self._pieces > _MOST_PIECES:
            raise Malformed(f"the answer has more than {_MOST_PIECES} pieces")

    def finish(self) -> None:
        """Check that the answer came to its end. Raises Malformed."""
        if self.finish_reason is None:
            raise Malformed("the answer ended before it was complete" if self._length or self._calls else "there was no answer in what was sent")
        if self._calls and self.finish_reason in ("length", "content_filter"):
            raise Malformed(f"the answer was cut ({self.finish_reason}) while the model was calling a tool")

    def _take_fragment(self, fragment: _Fragment) -> None:
        call = self._call_of(fragment)
        function = fragment.function or _Function()
        call.id = call.id or fragment.id or ""
        # The name comes once; a provider that repeats it with each fragment means the same one.
        call.name = call.name or function.name or ""
        if function.arguments:
            call.arguments.append(function.arguments)
        self._length += len(function.arguments or "") + len(function.name or "") + len(fragment.id or "")

    def _call_of(self, fragment: _Fragment) -> _GrowingCall:
        """The call that a fragment belongs to. Some providers number no calls, or all of them 0; a new id is a new call
        in any case."""
        same = [call for call in self._calls if fragment.index is None or call.index == fragment.index]
        if same and (not fragment.id or same[-1].id in ("", fragment.id)):
            return same[-1]
        if len(self._calls) == _MOST_CALLS:
            raise Malformed(f"the model calls more than {_MOST_CALLS} tools at once")
        self._calls.append(_GrowingCall(fragment.index))
        return self._calls[-1]


async def opened(asked: Awaitable[Pieces], idle_seconds: float) -> Pieces:
    """The pieces of an answer, once it begins. Raises Stalled, Malformed, and what the client raises."""
    try:
        async with asyncio.timeout(idle_seconds):
            return await asked
    except TimeoutError as error:
        raise Stalled(f"no answer within {idle_seconds:g} s") from error


async def next_piece(pieces: Pieces, idle_seconds: float) -> Piece | None:
    """The next piece of an answer; None after the last. Raises Malformed, Stalled, and what the client raises for lost
    connections and for errors that the provider reports."""
    try:
        async with asyncio.timeout(idle_seconds):
            piece = await anext(pieces, None)
        return None if piece is None else msgspec.convert(piece, Piece, from_attributes=True)
    except TimeoutError as error:
        raise Stalled(f"nothing was said for {idle_seconds:g} s") from error
    except (openai.OpenAIError, httpx2.HTTPError, Malformed):
        raise
    except Exception as error:
        # What the client raises for what is no JSON, or no UTF-8, or lacks its parts, depends on where it stumbles.
        raise Malformed(f"a piece of the answer is malformed: {type(error).__name__}: {error}") from error
