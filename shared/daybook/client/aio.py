"""The async client. It runs the flows on an async transport; what they do is said in `flows`, once for both clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeAlias, TypeVar

import httpx2

from daybook.domain.status import Status

from . import flows, requests
from .address import find_address
from .dressing import dressed
from .flows import Flow, Ref
from .line import Line
from .models import TaskDetail, TaskSummary, WatchEvent
from .requests import Reply, Request
from .watching import MAX_EVENT_BYTES, SILENCE_SECONDS, Watch

P = ParamSpec("P")
T = TypeVar("T")
Async: TypeAlias = Coroutine[Any, Any, T]


class AsyncClient:
    """Daybook's API for code that runs on an event loop: the names of `Client`, awaited. Close it, or use it in an
    `async with` block.
    """

    def __init__(self, base_url: str | None = None, token: str | None = None, *, timeout: float = 30.0, attempts: int = 5) -> None:
        self._line = Line(find_address(base_url, token), timeout=timeout, attempts=attempts)
        self._http = httpx2.AsyncClient(**self._line.options())
        self.tasks = AsyncTasks(self)
        self.apps = AsyncApps(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. What was submitted goes on."""
        await self._http.aclose()

    async def request(self, request: Request) -> Reply:
        """One exchange, tried again where that may help. Raises ApiError or Unreachable."""
        return self._line.noted(request, await self._send(request))

    async def run(self, flow: Flow[T]) -> T:
        """Run a flow to its end and return what it returns."""
        try:
            request = next(flow)
            while True:
                request = flow.send(await self.request(request))
        except StopIteration as end:
            result: T = end.value
            return result

    async def stream(self, watch: Watch) -> AsyncIterator[WatchEvent]:
        """What happens to a task, as it happens. Ends after `end`; a lost connection is taken up again where it was
        lost.
        """
        while not watch.ended:
            async with aclosing(await self._send(watch.request(), stream=True)) as response:
                watch.opened(response.status_code)
                if watch.ended:
                    return
                cut = None
                try:
                    async for frame in httpx2.EventSource(response, max_event_size=MAX_EVENT_BYTES):
                        if (event := watch.take(frame)) is not None:
                            yield event
                        if watch.ended:
                            return
                except httpx2.TransportError as error:
                    cut = error
            yield watch.cut(cut)

    async def _send(self, request: Request, *, stream: bool = False) -> httpx2.Response:
        if request.after_seconds:
            await asyncio.sleep(request.after_seconds)
        wire = self._http.build_request(**self._line.spell(request, silence_seconds=SILENCE_SECONDS if stream else None))
        try:
            async for attempt in self._line.tries(request):
                with attempt:
                    response = await self._http.send(wire, stream=stream)
                    if response.status_code >= 400:
                        await response.aread()
                        raise self._line.refusal(response)
                    return response
        except httpx2.TransportError as error:
            raise self._line.unreachable(error) from error
        raise AssertionError("the last attempt neither returned nor raised")


