"""Slots: decides what is due of schedules, appends it, and submits the tasks of slots that fired.

A schedule comes here as its timer's state. What is decided on it is appended under the version check, so it does not
matter how old that is, nor who else decides: whoever loses the race reads what was new and decides again. Many schedules
are decided side by side, and travel in one INSERT; of each schedule one decision follows the other, until it waits.

The time is the database's: what it was when the timers were taken, and what has passed since then.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeAlias, TypeVar
from uuid import UUID

import asyncpg
import msgspec
import structlog

from daybook import ids
from daybook.bus.jetstream import Bus
from daybook.domain.cadence import InvalidCadence
from daybook.domain.commands import Cancel
from daybook.domain.events import TaskEvent
from daybook.domain.schedule import Snapshot, evolve
from daybook.domain.schedule_events import ScheduleEvent, SlotFired
from daybook.domain.slots import Decision, Run, View, Wait, decide_slots
from daybook.domain.status import TERMINAL, Status, status_after
from daybook.handling import Handled, handle
from daybook.log.connections import Connection
from daybook.log.envelope import Appended, Conflict, Recorded, StreamUnreadable
from daybook.log.postgres import Log
from daybook.log.sql import statements
from daybook.projections.timer import PendingSubmission
from daybook.scheduling import current, submit_slot, task_of_slot

_DECISIONS: Final = 32
"""So many decisions about one schedule follow each other at once; then it is somebody else's turn."""
_UNREADABLE: Final = timedelta(minutes=1)
_SQL: Final = statements("daybook.projections")
_ENCODE: Final = msgspec.json.Encoder().encode
_SNAPSHOT: Final = msgspec.json.Decoder(Snapshot)
_PENDING: Final = msgspec.json.Decoder(PendingSubmission)

_State = TypeVar("_State")
_Kept: TypeAlias = tuple[UUID, int, datetime | None, bool, bytes]

log = structlog.get_logger()


class _Look:
    """One schedule that is being looked at."""

    def __init__(self, stream: UUID, snapshot: Snapshot, planned_at: datetime | None) -> None:
        self.stream = stream
        self.name = ids.spell("sch", stream)
        self.snapshot = snapshot
        self.planned_at = planned_at
        self.wait: Wait | None = None

    def view(self, runs: dict[UUID, Run], now: datetime) -> View:
        tasks = {slot: task_of_slot(self.name, slot) for slot in self.snapshot.schedule.live}
        known = {slot: runs[task] for slot, task in tasks.items() if task in runs}
        return View(known, now, self.planned_at, self.name, lambda slot: ids.spell("tsk", task_of_slot(self.name, slot)))


