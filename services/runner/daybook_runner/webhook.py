"""Sends webhooks' messages: the executor of the app `daybook.webhook`, which every runner has.

A message is sent as the Standard Webhooks specification has it: signed with the receiver's own secret, under an id that
stays the same for all attempts. It goes only where `executors/guard.py` lets it, through no proxy, and follows no
redirect. An answer of 2xx means that it was taken. Anything else is a failure, and whether it is sent again the task's
policy says; but an answer of 410 (Gone), and an address that may not be called, are final. Of what is answered only the
beginning is read, and kept.

The secret is asked of the database for each attempt, which knows whose it is; it is in no input, no event and no log.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias

import httpcore2
import httpx2
import msgspec
from standardwebhooks import Webhook

from daybook import clock
from daybook.context import Context
from daybook.log.connections import LOST
from daybook.safe_json import safe_text

from .addresses import AddressRefused, Network, resolve_host
from .executors.guard import GuardedNetwork, Resolve
from .executors.protocol import Call, Failure, Outcome, Success
from .executors.statuses import retry_after_seconds

SecretOf: TypeAlias = Callable[[str], Awaitable[bytes | None]]
"""From a delivery's public id to what it is signed with; None for what is no delivery of this runner's."""

_ANSWER_BYTES: Final = 4096
_MESSAGE_LENGTH: Final = 2000
_GONE: Final = 410
_UNREADABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_ENCODE: Final = msgspec.json.Encoder().encode
_EXPECTED: Final = (
    AddressRefused,
    httpcore2.NetworkError,
    httpcore2.TimeoutException,
    httpcore2.ProtocolError,
    httpcore2.UnsupportedProtocol,
)


class WebhookExecutor:
    """Sends messages, over one pool of guarded connections."""

    def __init__(self, allowed: tuple[Network, ...], secret_of: SecretOf, *, resolve: Resolve = resolve_host, timeout_seconds: float = 10.0) -> None:
        self._secret_of = secret_of
        self._timeout_seconds = timeout_seconds
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpx2.create_ssl_context(trust_env=False),
            max_connections=None,  # a runner's slots are the bound
            max_keepalive_connections=16,
            keepalive_expiry=5.0,
            network_backend=GuardedNetwork(allowed, resolve),
        )

    async def execute(self, call: Call, context: Context) -> Outcome:
        """Send the message, and say how it was answered."""
        try:
            url = _address(call.input)
            body = _ENCODE(call.input["body"])
        except (ValueError, TypeError, KeyError, httpx2.InvalidURL) as error:
            return Failure(error_type="InvalidInput", message=safe_text(str(error))[:1000], retryable=False)
        try:
            secret = await self._secret_of(call.task_id)
        except LOST:
            return Failure(error_type="NoSecret", message="the database that knows the secret could not be reached")
        if secret is None:
            return Failure(error_type="NoSecret", message="the database gives no secret for what is no delivery of this runner's", retryable=False)
        request = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._send(request, _headers(url, call, secret, body), body, context)
        except (*_EXPECTED, TimeoutError) as error:
            return _failure_of(error, url, self._timeout_seconds)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()

    async def _send(self, url: httpcore2.URL, headers: dict[bytes, bytes], body: bytes, context: Context) -> Outcome:
        async with self._pool.stream("POST", url, headers=list(headers.items()), content=body) as answer:
            said = await _beginning(answer)
        context.log.info("answered", status=answer.status, answer=said)
        if 200 <= answer.status < 300:
            return Success(content=_ENCODE({"status": answer.status, "answer": said}))
        return _refused(answer, said)


def _address(value: Any) -> httpx2.URL:
    url = httpx2.URL(value["url"])
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise ValueError("it is not an http or https URL without a user")
    return url


def _headers(url: httpx2.URL, call: Call, secret: bytes, body: bytes) -> dict[bytes, bytes]:
    now = clock.now()
    signature = Webhook(secret).sign(call.task_id, now, body.decode())
    return {
        b"host": url.netloc,
        b"user-agent": b"daybook",
        b"accept": b"*/*",
        b"accept-encoding": b"identity",
        b"content-type": b"application/json",
        b"webhook-id": call.task_id.encode(),
        b"webhook-timestamp": str(int(now.timestamp())).encode(),
        b"webhook-signature": signature.encode(),
        b"daybook-attempt": str(call.attempt).encode(),
    }


async def _beginning(answer: httpcore2.Response) -> str:
    """How the answer begins, as text; one that breaks off is kept as far as it came, since the status is what counts."""
    body = b""
    with suppress(httpcore2.NetworkError, httpcore2.ProtocolError):
        async for part in answer.aiter_stream():
            body += part
            if len(body) >= _ANSWER_BYTES:
                break
    return _UNREADABLE.sub("", safe_text(body[:_ANSWER_BYTES].decode(errors="replace"))).strip()


def _refused(answer: httpcore2.Response, said: str) -> Failure:
    fields = httpx2.Headers(answer.headers)
    if answer.status == _GONE:
        return Failure(error_type="Gone", message="410: the receiver wants no more messages", retryable=False)
    what = f"the receiver answered {answer.status}"
    if 300 <= answer.status < 400:
        what += ", and redirects are not followed"
    return Failure(
        error_type="NotTaken",
        message=safe_text(f"{what}: {said}" if said else what)[:_MESSAGE_LENGTH],
        retry_after_seconds=retry_after_seconds(answer.status, fields.get("retry-after")),
    )


def _failure_of(error: Exception, url: httpx2.URL, seconds: float) -> Failure:
    match error:
        case TimeoutError():
            kind, said = "HttpTimeout", f"no answer within {seconds:g} s"
        case AddressRefused():
            kind, said = "AddressRefused", str(error)
        case httpcore2.NetworkError() | httpcore2.TimeoutException():
            kind, said = "HttpUnreachable", str(error) or type(error).__name__
        case _:
            kind, said = "HttpProtocol", str(error)
    # Neither path nor query: who knows one of them may need no signature.
    return Failure(error_type=kind, message=safe_text(f"{url.scheme}://{url.host}: {said}")[:_MESSAGE_LENGTH], retryable=kind != "AddressRefused")
