"""Runs NATS apps: one request to a micro-service, whose reply is the result.

A request goes only to subjects that the app's file describes and that this runner's setting `DAYBOOK_NATS_ALLOW`
permits; without the setting, to none. Daybook's own subjects, NATS's (`$JS`, `$SYS`, …) and inboxes are never
permitted: the runner's connection can do there what no user may. A value of the input fills one token and cannot become
two, nor a wildcard.

The reply of a service that says `Nats-Service-Error` is the failure `ServiceError`. Where nobody listens, or nobody
answers in time, that is a failure which may pass.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import msgspec
import nats.errors
from nats.aio.client import Client as Connection
from nats.aio.msg import Msg

from daybook.context import Context
from daybook.manifest import NatsApp
from daybook.safe_json import safe_bytes, safe_text

from ..references import MissingSetting, is_reference, resolve
from ..subjects import fill_subject, is_forbidden, matches
from ..templates import MissingVariable, render, render_json
from .protocol import Call, Failure, Outcome, Success

Connect: TypeAlias = Callable[[], Awaitable[Connection]]
"""Waits for a connection that works."""

_CONNECT_SECONDS: Final = 5.0
_LONGEST_SECONDS: Final = 7 * 24 * 3600.0


class SubjectRefused(Exception):
    """Requests may not be sent there."""


class NatsExecutor:
    """Sends requests over the runner's own connection. `allowed` are patterns of subjects; `timeout_seconds` bounds
    attempts that have no timeout of their own."""

    def __init__(self, connect: Connect | None, allowed: tuple[str, ...] = (), *, timeout_seconds: float = 60.0) -> None:
        self._connect = connect
        self._allowed = allowed
        self._timeout_seconds = timeout_seconds

    async def execute(self, call: Call, context: Context) -> Outcome:
        """Fill in the request from the input, send it, and return the reply."""
        app = call.definition.run
        assert isinstance(app, NatsApp)
        if not isinstance(call.input, dict):
            return Failure(error_type="InvalidInput", message="the input is not an object", retryable=False)
        try:
            subject = self._permitted(app, fill_subject(app.subject, call.input))
            headers = _headers(app, call)
            content = msgspec.json.encode(call.input if app.json is None else render_json(app.json, call.input))
        except MissingSetting as error:
            return Failure(error_type="MissingSetting", message=str(error))
        except SubjectRefused as error:
            return Failure(error_type="SubjectRefused", message=safe_text(str(error)), retryable=False)
        except (MissingVariable, ValueError) as error:
            return Failure(error_type="InvalidInput", message=safe_text(str(error))[:1000], retryable=False)
        return await self._request(call, subject, content, headers)

    async def aclose(self) -> None:
        """The connection is the runner's."""

    def _permitted(self, app: NatsApp, subject: str) -> str:
        if is_forbidden(subject):
            raise SubjectRefused(f"{subject} is not for apps")
        if app.allow and not any(matches(pattern, subject) for pattern in app.allow):
            raise SubjectRefused(f"{subject} is not among what the app allows")
        if not any(matches(pattern, subject) for pattern in self._allowed):
            raise SubjectRefused(f"DAYBOOK_NATS_ALLOW of this runner does not permit {subject}")
        return subject

    async def _request(self, call: Call, subject: str, content: bytes, headers: dict[str, str]) -> Outcome:
        # An attempt with a deadline is ended by the runner, in its own words.
        seconds = _LONGEST_SECONDS if call.deadline else self._timeout_seconds
        try:
            connection = await self._connected()
            return _outcome_of(subject, await connection.request(subject, content, timeout=seconds, headers=headers))
        except nats.errors.NoRespondersError:
            return Failure(error_type="NoResponders", message=f"nobody listens on {subject}")
        except nats.errors.MaxPayloadError:
            return Failure(error_type="InvalidInput", message=f"a request of {len(content)} bytes is more than NATS takes", retryable=False)
        except nats.errors.BadSubjectError:
            return Failure(error_type="InvalidInput", message=safe_text(f"{subject!r} is not a subject"), retryable=False)
        except nats.errors.TimeoutError:
            return Failure(error_type="NatsTimeout", message=f"no reply from {subject} within {seconds:g} s")
        except nats.errors.Error as error:
            return Failure(error_type="NatsUnavailable", message=safe_text(f"{subject}: {error}")[:1000])

    async def _connected(self) -> Connection:
        if self._connect is None:
            raise nats.errors.Error("this runner has no connection to NATS")
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                return await self._connect()
        except TimeoutError as error:
            raise nats.errors.Error("there is no connection to NATS at the moment") from error


def _headers(app: NatsApp, call: Call) -> dict[str, str]:
    headers = {"Idempotency-Key": call.task_id, "Daybook-Attempt": str(call.attempt), "Content-Type": "application/json"}
    for name, value in app.headers.items():
        headers[name] = resolve(value) if is_reference(value) else render(value, call.input)
        if any(character in headers[name] for character in "\r\n\0"):
            raise ValueError(f"the header {name} would hold a line break")
    return headers


def _outcome_of(subject: str, reply: Msg) -> Outcome:
    headers = {name.lower(): value for name, value in (reply.headers or {}).items()}
    said, code = headers.get("nats-service-error"), headers.get("nats-service-error-code")
    if said is not None or code is not None:
        message = " ".join(part for part in (code, said) if part)
        # Codes are those of HTTP by convention (ADR-32): what is wrong with a request stays wrong.
        lasting = code is not None and re.fullmatch("4[0-9][0-9]", code) is not None and code not in ("408", "425", "429")
        return Failure(
            error_type="ServiceError",
            message=safe_text(f"{subject}: {message}")[:1000],
            retryable=not lasting,
            retry_after_seconds=_seconds(headers.get("retry-after", "")),
        )
    return _success(reply.data, headers.get("content-type", "").partition(";")[0].strip().lower())


def _success(content: bytes, media_type: str) -> Success:
    if not content:
        return Success(content=b"null")
    if media_type in ("", "application/json"):
        try:
            return Success(content=safe_bytes(msgspec.json.decode(content)))
        except (ValueError, TypeError, OverflowError, RecursionError, msgspec.MsgspecError):
            media_type = ""
    if media_type in ("", "text/plain"):
        try:
            return Success(content=safe_text(content.decode()).encode(), media_type="text/plain; charset=utf-8")
        except UnicodeDecodeError:
            media_type = ""
    return Success(content=content, media_type=media_type if re.fullmatch(r"[\w.+-]{1,80}/[\w.+-]{1,80}", media_type, re.ASCII) else "application/octet-stream")


def _seconds(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[0-9]{1,6}", text) else None
