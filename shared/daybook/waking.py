"""Wires "the log grew" through a process: a commit of its own wakes its followers and pokes everybody else; a poke of theirs wakes its followers.

A poke that is lost costs a quarter of a second: the reader polls besides.
"""

from typing import Final

from nats.aio.msg import Msg

from .bus import subjects
from .bus.jetstream import Bus
from .bus.messages import decode_poke
from .log.envelope import Position
from .log.postgres import Log, Role
from .log.reader import LogReader

_PATIENCE_SECONDS: Final = 0.01


def wire(event_log: Log, reader: LogReader, bus: Bus, *, patient_with: Role) -> None:
    """Connect the three. Call before the bus runs.

    What a role that this process is `patient_with` has written is looked for ten milliseconds later, when there may be
    more to find: a look costs both sides what a few events cost.
    """

    def wake(by: str, position: Position) -> None:
        reader.wake(position, within_seconds=_PATIENCE_SECONDS if by == patient_with else 0.0)

    async def poked(message: Msg) -> None:
        poke = decode_poke(message.data)
        if poke is None:
            reader.wake()
        else:
            wake(poke.by, Position(poke.lane, poke.position))

    def committed(position: Position) -> None:
        wake(event_log.role, position)
        bus.poke(event_log.role, position)

    bus.on_message(subjects.POKE, poked)
    event_log.on_commit(committed)
