"""What user code prints and logs while an attempt runs becomes log lines of that attempt.

`install` once, before user code is imported: it puts itself in front of stdout, stderr, the root logger, structlog and
`warnings`. From then on each of them asks a context variable who is speaking. Inside of `speaking` that is an attempt;
an asyncio task inherits it from where it was made, and a thread where its context was copied into it, as the executor
of Python functions does. Where nobody speaks (the runner itself, a thread that user code started by hand) everything
goes where it went before.

It never raises into user code, never makes it wait, and remembers at most one unfinished line per attempt and stream.
"""

import asyncio
import io
import logging
import sys
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import IO, Any, Final, TextIO, cast

import structlog

from daybook.context import Emit
from daybook.safe_json import safe_value
from daybook.stored_output import plain_text

_MOST_WAITING: Final = 20_000
_LONGEST_LINE: Final = 64 * 1024
_ROOM: Final = 100
"""For the words that say how much was cut."""
_LEVELS: Final = {"warn": "warning", "critical": "error", "fatal": "error", "exception": "error", "err": "error", "msg": "info", "notset": "debug"}
_KNOWN: Final = frozenset(("debug", "info", "warning", "error"))
_RECORD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}

_speaker: ContextVar["_Speaker | None"] = ContextVar("daybook_speaker", default=None)


@contextmanager
def speaking(emit: Emit) -> Iterator[None]:
    """What is printed and logged in here, and in what is started from here, is said through `emit`, which is called in
    this event loop's thread alone. Its end ends that, also for what still runs."""
    speaker = _Speaker(emit, asyncio.get_running_loop())
    token = _speaker.set(speaker)
    try:
        yield
    finally:
        _speaker.reset(token)
        speaker.close()


def install() -> Callable[[], None]:
    """Start to listen in this process; returns what undoes it."""
    stdout, stderr, show_warning = sys.stdout, sys.stderr, warnings.showwarning
    sys.stdout = cast("TextIO", _Fork(stdout, "info"))
    sys.stderr = cast("TextIO", _Fork(stderr, "warning"))
    warnings.showwarning = _show_warning_instead_of(show_warning)
    processors: list[Any] = structlog.get_config()["processors"]
    drop_ours = _structlog_processor(frozenset(structlog.contextvars.get_contextvars()))
    # In place, since loggers that were used already hold this very list.
    processors.insert(0, drop_ours)
    stop_logging = _install_in_logging()

    def undo() -> None:
        sys.stdout, sys.stderr, warnings.showwarning = stdout, stderr, show_warning
        processors.remove(drop_ours)
        stop_logging()

    return undo


def _current() -> "_Speaker | None":
    speaker = _speaker.get()
    return speaker if speaker is not None and speaker.is_open else None


class _Speaker:
    """One attempt, as its captured words see it. Any thread may speak; the loop's thread says it."""

    def __init__(self, emit: Emit, loop: asyncio.AbstractEventLoop) -> None:
        self.is_open = True
        self._emit = emit
        self._loop = loop
        self._home = threading.get_ident()
        self._lock = threading.Lock()
        self._waiting: deque[dict[str, Any]] = deque()
        self._lost = 0
        self._unfinished: dict[str, str] = {}

    def log(self, level: str, message: str, fields: dict[str, Any]) -> None:
        """Say one log line. A thread that speaks faster than the loop can say it loses the rest, and that is told."""
        if len(message) > _LONGEST_LINE:
            message = f"{message[: _LONGEST_LINE - _ROOM]}… ({len(message) - _LONGEST_LINE + _ROOM} characters were cut)"
        line = {"level": level, "message": plain_text(message), "fields": fields}
        if threading.get_ident() == self._home and not self._waiting:
            self._emit("log", line)
            return
        with self._lock:
            if len(self._waiting) >= _MOST_WAITING:
                self._lost += 1
                return
            self._waiting.append(line)
            if len(self._waiting) > 1:
                return  # the loop has been told, and will take this one too
        try:
            self._loop.call_soon_threadsafe(self._say_waiting)
        except RuntimeError:
            self.is_open = False  # the loop has ended, and the attempt with it

    def write(self, level: str, text: str) -> None:
        """Take a piece of printed text and say the lines that it completes, each as a terminal would show it in the end."""
        with self._lock:
            *lines, rest = (self._unfinished.get(level, "") + text.replace("\r\n", "\n")).split("\n")
            while len(rest) > _LONGEST_LINE:
                lines.append(rest[:_LONGEST_LINE])
                rest = rest[_LONGEST_LINE:]
            if "\r" in rest:
                rest = rest[rest.rstrip("\r").rfind("\r") + 1 :]  # a progress bar that paints over itself
            self._unfinished[level] = rest
        for line in map(_as_shown, lines):
            for start in range(0, max(len(line), 1), _LONGEST_LINE):
                self.log(level, line[start : start + _LONGEST_LINE], {})

    def close(self) -> None:
        """Say what is left; to be called in the loop's thread."""
        with self._lock:
            unfinished, self._unfinished = self._unfinished, {}
        self._say_waiting()
        for level, rest in unfinished.items():
            if rest.strip():
                self.log(level, _as_shown(rest), {})
        self.is_open = False

    def _say_waiting(self) -> None:
        with self._lock:
            lines, self._waiting = self._waiting, deque()
            lost, self._lost = self._lost, 0
        for line in lines:
            self._emit("log", line)
        if lost:
            self._emit("log", {"level": "warning", "message": f"the output was cut: {lost} lines dropped", "fields": {}})


