"""Wires "the log grew" through a process: a commit of its own wakes its followers at once and pokes everybody else; a poke of theirs wakes its followers.

A poke that is lost costs a quarter of a second: the reader polls besides.
"""

from nats.aio.msg import Msg

from .bus import subjects
from .bus.jetstream import Bus
from .log.envelope import Position
from .log.postgres import Log
from .log.reader import LogReader


def wire(event_log: Log, reader: LogReader, bus: Bus) -> None:
    """Connect the three. Call before the bus runs."""

    async def poked(message: Msg) -> None:
        reader.wake(Position.parse(message.data.decode(errors="replace")))

    def committed(position: Position) -> None:
        reader.wake(position)
        bus.poke(position)

    bus.on_message(subjects.POKE, poked)
    event_log.on_commit(committed)
