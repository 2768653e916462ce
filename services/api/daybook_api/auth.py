"""Who is asking. Namespace and owner come from the bearer token, or from the session of a browser, and from nowhere else;
a token with the scope `act_as` may name the owner in `Daybook-Owner`.

Tokens are looked up in the log by the id that they carry, and remembered until the log says that one was revoked. Where
no token is asked for (open access, on a loopback address only), what a web page of somebody else makes a browser send
is refused. Who asks at another door of this process is known there, and vouched for (`in_process`).
"""

import ipaddress
from typing import Final, Never
from uuid import UUID

import msgspec

from daybook import clock
from daybook.access import Principal, principal_of, split
from daybook.domain.events import TokenRevoked, TokenUse
from daybook.log.envelope import Recorded
from daybook.log.postgres import Log

from . import sessions
from .over_nats.in_process import vouched_for
from .problems import Problem
from .requests import HttpRequest

_CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}
_OPEN: Final = Principal(token=UUID(int=0), namespace="default", owner="local", scopes=frozenset({"submit", "read", "act_as", "admin"}))


class Access:
    """Checks tokens; a cache over the log."""

    def __init__(self, log: Log, *, open_access: bool, namespace: str) -> None:
        self._log = log
        self._open = msgspec.structs.replace(_OPEN, namespace=namespace) if open_access else None
        self._known: dict[str, Principal] = {}
        self._revocations = 0

    def told(self, recorded: Recorded) -> None:
        """Forget what was revoked."""
        if isinstance(recorded.event, TokenRevoked):
            self.forget(recorded.stream)

    async def authenticate(self, request: HttpRequest, scope: str) -> Principal:
        """Who is asking, if they may use `scope`. Raises the problems `unauthorized` and `forbidden`."""
        header = request.headers.get("authorization")
        vouched = vouched_for(request)
        if vouched is not None:
            principal = vouched
        elif header is None:
            principal = await self._of_session(request) if self._open is None else self._local(request, self._open)
        else:
            kind, _, token = header.partition(" ")
            principal = await self._check(token.strip()) if kind.lower() == "bearer" else _refuse()
        if scope not in principal.scopes and "admin" not in principal.scopes:
            raise Problem("forbidden", f"This token does not have the scope {scope}.")
        owner = request.headers.get("daybook-owner")
        return principal if owner is None else _acting_as(principal, owner)

    def forget(self, stream: UUID) -> None:
        """Remember a token no longer."""
        self._revocations += 1
        self._known = {token: who for token, who in self._known.items() if who.token != stream}

    async def _of_session(self, request: HttpRequest) -> Principal:
        token = sessions.token_of(request)
        if token is None:
            raise Problem("unauthorized", hint="Send `Authorization: Bearer dbk_…`; `daybook token create` makes one.", headers=_CHALLENGE)
        principal = await self._check(token, "session")
        sessions.require_intent(request, token)
        return principal

    def _local(self, request: HttpRequest, local: Principal) -> Principal:
        # A browser says from which page a request comes, and by which name it found this machine: a page from elsewhere can forge neither.
        host = request.headers.get("host", "")
        if not is_loopback(request.url.hostname or "") or request.headers.get("origin", host).rpartition("//")[2] != host:
            raise Problem("forbidden", "Without a token, only this machine's own programs and pages may ask.")
        return local

    async def _check(self, token: str, use: TokenUse = "") -> Principal:
        principal = self._known.get(token)
        if principal is not None:
            if principal.use != use or (principal.expires_at is not None and principal.expires_at <= clock.now()):
                _refuse()
            return principal
        parts = split(token)
        if parts is None:
            _refuse()
        stream, secret = parts
        revocations = self._revocations
        principal = principal_of(await self._log.load(stream), secret, clock.now(), use)
        if principal is None:
            _refuse()
        if revocations == self._revocations:
            # Had one been revoked while this one was read, it could be this one, and nobody would say so again.
            self._known[token] = principal
        return principal


def is_loopback(host: str) -> bool:
    """Whether this name or address means this very machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _acting_as(principal: Principal, header: str) -> Principal:
    try:
        owner = header.encode("latin-1").decode()
    except UnicodeError:
        raise Problem("invalid-request", "Daybook-Owner is not UTF-8.") from None
    if owner == principal.owner:
        return principal
    if "act_as" not in principal.scopes:
        raise Problem("forbidden", "Only a token with the scope act_as may name another owner.")
    if not 1 <= len(owner) <= 128 or not owner.isprintable():
        raise Problem("invalid-request", "Daybook-Owner is 1 to 128 printable characters.")
    return msgspec.structs.replace(principal, owner=owner, scopes=principal.scopes - {"admin"})


def _refuse() -> Never:
    raise Problem("unauthorized", "The token is not valid.", headers=_CHALLENGE)
