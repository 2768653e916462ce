"""Whether somebody who reads a stream still may: a token that is revoked, a session that is logged out, and one that
expires end what was begun with them, too. What a stream tells it would otherwise tell for as long as its task takes.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from daybook import clock
from daybook.access import Principal
from daybook.domain.events import TokenRevoked
from daybook.log.envelope import Recorded

from .hub import Hub


class Standing:
    """That of one reader. `stir` is called when it is lost by a revocation; that it expired has to be looked at."""

    def __init__(self, who: Principal, stir: Callable[[], None]) -> None:
        self._expires_at = who.expires_at
        self._stir = stir
        self._is_revoked = False

    @property
    def is_lost(self) -> bool:
        """Whether nothing more may be told."""
        return self._is_revoked or (self._expires_at is not None and self._expires_at <= clock.now())

    def tell(self, recorded: Recorded | None) -> None:
        """The hub has an event of the token's."""
        if recorded is not None and isinstance(recorded.event, TokenRevoked):
            self._is_revoked = True
            self._stir()


@asynccontextmanager
async def standing(hub: Hub, who: Principal, stir: Callable[[], None]) -> AsyncIterator[Standing]:
    """The standing of a reader, for as long as they read."""
    watcher = Standing(who, stir)
    hub.join(who.token, watcher)
    try:
        yield watcher
    finally:
        hub.leave(who.token, watcher)
