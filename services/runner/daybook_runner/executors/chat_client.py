"""The connection to a provider: the official client, without its own retries, and with bounds that it lacks.

The log is where attempts are counted, so the client tries once. It follows no redirect, which would carry a prompt to
where nobody said it goes. Of an answer no line may be endless, and of a refusal only the beginning is read.
"""

from collections.abc import AsyncIterator
from typing import Final

import httpx2
import openai

_LINE_BYTES: Final = 16 * 1024 * 1024
_REFUSAL_BYTES: Final = 64 * 1024
_CONNECT_SECONDS: Final = 10.0


class Malformed(Exception):
    """The provider sent something that is not an answer."""


def make_client(base_url: str, key: str) -> openai.AsyncOpenAI:
    """A client for one endpoint and key."""
    http = httpx2.AsyncClient(
        headers={"accept-encoding": "identity"},
        event_hooks={"response": [_bound]},
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=32),  # a runner's slots are the bound
    )
    client = openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0, http_client=http)
    # The client takes these from OPENAI_ORG_ID and OPENAI_PROJECT_ID for whichever provider; they are OpenAI's business
    # alone.
    client.organization = client.project = None
    return client


def patience(idle_seconds: float) -> httpx2.Timeout:
    """How long a connection waits for anything at all."""
    return httpx2.Timeout(idle_seconds, connect=_CONNECT_SECONDS)


async def _bound(response: httpx2.Response) -> None:
    """A hook of the HTTP client, before it reads a response. Raises Malformed."""
    encoding = response.headers.get("content-encoding", "identity")
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    if response.is_success and encoding != "identity":
        await response.aclose()
        raise Malformed(f"the answer is encoded as {encoding[:50]!r}, which was not asked for")
    response.stream = _Lines(response.stream) if response.is_success else _Excerpt(response.stream)


class _Lines(httpx2.AsyncByteStream):
    """An answer, none of whose lines is endless."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        since_line_break = 0
        async for part in self._stream:
            end = part.rfind(b"\n")
            since_line_break = len(part) - end - 1 if end >= 0 else since_line_break + len(part)
            if since_line_break > _LINE_BYTES:
                raise Malformed(f"a piece of the answer has more than {_LINE_BYTES} bytes")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Excerpt(httpx2.AsyncByteStream):
    """How a refusal begins. Its status has been said already, so that nothing in its body is worth another error."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            async for part in self._stream:
                yield part[: _REFUSAL_BYTES - size]
                size += len(part)
                if size >= _REFUSAL_BYTES:
                    return
        except httpx2.HTTPError:
            return

    async def aclose(self) -> None:
        await self._stream.aclose()
