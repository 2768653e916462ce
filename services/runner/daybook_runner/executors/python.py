"""Runs Python functions: async ones in the event loop, plain ones in a bounded pool of threads.

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

from .outcomes import failure_of, outcome_of
from .protocol import Call, Failure, Outcome


class PythonExecutor:
    """Calls the functions of Python apps. `threads` bounds how many plain functions run at once; more of them wait."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="daybook-task")  # starts no thread before one is needed

    async def execute(self, call: Call, context: Context) -> Outcome:
        """Call the function with the input. An input that does not fit its annotations is the failure
        `InvalidInput`."""
        run = call.definition.run
        assert isinstance(run, PythonFunction)
        try:
            arguments = run.bind(call.input, context)
        except msgspec.ValidationError as error:
            return Failure(error_type="InvalidInput", message=str(error))
        if not run.is_async:
            return await self._call_in_thread(run.function, arguments, context)
        try:
            return outcome_of(await run.function(**arguments))
        except asyncio.CancelledError as error:
            if _is_being_cancelled():
                context.mark_cancelled()
                raise
            # Nobody asked for it: something inside the function was cancelled, which is a failure like any other.
            return failure_of(error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - user code may raise anything
            # sys.exit() in a task ends the task, not the runner.
            return failure_of(error)

    async def aclose(self) -> None:
        """Start nothing more. Threads that still run are not waited for here, though Python waits for them before it
        exits."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _call_in_thread(self, function: Callable[..., Any], arguments: dict[str, Any], context: Context) -> Outcome:
        run = contextvars.copy_context().run
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, run, _called, function, arguments)
        except asyncio.CancelledError:
            context.mark_cancelled()
            raise


def _called(function: Callable[..., Any], arguments: dict[str, Any]) -> Outcome:
    # Every exception becomes an outcome in the thread itself: some (StopIteration) cannot travel through a future at
    # all.
    try:
        return outcome_of(function(**arguments))
    except BaseException as error:  # noqa: BLE001 - as it says
        return failure_of(error)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
