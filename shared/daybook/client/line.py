"""What the blocking and the async transport have in common: how a request is spelled, which failures are tried again,
and what is remembered.

It decides and remembers; it sends nothing.
"""

import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from threading import Lock
from typing import Any, Protocol, TypedDict

import httpx2
import stamina

from .address import Address
from .errors import ApiError, Unavailable, Unreachable, refusal
from .requests import Reply, Request

_POSITION = "Daybook-Position"
_MARGIN_SECONDS = 10.0
_LONGEST_RETRY_AFTER_SECONDS = 60.0


class Line:
    """The way to one API, for one client."""

    def __init__(self, address: Address, *, timeout: float, attempts: int) -> None:
        self.address = address
        self._timeout = timeout
        self._attempts = attempts
        self._positions = Positions()

    def options(self) -> "Options":
        """How to make the HTTP client. Redirects are not followed: the token belongs to one API alone."""
        headers = {"Accept": "application/json"}
        if self.address.token:
            headers["Authorization"] = f"Bearer {self.address.token}"
        # Loading the trust store takes longer than the rest of a command; over plain HTTP an empty one, which trusts
        # nobody, is enough.
        plain = self.address.url.startswith("http://")
        verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True
        return {"base_url": self.address.url, "headers": headers, "verify": verify, "follow_redirects": False}

    def spell(self, request: Request, *, silence_seconds: float | None = None) -> dict[str, Any]:
        """The request in the terms of httpx2. `silence_seconds`: how long a stream may say nothing."""
        headers = dict(request.headers)
        if request.sees_writes and (known := self._positions.spelled()):
            headers[_POSITION] = known
        read = silence_seconds or self._timeout
        if request.hold_seconds:
            read = max(read, request.hold_seconds + _MARGIN_SECONDS)
        return {
            "method": request.method,
            "url": request.path,
            "params": request.query or None,
            "headers": headers,
            "content": request.body,
            "timeout": httpx2.Timeout(self._timeout, read=read),
        }

    def tries(self, request: Request) -> "Tries":
        """The attempts at this request, with a growing, jittered pause between them."""
        if request.patience_seconds is not None:
            return stamina.retry_context(on=_again, attempts=None, timeout=request.patience_seconds, wait_jitter=0.5)
        return stamina.retry_context(on=_again, attempts=self._attempts, timeout=None, wait_jitter=0.3)

    def noted(self, request: Request, response: httpx2.Response) -> Reply:
        """The reply, with its position remembered if it was a write."""
        if request.writes:
            self._positions.note(response.headers.get(_POSITION))
        return Reply(status=response.status_code, headers=response.headers, body=response.content)

    def refusal(self, response: httpx2.Response) -> ApiError:
        """The error that a response of 400 or above stands for."""
        return refusal(response.status_code, response.content, response.headers.get("Retry-After"))

    def unreachable(self, error: httpx2.TransportError) -> Unreachable:
        """The error for an API that did not answer."""
        return Unreachable(f"{self.address.url} cannot be reached: {str(error) or type(error).__name__}")


class Tries(Protocol):
    """The attempts at one request; each is a context manager that swallows a failure worth another attempt."""

    def __iter__(self) -> Iterator[stamina.Attempt]: ...
    def __aiter__(self) -> AsyncIterator[stamina.Attempt]: ...


class Options(TypedDict):
    """Keyword arguments of both HTTP clients."""

    base_url: str
    headers: Mapping[str, str]
    verify: ssl.SSLContext | bool
    follow_redirects: bool


class Positions:
    """How far the log had grown with this client's own writes: the highest position in each lane.

    A write tells `lane:position`; a list read that carries what is known waits until the read model has come that far.
    """

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}
        self._lock = Lock()

    def note(self, header: str | None) -> None:
        """Remember the header of a write's answer: one position, or several with commas between them."""
        for item in (header or "").split(","):
            lane, _, position = item.strip().partition(":")
            if position.isdigit():
                with self._lock:
                    self._highest[lane] = max(int(position), self._highest.get(lane, 0))

    def spelled(self) -> str:
        """The header for a list read; empty when nothing was written."""
        with self._lock:
            return ",".join(f"{lane}:{position}" for lane, position in self._highest.items())


def _again(error: Exception) -> bool | float:
    """Whether, or after how many seconds, to try again."""
    if isinstance(error, Unavailable):
        wanted = error.retry_after_seconds
        if wanted is None:
            return True
        # An API that wants a longer pause is better told to the caller than slept through.
        return wanted if wanted <= _LONGEST_RETRY_AFTER_SECONDS else False
    # A URL that can never work does not get better by trying.
    return isinstance(error, httpx2.TransportError) and not isinstance(error, httpx2.UnsupportedProtocol)
