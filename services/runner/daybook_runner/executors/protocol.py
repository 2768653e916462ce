"""What goes into an execution and what comes out."""

from datetime import datetime
from typing import Any, Protocol, TypeAlias

import msgspec

from daybook.context import Context
from daybook.manifest import Definition


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at one task: `task_id` as it is spelled in public, `input` a decoded JSON value."""

    task_id: str
    attempt: int
    definition: Definition
    input: Any
    deadline: datetime | None = None


class Success(msgspec.Struct, frozen=True, kw_only=True):
    """The attempt ended well; `content` is the result, fit to be stored and shown as its media type."""

    content: bytes
    media_type: str = "application/json"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The attempt ended badly. The texts are fit to be stored. Not `retryable` is what would fail the same way again;
    `retry_after_seconds` is how long the other side asked to be left alone."""

    error_type: str
    message: str
    traceback: str | None = None
    retryable: bool = True
    retry_after_seconds: float | None = None


Outcome: TypeAlias = Success | Failure


class Executor(Protocol):
    """Runs attempts of one kind of app."""

    async def execute(self, call: Call, context: Context) -> Outcome:
        """Run the attempt to its outcome. Raises CancelledError only when the attempt's own asyncio task is
        cancelled."""
        ...

    async def aclose(self) -> None:
        """Let go of threads and connections."""
        ...
