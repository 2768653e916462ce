"""Reads the read models `schedule` and `slot` page by page, newest first. What a schedule's ledger shows and the state of
the schedule beside it are of one instant: a slot is in the one or in the other."""

from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

import msgspec

from ..domain.schedule import Snapshot
from ..log.connections import Connection, Pool
from .paging import Key, Query, digest_of, fetch_page, parse, spell
from .schedule import find_schedule

_SNAPSHOT: Final = msgspec.json.Decoder(Snapshot)


class ScheduleFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to list. None means any; `namespace` is always given, by whoever knows the caller."""

    namespace: str
    owner: str | None = None
    app: str | None = None


class SlotFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which slots to list: of one schedule, and perhaps of one outcome."""

    schedule: UUID
    outcome: str | None = None


class ListedSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule of the list."""

    id: UUID
    snapshot: Snapshot


class ListedSlot(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the ledger: a slot that fired, or the `count` slots from `slot` to `last` that did not."""

    version: int
    slot: datetime
    last: datetime
    count: int
    outcome: str
    reason: str
    task: UUID | None
    due_at: datetime
    decided_at: datetime


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a ledger, the cursor of the next one (None at the end), and the schedule as it was then (None where the
    read model has not heard of it)."""

    slots: list[ListedSlot]
    following: str | None
    snapshot: Snapshot | None


async def list_schedules(source: Connection | Pool, wanted: ScheduleFilter, *, limit: int, cursor: str | None) -> tuple[list[ListedSchedule], str | None]:
    """A page of schedules that are not deleted, and the cursor of the next one (None at the end). Raises `BadCursor`."""
    digest = digest_of(wanted)
    key = None if cursor is None else parse(cursor, Key[UUID], digest)
    conditions: list[tuple[str, Any]] = [("NOT deleted AND namespace = ${n}", wanted.namespace)]
    conditions += [(f"{column} = ${{n}}", value) for column in ("owner", "app") if (value := getattr(wanted, column)) is not None]
    rows, has_more = await fetch_page(source, Query(("id", "snapshot", "created_at"), "read.schedule", conditions, ("created_at", "id")), key, limit)
    listed = [ListedSchedule(id=row["id"], snapshot=_SNAPSHOT.decode(row["snapshot"])) for row in rows]
    return listed, spell(Key(digest=digest, at=rows[-1]["created_at"], id=rows[-1]["id"])) if has_more else None


async def list_slots(pool: Pool, wanted: SlotFilter, *, limit: int, cursor: str | None) -> Ledger:
    """A page of a schedule's ledger. Raises `BadCursor`."""
    digest = digest_of(wanted)
    key = None if cursor is None else parse(cursor, Key[int], digest)
    conditions: list[tuple[str, Any]] = [("schedule = ${n}", wanted.schedule)]
    if wanted.outcome is not None:
        conditions.append(("outcome = ${n}", wanted.outcome))
    async with pool.acquire() as lent, lent.transaction(isolation="repeatable_read", readonly=True):
        connection = cast(Connection, lent)
        rows, has_more = await fetch_page(connection, Query(ListedSlot.__struct_fields__, "read.slot", conditions, ("slot", "version")), key, limit)
        snapshot = await find_schedule(connection, wanted.schedule)
    slots = [ListedSlot(**dict(row)) for row in rows]
    following = spell(Key(digest=digest, at=slots[-1].slot, id=slots[-1].version)) if has_more else None
    return Ledger(slots=slots, following=following, snapshot=snapshot)
