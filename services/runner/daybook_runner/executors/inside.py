"""The other side of `process.py`: the process in which one function runs, once.

It gets a `Job` over its channel, a socket, and sends back frames (four bytes of length, and JSON): what the function
says while it runs, and at last its outcome. What it prints goes to stdout and stderr, and to the task's log.

SIGTERM is the wish to stop. A function that looks at `ctx.cancelled` ends as it likes; one that speaks is told by
CancelledError, as in a thread; one that does neither is interrupted by CancelledError where it is. Who takes longer than
the grace is killed.
"""

import faulthandler
import importlib
import logging
import signal
import socket
import sys
import threading
from asyncio import CancelledError
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeAlias

import msgspec

from daybook.context import Context
from daybook.signatures import read_signature

from ..loading import import_file, is_file_module
from .outcomes import failure_of, outcome_of
from .protocol import Failure, Outcome, Success

HEADER_BYTES: Final = 4
_FRAME_BYTES: Final = 256 * 1024 * 1024


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One call of one function: the module it is in, the file that was loaded as, and its qualified name there. `path`
    is where the runner finds modules, `input` is JSON."""

    app: str
    module: str
    file: str
    function: str
    path: list[str]
    input: bytes
    task_id: str
    attempt: int
    deadline: datetime | None


class Said(msgspec.Struct, frozen=True, kw_only=True, tag="said"):
    """Something said through the context."""

    kind: str
    fields: dict[str, Any]


class Succeeded(msgspec.Struct, frozen=True, kw_only=True, tag="succeeded"):
    """It ended well."""

    outcome: Success


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """It ended badly."""

    outcome: Failure


Frame: TypeAlias = Said | Succeeded | Failed
_encoder: Final = msgspec.json.Encoder(enc_hook=repr)


def frame(value: Job | Frame) -> bytes:
    """The value as it goes over the channel."""
    content = _encoder.encode(value)
    if len(content) > _FRAME_BYTES:
        raise ValueError(f"it has more than {_FRAME_BYTES} bytes")
    return len(content).to_bytes(HEADER_BYTES) + content


def main(fd: int) -> None:
    """Run the job that comes over this file descriptor."""
    faulthandler.enable()  # a crash in native code says where it was, in the task's log
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    with socket.socket(fileno=fd) as channel:
        channel.set_inheritable(False)
        job = _read_job(channel)
        context = InnerContext(job, channel)
        signal.signal(signal.SIGTERM, context.stop)
        logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[_Handler(context)])
        outcome = context.guarded(lambda: _run(job, context))
        try:
            channel.sendall(_final_frame(outcome))
        except ConnectionError:
            return  # the runner has gone, or has ended this attempt


class InnerContext(Context):
    """A context that speaks over the channel, and can interrupt."""

    __slots__ = ("_channel", "_interruptible", "_looks", "_main_speaks", "_sending")

    def __init__(self, job: Job, channel: socket.socket) -> None:
        super().__init__(task_id=job.task_id, attempt=job.attempt, deadline=job.deadline, emit=self._send)
        self._channel = channel
        self._sending = threading.Lock()
        self._looks = False
        self._main_speaks = False
        self._interruptible = False

    @property
    def cancelled(self) -> bool:
        """Whether this attempt is to stop. Who asks is left to stop by himself."""
        self._looks = True
        return self._cancelled

    def say(self, kind: str, fields: dict[str, Any]) -> None:
        """Say something, or raise CancelledError once the attempt is cancelled."""
        self._raise_if_cancelled()
        if threading.current_thread() is threading.main_thread():
            self._main_speaks = True
            super().say(kind, fields)
            self._main_speaks = False
            if not self._looks:
                self._raise_if_cancelled()
        else:
            super().say(kind, fields)

    def stop(self, number: int, where: FrameType | None) -> None:
        """Take notice of SIGTERM, in the main thread, wherever it is."""
        first, self._cancelled = not self._cancelled, True
        # Half a frame must not be left on the channel: whoever is speaking is told when he has spoken.
        if first and self._interruptible and not self._looks and not self._main_speaks:
            self._raise_if_cancelled()

    def guarded(self, work: Callable[[], Outcome]) -> Outcome:
        """Do this, interruptibly; whatever it raises is a failure."""
        try:
            self._interruptible = True
            outcome = work()
            self._interruptible = False
        except BaseException as error:  # noqa: BLE001 - user code may raise anything
            self._interruptible = False
            return failure_of(error)
        return outcome

    def _raise_if_cancelled(self) -> None:
        if self._cancelled:
            raise CancelledError("this attempt was cancelled")

    def _send(self, kind: str, fields: dict[str, Any]) -> None:
        content = frame(Said(kind=kind, fields=fields))
        with self._sending:
            self._channel.sendall(content)


class _Handler(logging.Handler):
    """Makes what is logged through the standard library lines of the task's log."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._log = context.log

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning" if record.levelno >= logging.WARNING else "info"
        getattr(self._log, level)(self.format(record), logger=record.name)


def _run(job: Job, context: Context) -> Outcome:
    sys.path[:] = job.path
    function = _find(job)
    arguments = read_signature(function, job.app).run.bind(msgspec.json.decode(job.input), context)
    return outcome_of(function(**arguments))


def _find(job: Job) -> Any:
    value: Any = import_file(Path(job.file)) if is_file_module(job.module) else importlib.import_module(job.module)
    for part in job.function.split("."):
        value = getattr(value, part)
    return value


def _final_frame(outcome: Outcome) -> bytes:
    try:
        return frame(Succeeded(outcome=outcome) if isinstance(outcome, Success) else Failed(outcome=outcome))
    except ValueError as error:
        return frame(Failed(outcome=Failure(error_type="ResultTooLarge", message=f"the result cannot be handed over: {error}", retryable=False)))


def _read_job(channel: socket.socket) -> Job:
    with channel.makefile("rb") as stream:
        size = int.from_bytes(stream.read(HEADER_BYTES))
        return msgspec.json.decode(stream.read(size), type=Job)
