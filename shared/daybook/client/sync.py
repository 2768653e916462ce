"""The blocking client: a transport that runs flows. What they do is said in `flows`, once for both clients; which method
runs which is in `sync_methods`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from types import TracebackType
from typing import Self, TypeVar

import httpx2

from .address import find_address
from .feeding import FeedEvent, FeedPage, FeedWatch, ask, events_page
from .flows import Flow
from .line import Line
from .requests import Reply, Request
from .sync_methods import Apps, Schedules, Tasks, Webhooks
from .watching import MAX_EVENT_BYTES, SILENCE_SECONDS, Watching

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
        self.schedules = Schedules(self)
        self.webhooks = Webhooks(self)
        self.apps = Apps(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. What was submitted goes on."""
        self._http.close()

    def events(
        self,
        *,
        cursor: str | None = None,
        app: str | None = None,
        owner: str | None = None,
        task: str | None = None,
        schedule: str | None = None,
        types: str | Iterable[str] | None = None,
    ) -> Iterator[FeedEvent]:
        """Everything that happens to what the token may see, as it happens, without an end: from behind a `cursor` (that of
        an event, `"start"`, or `"now"`), or from when the first is asked for. A lost connection is taken up again where it
        was lost.

        `app`, `owner`, `task` and `schedule` narrow it to what is about these (the tasks of a schedule too); `types` to
        names such as `task.error`, or to all of `task`, `schedule`, `slot` or `app`.
        """
        return self.stream(FeedWatch(ask(cursor=cursor, app=app, owner=owner, task=task, schedule=schedule, types=types)))

    def events_page(
        self,
        cursor: str | None = None,
        *,
        limit: int | None = None,
        wait: int | None = None,
        app: str | None = None,
        owner: str | None = None,
        task: str | None = None,
        schedule: str | None = None,
        types: str | Iterable[str] | None = None,
    ) -> FeedPage:
        """One page of the same, from behind `cursor`; its `next_cursor` is the place to go on from. Where it would be empty,
        wait up to `wait` seconds (60 at most) for something to happen.
        """
        flow = events_page(cursor, limit=limit, wait=wait, app=app, owner=owner, task=task, schedule=schedule, types=types)
        return self.run(flow)

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

    def stream(self, watch: Watching[T]) -> Iterator[T]:
        """What a watch sees, as it happens, to its end if it has one; a lost connection is taken up again where it was lost."""
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
            if (seen := watch.cut(cut)) is not None:
                yield seen

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
