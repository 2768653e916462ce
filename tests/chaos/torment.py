"""What is done to schedulers while schedules are due: killed and frozen, by a seeded chance, and brought back."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from random import Random
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Final

from daybook import clock
from daybook.testing import eventually

from .fleet import Member
from .slot_evidence import Trouble

_BLACKOUT_SECONDS: Final = 14.0
_LONGEST_FREEZE_SECONDS: Final = 30.0


class Torment:
    """What is done to the schedulers, by a seeded chance: whom it hits, and how. Two may be frozen at a time, and all three once."""

    def __init__(self, members: list[Member], chance: Random, seconds: float) -> None:
        self.troubles: list[Trouble] = []
        self._members, self._chance, self._seconds = members, chance, seconds
        self._freeze_seconds = min(seconds / 2, _LONGEST_FREEZE_SECONDS)
        self._begun: list[asyncio.Task[None]] = []
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def last(self) -> None:
        """Strike again and again for so many seconds; return when everybody is back."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        dark_at = began + self._seconds / 2 if self._seconds > 4 * _BLACKOUT_SECONDS else None
        while (left := began + self._seconds - loop.time()) > 0:
            if dark_at is not None and loop.time() > dark_at:
                dark_at = None
                await self._all_at_once()
                continue
            free = [member for member in self._members if member.name not in self._under_way]
            # The only one left is spared now and then, or nobody would ever get beyond its start.
            if len(free) > 1 or (free and self._chance.random() < 0.6):
                member = self._chance.choice(free)
                if self._chance.random() < 0.2 and len(free) > 1:
                    self._begin(member, self._freeze(member, min(self._freeze_seconds * self._chance.uniform(0.8, 1), left)))
                else:
                    self._begin(member, self._kill(member))
            await asyncio.sleep(min(self._pause(), left))
        await asyncio.gather(*self._begun)

    def _pause(self) -> float:
        """Until the next strike, and every other time until slots are being decided: then somebody is in the middle of it."""
        seconds = self._chance.uniform(0.5, 2.5)
        if self._chance.random() < 0.5:
            strike_at = clock.after(seconds).replace(microsecond=0) + timedelta(seconds=1 + self._chance.uniform(0, 0.15))
            seconds = (strike_at - clock.now()).total_seconds()
        return seconds

    def _begin(self, member: Member, harm: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(harm)
        self._begun.append(task)
        self._under_way[member.name] = task
        task.add_done_callback(lambda _: self._under_way.pop(member.name, None))

    async def _all_at_once(self) -> None:
        await asyncio.gather(*self._under_way.values())
        for member in self._members:
            self._begin(member, self._freeze(member, _BLACKOUT_SECONDS))
        await asyncio.gather(*self._under_way.values())

    async def _kill(self, member: Member) -> None:
        since = clock.now()
        ends = len(member.exits)
        member.signal(SIGKILL)
        await eventually(lambda: len(member.exits) > ends, 10)
        await eventually(member.is_ready, 30)
        self.troubles.append(Trouble(scheduler=member.name, kind="kill", since=since, until=clock.now()))

    async def _freeze(self, member: Member, seconds: float) -> None:
        since = clock.now()
        member.signal(SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            member.signal(SIGCONT)
        self.troubles.append(Trouble(scheduler=member.name, kind="freeze", since=since, until=clock.now()))
