"""The async client: a transport that runs flows. What they do is said in `flows`, once for both clients; which method
runs which is in `aio_methods`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from types import TracebackType
from typing import Self, TypeVar

import httpx2

from .address import find_address
from .aio_methods import AsyncApps, AsyncSchedules, AsyncTasks
from .flows import Flow
from .line import Line
from .models import WatchEvent
from .requests import Reply, Request
from .watching import MAX_EVENT_BYTES, SILENCE_SECONDS, Watch

T = TypeVar("T")


class AsyncClient:
    """Daybook's API for code that runs on an event loop: the names of `Client`, awaited. Close it, or use it in an
    `async with` block.
    """

    def __init__(self, base_url: str | None = None, token: str | None = None, *, timeout: float = 30.0, attempts: int = 5) -> None:
        self._line = Line(find_address(base_url, token), timeout=timeout, attempts=attempts)
        self._http = httpx2.AsyncClient(**self._line.options())
        self.tasks = AsyncTasks(self)
        self.schedules = AsyncSchedules(self)
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