class Slots:
    """What `Timers` does with the timers of schedules, and of submissions."""

    def __init__(self, event_log: Log, bus: Bus) -> None:
        self._log = event_log
        self._bus = bus

    async def decide(self, connection: Connection, rows: Sequence[asyncpg.Record], clock: Callable[[], datetime]) -> None:
        """Decide what is due of these schedules, whose timers this connection holds, and set them anew."""
        looks = [look for row in rows if (look := self._look(row)) is not None]
        pending = looks
        for _ in range(_DECISIONS):
            pending = await self._step(pending, clock)
            if not pending:
                break
        kept: list[_Kept] = []
        for look in looks:
            wait = look.wait or Wait(until=clock())
            kept.append((look.stream, look.snapshot.schedule.version, wait.until, wait.for_run, _ENCODE(look.snapshot)))
        readable = {look.stream for look in looks}
        await _keep(connection, kept + _postponed([row for row in rows if row["id"] not in readable], clock()))

    async def submit(self, connection: Connection, rows: Sequence[asyncpg.Record], clock: Callable[[], datetime]) -> list[asyncpg.Record]:
        """Submit the tasks of slots that fired a while ago, which whoever fired them has not done; returns the timers of
        those that are there now."""
        readable = {row["id"]: pending for row in rows if (pending := _read(_PENDING, row)) is not None}
        await self._submit([(each.schedule, each.snapshot, each.fired, each.at) for each in readable.values()])
        if postponed := _postponed([row for row in rows if row["id"] not in readable], clock()):
            await _keep(connection, postponed)
        log.info("slots.submitted_late", slots=len(readable))
        return [row for row in rows if row["id"] in readable]

    def _look(self, row: asyncpg.Record) -> _Look | None:
        snapshot = _read(_SNAPSHOT, row)
        return None if snapshot is None else _Look(row["id"], snapshot, row["due_at"])

    async def _step(self, looks: list[_Look], clock: Callable[[], datetime]) -> list[_Look]:
        """One decision about each; returns those about which there may be more to decide."""
        runs = await self._runs(looks)
        decided: list[tuple[_Look, ScheduleEvent]] = []
        for look in looks:
            decision = _decision(look, look.view(runs, clock()))
            if isinstance(decision, Wait):
                look.wait = decision
            else:
                decided.append((look, decision))
        if decided:
            await self._make_room(decided, runs, clock())
            await self._append(decided, clock)
        return [look for look, _ in decided if look.wait is None]

    async def _runs(self, looks: list[_Look]) -> dict[UUID, Run]:
        tasks = [task_of_slot(look.name, slot) for look in looks for slot in look.snapshot.schedule.live]
        return {task: _run_of(last) for task, last in (await self._log.load_last(tasks)).items()} if tasks else {}

    async def _make_room(self, decided: list[tuple[_Look, ScheduleEvent]], runs: dict[UUID, Run], now: datetime) -> None:
        """Cancel what still runs of schedules whose next slot is to take its place."""
        in_the_way = [
            (look, task, event)
            for look, event in decided
            if isinstance(event, SlotFired) and event.cause == "slot" and look.snapshot.schedule.rule.overlap == "cancel_previous"
            for task in (task_of_slot(look.name, slot) for slot in event.live)
            if task in runs
        ]
        await asyncio.gather(*(self._cancel(look, task, event, now) for look, task, event in in_the_way))

    async def _cancel(self, look: _Look, task: UUID, event: SlotFired, now: datetime) -> None:
        command = Cancel(actor=f"schedule:{look.name}", reason="overlap", causation=event.task)
        try:
            handled = await handle(self._log, task, command, now, permits=lambda *_: None)
        except (StreamUnreadable, ValueError) as error:
            # It stays `live`, and is asked again at the next slot.
            log.error("task.unreadable", task=ids.spell("tsk", task), detail=str(error))
            return
        if isinstance(handled, Handled) and handled.task.status is Status.RUNNING:
            await self._bus.ask_to_cancel(handled.task.runner, task)

    async def _append(self, decided: list[tuple[_Look, ScheduleEvent]], clock: Callable[[], datetime]) -> None:
        appends = [self._log.append(look.stream, look.snapshot.schedule.version + 1, event, namespace=look.snapshot.namespace) for look, event in decided]
        outcomes: list[Appended | BaseException] = await asyncio.gather(*appends, return_exceptions=True)
        fired = []
        for (look, event), outcome in zip(decided, outcomes, strict=True):
            if isinstance(outcome, Conflict):
                await self._catch_up(look, clock)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                look.snapshot = msgspec.structs.replace(look.snapshot, schedule=evolve(look.snapshot.schedule, event, outcome.at))
                if isinstance(event, SlotFired):
                    fired.append((look.stream, look.snapshot, event, outcome.at))
        if fired:
            await self._submit(fired)

    async def _catch_up(self, look: _Look, clock: Callable[[], datetime]) -> None:
        """Somebody else was faster: go on from what is there now."""
        try:
            now = await current(self._log, look.stream, look.snapshot)
        except StreamUnreadable as error:
            log.error("schedule.unreadable", schedule=look.name, detail=str(error))
            look.wait = Wait(until=clock() + _UNREADABLE)
            return
        assert now is not None, "a stream that has a version does not vanish"
        look.snapshot = now

    async def _submit(self, fired: list[tuple[UUID, Snapshot, SlotFired, datetime]]) -> None:
        wanted = {(stream, snapshot.schedule.input_version) for stream, snapshot, _, _ in fired}
        payloads = await self._log.load_payloads(list(wanted))
        await asyncio.gather(
            *(
                submit_slot(self._log, stream, snapshot, event, at, payloads.get((stream, snapshot.schedule.input_version)))
                for stream, snapshot, event, at in fired
            )
        )


def _read(decoder: "msgspec.json.Decoder[_State]", row: asyncpg.Record) -> _State | None:
    try:
        return decoder.decode(row["state"])
    except msgspec.DecodeError as error:
        # Written by a newer release. It must not keep all others from being fired.
        log.error("timer.unreadable", timer=str(row["id"]), what=row["what"], detail=str(error))
        return None


def _postponed(rows: Sequence[asyncpg.Record], now: datetime) -> list[_Kept]:
    return [(row["id"], row["version"], now + _UNREADABLE, False, row["state"]) for row in rows]


async def _keep(connection: Connection, kept: list[_Kept]) -> None:
    await connection.execute(_SQL["keep_schedule_timers"], *zip(*sorted(kept, key=lambda row: row[0]), strict=True))


def _decision(look: _Look, view: View) -> Decision:
    try:
        return decide_slots(look.snapshot.schedule, view)
    except InvalidCadence as error:
        # Whoever made it knows newer zones, or another grammar. It is no reason to leave all others undecided.
        log.error("schedule.undecidable", schedule=look.name, detail=str(error))
        return Wait(until=view.now + _UNREADABLE)


def _run_of(last: Recorded) -> Run:
    """What became of a task, by its latest event. One that this release cannot read is not known to have ended."""
    status = status_after(last.event) if isinstance(last.event, TaskEvent) else Status.RUNNING
    return Run(status=status, ended_at=last.at if status in TERMINAL else None)
