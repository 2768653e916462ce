"""Schedules at the API: found for whoever may see them, created, changed, and told what to do. What a request means is
found out in `schedule_rules`; what becomes of it is decided in `daybook.domain`.

A schedule is read from its snapshot in the read model and what the log has behind that, so it is always as it is now.
"""

from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

from daybook import clock, ids
from daybook.access import Principal
from daybook.blobs import Blobs
from daybook.domain.events import Content
from daybook.domain.refusals import AlreadyDone, AlreadyExists, Contended, NotFound, Refusal, VersionMismatch
from daybook.domain.schedule import Schedule, Snapshot, decide, evolve
from daybook.domain.schedule_commands import ChangeSchedule, CreateSchedule, DeleteSchedule, PauseSchedule, ResumeSchedule
from daybook.domain.schedule_events import ScheduleCreated
from daybook.log import codec
from daybook.log.envelope import Conflict, Position
from daybook.log.postgres import Log
from daybook.projections.schedule import find_schedule
from daybook.scheduling import Handled, current, handle_schedule

from . import bodies
from .catalogue import Catalogue, Entry
from .problems import Problem, of_refusal
from .schedule_rules import rule_of, work_of
from .schedule_schemas import ChangeScheduleRequest, CreateScheduleRequest
from .submission import checked_key, open_payload

Simple: TypeAlias = PauseSchedule | ResumeSchedule | DeleteSchedule
Permission: TypeAlias = Callable[[Snapshot], Refusal | None]

TRIES: Final = 8


class FoundSchedule(NamedTuple):
    """A schedule that the caller may see, as it is now. `position` is where its latest event lies, where that is known."""

    stream: UUID
    snapshot: Snapshot
    position: Position | None = None
    replayed: bool = False

    @property
    def name(self) -> str:
        """Its public id."""
        return ids.spell("sch", self.stream)

    @property
    def schedule(self) -> Schedule:
        """Its state."""
        return self.snapshot.schedule


