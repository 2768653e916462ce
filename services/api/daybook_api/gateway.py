"""What the routes share: the log, the caches over it, and the few questions that every route asks."""

from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from litestar import Response

from daybook import clock, ids
from daybook.access import Principal
from daybook.bus import subjects
from daybook.bus.jetstream import Bus
from daybook.bus.messages import CancelAttempt, encode_control
from daybook.domain.commands import Cancel, Reschedule
from daybook.domain.events import Content, TaskFailed, TaskSubmitted
from daybook.domain.refusals import NotFound, Refusal, VersionMismatch
from daybook.domain.status import Status
from daybook.domain.task import Task, fold
from daybook.handling import Handled, handle
from daybook.log import codec
from daybook.log.envelope import Position, Recorded
from daybook.log.postgres import Log, events_of

from .auth import Access
from .catalogue import Catalogue
from .hub import Hub
from .problems import Problem, of_refusal
from .schemas import ErrorView, TaskView, attempts_of, task_view
from .submission import Submission

_ENCODE = msgspec.json.Encoder().encode
_ERROR = msgspec.json.Decoder(ErrorView)


class Found(NamedTuple):
    """A task that the caller may see: its events and what they make of it."""

    stream: UUID
    recorded: list[Recorded]
    task: Task


class Gateway:
    """The API's parts, put together by `wiring`."""

    def __init__(self, log: Log, bus: Bus, hub: Hub, catalogue: Catalogue, access: Access) -> None:
        self.log = log
        self.bus = bus
        self.hub = hub
        self.catalogue = catalogue
        self.access = access
        self.submission = Submission(log, catalogue)

    async def find(self, task_id: str, who: Principal) -> Found:
        """The task with this public id. Raises `not-found` for one that is not there, and for somebody else's."""
        stream = ids.parse("tsk", task_id)
        recorded = [] if stream is None else await self.log.load(stream)
        task = fold(events_of(recorded)) if recorded and isinstance(recorded[0].event, TaskSubmitted) else None
        if stream is None or task is None or not may_see(who, recorded, task):
            raise of_refusal(NotFound())
        return Found(stream, recorded, task)

    async def view(self, found: Found) -> TaskView:
        """The task as HTTP shows it, with its input, attempts and error."""
        task, recorded = found.task, found.recorded
        return task_view(
            ids.spell("tsk", found.stream),
            task,
            input=await self.content(task.input, recorded[0].payload),
            attempts=attempts_of(recorded),
            error=await self.error(found),
        )

    async def content(self, content: Content, payload: bytes | None) -> bytes | None:
        """A payload's bytes, wherever they lie; None when they were erased."""
        return await self.log.get_blob(content.digest) if content.blob else codec.unseal(content, payload)

    async def error(self, found: Found) -> ErrorView | None:
        """The error that the task ended with, or that its last attempt left behind."""
        if found.task.error is None:
            return None
        failed = next(each for each in reversed(found.recorded) if isinstance(each.event, TaskFailed))
        stored = await self.content(found.task.error, failed.payload)
        if stored is None:
            return ErrorView(type=found.task.error_type, message="(erased)")
        return _ERROR.decode(stored)

    async def cancel(self, stream: UUID, who: Principal, reason: str, if_match: int | None) -> Handled | Refusal:
        """Cancel a task; where it runs, its runner is told at once, and finds out from the log if that word is lost."""
        command = Cancel(actor=f"user:{who.owner}", reason=reason)
        handled = await self._handle(stream, command, who, if_match)
        if isinstance(handled, Handled) and handled.task.status is Status.RUNNING and self.bus.is_connected:
            nats = await self.bus.connected()
            await nats.publish(subjects.control(handled.task.runner), encode_control(CancelAttempt(task=stream)))
        return handled

    async def reschedule(self, stream: UUID, who: Principal, command: Reschedule, if_match: int | None) -> Handled | Refusal:
        """Give a task that has not started another time."""
        return await self._handle(stream, command, who, if_match)

    async def _handle(self, stream: UUID, command: Cancel | Reschedule, who: Principal, if_match: int | None) -> Handled | Refusal:
        def permits(recorded: list[Recorded], task: Task) -> Refusal | None:
            if not may_see(who, recorded, task):
                return NotFound()
            if if_match is not None and if_match != task.version:
                return VersionMismatch(expected=if_match, current=task.version)
            return None

        return await handle(self.log, stream, command, clock.now(), permits=permits)


def may_see(who: Principal, recorded: list[Recorded], task: Task) -> bool:
    """Whether the caller may know of this task: it lives in their namespace, and is theirs (or they are its admin)."""
    return recorded[0].namespace == who.namespace and (task.owner == who.owner or "admin" in who.scopes)


def answer(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    """A JSON answer, encoded once."""
    return Response(_ENCODE(body), status_code=status, media_type="application/json", headers=headers or {})


def written(position: Position | None, version: int) -> dict[str, str]:
    """What a write tells the client: the version it led to, and the position that a later list can wait for."""
    headers = {"ETag": f'"{version}"'}
    if position is not None:
        headers["Daybook-Position"] = str(position)
    return headers


def if_match(header: str | None) -> int | None:
    """The version that an `If-Match` asks for; None for any. Raises a problem for what is neither."""
    if header is None or header.strip() == "*":
        return None
    bare = header.strip().strip('"')
    if not bare.isascii() or not bare.isdigit() or len(bare) > 9:
        raise Problem("invalid-request", 'If-Match is a version in quotes, such as "3".')
    return int(bare)


def preferred_wait(header: str | None) -> float | None:
    """The seconds of `Prefer: wait=N` (RFC 7240), at most 60; None when waiting is not preferred (or not said in a way that can be read)."""
    for preference in (header or "").split(","):
        name, _, value = preference.partition("=")
        if name.strip().lower() == "wait":
            bare = value.split(";")[0].strip().strip('"')
            if bare.isascii() and bare.isdigit() and len(bare) < 6:
                return float(min(int(bare), 60))
    return None


