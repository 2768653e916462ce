"""Wires "the log grew" through a process: a commit of its own wakes its followers and pokes everybody else; a poke of theirs wakes its followers.

A poke that is lost costs a quarter of a second: the reader polls besides.
"""

from collections.abc import Set
from typing import Final

from nats.aio.msg import Msg

from .bus import subjects
from .bus.jetstream import Bus
from .bus.messages import decode_poke
from .domain.events import Event, kind_of
from .log.envelope import Position
from .log.postgres import Log
from .log.reader import LogReader

_PATIENCE_SECONDS: Final = 0.01


def wire(event_log: Log, reader: LogReader, bus: Bus, *, urgent: Set[type[Event]]) -> None:
    """Connect the three. Call before the bus runs.

    Somebody waits for the `urgent` events. Others are looked for ten milliseconds later, when there may be more to find:
    a look costs what a few events cost.
    """
    awaited = {kind_of(event) for event in urgent}

    def wake(position: Position, kinds: set[str]) -> None:
        reader.wake(position, within_seconds=_PATIENCE_SECONDS if awaited.isdisjoint(kinds) else 0.0)

    async def poked(message: Msg) -> None:
        poke = decode_poke(message.data)
        if poke is None:
            reader.wake()
        else:
            wake(Position(poke.lane, poke.position), poke.kinds)

    def committed(position: Position, kinds: set[str]) -> None:
        wake(position, kinds)
        bus.poke(*position, kinds)

    bus.on_message(subjects.POKE, poked)
    event_log.on_commit(committed)
