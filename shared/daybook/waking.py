"""Wires "the log grew" through a process: a commit of its own wakes its followers at once and pokes everybody else; a poke of theirs wakes its followers.

A poke that is lost costs a quarter of a second: the reader polls besides.
"""

from nats.aio.msg import Msg

from .bus import subjects
from .bus.jetstream import Bus
from .log.postgres import Log
from .log.reader import LogReader


def wire(event_log: Log, reader: LogReader, bus: Bus) -> None:
    """Connect the three. Call before the bus runs."""

    async def poked(_: Msg) -> None:
        reader.wake()

    def committed() -> None:
        reader.wake()
        bus.poke()

    bus.on_message(subjects.POKE, poked)
    event_log.on_commit(committed)
