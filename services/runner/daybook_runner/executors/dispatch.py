"""Sends each call to the executor of its kind, which is made, and its libraries imported, when the first app of that
kind needs it.

`openai` takes most of a second to import and `httpx2` a fifth of one: a runner without such apps pays nothing, and one
with them pays in `prepare`, before it takes work, in a thread, so that the loop goes on.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from importlib import import_module
from types import TracebackType
from typing import Any, Self, assert_never

from daybook.context import Context
from daybook.domain.events import AppKind
from daybook.manifest import Definition

from ..addresses import parse_networks
from .outcomes import failure_of
from .protocol import Call, Executor, Outcome
from .python import PythonExecutor


class Executors:
    """All executors of a runner. `threads` bounds how many plain functions run at once; `http_allow` is the setting
    DAYBOOK_HTTP_ALLOW: networks that HTTP apps may call though they are not public. Raises ValueError when it is
    none."""

    def __init__(self, *, threads: int = 32, http_allow: str = "") -> None:
        self._allowed = parse_networks(http_allow)
        self._python = PythonExecutor(threads)
        self._by_kind: dict[AppKind, Executor] = {"python": self._python}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of threads and connections."""
        for executor in self._by_kind.values():
            await executor.aclose()

    async def prepare(self, definitions: Iterable[Definition]) -> None:
        """Make ready what these apps need."""
        for kind in {definition.kind for definition in definitions}:
            await self._executor(kind)

    def execute(self, call: Call, context: Context) -> Coroutine[Any, Any, Outcome]:
        """Run the call to its outcome, as `Executor.execute` says."""
        if call.definition.kind == "python":
            return self._python.execute(call, context)
        return self._execute_other(call, context)

    async def _execute_other(self, call: Call, context: Context) -> Outcome:
        try:
            executor = await self._executor(call.definition.kind)
            return await executor.execute(call, context)
        except Exception as error:  # noqa: BLE001 - what a library throws at us unforeseen still ends this attempt, and only this one
            return failure_of(error)

    async def _executor(self, kind: AppKind) -> Executor:
        if kind not in self._by_kind and kind in ("chat", "http"):
            await asyncio.to_thread(import_module, f"{__package__}.{kind}")
        # Nothing is awaited from here on, so two first calls at once still make one executor.
        return self._by_kind.get(kind) or self._by_kind.setdefault(kind, self._make(kind))

    def _make(self, kind: AppKind) -> Executor:
        match kind:
            case "chat":
                from .chat import ChatExecutor

                return ChatExecutor()
            case "http":
                from .http import HttpExecutor

                return HttpExecutor(self._allowed)
            case "python" | "nats" | "command":
                raise NotImplementedError(f"this runner cannot run apps of the kind {kind}")
            case _:
                assert_never(kind)
