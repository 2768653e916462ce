"""The blocking client. It runs the flows on a blocking transport; what they do is said in `flows`, once for both
clients.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

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


class Client:
    """Daybook's API for ordinary code. Safe to share between threads; close it, or use it in a `with` block.

    Without arguments it finds the API by itself: DAYBOOK_URL and DAYBOOK_TOKEN, else the `.daybook/env.json` of
    `daybook up` in this folder or one above. `timeout` is in seconds and for one exchange; `attempts` is how often an
    exchange is tried.
    """

    def __init__(self, base_url: str | None = None, token: str | None = None, *, timeout: float = 30.0, attempts: int = 5) -> None:
        self._line = Line(find_address(base_url, token), timeout=timeout, attempts=attempts)
        self._http = httpx2.Client(**self._line.options())
        self.tasks = Tasks(self)
        self.apps = Apps(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. What was submitted goes on."""
        self._http.close()

    def request(self, request: Request) -> Reply:
        """One exchange, tried again where that may help. Raises ApiError or Unreachable."""
        return self._line.noted(request, self._send(request))

    def run(self, flow: Flow[T]) -> T:
        """Run a flow to its end and return what it returns."""
        try:
            request = next(flow)
            while True:
                request = flow.send(self.request(request))
        except StopIteration as end:
            result: T = end.value
            return result

    def stream(self, watch: Watch) -> Iterator[WatchEvent]:
        """What happens to a task, as it happens. Ends after `end`; a lost connection is taken up again where it was
        lost.
        """
        while not watch.ended:
            with closing(self._send(watch.request(), stream=True)) as response:
                watch.opened(response.status_code)
                if watch.ended:
                    return
                cut = None
                try:
                    for frame in httpx2.EventSource(response, max_event_size=MAX_EVENT_BYTES):
                        if (event := watch.take(frame)) is not None:
                            yield event
                        if watch.ended:
                            return
                except httpx2.TransportError as error:
                    cut = error
            yield watch.cut(cut)

    def _send(self, request: Request, *, stream: bool = False) -> httpx2.Response:
        if request.after_seconds:
            time.sleep(request.after_seconds)
        wire = self._http.build_request(**self._line.spell(request, silence_seconds=SILENCE_SECONDS if stream else None))
        try:
            for attempt in self._line.tries(request):
                with attempt:
                    response = self._http.send(wire, stream=stream)
                    if response.status_code >= 400:
                        response.read()
                        raise self._line.refusal(response)
                    return response
        except httpx2.TransportError as error:
            raise self._line.unreachable(error) from error
        raise AssertionError("the last attempt neither returned nor raised")


class Part:
    """A group of the client's methods."""

    def __init__(self, client: Client) -> None:
        self.client = client


def _asks(flow: Callable[P, Flow[T]]) -> Callable[Concatenate[Part, P], T]:
    """A method that runs the flow."""

    def method(self: Part, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.client.run(flow(*args, **kwargs))

    return dressed(method, flow)


def _opens(flow: Callable[P, Flow[TaskDetail]]) -> Callable[Concatenate[Part, P], Task]:
    """A method that runs the flow and hands out the task it answers."""

    def method(self: Part, /, *args: P.args, **kwargs: P.kwargs) -> Task:
        return Task(self.client, self.client.run(flow(*args, **kwargs)))

    return dressed(method, flow)


def _lists(request: Callable[P, Request]) -> Callable[Concatenate[Part, P], Iterator[Task]]:
    """A method that walks through all pages that begin with the request."""

    def method(self: Part, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Task]:
        limit = kwargs.get("limit")
        return islice(_walk(self.client, request(*args, **kwargs)), limit if isinstance(limit, int) else None)

    return dressed(method, request)


def _walk(client: Client, request: Request) -> Iterator[Task]:
    while True:
        page = client.run(flows.page(request))
        yield from (Task(client, summary) for summary in page.items)
        if page.next_cursor is None:
            return
        request = requests.next_page(request, page.next_cursor)


class Tasks(Part):
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

    def watch(self, task: Ref, *, last_event_id: str | None = None) -> Iterator[WatchEvent]:
        """What happens to the task, as it happens, from the first moment on or from after `last_event_id`; see
        `WatchEvent`.
        """
        return self.client.stream(Watch(task if isinstance(task, str) else task.id, last_event_id))


class Apps(Part):
    """`client.apps`."""

    list = _asks(flows.list_apps)
    get = _asks(flows.get_app)


def _about(flow: Callable[Concatenate[TaskSummary, P], Flow[T]]) -> Callable[Concatenate[Task, P], T]:
    """A task's method that runs the flow about it."""

    def method(self: Task, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.client.run(flow(self.view, *args, **kwargs))

    return dressed(method, flow, about_a_task=True)


def _moves(flow: Callable[Concatenate[TaskSummary, P], Flow[TaskDetail]]) -> Callable[Concatenate[Task, P], Task]:
    """A task's method that runs the flow about it, keeps the state it answers, and returns the task."""

    def method(self: Task, /, *args: P.args, **kwargs: P.kwargs) -> Task:
        self.view = self.client.run(flow(self.view, *args, **kwargs))
        return self

    return dressed(method, flow, about_a_task=True)


def _begets(flow: Callable[Concatenate[TaskSummary, P], Flow[TaskDetail]]) -> Callable[Concatenate[Task, P], Task]:
    """A task's method that runs the flow about it, and hands out the new task it answers."""

    def method(self: Task, /, *args: P.args, **kwargs: P.kwargs) -> Task:
        return Task(self.client, self.client.run(flow(self.view, *args, **kwargs)))

    return dressed(method, flow, about_a_task=True)


class Task:
    """A task, as this process knows it: `view` is its last known state, and the methods ask and act."""

    def __init__(self, client: Client, view: TaskSummary) -> None:
        self.client = client
        self.view = view

    def __repr__(self) -> str:
        return f"<Task {self.id} {self.view.app} {self.status}>"

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

    def watch(self) -> Iterator[WatchEvent]:
        """What happens to it, as it happens; see `WatchEvent`."""
        return self.client.stream(Watch(self.id))
