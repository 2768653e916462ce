"""Bearer tokens: `dbk_`, the id of the token's stream, and a secret. Only the SHA-256 of the secret is kept, as the
payload of `TokenIssued`.

A token is looked up by its id and checked by its secret, so a wrong one costs one read and tells nothing. Namespace and
owner come from the token and from nowhere else.
"""

from datetime import datetime
from hashlib import sha256
from hmac import compare_digest
from typing import Final
from uuid import UUID

import msgspec

from . import ids
from .bus.subjects import is_name
from .domain.events import TokenIssued, TokenRevoked
from .log.envelope import Recorded
from .log.postgres import Log

SCOPES: Final = frozenset({"submit", "read", "act_as", "admin"})
_PREFIX: Final = "dbk"
_SECRET_LENGTH: Final = 32


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking: the owner and namespace of a token, and what it may do."""

    token: UUID
    namespace: str
    owner: str
    scopes: frozenset[str]
    expires_at: datetime | None = None


async def issue_token(database_url: str, namespace: str, owner: str, scopes: tuple[str, ...], label: str, expires_at: datetime | None = None) -> str:
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
        event = TokenIssued(owner=owner, scopes=tuple(sorted(set(scopes))), label=label, expires_at=expires_at, actor="owner")
        await log.append(stream, 1, event, namespace=namespace, payload=sha256(secret.encode()).digest())
        return f"{ids.spell('tok', stream).replace('tok_', f'{_PREFIX}_', 1)}{secret}"
    finally:
        await log.close()


def split(token: str) -> tuple[UUID, str] | None:
    """The id and the secret of a token, or None when it is not one."""
    head, _, body = token.partition("_")
    if head != _PREFIX or len(body) != 26 + _SECRET_LENGTH:
        return None
    stream = ids.parse("tok", f"tok_{body[:26]}")
    return None if stream is None else (stream, body[26:])


def principal_of(recorded: list[Recorded], secret: str, now: datetime) -> Principal | None:
    """Whom the token's stream and this secret prove; None when the secret is wrong, or the token was revoked or has expired."""
    if not recorded or any(isinstance(each.event, TokenRevoked) for each in recorded):
        return None
    first = recorded[0]
    issued = first.event
    if not isinstance(issued, TokenIssued) or first.payload is None:
        return None
    if not compare_digest(sha256(secret.encode()).digest(), first.payload):
        return None
    if issued.expires_at is not None and issued.expires_at <= now:
        return None
    return Principal(token=first.stream, namespace=first.namespace, owner=issued.owner, scopes=frozenset(issued.scopes), expires_at=issued.expires_at)