class Schedules:
    """The API's schedules."""

    def __init__(self, log: Log, blobs: Blobs, catalogue: Catalogue) -> None:
        self._log = log
        self._blobs = blobs
        self._catalogue = catalogue

    async def find(self, schedule_id: str, who: Principal, *, deleted: bool = False) -> FoundSchedule:
        """The schedule with this public id. Raises `not-found` for one that is not there, for somebody else's, and for one
        that was deleted unless those are wanted too."""
        stream = ids.parse("sch", schedule_id)
        snapshot = None if stream is None else await self._current(stream)
        if stream is None or snapshot is None or not may_see(who, snapshot) or (snapshot.schedule.deleted_at is not None and not deleted):
            raise refused(NotFound())
        return FoundSchedule(stream, snapshot)

    async def content(self, found: FoundSchedule) -> bytes | None:
        """Its input; None when it was erased."""
        content, event = found.schedule.work.input, (found.stream, found.schedule.input_version)
        payload = None if content.blob else (await self._log.load_payloads([event])).get(event)
        return await open_payload(self._blobs, content, payload)

    async def create(self, wish: CreateScheduleRequest, body: bytes, who: Principal, now: datetime, *, key: str | None) -> FoundSchedule:
        """Accept a schedule; with a key that was used before, find the schedule of that time, if the request was the same.
        Raises problems."""
        stream = ids.new_id() if key is None else ids.derive_id("http-schedule", who.namespace, who.owner, checked_key(key))
        fingerprint = "" if key is None else sha256(body).hexdigest()[:32]
        try:
            entry = await self._catalogue.get(who.namespace, wish.app)
            content = bytes(wish.input)
            entry.check(bodies.decode_part(content, "/input"))
            sealed = codec.seal(content)
            rule, work = rule_of(wish, None, now), work_of(wish, None, entry.manifest, sealed.content)
        except Problem:
            if key is None or (replayed := await self._replayed(stream, fingerprint)) is None:
                raise
            return replayed
        if sealed.blob is not None:
            # A repeated request must not leave another copy of its input behind.
            if key is not None and (replayed := await self._replayed(stream, fingerprint)) is not None:
                return replayed
            await self._blobs.put(sealed.content.digest, sealed.blob)
        command = CreateSchedule(
            actor=f"user:{who.owner}", reason=wish.note, owner=who.owner, rule=rule, work=work, paused=wish.paused, fingerprint=fingerprint
        )  # fmt: skip
        event = decide(None, command, now)
        assert isinstance(event, ScheduleCreated), "nothing can be wrong with a first command"
        try:
            appended = await self._log.append(stream, 1, event, namespace=who.namespace, payload=sealed.payload)
        except Conflict:
            if key is None or (replayed := await self._replayed(stream, fingerprint)) is None:
                raise
            return replayed
        return FoundSchedule(stream, Snapshot(namespace=who.namespace, schedule=evolve(None, event, appended.at)), appended.position)

    async def change(self, schedule_id: str, wish: ChangeScheduleRequest, who: Principal, if_match: int | None) -> FoundSchedule:
        """Let a schedule be different. Raises problems."""
        outcome: Handled | Refusal = Contended()
        for _ in range(TRIES):
            found = await self.find(schedule_id, who)
            before, now = found.schedule, clock.now()
            entry = await self._catalogue.get(found.snapshot.namespace, before.work.app)
            content, payload = await self._input(found, bytes(wish.input), entry)
            work = work_of(wish, before.work, entry.manifest, content)
            command = ChangeSchedule(actor=f"user:{who.owner}", rule=rule_of(wish, before.rule, now), work=work)
            permits = permission(who, if_match, version=before.version)
            outcome = await handle_schedule(self._log, found.stream, command, found.snapshot, now, permits=permits, payload=payload)
            if not isinstance(outcome, Contended):
                break
        return await self.after(found, outcome)

    async def tell(self, schedule_id: str, command: Simple, who: Principal, if_match: int | None) -> FoundSchedule:
        """Pause, resume or delete a schedule; what is so already is no change. Raises problems."""
        found = await self.find(schedule_id, who, deleted=isinstance(command, DeleteSchedule))
        permits = permission(who, if_match)
        return await self.after(found, await handle_schedule(self._log, found.stream, command, found.snapshot, clock.now(), permits=permits))

    async def _current(self, stream: UUID) -> Snapshot | None:
        return await current(self._log, stream, await find_schedule(self._log.pool, stream))

    async def after(self, before: FoundSchedule, outcome: Handled | Refusal) -> FoundSchedule:
        """The schedule after a command that was followed, or that asked for what is so already. Raises a problem for any other refusal."""
        match outcome:
            case Handled():
                return FoundSchedule(before.stream, outcome.snapshot, outcome.position)
            case AlreadyDone():
                latest = (await self._log.load_last([before.stream]))[before.stream]
                snapshot = await self._current(before.stream)
                assert snapshot is not None
                return FoundSchedule(before.stream, snapshot, Position(latest.lane, latest.position))
            case _:
                raise refused(outcome)

    async def _replayed(self, stream: UUID, fingerprint: str) -> FoundSchedule | None:
        """The schedule that this key made before; None when there is none. Raises problems for another request's, and for
        one that is no more."""
        snapshot = await self._current(stream)
        if snapshot is None:
            return None
        if snapshot.schedule.fingerprint != fingerprint:
            raise refused(AlreadyExists(fingerprint=snapshot.schedule.fingerprint))
        if snapshot.schedule.deleted_at is not None:
            raise Problem("idempotency-key-reused", "The schedule that this Idempotency-Key stands for was deleted.")
        first = (await self._log.load_first([stream]))[stream]
        return FoundSchedule(stream, snapshot, Position(first.lane, first.position), replayed=True)

    async def _input(self, found: FoundSchedule, given: bytes, entry: Entry) -> tuple[Content, bytes | None]:
        """The input after a change, which fits the app as it is now, and its payload if it is another than before."""
        before = found.schedule.work
        if not given and entry.manifest.version == before.app_version:
            return before.input, None
        kept = await self.content(found)
        wanted = given or kept
        if wanted is None:
            raise Problem("input-erased", "The input of this schedule was erased.", hint="Give another input.")
        entry.check(bodies.decode_part(wanted, "/input"))
        if wanted == kept:
            return before.input, None
        sealed = codec.seal(wanted)
        if sealed.blob is not None:
            await self._blobs.put(sealed.content.digest, sealed.blob)
        return sealed.content, sealed.payload


def may_see(who: Principal, snapshot: Snapshot) -> bool:
    """Whether the caller may know of this schedule: it lives in their namespace, and is theirs (or they are its admin)."""
    return snapshot.namespace == who.namespace and (snapshot.schedule.owner == who.owner or "admin" in who.scopes)


def permission(who: Principal, if_match: int | None, *, version: int | None = None) -> Permission:
    """What lets a command pass: the caller may see the schedule, and it has the version that they name. Where the command
    was made from one `version`, only that will do."""

    def permits(snapshot: Snapshot) -> Refusal | None:
        current_version = snapshot.schedule.version
        if not may_see(who, snapshot):
            return NotFound()
        if if_match is not None and if_match != current_version:
            return VersionMismatch(expected=if_match, current=current_version)
        return Contended() if version is not None and version != current_version else None

    return permits


def refused(refusal: Refusal) -> Problem:
    """The problem that a refusal comes to, in the words for schedules."""
    return of_refusal(refusal, "schedule")
