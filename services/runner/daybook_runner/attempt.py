"""One attempt, from the claim to the report: claim → execute → judge → report.

The value that flows through is an `Attempt`: a task that this runner has claimed, its input, and the version of its stream after the claim.
"""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog

from daybook import clock
from daybook.blobs import BlobDamaged, Blobs
from daybook.context import Context
from daybook.domain.commands import AnyCommand, ConfirmCancel, Fail, Release, Succeed
from daybook.domain.events import TaskEvent
from daybook.domain.task import Task, decide, fold
from daybook.log import codec
from daybook.log.connections import LOST
from daybook.log.envelope import Conflict, LogUnavailable
from daybook.log.postgres import Log, events_of
from daybook.manifest import Definition

from .capture import speaking
from .executors import Call, Executors, Failure, Outcome, Success
from .output import Output

_SHORTEST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 2.0

log = structlog.get_logger()


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed task."""

    stream: UUID
    task_id: str
    """The stream, as it is spelled in public."""
    namespace: str
    task: Task
    definition: Definition
    input: bytes | None
    """The input as JSON; None when it was erased before it could run."""


class Attempts:
    """Runs attempts for one runner."""

    def __init__(self, event_log: Log, blobs: Blobs, output: Output, executors: Executors, runner: str) -> None:
        self._log = event_log
        self._blobs = blobs
        self._output = output
        self._executors = executors
        self._actor = f"runner:{runner}"
        self._stopping: dict[UUID, str] = {}
        self._executing: dict[UUID, Context] = {}

    def interrupt(self, running: asyncio.Task[None], stream: UUID, why: str) -> None:
        """Stop a running attempt: because its task was `cancelled`, or because the runner is `drained`."""
        self._stopping[stream] = why
        context = self._executing.get(stream)
        if context is not None:
            # Only the execution is interrupted: a report under way says how it ended, and is never cut off.
            context.mark_cancelled()
            running.cancel()

    async def run(self, attempt: Attempt, *, executed: Callable[[], None] = lambda: None) -> None:
        """Execute and report; `executed` is called in between. Ends by itself once the report is recorded or refused."""
        voice = self._output.voice(attempt)
        outcome: Outcome | None = None
        try:
            if attempt.stream not in self._stopping:
                outcome = await self._execute(attempt, voice.emit)
        except asyncio.CancelledError:
            if attempt.stream not in self._stopping:
                raise
        except Exception as error:
            # Whatever went wrong in here, nobody else would ever end this attempt.
            log.exception("attempt.crashed", task=attempt.task_id)
            outcome = Failure(error_type="RunnerError", message=f"the runner could not execute this ({type(error).__name__}); its log tells more")
        executed()
        why = self._stopping.get(attempt.stream, "")
        try:
            await voice.end()
            await self._report(attempt, outcome, why)
        finally:
            self._stopping.pop(attempt.stream, None)

    async def _execute(self, attempt: Attempt, emit: Any) -> Outcome:
        task = attempt.task
        try:
            content = await self._input(attempt)
            if content is None:
                return Failure(error_type="InputErased", message="the input was erased before the task ran", retryable=False)
            value = msgspec.json.decode(content)
        except BlobDamaged as error:
            return Failure(error_type="InputDamaged", message=str(error), retryable=False)
        except (msgspec.DecodeError, RecursionError) as error:
            return Failure(error_type="InvalidInput", message=str(error), retryable=False)
        seconds, overtime = _limit(task)
        context = Context(
            task_id=attempt.task_id,
            attempt=task.attempt,
            emit=emit,
            loop=asyncio.get_running_loop(),
            deadline=None if seconds is None else clock.after(seconds),
        )
        call = Call(
            task_id=attempt.task_id,
            attempt=task.attempt,
            definition=attempt.definition,
            input=value,
            deadline=context.deadline,
        )
        self._executing[attempt.stream] = context
        # Only Python apps run code of the user's in here; what libraries log on behalf of the others is the operator's business.
        listening = speaking(emit) if attempt.definition.kind == "python" else nullcontext()
        try:
            with listening:
                if seconds is None:
                    return await self._executors.execute(call, context)
                async with asyncio.timeout(seconds) as limit:
                    return await self._executors.execute(call, context)
        except TimeoutError:
            if not limit.expired():
                raise
            context.mark_cancelled()
            return overtime
        finally:
            del self._executing[attempt.stream]

    async def _input(self, attempt: Attempt) -> bytes | None:
        """The input, as soon as the store that holds it answers; None when it was erased."""
        content = attempt.task.input
        pause = _SHORTEST_PAUSE_SECONDS
        while attempt.input is None and content.blob:
            try:
                return await self._blobs.get(content.digest, content.size_bytes)
            except (LogUnavailable, *LOST) as error:
                log.warning("input.delayed", task=attempt.task_id, error=type(error).__name__)
                if attempt.stream in self._stopping:
                    raise asyncio.CancelledError from None
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        return attempt.input

    async def _report(self, attempt: Attempt, outcome: Outcome | None, why: str) -> None:
        command, payload, blob = self._judge(attempt, outcome, why)
        pause = _SHORTEST_PAUSE_SECONDS
        task: Task | None = attempt.task
        loaded = False
        while True:
            try:
                if task is None:
                    task = fold(events_of(await self._log.load(attempt.stream)))
                    loaded = True
                if blob is not None:
                    await self._blobs.put(*blob)
                    blob = None
                event = decide(task, command, clock.now())
                if not loaded and (why or not isinstance(event, TaskEvent)):
                    # What is known here is as old as the claim, and whoever interrupted wrote down why.
                    task = None
                    continue
                if not isinstance(event, TaskEvent):
                    log.warning("report.refused", task=str(attempt.stream), refusal=type(event).__name__)
                    return
                assert task is not None
                await self._log.append(attempt.stream, task.version + 1, event, namespace=attempt.namespace, payload=payload)
                return
            except Conflict:
                # Something happened meanwhile, perhaps a wish to cancel. Decide again on what is there now.
                task = None
            except (LogUnavailable, *LOST) as error:
                # The result is held until the database is back: nothing else knows it.
                log.warning("report.delayed", task=str(attempt.stream), error=type(error).__name__)
                task = None
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _judge(self, attempt: Attempt, outcome: Outcome | None, why: str) -> tuple[AnyCommand, bytes | None, tuple[str, bytes] | None]:
        """What to report of this outcome: the command, the event's payload, and the blob to store first, if any."""
        number = attempt.task.attempt
        if outcome is None and why == "drained":
            return Release(actor=self._actor, reason="drained", attempt=number), None, None
        if outcome is None:
            return ConfirmCancel(actor=self._actor, reason=why, attempt=number), None, None
        if isinstance(outcome, Success):
            sealed = codec.seal(outcome.content, outcome.media_type)
            command: AnyCommand = Succeed(actor=self._actor, attempt=number, result=sealed.content)
        else:
            sealed = codec.seal(_ENCODE(_error_of(outcome)))
            command = Fail(
                actor=self._actor,
                reason="app_error",
                attempt=number,
                error=sealed.content,
                error_type=outcome.error_type[:128],
                retryable=outcome.retryable,
                retry_after_seconds=outcome.retry_after_seconds,
                seed=attempt.task_id,
            )
        blob = None if sealed.blob is None else (sealed.content.digest, sealed.blob)
        return command, sealed.payload, blob


_ENCODE: Final = msgspec.json.Encoder().encode


def _limit(task: Task) -> tuple[float | None, Failure]:
    """How many seconds the attempt may take, and what it is when it takes longer."""
    timeout = task.policy.timeout_seconds
    overtime = Failure(error_type="Timeout", message=f"the attempt took longer than {timeout or 0:g} seconds")
    if task.deadline_at is None:
        return timeout, overtime
    left = max((task.deadline_at - clock.now()).total_seconds(), 0.0)
    if timeout is not None and timeout <= left:
        return timeout, overtime
    return left, Failure(error_type="DeadlineExceeded", message="the task's deadline passed while it ran", retryable=False)


def _error_of(failure: Failure) -> dict[str, str | None]:
    return {"type": failure.error_type, "message": failure.message, "traceback": failure.traceback}
