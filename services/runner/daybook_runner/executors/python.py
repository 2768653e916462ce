"""Runs Python functions: async ones in the event loop, plain ones in a bounded pool of threads, or, where the app says
`process=True`, in a process (`process.py`).

A thread cannot be stopped from outside. When its attempt is cancelled, the attempt ends at once and the thread is told
through its context; one that neither looks nor speaks runs on, keeps its place in the pool, and what it returns is
dropped.
"""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from daybook.context import Context
from daybook.manifest import PythonFunction
from daybook.safe_json import text_of

from .outcomes import RESULT_LIMIT_BYTES, failure_of, fit, outcome_of
from .protocol import Call, Failure, Outcome


class PythonExecutor:
    """Calls the functions of Python apps. `threads` bounds how many plain functions run at once; more of them wait.
    A result of more than `result_limit_bytes` is a failure."""

    def __init__(self, threads: int, result_limit_bytes: int = RESULT_LIMIT_BYTES) -> None:
        self._limit_bytes = result_limit_bytes
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="daybook-task")  # starts no thread before one is needed

    async def execute(self, call: Call, context: Context) -> Outcome:
        """Call the function with the input. An input that does not fit its annotations is the failure
        `InvalidInput`."""
        run = call.definition.run
        assert isinstance(run, PythonFunction)
        try:
            arguments = run.bind(call.input, context)
        except msgspec.ValidationError as error:
            return Failure(error_type="InvalidInput", message=text_of(error, 4_000), retryable=False)
        except BaseException as error:  # noqa: BLE001 - a struct's own __post_init__ may raise anything
            return failure_of(error)
        if run.process:
            from .process import execute_in_process  # most runners never need it

            return fit(await execute_in_process(call, run.function, context), self._limit_bytes)
        if not run.is_async:
            return await self._call_in_thread(run.function, arguments, context)
        task = asyncio.current_task()
        try:
            return outcome_of(await run.function(**arguments), self._limit_bytes)
        except asyncio.CancelledError as error:
            if _is_being_cancelled():
                context.mark_cancelled()
                raise
            # Nobody asked for it: something inside the function was cancelled, which is a failure like any other.
            return failure_of(error)
        except GeneratorExit as error:
            if not _is_running(task):
                raise  # the loop is gone, and this coroutine is being thrown away
            return failure_of(error)
        except BaseException as error:  # noqa: BLE001 - user code may raise anything
            # sys.exit() in a task ends the task, not the runner, and so does what is made to look like Ctrl-C.
            return failure_of(error)

    async def aclose(self) -> None:
        """Start nothing more. Threads that still run are not waited for here, though Python waits for them before it
        exits."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _call_in_thread(self, function: Callable[..., Any], arguments: dict[str, Any], context: Context) -> Outcome:
        run = contextvars.copy_context().run
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, run, _called, function, arguments, self._limit_bytes)
        except asyncio.CancelledError:
            context.mark_cancelled()
            raise


def _called(function: Callable[..., Any], arguments: dict[str, Any], limit_bytes: int) -> Outcome:
    # Every exception becomes an outcome in the thread itself: some (StopIteration) cannot travel through a future at
    # all.
    try:
        return outcome_of(function(**arguments), limit_bytes)
    except BaseException as error:  # noqa: BLE001 - as it says
        return failure_of(error)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _is_running(task: asyncio.Task[Any] | None) -> bool:
    try:
        return task is not None and asyncio.current_task() is task
    except RuntimeError:
        return False
