"""What the routes share: the log, the caches over it, and the few questions that every route asks."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

import msgspec
import structlog
from litestar import Response

from daybook import clock, ids
from daybook.access import Principal
from daybook.blobs import Blobs
from daybook.bus.jetstream import Bus
from daybook.domain.commands import Cancel, Reschedule, Retry
from daybook.domain.events import Content, TaskFailed, TaskRetried, TaskSubmitted
from daybook.domain.refusals import AlreadyDone, NotFound, Refusal, VersionMismatch
from daybook.domain.status import Status
from daybook.domain.task import Task, fold
from daybook.handling import Handled, handle
from daybook.log.envelope import Position, Recorded
from daybook.log.postgres import Log, events_of
from daybook.webhook_deliveries import WebhookDeliveries

from .auth import Access
from .catalogue import Catalogue
from .feed.tail import Feed
from .out_of_turn import OutOfTurn
from .problems import of_refusal
from .schedules import Schedules
from .schemas import ErrorView, TaskView
from .submission import Submission, open_payload
from .views import attempts_of, cancellation_of, error_without_report, task_view
from .watching.channels import Channels
from .watching.hub import Hub
from .watching.looking import Looks
from .webhooks import Webhooks

Permission: TypeAlias = Callable[[list[Recorded], Task], Refusal | None]
Question: TypeAlias = Callable[[list[Recorded], Task], bool]

_ENCODE: Final = msgspec.json.Encoder().encode
_ERROR: Final = msgspec.json.Decoder(ErrorView)

log = structlog.get_logger()


class Found(NamedTuple):
    """A task that the caller may see: its events and what they make of it."""

    stream: UUID
    recorded: list[Recorded]
    task: Task


class Gateway:
    """The API's parts, put together by `wiring`."""

    heartbeat_seconds = 15.0
    """How long a stream is silent before it says that it is still there."""

    def __init__(self, log: Log, blobs: Blobs, bus: Bus, hub: Hub, feed: Feed, catalogue: Catalogue, access: Access) -> None:
        self.log = log
        self.blobs = blobs
        self.bus = bus
        self.hub = hub
        self.feed = feed
        self.load = Looks(log.load)
        self.channels = Channels(log, bus, hub, self.load)
        self.catalogue = catalogue
        self.access = access
        self.submission = Submission(log, blobs, catalogue)
        self.schedules = Schedules(log, blobs, catalogue)
        self.out_of_turn = OutOfTurn(log, self.schedules)
        self.deliveries = WebhookDeliveries(log, blobs)
        self.webhooks = Webhooks(log, self.deliveries)

    async def find(self, task_id: str, who: Principal) -> Found:
        """The task with this public id. Raises `not-found` for one that is not there, and for somebody else's."""
        stream = ids.parse("tsk", task_id)
        recorded = [] if stream is None else await self.load(stream)
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
            content=await self.content(task.input, recorded[0].payload),
            attempts=attempts_of(recorded),
            error=await self.error(found),
            cancellation=cancellation_of(recorded),
        )

    async def content(self, content: Content, payload: bytes | None) -> bytes | None:
        """A payload's bytes, wherever they lie; None when they were erased."""
        return await open_payload(self.blobs, content, payload)

    async def error(self, found: Found) -> ErrorView | None:
        """The error that the task ended with, or that its last attempt left behind; one that ended otherwise has none."""
        if found.task.status in {Status.SUCCESS, Status.CANCELLED}:
            return None
        if found.task.error is None:
            return error_without_report(found.task)
        failed = next(each for each in reversed(found.recorded) if isinstance(each.event, TaskFailed))
        stored = await self.content(found.task.error, failed.payload)
        if stored is None:
            return ErrorView(type=found.task.error_type, message="(erased)")
        return _ERROR.decode(stored)

    async def cancel(self, stream: UUID, who: Principal, reason: str, if_match: int | None) -> Handled | Refusal:
        """Cancel a task; where it runs, its runner is told at once, and finds out from the log if that word is lost."""
        command = Cancel(actor=f"user:{who.owner}", reason=reason)
        handled = await self._handle(command, stream, self._permission(who, if_match))
        if isinstance(handled, Handled) and handled.task.status is Status.RUNNING:
            await self.bus.ask_to_cancel(handled.task.runner, stream)
        return handled

    async def reschedule(self, stream: UUID, who: Principal, run_at: datetime, if_match: int | None) -> Handled | Refusal:
        """Give a task that has not started another time. The time that it has already is no change."""
        return await self._handle(Reschedule(actor=f"user:{who.owner}", run_at=run_at), stream, self._permission(who, if_match))

    async def run_now(self, stream: UUID, who: Principal, if_match: int | None) -> Handled | Refusal:
        """Let a scheduled task run now. One that waits for nothing but a runner, or has one, is no change."""
        now = clock.now()

        def is_under_way(_: list[Recorded], task: Task) -> bool:
            due = task.status is Status.SCHEDULED and task.run_at is not None and task.run_at <= now
            return due or task.status in {Status.QUEUED, Status.RUNNING}

        permission = self._permission(who, if_match, is_done=is_under_way)
        return await self._handle(Reschedule(actor=f"user:{who.owner}", run_at=now), stream, permission)

    async def retry(self, stream: UUID, who: Principal, reason: str, if_match: int | None) -> Handled | Refusal:
        """Try an ended task again. One that waits because somebody wanted just that is no change: the wish may come twice."""
        permission = self._permission(who, if_match, is_done=lambda recorded, _: isinstance(recorded[-1].event, TaskRetried))
        return await self._handle(Retry(actor=f"user:{who.owner}", reason=reason), stream, permission)

    def _permission(self, who: Principal, if_match: int | None, is_done: Question = lambda *_: False) -> Permission:
        def permits(recorded: list[Recorded], task: Task) -> Refusal | None:
            if not may_see(who, recorded, task):
                return NotFound()
            if if_match is not None and if_match != task.version:
                return VersionMismatch(expected=if_match, current=task.version)
            return AlreadyDone() if is_done(recorded, task) else None

        return permits

    async def _handle(self, command: Cancel | Reschedule | Retry, stream: UUID, permits: Permission) -> Handled | Refusal:
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
