"""Tokens: `dbk_`, the id of the token's stream, and a secret. Only the SHA-256 of the secret is kept, as the payload of
`TokenIssued`.

There are three uses of them, and none is good for another's: a bearer token goes into a header; a login link is good
once, for a quarter of an hour, and begins a session; a session is what a browser keeps in a cookie.

A token is looked up by its id and checked by its secret, so a wrong one costs one read and tells nothing. Namespace and
owner come from the token and from nowhere else.
"""

from datetime import datetime, timedelta
from hashlib import sha256
from hmac import compare_digest
from typing import Final
from uuid import UUID

import msgspec

from . import clock, ids
from .bus.subjects import is_name
from .domain.events import TokenIssued, TokenRevoked, TokenUse
from .log.envelope import Recorded
from .log.postgres import Log
from .log.sql import statements

SCOPES: Final = frozenset({"submit", "read", "act_as", "admin"})
LINK_LIFETIME: Final = timedelta(minutes=15)
SESSION_LIFETIME: Final = timedelta(days=30)
_PREFIX: Final = "dbk"
_SECRET_LENGTH: Final = 32
_SQL: Final = statements("daybook.log")


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking: the owner and namespace of a token, and what it may do."""

    token: UUID
    namespace: str
    owner: str
    scopes: frozenset[str]
    expires_at: datetime | None = None
    use: TokenUse = ""


async def issue_token(
    database_url: str, namespace: str, owner: str, scopes: tuple[str, ...], label: str, expires_at: datetime | None = None, *, use: TokenUse = ""
) -> str:
    """Make a token and return it; it is shown this once. Needs the right of the database's owner. Raises ValueError for
    a bad name or scope."""
    if not is_name(namespace):
        raise ValueError(f"a namespace is named with 1 to 32 of a-z, 0-9, _ and -, not {namespace!r}")
    if not 1 <= len(owner) <= 128 or not owner.isprintable():
        raise ValueError("an owner is named with 1 to 128 printable characters")
    unknown = set(scopes) - SCOPES
    if unknown or not scopes:
        raise ValueError(f"scopes are {', '.join(sorted(SCOPES))}, not {', '.join(sorted(unknown)) or 'none'}")
    log = await Log.open(database_url, "owner", pool_size=1, writers=1)
    try:
        stream, secret = ids.new_id(), ids.new_secret()
        event = TokenIssued(owner=owner, scopes=tuple(sorted(set(scopes))), label=label, expires_at=expires_at, actor="owner", use=use)
        await log.append(stream, 1, event, namespace=namespace, payload=_digest(secret))
        return _spelled(stream, secret)
    finally:
        await log.close()


async def issue_link(database_url: str, api_url: str, namespace: str, owner: str, scopes: tuple[str, ...], label: str) -> str:
    """Make an address at which a browser logs in, once, within a quarter of an hour. The code stands behind the `#`,
    which no browser sends to anybody, so it is in no server's log. As `issue_token` otherwise."""
    code = await issue_token(database_url, namespace, owner, scopes, label, clock.now() + LINK_LIFETIME, use="login")
    return f"{api_url.rstrip('/')}/ui/login#{code}"


async def begin_session(log: Log, code: str) -> tuple[str, Principal] | None:
    """Turn a login link's code into a session: its token, and whom it stands for. None for a code that is not good, or
    not any more. The database sees to it that a link begins one session."""
    parts = split(code)
    if parts is None:
        return None
    secret = ids.new_secret()
    row = await log.pool.fetchrow(_SQL["begin_session"], *parts, ids.new_id(), _digest(secret), SESSION_LIFETIME)
    if row is None:
        return None
    principal = principal_of(await log.load(row["stream"]), secret, clock.now(), use="session")
    return None if principal is None else (_spelled(row["stream"], secret), principal)


async def end_session(log: Log, token: str) -> bool:
    """Let a session be over; whether it was one until now. One that is over already, or is none, stays what it is."""
    parts = split(token)
    return parts is not None and bool(await log.pool.fetchval(_SQL["end_session"], *parts, ids.new_id()))


def split(token: str) -> tuple[UUID, str] | None:
    """The id and the secret of a token, or None when it is not one."""
    head, _, body = token.partition("_")
    if head != _PREFIX or len(body) != 26 + _SECRET_LENGTH or not (body.isascii() and body.isalnum()):
        return None
    stream = ids.parse("tok", f"tok_{body[:26]}")
    return None if stream is None else (stream, body[26:])


def principal_of(recorded: list[Recorded], secret: str, now: datetime, use: TokenUse = "") -> Principal | None:
    """Whom the token's stream and this secret prove; None when the secret is wrong, the token was revoked or has expired, or is
    for another use."""
    if not recorded or any(isinstance(each.event, TokenRevoked) for each in recorded):
        return None
    first = recorded[0]
    issued = first.event
    if not isinstance(issued, TokenIssued) or first.payload is None or issued.use != use:
        return None
    if not compare_digest(_digest(secret), first.payload):
        return None
    if issued.expires_at is not None and issued.expires_at <= now:
        return None
    scopes = frozenset(issued.scopes)
    return Principal(token=first.stream, namespace=first.namespace, owner=issued.owner, scopes=scopes, expires_at=issued.expires_at, use=use)


def _spelled(stream: UUID, secret: str) -> str:
    return f"{ids.spell('tok', stream).replace('tok_', f'{_PREFIX}_', 1)}{secret}"


def _digest(secret: str) -> bytes:
    return sha256(secret.encode()).digest()
