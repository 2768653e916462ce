"""What befalls the house while tasks are watched: which faults, in which order, and when; decided by a seed.

A fault strikes when so much was told to the watchers, and not at a time, so that each finds tasks that are streaming.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

from tests.e2e.house import ApiService, House, Service

from daybook.testing import eventually

_LONGEST_AWAY_SECONDS: Final = 1.5
_PATIENCE_SECONDS: Final = 90.0


class Faults:
    """Strikes one after the other, and heals each before the next. `struck` counts them."""

    def __init__(self, house: House, apis: list[ApiService], runners: list[Service], chance: Random) -> None:
        self.struck: Counter[str] = Counter()
        self._house, self._apis, self._runners, self._chance = house, apis, runners, chance

    async def strike(self, told: Callable[[], float]) -> None:
        """Strike until all have struck. `told` is how much of all words was told, from 0 to 1."""
        for share, fault in self._plan():
            await eventually(lambda due=share: told() >= due, _PATIENCE_SECONDS)  # type: ignore[misc]
            await fault()
            self.struck[fault.__name__] += 1

    def _plan(self) -> list[tuple[float, Callable[[], Awaitable[None]]]]:
        # What makes attempts begin anew comes early, or the last of them would run long after everything else is over.
        plan = [(self._chance.uniform(0.1, 0.2), self.runner_killed), (self._chance.uniform(0.3, 0.4), self.runner_killed)]
        others = [self.api_killed] * 4 + [self.nats_restarted, self.nats_killed] * 2 + [self.nats_wiped] * 3
        plan += [(self._chance.uniform(0.05, 0.95), fault) for fault in others]
        return sorted(plan, key=lambda each: each[0])

    async def api_killed(self) -> None:
        """`kill -9` of one API; all who watched through it lose their connection."""
        api = self._chance.choice(self._apis)
        await api.kill()
        await api.start()

    async def runner_killed(self) -> None:
        """`kill -9` of a runner; its attempts are lost when its lease has run out, and begin anew elsewhere."""
        runner = self._chance.choice(self._runners)
        await runner.kill()
        await runner.start()

    async def nats_restarted(self) -> None:
        """An orderly end, and a new beginning after a moment."""
        self._house.nats.stop()
        await self._away()
        self._house.nats.start()

    async def nats_killed(self) -> None:
        """`kill -9`: what it had not written is gone."""
        self._kill_nats()
        await self._away()
        self._house.nats.start()

    async def nats_wiped(self) -> None:
        """It comes back and has forgotten everything."""
        self._kill_nats()
        shutil.rmtree(self._house.nats.store)
        await self._away()
        self._house.nats.start()

    def _kill_nats(self) -> None:
        self._house.nats.kill()
        assert self._house.nats.process is not None
        self._house.nats.process.wait()

    async def _away(self) -> None:
        await asyncio.sleep(self._chance.uniform(0, _LONGEST_AWAY_SECONDS))
