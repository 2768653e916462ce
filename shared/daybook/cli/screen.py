"""How a watched task looks: a progress bar under a log tail on a terminal, plain lines elsewhere, JSON lines when
asked. Only draws."""

import sys
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from daybook.client.models import WatchEvent

from .options import Output
from .wording import clean


class Screen(Protocol):
    """Shows what happens. Entered once, left once."""

    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None: ...
    def show(self, event: WatchEvent, /) -> None: ...


def screen_for(output: Output | None) -> Screen:
    """JSON lines on stdout when asked for; else what people read, on stderr, so that stdout keeps the result alone."""
    if output == "jsonl":
        return JsonLines()
    if sys.stderr.isatty():
        from .bar import Bar

        return Bar()
    return Lines()


class JsonLines:
    """Each event as one line of JSON on stdout."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        pass

    def show(self, event: WatchEvent, /) -> None:
        """Print the event."""
        print(msgspec.json.encode({"event": event.type, "id": event.id, "data": event.data}).decode(), flush=True)


class Lines:
    """Each event as a plain line on stderr; streamed text as it comes, in whole lines."""

    def __init__(self) -> None:
        self._streamed = Streamed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self._finish_line()

    def show(self, event: WatchEvent, /) -> None:
        """Print the event, if there is something to say about it."""
        if event.type == "chunk":
            for whole in self._streamed.add(str(event.data.get("text", ""))):
                self._say(whole)
        elif (line := described(event)) is not None:
            if event.type.startswith("task."):
                self._finish_line()
            self._say(line)

    def _finish_line(self) -> None:
        if self._streamed.rest:
            self._say(self._streamed.take_rest())

    @staticmethod
    def _say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)


class Streamed:
    """Text that arrives in pieces and is shown in whole lines; `rest` is the line that is not complete yet."""

    def __init__(self) -> None:
        self.rest = ""

    def add(self, text: str) -> list[str]:
        """The lines that this piece completes."""
        *lines, self.rest = (self.rest + clean(text)).split("\n")
        return lines

    def take_rest(self) -> str:
        """The line that is not complete, as if it were."""
        rest, self.rest = self.rest, ""
        return rest


def described(event: WatchEvent) -> str | None:
    """The event in one line of plain text; None for those with nothing to say."""
    data = event.data
    match event.type:
        case "snapshot":
            task = data["task"]
            return clean(f"{task['id']} {task['app']} {task['status']}")
        case "progress":
            return clean(f"progress {progress_words(data)}")
        case "log":
            return clean(log_words(data))
        case "action":
            return clean(f"action {msgspec.json.encode(data).decode()}")
        case "reconnecting":
            return "connection lost, reconnecting"
        case "gap":
            return "some of the live output is too old to be shown"
        case "end":
            return None
        case _:
            return clean(status_words(event))


def progress_words(data: dict[str, Any]) -> str:
    """`30/100 30% resizing`, or as much of it as is known."""
    current, total, percent = data.get("current"), data.get("total"), data.get("percent")
    amount = f"{current}/{total}" if total is not None else f"{current}"
    share = f"{percent:.0f}%" if percent is not None else ""
    return " ".join(part for part in (amount, share, data.get("message") or "") if part)


def log_words(data: dict[str, Any]) -> str:
    """`info    resized n=1`."""
    fields = " ".join(f"{name}={value}" for name, value in (data.get("fields") or {}).items())
    return f"{data.get('level', 'info'):<7} {data.get('message', '')} {fields}".rstrip()


def status_words(event: WatchEvent) -> str:
    """`running attempt 2`, `scheduled retry_backoff ConnectionError`."""
    name = event.type.removeprefix("task.")
    told = event.data.get("data") or {}
    attempt = f"attempt {told['attempt']}" if name == "running" and "attempt" in told else ""
    failure = told.get("error_type") if name == "scheduled" else ""
    return " ".join(part for part in (name.replace("_", " "), attempt, told.get("reason") or "", failure or "") if part)
