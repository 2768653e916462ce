"""Runs HTTP apps: one request, whose answer's body is the result, under its own media type.

The request goes only where `guard.py` lets it, through no proxy, with no cookies, and follows no redirect. The answer
is bounded in size (decompressed) and the whole exchange in time. It carries `Idempotency-Key`, the same for every
attempt at the task, and `Daybook-Attempt`. Any status but 2xx is the failure `HttpStatus`; whether and when to try
again, the status says (`statuses.py`).
"""

import asyncio
import re
import zlib
from contextlib import suppress
from typing import Any, Final

import httpcore2
import httpx2
import msgspec

from daybook.context import Context
from daybook.manifest import HttpApp
from daybook.safe_json import safe_text

from ..addresses import AddressRefused, Network, resolve_host
from ..references import MissingSetting, is_reference, resolve
from ..templates import MissingVariable, render, render_json, render_url
from .guard import GuardedNetwork, Resolve
from .protocol import Call, Failure, Outcome, Success
from .statuses import is_retryable, retry_after_seconds

_ANSWER_BYTES: Final = 10 * 1024 * 1024
_EXCERPT_LENGTH: Final = 300
_MESSAGE_LENGTH: Final = 2_000
_PARTS_IN_A_TURN: Final = 64
"""Ten thousand parts of one byte each come in one reading; between them everything else has its turn."""
_READABLE: Final = ("text/plain", "application/json", "application/problem+json")
_MEDIA_TYPE: Final = re.compile(r"[\w.+-]+/[\w.+-]+(?:\s*;\s*[\w.+-]+=(?:[\w.+-]+|\"[\w .+:/-]*\"))*", re.ASCII)


class TooLarge(Exception):
    """The answer is longer than a result may be."""