class _Fork(io.TextIOBase):
    """A text stream that goes to the attempt that speaks, else to where it went before."""

    def __init__(self, stream: TextIO, level: str) -> None:
        self._stream = stream
        self._level = level
        self._bytes = _ByteFork(self)

    # What a text stream is asked for is a property in one version of its type and an attribute in another.
    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors

    @property
    def buffer(self) -> IO[bytes]:
        return cast("IO[bytes]", self._bytes)

    def write(self, text: str) -> int:
        speaker = _current()
        if speaker is None:
            return self._stream.write(text)
        speaker.write(self._level, text)
        return len(text)

    def write_bytes(self, data: bytes) -> int:
        speaker = _current()
        if speaker is None:
            return self._stream.buffer.write(data)
        speaker.write(self._level, data.decode(errors="replace"))
        return len(data)

    def flush(self) -> None:
        if _current() is None:
            self._stream.flush()

    def isatty(self) -> bool:
        return _current() is None and self._stream.isatty()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def close(self) -> None:
        """Not for user code to do: others print here too."""


class _ByteFork(io.RawIOBase):
    def __init__(self, fork: _Fork) -> None:
        self._fork = fork

    def write(self, data: Any) -> int:
        return self._fork.write_bytes(bytes(data))

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        # The collector flushes what it frees, perhaps after the stream behind it is gone.
        if not self.closed:
            self._fork.flush()


class _Handler(logging.Handler):
    """Takes the records of an attempt. The other handlers of the root logger do not get them."""

    def emit(self, record: logging.LogRecord) -> None:
        speaker = _current()
        if speaker is None:
            return
        try:
            fields: dict[str, Any] = {"logger": record.name}
            fields |= {name: value for name, value in record.__dict__.items() if name not in _RECORD}
            if record.exc_info and record.exc_info[1] is not None:
                fields["exception"] = "".join(traceback.format_exception(record.exc_info[1])).strip()
            speaker.log(_level_of(record.levelname), record.getMessage(), safe_value(fields))
        except Exception:  # noqa: BLE001 - a record that cannot be formatted is reported by the rules of logging itself
            self.handleError(record)


def _install_in_logging() -> Callable[[], None]:
    root = logging.getLogger()
    level, others, handler = root.level, list(root.handlers), _Handler()

    def others_hear(record: logging.LogRecord) -> bool:
        return _current() is None and (record.levelno >= level or _is_set_apart(record.name))

    # What attempts log from INFO on is theirs to read; the runner itself goes on saying what it was told to say.
    root.setLevel(min(level, logging.INFO))
    for each in others:
        each.addFilter(others_hear)
    root.addHandler(handler)

    def undo() -> None:
        root.setLevel(level)
        root.removeHandler(handler)
        for each in others:
            each.removeFilter(others_hear)

    return undo


def _is_set_apart(name: str) -> bool:
    """Whether this logger's level was set by somebody, and is not the root's."""
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None and logger.parent is not None:
        if logger.level:
            return True
        logger = logger.parent
    return False


def _structlog_processor(ours: frozenset[str]) -> Callable[[Any, str, Any], Any]:
    def processor(_: Any, method: str, event: Any) -> Any:
        speaker = _current()
        if speaker is None:
            return event
        bound = {name: value for name, value in structlog.contextvars.get_contextvars().items() if name not in ours}
        fields = {**bound, **structlog.processors.format_exc_info(None, method, dict(event))}
        fields.pop("exc_info", None)
        message = str(fields.pop("event", ""))
        speaker.log(_level_of(method), message, safe_value(fields))
        raise structlog.DropEvent

    return processor


def _show_warning_instead_of(before: Any) -> Any:
    def show(message: Any, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None) -> None:
        speaker = _current()
        if speaker is None or file is not None:
            before(message, category, filename, lineno, file, line)
        else:
            speaker.log("warning", f"{category.__name__}: {message}", {"at": f"{filename}:{lineno}"})

    return show


def _level_of(name: str) -> str:
    name = name.lower()
    level = _LEVELS.get(name, name)
    return level if level in _KNOWN else "info"


def _as_shown(line: str) -> str:
    """The last thing that a terminal would show of a line that paints over itself."""
    return line.rstrip("\r").rpartition("\r")[2]
