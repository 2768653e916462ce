"""The channels of this process: one for each task that is watched here, made when the first watcher comes and closed when
the last has gone.

NATS may lose a word on its way, and nobody would miss it before the next one is said. So every few seconds the last
words that NATS has stored, of all watched tasks together, are compared with those that were heard.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from daybook.bus.jetstream import Bus
from daybook.domain.status import TERMINAL
from daybook.log.postgres import Log

from . import live
from .channel import Channel, Load, Sources
from .hub import Hub
from .memory import Memory
from .words import Words

_COMPARE_SECONDS: Final = 5.0
_TOGETHER: Final = 256
_LINGER_SECONDS: Final = 0.1


class Channels:
    """Opens channels. Its duty is `run`."""

    def __init__(self, log: Log, bus: Bus, hub: Hub, load: Load) -> None:
        self._log = log
        self._bus = bus
        self._hub = hub
        self._load = load
        self._memory = Memory()
        self._open: dict[UUID, Channel] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def held_bytes(self) -> int:
        """How much of what was said is held for those who read it later than it was heard."""
        return self._memory.held_bytes

    def find(self, stream: UUID) -> Channel | None:
        """The channel of this task, if somebody watches it."""
        return self._open.get(stream)

    @asynccontextmanager
    async def open(self, stream: UUID) -> AsyncIterator[Channel]:
        """The channel of this task, loaded; without facts where there is no such task."""
        channel = self._open.get(stream)
        if channel is None:
            channel = self._open[stream] = Channel(stream, self._load, Sources(self._bus, self._log.pool, self._memory))
            self._memory.channels += 1
            self._hub.join(stream, channel)
        channel.users += 1
        try:
            await channel.load()
            yield channel
        finally:
            channel.users -= 1
            if not channel.users:
                # A request has a look at the task, and its answer another; and somebody who was cut off comes back.
                asyncio.get_running_loop().call_later(_LINGER_SECONDS if channel.facts else 0, self._close, channel)

    async def run(self) -> None:
        """Look after the channels, for ever. A duty."""
        while True:
            await asyncio.sleep(_COMPARE_SECONDS)
            for channel in self._open.values():
                channel.forget()
            await self.compare()

    async def compare(self) -> None:
        """See whether words were missed, and listen anew where the connection is another."""
        if not self._bus.is_connected:
            return
        connection = await self._bus.connected()
        listening: dict[str, Words] = {}
        for channel in self._open.values():
            if channel.words is not None and channel.words.listens and channel.status not in TERMINAL:
                channel.words.listen_on(connection)
                listening[channel.words.subject] = channel.words
        watched = list(listening)
        for start in range(0, len(watched), _TOGETHER):
            for subject, newest in (await live.newest_of(self._bus, watched[start : start + _TOGETHER])).items():
                listening[subject].reported(newest)

    def _close(self, channel: Channel) -> None:
        if channel.users or self._open.get(channel.stream) is not channel:
            return
        del self._open[channel.stream]
        self._memory.channels -= 1
        self._hub.leave(channel.stream, channel)
        if channel.words is not None:
            channel.words.leave()
