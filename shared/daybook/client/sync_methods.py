"""The methods of the blocking client: which name runs which flow, and what it hands out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from daybook.domain.status import Status

from . import flows, requests, schedule_flows, schedule_requests, webhook_flows, webhook_requests
from .dressing import dressed
from .flows import Flow, Ref
from .models import Page, TaskSummary, WatchEvent
from .requests import Request
from .schedule_models import ScheduleView
from .watching import Watch

if TYPE_CHECKING:
    from .sync import Client

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V")
H = TypeVar("H")
Held = TypeVar("Held", bound="Handle[Any]")


class Part:
    """A group of the client's methods."""

    def __init__(self, client: Client) -> None:
        self.client = client


class Handle(Generic[V]):
    """Something at the API, as this process knows it: `view` is its last known state, and the methods ask and act."""

    def __init__(self, client: Client, view: V) -> None:
        self.client = client
        self.view = view


def _asks(flow: Callable[P, Flow[T]]) -> Callable[Concatenate[Part, P], T]:
    """A method that runs the flow."""

    def method(self: Part, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.client.run(flow(*args, **kwargs))

    return dressed(method, flow)


def _opens(flow: Callable[P, Flow[V]], handle: Callable[[Client, V], H]) -> Callable[Concatenate[Part, P], H]:
    """A method that runs the flow and hands out what it answers."""

    def method(self: Part, /, *args: P.args, **kwargs: P.kwargs) -> H:
        return handle(self.client, self.client.run(flow(*args, **kwargs)))

    return dressed(method, flow)


def _lists(
    request: Callable[P, Request], page: Callable[[Request], Flow[Page[V]]], handle: Callable[[Client, V], H]
) -> Callable[Concatenate[Part, P], Iterator[H]]:
    """A method that walks through all pages that begin with the request."""

    def method(self: Part, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[H]:
        limit = kwargs.get("limit")
        items = _walk(self.client, request(*args, **kwargs), page)
        return islice((handle(self.client, item) for item in items), limit if isinstance(limit, int) else None)

    return dressed(method, request)


def _walk(client: Client, request: Request, page: Callable[[Request], Flow[Page[V]]]) -> Iterator[V]:
    while True:
        found = client.run(page(request))
        yield from found.items
        if found.next_cursor is None:
            return
        request = requests.next_page(request, found.next_cursor)


def _about(flow: Callable[Concatenate[Any, P], Flow[T]]) -> Callable[Concatenate[Handle[Any], P], T]:
    """A handle's method that runs the flow about it."""

    def method(self: Handle[Any], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.client.run(flow(self.view, *args, **kwargs))

    return dressed(method, flow, about_itself=True)


def _moves(flow: Callable[Concatenate[Any, P], Flow[Any]]) -> Callable[Concatenate[Held, P], Held]:
    """A handle's method that runs the flow about it, keeps the state it answers, and returns the handle."""

    def method(self: Held, /, *args: P.args, **kwargs: P.kwargs) -> Held:
        self.view = self.client.run(flow(self.view, *args, **kwargs))
        return self

    return dressed(method, flow, about_itself=True)


def _begets(flow: Callable[Concatenate[Any, P], Flow[V]], handle: Callable[[Client, V], H]) -> Callable[Concatenate[Handle[Any], P], H]:
    """A handle's method that runs the flow about it, and hands out what is new."""

    def method(self: Handle[Any], /, *args: P.args, **kwargs: P.kwargs) -> H:
        return handle(self.client, self.client.run(flow(self.view, *args, **kwargs)))

    return dressed(method, flow, about_itself=True)


class Task(Handle[TaskSummary]):
    """A task, as this process knows it: `view` is its last known state, and the methods ask and act."""

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
    # The class has no name yet while its methods are made.
    rerun = _begets(flows.rerun, lambda client, view: Task(client, view))  # noqa: PLW0108
    result = _about(flows.result)
    events = _about(flows.events)
    logs = _about(flows.logs)

    def watch(self) -> Iterator[WatchEvent]:
        """What happens to it, as it happens; see `WatchEvent`."""
        return self.client.stream(Watch(self.id))


class Schedule(Handle[ScheduleView]):
    """A schedule, as this process knows it: `view` is its last known state, and the methods ask and act."""

    def __repr__(self) -> str:
        return f"<Schedule {self.id} {self.view.app} {self.view.cron}>"

    @property
    def id(self) -> str:
        """Its id: `sch_` and 26 characters."""
        return self.view.id

    refresh = _moves(schedule_flows.get)
    change = _moves(schedule_flows.change)
    pause = _moves(schedule_flows.pause)
    resume = _moves(schedule_flows.resume)
    trigger = _begets(schedule_flows.trigger, Task)
    backfill = _about(schedule_flows.backfill)
    slots = _about(schedule_flows.slots)
    delete = _about(schedule_flows.delete)


class Tasks(Part):
    """`client.tasks`."""

    submit = _opens(flows.submit, Task)
    get = _opens(flows.get, Task)
    cancel = _opens(flows.cancel, Task)
    reschedule = _opens(flows.reschedule, Task)
    run_now = _opens(flows.run_now, Task)
    retry = _opens(flows.retry, Task)
    rerun = _opens(flows.rerun, Task)
    wait = _opens(flows.wait, Task)
    result = _asks(flows.result)
    events = _asks(flows.events)
    logs = _asks(flows.logs)
    list = _lists(requests.list_tasks, flows.page, Task)

    def watch(self, task: Ref, *, last_event_id: str | None = None) -> Iterator[WatchEvent]:
        """What happens to the task, as it happens, from the first moment on or from after `last_event_id`; see
        `WatchEvent`.
        """
        return self.client.stream(Watch(task if isinstance(task, str) else task.id, last_event_id))


class Schedules(Part):
    """`client.schedules`."""

    create = _opens(schedule_flows.create, Schedule)
    get = _opens(schedule_flows.get, Schedule)
    list = _lists(schedule_requests.list_schedules, schedule_flows.page, Schedule)
    change = _opens(schedule_flows.change, Schedule)
    pause = _opens(schedule_flows.pause, Schedule)
    resume = _opens(schedule_flows.resume, Schedule)
    trigger = _opens(schedule_flows.trigger, Task)
    backfill = _asks(schedule_flows.backfill)
    preview = _asks(schedule_flows.preview)
    slots = _asks(schedule_flows.slots)
    delete = _asks(schedule_flows.delete)


class Webhooks(Part):
    """`client.webhooks`."""

    create = _asks(webhook_flows.create)
    get = _asks(webhook_flows.get)
    list = _lists(webhook_requests.list_webhooks, webhook_flows.page, lambda _, view: view)
    delete = _asks(webhook_flows.delete)
    secret = _asks(webhook_flows.secret)
    test = _opens(webhook_flows.test, Task)
    deliveries = _lists(webhook_requests.list_deliveries, flows.page, Task)


class Apps(Part):
    """`client.apps`."""

    list = _asks(flows.list_apps)
    get = _asks(flows.get_app)
