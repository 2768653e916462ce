"""The read models `schedule` (one row per schedule, with its state) and `slot` (the ledger: one row per decision about
slots).

A row of the ledger is one event: a slot that fired, or a run of slots that did not, all for the same reason. So a pause of
a day makes the ledger of a schedule that is due every second two rows longer.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from .. import ids
from ..domain.schedule import Snapshot, evolve
from ..domain.schedule_events import ScheduleCreated, ScheduleEvent, SlotFired, SlotsSkipped
from ..log.connections import Connection, Pool
from ..log.envelope import Recorded
from ..log.sql import statements

_SQL: Final = statements("daybook.projections")
_ENCODE: Final = msgspec.json.Encoder().encode
_SNAPSHOT: Final = msgspec.json.Decoder(Snapshot)


class ScheduleProjection:
    """Keeps `read.schedule` and `read.slot`."""

    async def apply(self, connection: Connection, events: list[Recorded]) -> bool:
        """Fold these events into their schedules and note the slots they decide; false when none of them is about a schedule."""
        ours = [recorded for recorded in events if isinstance(recorded.event, ScheduleEvent)]
        if not ours:
            return False
        known = await _known(connection, list({recorded.stream for recorded in ours if recorded.version > 1}))
        changed: dict[UUID, Snapshot] = {}
        decided = []
        for recorded in ours:
            before = known.get(recorded.stream)
            after = folded(before, recorded)
            if after is None:
                continue
            known[recorded.stream] = changed[recorded.stream] = after
            if isinstance(recorded.event, SlotFired | SlotsSkipped):
                decided.append(_ledger_row(recorded, recorded.event))
        if changed:
            await connection.execute(_SQL["put_schedules"], *zip(*(_row(stream, changed[stream]) for stream in sorted(changed)), strict=True))
        if decided:
            await connection.execute(_SQL["put_slots"], *zip(*decided, strict=True))
        return bool(changed)


def folded(before: Snapshot | None, recorded: Recorded) -> Snapshot | None:
    """The schedule after this event; None when it has it already. Raises ValueError when an event in between is missing."""
    event = recorded.event
    assert isinstance(event, ScheduleEvent)
    version = 0 if before is None else before.schedule.version
    if recorded.version <= version:
        return None
    if recorded.version != version + 1 or (before is None) != isinstance(event, ScheduleCreated):
        raise ValueError(f"version {recorded.version} of {recorded.stream} follows {version}")
    return Snapshot(namespace=recorded.namespace, schedule=evolve(None if before is None else before.schedule, event, recorded.at))


async def find_schedule(source: Connection | Pool, stream: UUID) -> Snapshot | None:
    """A schedule as the read model knows it, which may be a little late."""
    row = await source.fetchrow(_SQL["known_schedules"], [stream])
    return None if row is None else _SNAPSHOT.decode(row["snapshot"])


async def _known(connection: Connection, streams: list[UUID]) -> dict[UUID, Snapshot]:
    return {row["id"]: _SNAPSHOT.decode(row["snapshot"]) for row in await connection.fetch(_SQL["known_schedules"], streams)} if streams else {}


def _row(stream: UUID, snapshot: Snapshot) -> tuple[UUID, int, str, str, str, bool, datetime, bytes]:
    schedule = snapshot.schedule
    gone = schedule.deleted_at is not None
    return stream, schedule.version, snapshot.namespace, schedule.owner, schedule.work.app, gone, schedule.created_at, _ENCODE(snapshot)


def _ledger_row(recorded: Recorded, event: SlotFired | SlotsSkipped) -> tuple[UUID, int, datetime, datetime, int, str, str, UUID | None, datetime, datetime]:
    stream, version, at = recorded.stream, recorded.version, recorded.at
    if isinstance(event, SlotsSkipped):
        return stream, version, event.first, event.last, event.count, "skipped", event.reason, None, event.first, at
    return stream, version, event.slot, event.slot, 1, "fired", event.cause, ids.parse("tsk", event.task), event.due_at or event.slot, at
