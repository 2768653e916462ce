"""The session of a browser: the cookie that it is kept in, and how a request proves that it comes from our own pages.

A browser sends a cookie with whatever request any page makes it send, so the cookie alone proves no intent. What only
reads is answered where no page of another site asks. What changes something must also carry, in `Daybook-CSRF`, a word
that follows from the session's secret: other pages can neither read it nor guess it.
"""

from datetime import datetime
from hashlib import sha256
from hmac import compare_digest, digest
from typing import Annotated, Final

import msgspec

from daybook.access import SESSION_LIFETIME, Principal

from .problems import Problem
from .requests import HttpRequest

CSRF_HEADER: Final = "daybook-csrf"
_COOKIE: Final = "daybook_session"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN: Final = frozenset({"same-origin", "none"})
_RUNS: Final = frozenset({"script", "style", "worker", "sharedworker", "serviceworker", "embed", "object", "frame", "iframe"})
"""What a browser would run, or draw inside our pages. Results belong to users, and none of them is a part of our pages."""


class LoginRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The code of a one-time link: what stands behind its `#`."""

    code: Annotated[str, msgspec.Meta(max_length=128, examples=["dbk_…"])]


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking. `csrf` is there for sessions only: what changes something carries it in the header `Daybook-CSRF`."""

    owner: str
    namespace: str
    scopes: list[str]
    csrf: str | None
    expires_at: datetime | None


def session_view(who: Principal, token: str | None) -> SessionView:
    """What a page is told of its session."""
    csrf = _csrf(token) if token is not None and who.use == "session" else None
    return SessionView(owner=who.owner, namespace=who.namespace, scopes=sorted(who.scopes), csrf=csrf, expires_at=who.expires_at)


def token_of(request: HttpRequest) -> str | None:
    """The session's token, where the browser sent one."""
    return request.cookies.get(_cookie_name(request))


def require_own_page(request: HttpRequest) -> None:
    """Refuse what the page of another site made the browser send."""
    # An origin says `null` where it does not want to be known, and that is nobody's host.
    host = request.headers.get("host", "")
    if request.headers.get("sec-fetch-site", "same-origin") not in _OWN or request.headers.get("origin", host).rpartition("//")[2] != host:
        raise Problem("forbidden", "With a session, only pages of this very address may ask.")


def require_intent(request: HttpRequest, token: str) -> None:
    """Refuse what a session's own pages did not mean to ask. Raises `forbidden`."""
    require_own_page(request)
    if request.headers.get("sec-fetch-dest", "empty") in _RUNS:
        raise Problem("forbidden", "With a session, answers are data, and never a part of a page.")
    if request.method not in _SAFE_METHODS and not compare_digest(request.headers.get(CSRF_HEADER, "").encode(), _csrf(token).encode()):
        hint = "GET /v1/session tells the value; send it in the header Daybook-CSRF."
        raise Problem("forbidden", "With a session, what changes something must prove that a page of ours meant it.", hint=hint)


def keep(request: HttpRequest, token: str) -> dict[str, str]:
    """The header that has the browser keep a session."""
    return _set_cookie(request, token, int(SESSION_LIFETIME.total_seconds()))


def forget(request: HttpRequest) -> dict[str, str]:
    """The header that has the browser forget its session."""
    return _set_cookie(request, "", 0)


def _set_cookie(request: HttpRequest, value: str, max_age: int) -> dict[str, str]:
    secure = "; Secure" if _is_secure(request) else ""
    return {"Set-Cookie": f"{_cookie_name(request)}={value}; Max-Age={max_age}; Path=/; HttpOnly; SameSite=Strict{secure}", "Cache-Control": "no-store"}


def _cookie_name(request: HttpRequest) -> str:
    """With the port in it, since the ports of a host share their cookies, and several may be ours."""
    port = request.headers.get("host", "").rpartition(":")[2]
    return f"{_COOKIE}_{port}" if port.isascii() and port.isdigit() else _COOKIE


def _is_secure(request: HttpRequest) -> bool:
    """Whether the browser speaks TLS, with us or with a proxy before us. Whoever lies about it spoils a cookie of their own."""
    said = (request.scope["scheme"], request.headers.get("origin", "").partition(":")[0], request.headers.get("x-forwarded-proto", ""))
    return "https" in said


def _csrf(token: str) -> str:
    return digest(token.encode(), b"daybook csrf", sha256).hex()[:32]
