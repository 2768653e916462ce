"""What the log's tests append: small, true events, and the rows they become."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from daybook import ids
from daybook.domain.cadence import Cadence
from daybook.domain.events import (
    AppPublished,
    Content,
    Event,
    TaskCancelled,
    TaskCancelRequested,
    TaskDue,
    TaskExpired,
    TaskFailed,
    TaskLost,
    TaskReleased,
    TaskRescheduled,
    TaskRetried,
    TaskStarted,
    TaskSubmitted,
    TaskSucceeded,
    TokenIssued,
    TokenRevoked,
    WebhookCreated,
    WebhookDeleted,
    kind_of,
)
from daybook.domain.schedule_events import (
    Rule,
    ScheduleBackfilled,
    ScheduleChanged,
    ScheduleCreated,
    ScheduleDeleted,
    SchedulePaused,
    ScheduleResumed,
    SlotFired,
    SlotsSkipped,
    Work,
)
from daybook.log import codec
from daybook.log.connections import Connection
from daybook.log.envelope import Append
from daybook.log.sql import statements

CONTENT: Final = Content(digest="00" * 32, size_bytes=2)
SUBMITTED: Final = TaskSubmitted(owner="ann", app="hello", app_version="1", input=CONTENT, actor="user:ann")
RESCHEDULED: Final = TaskRescheduled(run_at=datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC), actor="user:ann")
CANCEL_REQUESTED: Final = TaskCancelRequested(actor="user:ann")
DUE: Final = TaskDue(actor="scheduler")
PUBLISHED: Final = AppPublished(app="hello", app_kind="python", version="1", actor="owner")
SLOT: Final = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
RULE: Final = Rule(cadence=Cadence(cron="30 9 * * *"))
WORK: Final = Work(app="hello", app_version="1", input=CONTENT)
SQL: Final = statements("daybook.log")


def started(runner: str, attempt: int = 1) -> TaskStarted:
    """The claim of an attempt by a runner."""
    return TaskStarted(attempt=attempt, runner=runner, actor=f"runner:{runner}")


def succeeded(attempt: int = 1) -> TaskSucceeded:
    """A report that an attempt ended well."""
    return TaskSucceeded(attempt=attempt, result=CONTENT)


def append_of(stream: UUID, version: int, event: Event, *, namespace: str = "default", payload: bytes | None = None) -> Append:
    """A row on its way in."""
    return Append(stream, version, ids.new_id(), kind_of(event), namespace, codec.encode(event), payload)


async def send(connection: Connection, role: str, appends: Iterable[Append], *credentials: str) -> list[Any]:
    """Call the append function of a role by hand: the rows as they are, in the order they are in."""
    return await connection.fetch(SQL[f"append_{role}"], *zip(*appends, strict=True), *credentials)


async def publish_app(owner: Connection, namespace: str = "default", app: str = "hello") -> None:
    """Announce an app, as the owner may."""
    event = AppPublished(app=app, app_kind="python", version="1", queue="default", actor="owner")
    await send(owner, "owner", [append_of(ids.derive_id("app", namespace, app), 1, event, namespace=namespace)])


async def admit_guest(owner: Connection, role: str = "daybook_guest", namespace: str = "default", guest_owner: str = "ann") -> None:
    """Let a database role submit from SQL."""
    await owner.execute("INSERT INTO daybook.guest (role, namespace, owner) VALUES ($1, $2, $3)", role, namespace, guest_owner)


async def submit_one(owner: Connection, namespace: str = "default") -> UUID:
    """A task that waits for a runner."""
    stream = ids.new_id()
    await send(owner, "api", [append_of(stream, 1, SUBMITTED, namespace=namespace)])
    return stream


# One of each kind.
EVENTS: Final[tuple[Event, ...]] = (
    SUBMITTED,
    RESCHEDULED,
    DUE,
    started("r1"),
    TaskReleased(attempt=1),
    succeeded(),
    TaskFailed(attempt=1, error=CONTENT, error_type="E"),
    TaskLost(attempt=1, runner="r1"),
    TaskExpired(),
    TaskRetried(),
    CANCEL_REQUESTED,
    TaskCancelled(),
    PUBLISHED,
    TokenIssued(owner="ann", scopes=("admin",)),
    TokenRevoked(),
    WebhookCreated(owner="ann", url="https://example.net/"),
    WebhookDeleted(),
    ScheduleCreated(owner="ann", rule=RULE, work=WORK),
    ScheduleChanged(rule=RULE, work=WORK),
    SchedulePaused(),
    ScheduleResumed(),
    ScheduleDeleted(),
    ScheduleBackfilled(slots=(SLOT,)),
    SlotFired(slot=SLOT, task="tsk_1"),
    SlotsSkipped(first=SLOT, last=SLOT, count=1),
)
