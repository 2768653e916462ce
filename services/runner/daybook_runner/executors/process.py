"""Runs plain Python functions each in a process of its own (`process=True`): for work that would hold the interpreter,
that may crash it, or that has to be stopped whatever it does.

The process is a fresh interpreter under a warden (`programs.py`). It imports the function's module by name, so nothing
is pickled: the input goes over as JSON, and what the function says and returns comes back over a socket (`inside.py`).
Starting one takes a tenth of a second and some 40 MB. A process that ends without an outcome is the failure
`ProcessDied`, which names the signal or the exit code.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from typing import Any, Final

import msgspec

from daybook.context import Context

from .inside import HEADER_BYTES, Frame, Job, Said, frame
from .programs import NotStarted, Order, Program, running, send
from .protocol import Call, Failure, Outcome
from .streams import Lines

GRACE_SECONDS: Final = 5.0
_LOG_BYTES: Final = 1024 * 1024
_START: Final = "import sys; from daybook_runner.executors.inside import main; main(int(sys.argv[1]))"
_decoder: Final = msgspec.json.Decoder(Frame)


async def execute_in_process(call: Call, function: Callable[..., Any], context: Context, *, grace_seconds: float = GRACE_SECONDS) -> Outcome:
    """Call the function with the input there. It ends as `Executor.execute` says."""
    try:
        return await _execute(call, function, context, grace_seconds)
    except (NotStarted, OSError) as error:
        return Failure(error_type="ProcessNotStarted", message=f"no process can be started: {error}")


async def _execute(call: Call, function: Callable[..., Any], context: Context, grace_seconds: float) -> Outcome:
    ours, theirs = socket.socketpair()
    try:
        channel = _Channel(*await asyncio.open_unix_connection(sock=ours), context)
    except BaseException:
        ours.close()
        theirs.close()
        raise
    order = Order(
        # -P: what lies in the folder where the runner stands must not take the place of the standard library.
        argv=(sys.executable, "-P", "-c", _START, str(theirs.fileno())),
        env=dict(os.environ),
        cwd=os.getcwd(),
        grace=grace_seconds,
        keep=(theirs.fileno(),),
    )
    try:
        async with running(order) as program:
            theirs.close()
            program.beside(Lines(context, _LOG_BYTES, source="stdout").read(program.stdout))
            program.beside(Lines(context, _LOG_BYTES, source="stderr", level="warning").read(program.stderr))
            program.stdin.close()
            program.beside(channel.read())
            channel.send(_job(call, function))
            outcome = await channel.outcome()
            if outcome is None:
                ended = await program.ended()
                return Failure(error_type="ProcessDied", message=f"the function's process {ended}, and returned nothing")
            await _settled(program, grace_seconds)
            return outcome
    finally:
        theirs.close()
        channel.close()


async def _settled(program: Program, seconds: float) -> None:
    """Let the process do what it does at its exit, for a while."""
    try:
        async with asyncio.timeout(seconds):
            await program.ended()
    except TimeoutError:
        return  # it is ended like any other that does not end by itself


def _job(call: Call, function: Callable[..., Any]) -> Job:
    module = function.__module__
    return Job(
        app=call.definition.app,
        module=module,
        file=getattr(sys.modules.get(module), "__file__", None) or "",
        function=function.__qualname__,
        path=sys.path,
        input=msgspec.json.encode(call.input),
        task_id=call.task_id,
        attempt=call.attempt,
        deadline=call.deadline,
    )


class _Channel:
    """Our end of the process's channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: Context) -> None:
        self._reader = reader
        self._writer = writer
        self._context = context
        self._outcome: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()

    def send(self, job: Job) -> None:
        """Hand over what is to be done."""
        send(self._writer, frame(job))

    async def outcome(self) -> Outcome | None:
        """Wait for the outcome; None when there will be none."""
        return await self._outcome

    async def read(self) -> None:
        """Pass on what is said, until the outcome or the end."""
        outcome: Outcome | None = None
        try:
            while outcome is None:
                size = int.from_bytes(await self._reader.readexactly(HEADER_BYTES))
                message = _decoder.decode(await self._reader.readexactly(size))
                if isinstance(message, Said):
                    self._context.say(message.kind, message.fields)
                else:
                    outcome = message.outcome
        except (asyncio.IncompleteReadError, ConnectionError):
            outcome = None  # the process is dead, or has let go of the channel
        finally:
            if not self._outcome.done():
                self._outcome.set_result(outcome)

    def close(self) -> None:
        """Let go of it."""
        self._writer.close()
