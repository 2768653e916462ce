"""What the API answers, as values: one struct for each shape, and nothing that talks to a network.

Fields that a newer API may add are ignored, and what may be missing has a default, so that an older client keeps
reading.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec

from daybook.domain.status import Status

Item_co = TypeVar("Item_co", covariant=True)


class Page(Protocol[Item_co]):
    """One page of any list."""

    @property
    def items(self) -> Sequence[Item_co]: ...
    @property
    def next_cursor(self) -> str | None: ...


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a task ended in error: what was raised, what it said, and where."""

    type: str
    message: str
    traceback: str | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of a task by one runner."""

    attempt: int
    runner: str
    started_at: datetime
    ended_at: datetime | None = None
    outcome: str = "running"
    reason: str = ""
    error_type: str | None = None


class Cancellation(msgspec.Struct, frozen=True, kw_only=True):
    """Who wanted a task to stop, when, and why."""

    requested_by: str
    requested_at: datetime
    reason: str = ""


class ResultLink(msgspec.Struct, frozen=True, kw_only=True):
    """Where the result is, and how large; the bytes themselves are fetched apart."""

    media_type: str
    size_bytes: int
    href: str


class TaskSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A task as lists show it."""

    id: str
    app: str
    status: Status
    version: int
    app_version: str | None = None
    reason: str | None = None
    owner: str = ""
    queue: str = ""
    priority: int = 3
    labels: dict[str, str] = {}
    attempt: int = 0
    run_at: datetime | None = None
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error_type: str | None = None
    schedule: str | None = None
    """The schedule that submitted it."""


class TaskDetail(TaskSummary, frozen=True, kw_only=True):
    """A task with everything known about it."""

    input: Any = None
    rerun_of: str | None = None
    slot: datetime | None = None
    failures: int = 0
    losses: int = 0
    retry_at: datetime | None = None
    expires_at: datetime | None = None
    deadline_at: datetime | None = None
    on_finish: dict[str, str] | None = None
    cancellation: Cancellation | None = None
    attempts: list[Attempt] = []
    result: ResultLink | None = None
    error: Failure | None = None
    progress: Any = None
    links: dict[str, str] = {}


class TaskPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list, newest first."""

    items: list[TaskSummary]
    next_cursor: str | None = None


class EventView(msgspec.Struct, frozen=True, kw_only=True):
    """A fact about a task, as the log keeps it."""

    id: str
    kind: str
    version: int
    at: datetime
    data: dict[str, Any] = {}


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """All events of one task, oldest first."""

    items: list[EventView]


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an attempt logged, printed or warned of."""

    attempt: int
    n: int
    at: datetime
    level: str
    message: str
    fields: dict[str, Any] = {}


class LogPage(msgspec.Struct, frozen=True, kw_only=True):
    """Log lines in order; `next_after` is where the next ones begin, None when there will be none."""

    items: list[LogLine]
    next_after: str | None = None


class AppView(msgspec.Struct, frozen=True, kw_only=True):
    """Something that can be run, in its newest version."""

    app: str
    kind: str
    version: str | None = None
    doc: str | None = None
    input_schema: dict[str, Any] | None = None
    queue: str | None = None
    priority: int | None = None
    policy: dict[str, Any] = {}
    published_at: datetime | None = None


class AppPage(msgspec.Struct, frozen=True, kw_only=True):
    """The catalogue."""

    items: list[AppView]


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """One spot in the request that was refused, as a JSON pointer, and why."""

    pointer: str
    message: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal in the form of RFC 9457."""

    status: int
    code: str
    title: str = ""
    detail: str | None = None
    type: str = "about:blank"
    instance: str | None = None
    request_id: str | None = None
    errors: list[Pointer] | None = None
    hint: str | None = None


class WatchEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a watcher sees: `snapshot`, `task.*`, `progress`, `log`, `chunk`, `action`, `gap` or `end`, in the
    API's words.

    `reconnecting` is the only type that the client makes itself: the connection was lost and is being made again;
    nothing is missed.
    """

    type: str
    id: str
    data: dict[str, Any]
