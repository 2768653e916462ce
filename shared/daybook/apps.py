"""Apps made of Python functions: `App` and its decorator.

    app = App("images")

    @app.task(timeout="5m", retry=Retry(max_attempts=5))
    async def resize(url: str, width: int = 800, *, ctx: Context) -> Size:
        \"\"\"What it does, for whoever submits it.\"\"\"

Importing a module of apps does nothing but describe them: no server is asked, no thread started. The function stays
what it was and can be called and tested as such. It refuses, where it is written, what could not be run later:
arguments without annotations, types that have no JSON form, generators, ids that are taken.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final, TypeVar, overload

import msgspec

from .domain.events import Delivery
from .manifest import Definition, PythonFunction, Retry, make_policy
from .signatures import read_signature

__all__ = ["App", "Retry"]

Function = TypeVar("Function", bound=Callable[..., Any])
_ONCE: Final = Retry()


class App:
    """A named set of Python functions that can be run as tasks; the function `resize` of `App("images")` is the app
    `images.resize`."""

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self._definitions: dict[str, Definition] = {}

    @property
    def definitions(self) -> Mapping[str, Definition]:
        """What is defined so far, by app id."""
        return MappingProxyType(self._definitions)

    @overload
    def task(self, function: Function, /) -> Function: ...

    @overload
    def task(
        self,
        /,
        *,
        name: str | None = None,
        timeout: str | float | timedelta | None = None,
        retry: Retry = _ONCE,
        queue: str = "default",
        priority: int = 3,
        delivery: Delivery = "at_least_once",
        queue_ttl: str | float | timedelta | None = None,
        deadline: str | float | timedelta | None = None,
        process: bool = False,
    ) -> Callable[[Function], Function]: ...

    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        timeout: str | float | timedelta | None = None,
        retry: Retry = _ONCE,
        queue: str = "default",
        priority: int = 3,
        delivery: Delivery = "at_least_once",
        queue_ttl: str | float | timedelta | None = None,
        deadline: str | float | timedelta | None = None,
        process: bool = False,
    ) -> Any:
        """Make a function an app. Its annotations become the input's JSON Schema, its docstring the help.

        A single parameter whose type is a JSON object (a msgspec Struct, a dataclass, a TypedDict, a dict) takes the
        whole input; any other parameters take the input's fields by name. A parameter annotated `Context` takes the
        attempt's context and is no part of the input. An async function runs in the event loop, a plain one in a
        thread, or with `process` in a process of its own.

        `name` stands in for the function's name. The rest are defaults for its tasks: `timeout` bounds one attempt
        (`"5m"`, seconds), `queue_ttl` the wait for its first or next attempt once it is queued, and `deadline` the
        whole, from when it was due; `retry` says how often it is tried; `queue` is where it waits, and `priority` 1 is
        first, 5 last. Raises TypeError or ValueError for what could not be run.
        """

        def define(function: Function) -> Function:
            app = f"{self.name}.{name or function.__name__}"
            if app in self._definitions:
                raise ValueError(f"{app} is defined twice")
            signature = read_signature(function, app)
            if process:
                _check_process(function, signature.run, app)
            self._definitions[app] = Definition(
                app=app,
                kind="python",
                run=msgspec.structs.replace(signature.run, process=process),
                doc=signature.doc,
                input_schema=signature.input_schema,
                queue=queue,
                priority=priority,
                policy=make_policy(timeout=timeout, retry=retry, delivery=delivery, queue_ttl=queue_ttl, deadline=deadline),
            )
            return function

        return define if function is None else define(function)

    def __repr__(self) -> str:
        return f"App({self.name!r})"


def _check_process(function: Callable[..., Any], run: PythonFunction, app: str) -> None:
    if run.is_async:
        raise ValueError(f"{app}: process=True is for plain functions; an async one runs in the event loop")
    if "<" in function.__qualname__:
        raise ValueError(f"{app}: process=True needs a function at the top of its module: its process imports it by name")
