"""The read model `app`: the latest manifest of every app, for the catalogue."""

from typing import Final

import msgspec

from ..domain.events import AppPublished
from ..log.connections import Connection
from ..log.envelope import Recorded
from ..log.sql import statements

_SQL: Final = statements("daybook.projections")


class AppProjection:
    """Keeps `read.app`."""

    async def apply(self, connection: Connection, events: list[Recorded]) -> bool:
        """Note what was published; false when nothing was."""
        published = False
        for recorded in events:
            if isinstance(recorded.event, AppPublished):
                published = True
                manifest = msgspec.json.encode(recorded.event)
                await connection.execute(_SQL["put_app"], recorded.stream, recorded.version, recorded.namespace, recorded.event.app, recorded.at, manifest)
        return published