_EXPECTED: Final = (
    AddressRefused,
    TooLarge,
    httpcore2.NetworkError,
    httpcore2.TimeoutException,
    httpcore2.ProtocolError,
    httpcore2.UnsupportedProtocol,
    zlib.error,
)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request, filled in."""

    method: str
    url: httpx2.URL
    headers: list[tuple[bytes, bytes]]
    content: bytes | None

    @property
    def target(self) -> str:
        """Where it goes, in words that hold no secret: neither userinfo nor query."""
        port = f":{self.url.port}" if self.url.port else ""
        return safe_text(f"{self.url.scheme}://{self.url.host}{port}{self.url.path}")[:500]


class HttpExecutor:
    """Makes the requests, over one pool of guarded connections."""

    def __init__(self, allowed: tuple[Network, ...] = (), *, resolve: Resolve = resolve_host, timeout_seconds: float = 60.0) -> None:
        self._timeout_seconds = timeout_seconds
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpx2.create_ssl_context(trust_env=False),
            max_connections=None,  # a runner's slots are the bound
            max_keepalive_connections=32,
            keepalive_expiry=5.0,
            network_backend=GuardedNetwork(allowed, resolve),
        )

    async def execute(self, call: Call, context: Context) -> Outcome:
        """Fill in the request from the input, send it, and return the answer."""
        app = call.definition.run
        assert isinstance(app, HttpApp)
        if not isinstance(call.input, dict):
            return Failure(error_type="InvalidInput", message="the input is not an object", retryable=False)
        try:
            request = _filled(app, call)
        except MissingSetting as error:
            return Failure(error_type="MissingSetting", message=str(error))
        except (MissingVariable, ValueError, OverflowError, RecursionError, httpx2.InvalidURL) as error:
            return Failure(error_type="InvalidInput", message=safe_text(str(error))[:1000], retryable=False)
        # An attempt with a deadline is ended by the runner, in its own words.
        seconds = None if call.deadline else self._timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(request)
        except (*_EXPECTED, TimeoutError) as error:
            return _failure_of(error, request, seconds)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()

    async def _exchange(self, request: Request) -> Outcome:
        url = httpcore2.URL(scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port, target=request.url.raw_path)
        async with self._pool.stream(request.method, url, headers=request.headers, content=request.content) as answer:
            headers = httpx2.Headers(answer.headers)
            if 200 <= answer.status < 300:
                return Success(content=await _read(answer, headers), media_type=_media_type(headers))
            return await _refused(request, answer, headers)


def _filled(app: HttpApp, call: Call) -> Request:
    values: dict[str, Any] = call.input
    url = httpx2.URL(render_url(app.url, values))
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{str(url)[:200]!r} is not an http or https URL")
    if url.userinfo:
        raise ValueError("a URL with a user or password in it is not sent; use a header")
    headers = {name: resolve(value) if is_reference(value) else render(value, values) for name, value in app.headers.items()}
    for name, value in headers.items():
        if any(character in value for character in "\r\n\0"):
            raise ValueError(f"the header {name} would hold a line break")
    content, media_type = _content(app, values)
    ours = {
        "accept-encoding": "gzip",
        "user-agent": "daybook",
        "accept": "*/*",
        "idempotency-key": call.task_id,
        "daybook-attempt": str(call.attempt),
    }
    if media_type:
        ours["content-type"] = media_type
    lines = {"host": url.netloc.decode("ascii")} | ours | {name.lower(): value for name, value in headers.items()}
    return Request(
        method=app.method,
        url=url,
        headers=[(name.encode("ascii"), value.encode()) for name, value in lines.items()],
        content=content,
    )


def _content(app: HttpApp, values: dict[str, Any]) -> tuple[bytes | None, str | None]:
    if app.json is not None:
        return msgspec.json.encode(render_json(app.json, values)), "application/json"
    if app.body is not None:
        return render(app.body, values).encode(), "text/plain; charset=utf-8"
    return None, None


def _failure_of(error: Exception, request: Request, seconds: float | None) -> Failure:
    match error:
        case TimeoutError():
            kind, said = "HttpTimeout", f"no answer within {seconds:g} s" if seconds else "no answer in time"
        case AddressRefused():
            kind, said = "AddressRefused", str(error)
        case TooLarge():
            kind, said = "AnswerTooLarge", f"the answer has more than {_ANSWER_BYTES} bytes"
        case httpcore2.NetworkError() | httpcore2.TimeoutException():
            kind, said = "HttpUnreachable", str(error) or type(error).__name__
        case _:
            kind, said = "HttpProtocol", str(error)
    # What was refused here, or is too large, is so next time.
    retryable = kind not in ("AddressRefused", "AnswerTooLarge")
    return Failure(error_type=kind, message=safe_text(f"{request.target}: {said}")[:_MESSAGE_LENGTH], retryable=retryable)


async def _refused(request: Request, answer: httpcore2.Response, headers: httpx2.Headers) -> Failure:
    reason = answer.extensions.get("reason_phrase", b"").decode("ascii", "replace")
    said = f"{answer.status} {reason[:100]}".strip() + f" from {request.target}"
    if location := headers.get("location"):
        said += f": it leads to {location[:200]}, and redirects are not followed"
    elif excerpt := await _excerpt(answer, headers):
        said += f": {excerpt}"
    return Failure(
        error_type="HttpStatus",
        message=safe_text(said)[:_MESSAGE_LENGTH],
        retryable=is_retryable(answer.status),
        retry_after_seconds=retry_after_seconds(answer.status, headers.get("retry-after")),
    )


async def _excerpt(answer: httpcore2.Response, headers: httpx2.Headers) -> str:
    """How a text begins; nothing of what is no plain text. One that breaks off is shown as far as it came: the status is
    what counts."""
    if headers.get("content-encoding") or not _media_type(headers).startswith(_READABLE):
        return ""
    body = b""
    with suppress(httpcore2.NetworkError, httpcore2.ProtocolError):
        async for part in answer.aiter_stream():
            body += part
            if len(body) >= 4 * _EXCERPT_LENGTH:
                break
    return body.decode(errors="replace").strip()[:_EXCERPT_LENGTH]


async def _read(answer: httpcore2.Response, headers: httpx2.Headers) -> bytes:
    """The body, decompressed. Raises TooLarge as soon as it is."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise httpcore2.RemoteProtocolError(f"the answer is encoded as {encoding[:50]!r}, which was not asked for")
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS) if encoding == "gzip" else None
    body = bytearray()
    parts = 0
    async for part in answer.aiter_stream():
        parts += 1
        if parts % _PARTS_IN_A_TURN == 0:
            await asyncio.sleep(0)
        # One small part can inflate a thousandfold, so the bound is set on what comes out.
        body += inflate.decompress(part, _ANSWER_BYTES + 1 - len(body)) if inflate else part
        if len(body) > _ANSWER_BYTES:
            raise TooLarge
    if inflate and body and not inflate.eof:
        raise httpcore2.RemoteProtocolError("the compressed answer ended before it was complete")
    return bytes(body)


def _media_type(headers: httpx2.Headers) -> str:
    given: str = headers.get("content-type", "").strip()
    return given if len(given) <= 200 and _MEDIA_TYPE.fullmatch(given) else "application/octet-stream"
