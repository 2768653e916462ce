"""The client of the HTTP API: `Client` for ordinary code, `AsyncClient` for event loops, the same names in both.

    flows       what can be done, each thing once, as generators that yield requests and are sent the replies
    requests    how a request looks; built, never sent
    schedule_…  the same about schedules
    webhook_…   the same about webhooks
    watching    what a watcher remembers over a lost connection
    feeding     the same of a reader of the feed
    line        what is tried again, and the positions that let a list show this client's own writes
    sync, aio   the two transports that run flows; …_methods are the tables of methods

Every request may be sent twice without harm (a submit carries an Idempotency-Key), so connection errors and 429, 502,
503 and 504 are tried again by themselves, with jitter, and as late as `Retry-After` says.
"""

from .aio import AsyncClient
from .aio_methods import AsyncSchedule, AsyncTask
from .errors import (
    ApiError,
    BadRequest,
    Conflict,
    DaybookError,
    NotFound,
    TaskCancelled,
    TaskError,
    Unauthorized,
    Unavailable,
    Unreachable,
    WaitTimedOut,
)
from .feeding import FeedEvent, FeedPage
from .models import AppView, Attempt, Cancellation, EventView, Failure, LogLine, Problem, TaskDetail, TaskSummary, WatchEvent
from .schedule_models import Backfill, Ledger, Preview, ScheduleView
from .schedule_requests import ScheduleOptions
from .sync import Client
from .sync_methods import Schedule, Task

__all__ = [
    "ApiError",
    "AppView",
    "AsyncClient",
    "AsyncSchedule",
    "AsyncTask",
    "Attempt",
    "Backfill",
    "BadRequest",
    "Cancellation",
    "Client",
    "Conflict",
    "DaybookError",
    "EventView",
    "Failure",
    "FeedEvent",
    "FeedPage",
    "Ledger",
    "LogLine",
    "NotFound",
    "Preview",
    "Problem",
    "Schedule",
    "ScheduleOptions",
    "ScheduleView",
    "Task",
    "TaskCancelled",
    "TaskDetail",
    "TaskError",
    "TaskSummary",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "WaitTimedOut",
    "WatchEvent",
]
