"""The client of the HTTP API: `Client` for ordinary code, `AsyncClient` for event loops, the same names in both.

    flows       what can be done, each thing once, as generators that yield requests and are sent the replies
    requests    how a request looks; built, never sent
    watching    what a watcher remembers over a lost connection
    line        what is tried again, and the positions that let a list show this client's own writes
    sync, aio   the two transports that run flows, and the tables of methods

Every request may be sent twice without harm (a submit carries an Idempotency-Key), so connection errors and 429, 502,
503 and 504 are tried again by themselves, with jitter, and as late as `Retry-After` says.
"""

from .aio import AsyncClient, AsyncTask
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
from .models import AppView, Attempt, Cancellation, EventView, Failure, LogLine, Problem, TaskDetail, TaskSummary, WatchEvent
from .sync import Client, Task

__all__ = [
    "ApiError",
    "AppView",
    "AsyncClient",
    "AsyncTask",
    "Attempt",
    "BadRequest",
    "Cancellation",
    "Client",
    "Conflict",
    "DaybookError",
    "EventView",
    "Failure",
    "LogLine",
    "NotFound",
    "Problem",
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
