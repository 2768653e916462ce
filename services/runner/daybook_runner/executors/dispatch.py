"""Sends each call to the executor of its kind, which is made, and its libraries imported, when the first app of that
kind needs it.

`openai` takes most of a second to import and `httpx2` a fifth of one: a runner without such apps pays nothing, and one
with them pays in `prepare`, before it takes work, in a thread, so that the loop goes on.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, assert_never

from daybook.context import Context
from daybook.domain.events import AppKind
from daybook.manifest import Definition
from daybook.webhooks import DELIVER

from ..addresses import parse_networks
from ..subjects import parse_patterns
from .outcomes import RESULT_LIMIT_BYTES, failure_of, fit
from .protocol import Call, Executor, Outcome
from .python import PythonExecutor

if TYPE_CHECKING:
    from ..webhook import SecretOf, WebhookExecutor
    from .nats import Connect


class Executors:
    """All executors of a runner. `threads` bounds how many plain functions run at once; `http_allow` is the setting
    DAYBOOK_HTTP_ALLOW: networks that HTTP apps may call though they are not public; `nats_allow` is DAYBOOK_NATS_ALLOW:
    subjects that NATS apps may send requests to, over the connection that `connect` waits for. `secret_of` is what
    webhooks' messages are signed with; who sends them is made when the first is sent. Raises ValueError when
    a setting cannot be read. A result of more than `result_limit_bytes` is a failure, whichever kind of app it comes
    from."""

    def __init__(
        self,
        *,
        threads: int = 32,
        http_allow: str = "",
        nats_allow: str = "",
        connect: "Connect | None" = None,
        secret_of: "SecretOf | None" = None,
        result_limit_bytes: int = RESULT_LIMIT_BYTES,
    ) -> None:
        self._allowed = parse_networks(http_allow)
        self._subjects = parse_patterns(nats_allow)
        self._connect = connect
        self._limit_bytes = result_limit_bytes
        self._python = PythonExecutor(threads, result_limit_bytes)
        self._definitions: dict[str, Definition] = {}
        self._by_kind: dict[AppKind, Executor] = {"python": self._python}
        self._secret_of = secret_of
        self._webhook: WebhookExecutor | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of threads and connections."""
        for executor in self._by_kind.values():
            await executor.aclose()
        if self._webhook is not None:
            await self._webhook.aclose()

    async def prepare(self, definitions: Iterable[Definition]) -> None:
        """Make ready what these apps need."""
        self._definitions |= {definition.app: definition for definition in definitions}
        for kind in {definition.kind for definition in self._definitions.values()}:
            await self._executor(kind)

    def execute(self, call: Call, context: Context) -> Coroutine[Any, Any, Outcome]:
        """Run the call to its outcome, as `Executor.execute` says."""
        if call.definition.kind == "python":
            return self._python.execute(call, context)
        return self._execute_other(call, context)

    async def _execute_other(self, call: Call, context: Context) -> Outcome:
        try:
            executor = await (self._webhooks() if call.definition is DELIVER else self._executor(call.definition.kind))
            return fit(await executor.execute(call, context), self._limit_bytes)
        except Exception as error:  # noqa: BLE001 - what a library throws at us unforeseen still ends this attempt, and only this one
            return failure_of(error)

    async def _executor(self, kind: AppKind) -> Executor:
        if kind not in self._by_kind and kind != "python":
            await asyncio.to_thread(import_module, f"{__package__}.{kind}")
        # Nothing is awaited from here on, so two first calls at once still make one executor.
        return self._by_kind.get(kind) or self._by_kind.setdefault(kind, self._make(kind))

    async def _webhooks(self) -> Executor:
        await asyncio.to_thread(import_module, "daybook_runner.webhook")
        if self._webhook is None:
            from ..webhook import WebhookExecutor

            assert self._secret_of is not None, "this runner sends no webhooks"
            self._webhook = WebhookExecutor(self._allowed, self._secret_of)
        return self._webhook

    def _make(self, kind: AppKind) -> Executor:
        match kind:
            case "chat":
                from .chat import ChatExecutor

                return ChatExecutor(self.execute, self._definitions)
            case "http":
                from .http import HttpExecutor

                return HttpExecutor(self._allowed)
            case "nats":
                from .nats import NatsExecutor

                return NatsExecutor(self._connect, self._subjects)
            case "command":
                from .command import CommandExecutor

                return CommandExecutor()
            case "python":
                return self._python
            case _:
                assert_never(kind)
