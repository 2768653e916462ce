"""Where a watcher of one task stands: what it has seen, what it asks for next, and when it is done. No I/O.

A stream may be cut at any byte: by the network, by a restart of the API, or because the watcher was too slow. The id of
the last event that arrived whole is remembered, and the next connection asks for what came after it (`Last-Event-ID`),
so nothing is lost and nothing is seen twice.
"""

from typing import Any, Protocol, TypeVar

import msgspec

from . import requests
from .models import WatchEvent
from .requests import Request

PATIENCE_SECONDS = 300.0
SILENCE_SECONDS = 45.0
"""Three heartbeats: a stream that is silent for longer is dead, whatever TCP believes."""
MAX_EVENT_BYTES = 16 * 1024 * 1024

_PAUSE_SECONDS = 1.0


class Frame(Protocol):
    """A server-sent event as the wire brought it."""

    @property
    def event(self) -> str: ...
    @property
    def data(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def retry(self) -> int | None: ...


E_co = TypeVar("E_co", covariant=True)


class Watching(Protocol[E_co]):
    """What a transport needs to know of a stream that is taken up again where it was cut."""

    ended: bool

    def request(self) -> Request:
        """What to ask for now."""

    def opened(self, status: int) -> None:
        """A connection stands."""

    def take(self, frame: Frame) -> E_co | None:
        """What is to be seen of this frame."""

    def cut(self, error: Exception | None) -> E_co | None:
        """What is to be seen of the connection's end."""


class Resumption:
    """Where a stream stands, over all the connections it needs: the id of the last event that arrived whole, and whether the
    last connection got on."""

    def __init__(self, last_event_id: str | None = None) -> None:
        self.last_event_id = last_event_id
        self._connected = False
        self._got_on = True
        self._pause_seconds = _PAUSE_SECONDS

    def paced(self, wanted: Request) -> Request:
        """The request, after the pause that is due before it."""
        if not self._connected:
            return wanted
        # A stream that got on was cut by chance and is taken up at once; one that brought nothing new would do so again.
        pause = 0.0 if self._got_on else self._pause_seconds
        return msgspec.structs.replace(wanted, after_seconds=pause, patience_seconds=PATIENCE_SECONDS)

    def opened(self) -> None:
        """A connection stands."""
        self._connected = True
        self._got_on = False

    def carries(self, frame: Frame) -> bool:
        """Whether there is an event in this frame, and not only advice about the pause."""
        if frame.retry is not None:
            self._pause_seconds = frame.retry / 1000
        return bool(frame.data) and frame.event != "message"

    def took(self, frame: Frame, *, is_news: bool) -> None:
        """This event is not to come again. One that every connection begins with is no news."""
        self.last_event_id = frame.id or self.last_event_id
        self._got_on = self._got_on or is_news


class Watch:
    """The memory of one watcher, over all the connections it needs."""

    def __init__(self, task_id: str, last_event_id: str | None = None) -> None:
        self.ended = False
        self._task_id = task_id
        self._place = Resumption(last_event_id)

    def request(self) -> Request:
        """What to ask for now."""
        return self._place.paced(requests.watch_task(self._task_id, last_event_id=self._place.last_event_id))

    def opened(self, status: int) -> None:
        """A connection stands. 204 says that the task had ended and that everything about it has been seen."""
        self._place.opened()
        self.ended = status == 204

    def take(self, frame: Frame) -> WatchEvent | None:
        """The event in this frame, or None when it carries nothing to see."""
        if not self._place.carries(frame):
            return None
        self._place.took(frame, is_news=frame.event not in {"snapshot", "heartbeat"})
        if frame.event == "heartbeat":
            return None
        self.ended = frame.event == "end"
        return WatchEvent(type=frame.event, id=frame.id, data=msgspec.json.decode(frame.data, type=dict[str, Any]))

    def cut(self, error: Exception | None) -> WatchEvent:
        """The connection is gone; `error` is None when the API closed it in good order."""
        why = "the stream was closed" if error is None else f"{type(error).__name__}: {error}".rstrip(": ")
        return WatchEvent(type="reconnecting", id=self._place.last_event_id or "", data={"error": why})
