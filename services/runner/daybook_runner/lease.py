"""The runner's lease: one row in Postgres that says, by the database's clock, until when this runner counts as alive.

The runner counts its time to live on its own monotonic clock, from before the renewal was sent, so it always believes
itself dead before anybody else does. A renewal that fails is tried again at once, as long as there is time.
"""

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from daybook import ids
from daybook.log.connections import LOST
from daybook.log.postgres import Log
from daybook.log.sql import statements

_AGAIN_SECONDS: Final = 0.5
_LATEST_RENEWAL: Final = 0.4
"""Of the lease's time. Whoever lets half of it pass without a renewal may be given up."""
_SQL: Final = statements("daybook_runner")

log = structlog.get_logger()


class LeaseLost(Exception):
    """The lease ran out: the attempts of this runner may belong to others now."""


class Lease:
    """Taken once by a runner process, renewed until it ends; three times as often as it must be, unless said. Raises
    ValueError for one that would be renewed too late."""

    def __init__(self, *, ttl_seconds: float, renew_seconds: float = 0.0) -> None:
        renew_seconds = renew_seconds or ttl_seconds / 3
        if not 0 < renew_seconds <= _LATEST_RENEWAL * ttl_seconds:
            raise ValueError(f"a lease of {ttl_seconds:g} s is renewed every {_LATEST_RENEWAL * ttl_seconds:g} s or more often, not every {renew_seconds:g} s")
        self.runner: Final = ids.spell("run", ids.new_id())
        self.secret: Final = ids.new_secret()
        self._ttl = timedelta(seconds=ttl_seconds)
        self._renew_seconds = renew_seconds
        self._good_until = 0.0
        self._log: Log | None = None

    @property
    def credentials(self) -> tuple[str, str]:
        """What proves to the log's append function who is appending."""
        return self.runner, self.secret

    async def take(self, event_log: Log, *, namespace: str, queues: list[str], apps: list[str], slots: int, host: str) -> None:
        """Take the lease and tell who serves what."""
        self._log = event_log
        sent = asyncio.get_running_loop().time()
        await event_log.pool.execute(_SQL["take_lease"], self.runner, self.secret, namespace, queues, apps, slots, host, self._ttl)
        self._good_until = sent + self._ttl.total_seconds()

    async def keep(self) -> None:
        """Renew the lease for ever. Raises `LeaseLost` as soon as its time is over, even while a renewal hangs."""
        assert self._log is not None
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._renew_seconds)
            while not await self._renew():
                if loop.time() + _AGAIN_SECONDS >= self._good_until:
                    raise LeaseLost("the lease could not be renewed in time")
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _renew(self) -> bool:
        """Whether the lease was renewed; false when the database did not answer. Raises `LeaseLost`."""
        assert self._log is not None
        loop = asyncio.get_running_loop()
        sent = loop.time()
        # Not under a timeout: on a connection whose packets vanish the driver takes a minute to be cancelled.
        renewal = asyncio.ensure_future(self._log.pool.fetchval(_SQL["renew_lease"], self.runner, self.secret, self._ttl))
        await asyncio.wait({renewal}, timeout=max(self._good_until - sent, 0.0))
        if not renewal.done():
            raise LeaseLost("the lease ran out while its renewal was under way")
        error = renewal.exception()
        if error is not None:
            log.warning("lease.renewal_failed", error=f"{type(error).__name__}: {error}")
            return False
        if not renewal.result():
            raise LeaseLost("the lease had run out")
        self._good_until = sent + self._ttl.total_seconds()
        return True

    async def end(self) -> None:
        """Give the lease up, so that nobody waits for it to run out. Without a database it runs out."""
        assert self._log is not None
        try:
            await self._log.pool.execute(_SQL["end_lease"], self.runner, self.secret)
        except LOST as error:
            log.warning("lease.not_ended", error=f"{type(error).__name__}: {error}")