class AsyncPart:
    """A group of the client's methods."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client


def _asks(flow: Callable[P, Flow[T]]) -> Callable[Concatenate[AsyncPart, P], Async[T]]:
    """A method that runs the flow."""

    async def method(self: AsyncPart, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.client.run(flow(*args, **kwargs))

    return dressed(method, flow)


def _opens(flow: Callable[P, Flow[TaskDetail]]) -> Callable[Concatenate[AsyncPart, P], Async[AsyncTask]]:
    """A method that runs the flow and hands out the task it answers."""

    async def method(self: AsyncPart, /, *args: P.args, **kwargs: P.kwargs) -> AsyncTask:
        return AsyncTask(self.client, await self.client.run(flow(*args, **kwargs)))

    return dressed(method, flow)


def _lists(request: Callable[P, Request]) -> Callable[Concatenate[AsyncPart, P], AsyncIterator[AsyncTask]]:
    """A method that walks through all pages that begin with the request."""

    def method(self: AsyncPart, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[AsyncTask]:
        limit = kwargs.get("limit")
        return _walk(self.client, request(*args, **kwargs), limit if isinstance(limit, int) else None)

    return dressed(method, request)


async def _walk(client: AsyncClient, request: Request, limit: int | None) -> AsyncIterator[AsyncTask]:
    while True:
        page = await client.run(flows.page(request))
        for summary in page.items[:limit]:
            yield AsyncTask(client, summary)
        limit = None if limit is None else limit - len(page.items)
        if page.next_cursor is None or (limit is not None and limit <= 0):
            return
        request = requests.next_page(request, page.next_cursor)


class AsyncTasks(AsyncPart):
    """`client.tasks`."""

    submit = _opens(flows.submit)
    get = _opens(flows.get)
    cancel = _opens(flows.cancel)
    reschedule = _opens(flows.reschedule)
    run_now = _opens(flows.run_now)
    retry = _opens(flows.retry)
    rerun = _opens(flows.rerun)
    wait = _opens(flows.wait)
    result = _asks(flows.result)
    events = _asks(flows.events)
    logs = _asks(flows.logs)
    list = _lists(requests.list_tasks)

    def watch(self, task: Ref, *, last_event_id: str | None = None) -> AsyncIterator[WatchEvent]:
        """What happens to the task, as it happens, from the first moment on or from after `last_event_id`; see
        `WatchEvent`.
        """
        return self.client.stream(Watch(task if isinstance(task, str) else task.id, last_event_id))


class AsyncApps(AsyncPart):
    """`client.apps`."""

    list = _asks(flows.list_apps)
    get = _asks(flows.get_app)


def _about(flow: Callable[Concatenate[TaskSummary, P], Flow[T]]) -> Callable[Concatenate[AsyncTask, P], Async[T]]:
    """A task's method that runs the flow about it."""

    async def method(self: AsyncTask, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.client.run(flow(self.view, *args, **kwargs))

    return dressed(method, flow, about_a_task=True)


def _moves(
    flow: Callable[Concatenate[TaskSummary, P], Flow[TaskDetail]],
) -> Callable[Concatenate[AsyncTask, P], Async[AsyncTask]]:
    """A task's method that runs the flow about it, keeps the state it answers, and returns the task."""

    async def method(self: AsyncTask, /, *args: P.args, **kwargs: P.kwargs) -> AsyncTask:
        self.view = await self.client.run(flow(self.view, *args, **kwargs))
        return self

    return dressed(method, flow, about_a_task=True)


def _begets(flow: Callable[Concatenate[TaskSummary, P], Flow[TaskDetail]]) -> Callable[Concatenate[AsyncTask, P], Async[AsyncTask]]:
    """A task's method that runs the flow about it, and hands out the new task it answers."""

    async def method(self: AsyncTask, /, *args: P.args, **kwargs: P.kwargs) -> AsyncTask:
        return AsyncTask(self.client, await self.client.run(flow(self.view, *args, **kwargs)))

    return dressed(method, flow, about_a_task=True)


class AsyncTask:
    """A task, as this process knows it: `view` is its last known state, and the methods ask and act."""

    def __init__(self, client: AsyncClient, view: TaskSummary) -> None:
        self.client = client
        self.view = view

    def __repr__(self) -> str:
        return f"<AsyncTask {self.id} {self.view.app} {self.status}>"

    @property
    def id(self) -> str:
        """Its id: `tsk_` and 26 characters."""
        return self.view.id

    @property
    def status(self) -> Status:
        """Its status when it was last looked at; `refresh()` looks again."""
        return self.view.status

    refresh = _moves(flows.get)
    wait = _moves(flows.wait)
    cancel = _moves(flows.cancel)
    reschedule = _moves(flows.reschedule)
    run_now = _moves(flows.run_now)
    retry = _moves(flows.retry)
    rerun = _begets(flows.rerun)
    result = _about(flows.result)
    events = _about(flows.events)
    logs = _about(flows.logs)

    def watch(self) -> AsyncIterator[WatchEvent]:
        """What happens to it, as it happens; see `WatchEvent`."""
        return self.client.stream(Watch(self.id))
