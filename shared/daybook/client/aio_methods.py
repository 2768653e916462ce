"""The methods of the async client: which name runs which flow, and what it hands out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeAlias, TypeVar

from daybook.domain.status import Status

from . import flows, requests, schedule_flows, schedule_requests, webhook_flows, webhook_requests
from .dressing import dressed
from .flows import Flow, Ref
from .models import Page, TaskSummary, WatchEvent
from .requests import Request
from .schedule_models import ScheduleView
from .watching import Watch

if TYPE_CHECKING:
    from .aio import AsyncClient

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V")
H = TypeVar("H")
Held = TypeVar("Held", bound="AsyncHandle[Any]")
Async: TypeAlias = Coroutine[Any, Any, T]


class AsyncPart:
    """A group of the client's methods."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client


class AsyncHandle(Generic[V]):
    """Something at the API, as this process knows it: `view` is its last known state, and the methods ask and act."""

    def __init__(self, client: AsyncClient, view: V) -> None:
        self.client = client
        self.view = view


def _asks(flow: Callable[P, Flow[T]]) -> Callable[Concatenate[AsyncPart, P], Async[T]]:
    """A method that runs the flow."""

    async def method(self: AsyncPart, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.client.run(flow(*args, **kwargs))

    return dressed(method, flow)


def _opens(flow: Callable[P, Flow[V]], handle: Callable[[AsyncClient, V], H]) -> Callable[Concatenate[AsyncPart, P], Async[H]]:
    """A method that runs the flow and hands out what it answers."""

    async def method(self: AsyncPart, /, *args: P.args, **kwargs: P.kwargs) -> H:
        return handle(self.client, await self.client.run(flow(*args, **kwargs)))

    return dressed(method, flow)


def _lists(
    request: Callable[P, Request], page: Callable[[Request], Flow[Page[V]]], handle: Callable[[AsyncClient, V], H]
) -> Callable[Concatenate[AsyncPart, P], AsyncIterator[H]]:
    """A method that walks through all pages that begin with the request."""

    def method(self: AsyncPart, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[H]:
        limit = kwargs.get("limit")
        return _walk(self.client, request(*args, **kwargs), page, handle, limit if isinstance(limit, int) else None)

    return dressed(method, request)


async def _walk(
    client: AsyncClient, request: Request, page: Callable[[Request], Flow[Page[V]]], handle: Callable[[AsyncClient, V], H], limit: int | None
) -> AsyncIterator[H]:
    while True:
        found = await client.run(page(request))
        for item in found.items[:limit]:
            yield handle(client, item)
        limit = None if limit is None else limit - len(found.items)
        if found.next_cursor is None or (limit is not None and limit <= 0):
            return
        request = requests.next_page(request, found.next_cursor)


def _about(flow: Callable[Concatenate[Any, P], Flow[T]]) -> Callable[Concatenate[AsyncHandle[Any], P], Async[T]]:
    """A handle's method that runs the flow about it."""

    async def method(self: AsyncHandle[Any], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.client.run(flow(self.view, *args, **kwargs))

    return dressed(method, flow, about_itself=True)


def _moves(flow: Callable[Concatenate[Any, P], Flow[Any]]) -> Callable[Concatenate[Held, P], Async[Held]]:
    """A handle's method that runs the flow about it, keeps the state it answers, and returns the handle."""

    async def method(self: Held, /, *args: P.args, **kwargs: P.kwargs) -> Held:
        self.view = await self.client.run(flow(self.view, *args, **kwargs))
        return self

    return dressed(method, flow, about_itself=True)


def _begets(flow: Callable[Concatenate[Any, P], Flow[V]], handle: Callable[[AsyncClient, V], H]) -> Callable[Concatenate[AsyncHandle[Any], P], Async[H]]:
    """A handle's method that runs the flow about it, and hands out what is new."""

    async def method(self: AsyncHandle[Any], /, *args: P.args, **kwargs: P.kwargs) -> H:
        return handle(self.client, await self.client.run(flow(self.view, *args, **kwargs)))

    return dressed(method, flow, about_itself=True)


class AsyncTask(AsyncHandle[TaskSummary]):
    """A task, as this process knows it: `view` is its last known state, and the methods ask and act."""

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
    # The class has no name yet while its methods are made.
    rerun = _begets(flows.rerun, lambda client, view: AsyncTask(client, view))  # noqa: PLW0108
    result = _about(flows.result)
    events = _about(flows.events)
    logs = _about(flows.logs)

    def watch(self) -> AsyncIterator[WatchEvent]:
        """What happens to it, as it happens; see `WatchEvent`."""
        return self.client.stream(Watch(self.id))


class AsyncSchedule(AsyncHandle[ScheduleView]):
    """A schedule, as this process knows it: `view` is its last known state, and the methods ask and act."""

    def __repr__(self) -> str:
        return f"<AsyncSchedule {self.id} {self.view.app} {self.view.cron}>"

    @property
    def id(self) -> str:
        """Its id: `sch_` and 26 characters."""
        return self.view.id

    refresh = _moves(schedule_flows.get)
    change = _moves(schedule_flows.change)
    pause = _moves(schedule_flows.pause)
    resume = _moves(schedule_flows.resume)
    trigger = _begets(schedule_flows.trigger, AsyncTask)
    backfill = _about(schedule_flows.backfill)
    slots = _about(schedule_flows.slots)
    delete = _about(schedule_flows.delete)


class AsyncTasks(AsyncPart):
    """`client.tasks`."""

    submit = _opens(flows.submit, AsyncTask)
    get = _opens(flows.get, AsyncTask)
    cancel = _opens(flows.cancel, AsyncTask)
    reschedule = _opens(flows.reschedule, AsyncTask)
    run_now = _opens(flows.run_now, AsyncTask)
    retry = _opens(flows.retry, AsyncTask)
    rerun = _opens(flows.rerun, AsyncTask)
    wait = _opens(flows.wait, AsyncTask)
    result = _asks(flows.result)
    events = _asks(flows.events)
    logs = _asks(flows.logs)
    list = _lists(requests.list_tasks, flows.page, AsyncTask)

    def watch(self, task: Ref, *, last_event_id: str | None = None) -> AsyncIterator[WatchEvent]:
        """What happens to the task, as it happens, from the first moment on or from after `last_event_id`; see
        `WatchEvent`.
        """
        return self.client.stream(Watch(task if isinstance(task, str) else task.id, last_event_id))


class AsyncSchedules(AsyncPart):
    """`client.schedules`."""

    create = _opens(schedule_flows.create, AsyncSchedule)
    get = _opens(schedule_flows.get, AsyncSchedule)
    list = _lists(schedule_requests.list_schedules, schedule_flows.page, AsyncSchedule)
    change = _opens(schedule_flows.change, AsyncSchedule)
    pause = _opens(schedule_flows.pause, AsyncSchedule)
    resume = _opens(schedule_flows.resume, AsyncSchedule)
    trigger = _opens(schedule_flows.trigger, AsyncTask)
    backfill = _asks(schedule_flows.backfill)
    preview = _asks(schedule_flows.preview)
    slots = _asks(schedule_flows.slots)
    delete = _asks(schedule_flows.delete)


class AsyncWebhooks(AsyncPart):
    """`client.webhooks`."""

    create = _asks(webhook_flows.create)
    get = _asks(webhook_flows.get)
    list = _lists(webhook_requests.list_webhooks, webhook_flows.page, lambda _, view: view)
    delete = _asks(webhook_flows.delete)
    secret = _asks(webhook_flows.secret)
    test = _opens(webhook_flows.test, AsyncTask)
    deliveries = _lists(webhook_requests.list_deliveries, flows.page, AsyncTask)


class AsyncApps(AsyncPart):
    """`client.apps`."""

    list = _asks(flows.list_apps)
    get = _asks(flows.get_app)
