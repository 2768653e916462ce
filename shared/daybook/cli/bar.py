"""The terminal's view of a running task: log lines and streamed text scroll by above a bar with percentage and time
left."""

from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from daybook.client.models import WatchEvent

from .screen import Streamed, described, progress_words
from .tables import STYLES
from .wording import clean

_LEVELS = {"warning": "yellow", "error": "red", "critical": "red"}


class Bar:
    """Draws on stderr until it is left."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[status]}"),
            BarColumn(),
            TaskProgressColumn(show_speed=False),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=self._console,
        )
        self._row = self._progress.add_task("", total=None, status="")
        self._streamed = Streamed()
        self._live = Live(self._progress, console=self._console, transient=True, refresh_per_second=10)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self._finish_line()
        self._live.stop()

    def show(self, event: WatchEvent, /) -> None:
        """Move the bar, or let a line scroll by above it."""
        match event.type:
            case "snapshot":
                self._status(str(event.data["task"]["status"]))
            case "progress":
                self._move(event)
            case "chunk":
                self._stream(str(event.data.get("text", "")))
            case "log":
                self._print(event, _LEVELS.get(str(event.data.get("level")), ""))
            case "end":
                self._status(str(event.data.get("status", "")))
            case "reconnecting" | "gap" | "action":
                self._print(event, "dim")
            case _:
                self._status(str(event.data.get("status", event.type.removeprefix("task."))))
                self._finish_line()
                self._print(event, "dim")

    def _status(self, status: str) -> None:
        self._progress.update(self._row, status=f"[{STYLES.get(status, 'default')}]{clean(status)}[/]")

    def _move(self, event: WatchEvent) -> None:
        data = event.data
        words = str(data.get("message") or "") if data.get("total") else progress_words(data)
        # Square brackets in a task's own words are not markup.
        description = clean(words).replace("[", r"\[")
        self._progress.update(self._row, completed=data.get("current"), total=data.get("total"), description=description)

    def _stream(self, text: str) -> None:
        for line in self._streamed.add(text):
            self._console.print(Text(line))
        rest = self._streamed.rest
        self._live.update(Group(Text(rest), self._progress) if rest else self._progress)

    def _finish_line(self) -> None:
        if self._streamed.rest:
            self._live.update(self._progress)
            self._console.print(Text(self._streamed.take_rest()))

    def _print(self, event: WatchEvent, style: str) -> None:
        line = described(event)
        if line is not None:
            self._console.print(Text(line, style=style))
