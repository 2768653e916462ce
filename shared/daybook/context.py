"""What an attempt knows about itself, and how it speaks while it runs.

User code is handed a `Context` where it asks for one by annotation. What is said through it (progress, log lines,
chunks of output) goes to whoever watches the task, at once, and is no fact: it decides nothing. A context never waits
for anybody and keeps nothing.

The same object serves both kinds of functions. `progress` and `chunk` have spoken by the time they return, so a plain
function just calls them; an async function awaits what they return, which gives the event loop a turn, so that the
words go out and a cancel gets in:

    await ctx.progress(30, total=100)      # async def
    ctx.progress(30, total=100)            # def, which runs in a thread
"""

import traceback
from asyncio import AbstractEventLoop, CancelledError
from collections.abc import Callable, Generator
from datetime import datetime
from threading import get_ident
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from .safe_json import safe_value, text_of

Emit: TypeAlias = Callable[[str, dict[str, Any]], None]
"""Takes the type of a live message (`progress`, `log`, `chunk`) and its fields."""
Level: TypeAlias = Literal["debug", "info", "warning", "error"]


class Said:
    """It has been said. Awaiting this lets everything else in the event loop have a turn; not awaiting it is fine
    too."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield


_SAID: Final = Said()
_LONGEST: Final = 256 * 1024
_LARGEST: Final = 1e15
"""Of a progress: beyond, floats no longer count by ones."""


class Context:
    """One attempt at one task, as its function sees it."""

    __slots__ = ("_cancelled", "_emit", "_home", "_loop", "attempt", "deadline", "task_id")

    def __init__(
        self,
        *,
        task_id: str,
        attempt: int,
        emit: Emit,
        deadline: datetime | None = None,
        loop: AbstractEventLoop | None = None,
    ) -> None:
        """Made by the runner, in the thread of its `loop`, where alone `emit` is then called, whichever thread
        speaks."""
        self.task_id: Final = task_id
        self.attempt: Final = attempt
        self.deadline: Final = deadline
        self._emit = emit
        self._loop = loop
        self._home = get_ident()
        self._cancelled = False

    @staticmethod
    def for_test(*, task_id: str = "tsk_00000000000000000000000000", attempt: int = 1, deadline: datetime | None = None) -> "RecordedContext":
        """A context for unit tests of functions that take one; it remembers what was said in `said`."""
        return RecordedContext(task_id=task_id, attempt=attempt, deadline=deadline)

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt at this task: hand it to whatever must not do a thing twice."""
        return self.task_id

    @property
    def cancelled(self) -> bool:
        """Whether this attempt is to stop. An async function is interrupted anyway; one in a thread should look now and
        then."""
        return self._cancelled

    @property
    def log(self) -> "TaskLog":
        """Log lines of this task: `ctx.log.info("page.fetched", n=3)`."""
        return TaskLog(self, {})

    def progress(self, current: float, total: float | None = None, message: str = "") -> Said:
        """Say how far the work is: `current` of `total`, in whatever unit. In a thread it raises CancelledError once
        the attempt is cancelled."""
        done, whole = _number(current) or 0, None if total is None else _number(total)
        percent = round(min(max(100 * (done / whole), 0.0), 100.0), 1) if whole else None
        self.say("progress", {"current": done, "total": whole, "percent": percent, "message": text_of(message, _LONGEST)})
        return _SAID

    def chunk(self, text: str) -> Said:
        """Say the next piece of a text that grows, such as a model's answer. In a thread it raises CancelledError like
        `progress`."""
        if not isinstance(text, str):
            raise TypeError(f"a chunk is text, not {type(text).__name__}")
        self.say("chunk", {"text": text_of(text)})
        return _SAID

    def mark_cancelled(self) -> None:
        """Note that the attempt is to stop; the runner's business (and a test's)."""
        self._cancelled = True

    def say(self, kind: str, fields: dict[str, Any]) -> None:
        """Say something of any kind of live message. Public for the executors of other kinds of apps; user code has
        better words above."""
        if self._loop is None or get_ident() == self._home:
            self._emit(kind, fields)
        elif self._cancelled:
            # Nothing can interrupt a thread from outside, so one that speaks is told here. A BaseException passes
            # `except Exception`.
            raise CancelledError("this attempt was cancelled")
        else:
            self._loop.call_soon_threadsafe(self._emit, kind, fields)


class TaskLog:
    """Writes log lines that belong to one task; the same calls as a structlog logger. Fields may be anything: what is
    not JSON is shown by its `repr`."""

    __slots__ = ("_context", "_fields")

    def __init__(self, context: Context, fields: dict[str, Any]) -> None:
        self._context = context
        self._fields = fields

    def bind(self, **fields: Any) -> "TaskLog":
        """A log whose every line carries these fields."""
        return TaskLog(self._context, self._fields | fields)

    def debug(self, event: str, /, **fields: Any) -> None:
        self._write("debug", event, fields)

    def info(self, event: str, /, **fields: Any) -> None:
        self._write("info", event, fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        self._write("warning", event, fields)

    def error(self, event: str, /, **fields: Any) -> None:
        self._write("error", event, fields)

    def exception(self, event: str, /, **fields: Any) -> None:
        """An error with the traceback of the exception that is being handled."""
        self._write("error", event, {"exception": traceback.format_exc().strip(), **fields})

    def _write(self, level: Level, event: str, fields: dict[str, Any]) -> None:
        line = {"level": level, "message": text_of(event, _LONGEST), "fields": safe_value(self._fields | fields)}
        self._context.say("log", line)


def _number(value: float) -> float | None:
    """The number as JSON can hold it, whole where it was whole; None for NaN and what is as good as infinite. A word about
    the work must not end the work."""
    if isinstance(value, str | bytes | bytearray):
        raise TypeError(f"a progress is a number, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        return None
    if not -_LARGEST <= number <= _LARGEST:
        return None
    return int(number) if isinstance(value, int) else number


class Message(NamedTuple):
    """Something said by an attempt: the type of the live message, and its fields."""

    type: str
    fields: dict[str, Any]


class RecordedContext(Context):
    """A context that keeps what was said through it, in order, in `said`."""

    __slots__ = ("said",)

    def __init__(self, *, task_id: str, attempt: int, deadline: datetime | None) -> None:
        self.said: Final[list[Message]] = []
        super().__init__(
            task_id=task_id,
            attempt=attempt,
            deadline=deadline,
            emit=lambda kind, fields: self.said.append(Message(kind, fields)),
        )
