"""What people see: tables and cards, made from the API's bodies. Times are relative to now; what tasks wrote is
stripped of control characters."""

from datetime import datetime
from typing import Any, Final

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from daybook import clock
from daybook.client.models import (
    AppPage,
    AppView,
    Attempt,
    EventPage,
    EventView,
    Failure,
    TaskDetail,
    TaskPage,
    TaskSummary,
)

from .wording import clean, relative, span

STYLES: Final = {
    "scheduled": "cyan",
    "queued": "blue",
    "running": "yellow",
    "success": "green",
    "error": "red",
    "cancelled": "magenta",
}
_RIGID: Final = frozenset({"ID", "STATUS", "WHEN", "TOOK", "#", "AFTER", "EVENT", "SLOT", "OUTCOME", "LATE", "TASK"})
_LONGEST_NUANCE: Final = 20


def task_table(body: bytes) -> RenderableType:
    """A list of tasks, one line each."""
    page = msgspec.json.decode(body, type=TaskPage)
    if not page.items:
        return Text("no such tasks", style="dim")
    table = _tasks(page.items)
    return Group(table, Text("there are more; see --limit", style="dim")) if page.next_cursor else table


def task_line(body: bytes) -> RenderableType:
    """One task as a list shows it."""
    return _tasks([msgspec.json.decode(body, type=TaskSummary)])


def task_card(body: bytes) -> RenderableType:
    """One task with everything that is known about it."""
    now = clock.now()
    task = msgspec.json.decode(body, type=TaskDetail)
    card = new_card()
    card.add_row("id", task.id)
    card.add_row("app", plain(f"{task.app}  {task.app_version or ''}".strip()))
    card.add_row("status", _status(task))
    card.add_row("queue", plain(f"{task.queue}, priority {task.priority}"))
    card.add_row("owner", plain(task.owner))
    if task.labels:
        card.add_row("labels", plain("  ".join(f"{name}={value}" for name, value in task.labels.items())))
    for name, at in (
        ("tried again" if task.retry_at else "due" if task.status == "scheduled" else "run at", task.run_at),
        ("submitted", task.submitted_at),
        ("started", task.started_at),
        ("finished", task.finished_at),
        ("begins by", task.expires_at),
        ("deadline", task.deadline_at),
    ):
        if at is not None:
            card.add_row(name, f"{relative(at, now)}  [dim]{at.isoformat(timespec='milliseconds')}[/dim]")
    if task.rerun_of is not None:
        card.add_row("repeats", task.rerun_of)
    if task.schedule is not None:
        card.add_row("schedule", plain(f"{task.schedule}, its slot of {task.slot.isoformat() if task.slot else '-'}"))
    if task.cancellation is not None:
        why = f": {task.cancellation.reason}" if task.cancellation.reason else ""
        card.add_row("to be stopped", plain(f"{task.cancellation.requested_by}, {relative(task.cancellation.requested_at, now)}{why}"))
    card.add_row("input", as_json(task.input))
    for each in task.attempts:
        card.add_row(f"attempt {each.attempt}", _attempt(each))
    if task.result is not None:
        card.add_row("result", f"{task.result.size_bytes} bytes of {task.result.media_type}")
    if task.error is not None:
        card.add_row("error", error_text(task.error))
    return card


def _attempt(attempt: Attempt) -> Text:
    """`error ConnectionError after 2.1s  run_…`."""
    took = "" if attempt.ended_at is None else f" after {span((attempt.ended_at - attempt.started_at).total_seconds())}"
    nuance = attempt.reason if attempt.outcome in {"lost", "released"} else attempt.error_type or ""
    text = plain(" ".join(part for part in (attempt.outcome, nuance) if part) + took)
    return text.append(f"  {attempt.runner}", style="dim")


def error_text(failure: Failure) -> Text:
    """Why a task failed, with its traceback."""
    text = Text(clean(f"{failure.type}: {failure.message}"), style="red")
    if failure.traceback:
        text.append("\n" + clean(failure.traceback.rstrip()), style="dim")
    return text


def event_table(body: bytes) -> RenderableType:
    """Everything that happened to a task, oldest first, with the time since the first event."""
    events = msgspec.json.decode(body, type=EventPage).items
    table = new_table("#", "AFTER", "EVENT", "WHAT")
    for event in events:
        since = span((event.at - events[0].at).total_seconds())
        table.add_row(str(event.version), since, event.kind, plain(_told(event)))
    if not events:
        return table
    first = events[0].at.isoformat(sep=" ", timespec="milliseconds")
    return Group(table, Text(f"first at {first}; -o json tells all", style="dim"))


def app_table(body: bytes) -> RenderableType:
    """What can be run."""
    apps = msgspec.json.decode(body, type=AppPage).items
    table = new_table("APP", "KIND", "QUEUE", "WHAT IT DOES")
    for app in apps:
        table.add_row(app.app, app.kind, app.queue or "", plain((app.doc or "").strip().partition("\n")[0]))
    return table if apps else Text("no apps: a runner publishes those that it serves", style="dim")


def app_card(body: bytes) -> RenderableType:
    """One app, with the schema of its input."""
    now = clock.now()
    app = msgspec.json.decode(body, type=AppView)
    card = new_card()
    card.add_row("app", app.app)
    card.add_row("kind", app.kind)
    card.add_row("version", app.version or "-")
    card.add_row("published", relative(app.published_at, now))
    card.add_row("queue", f"{app.queue or 'default'}, priority {app.priority if app.priority is not None else '-'}")
    if app.doc:
        card.add_row("doc", plain(app.doc.strip()))
    if app.policy:
        card.add_row("policy", plain("\n".join(f"{name} = {_spelled(value)}" for name, value in app.policy.items() if value not in (None, []))))
    schema = msgspec.json.format(msgspec.json.encode(app.input_schema), indent=2).decode()
    card.add_row("input", plain(schema))
    return card


def _tasks(tasks: list[TaskSummary]) -> Table:
    now = clock.now()
    table = new_table("ID", "APP", "STATUS", "QUEUE", "OWNER", "WHEN", "TOOK")
    for task in tasks:
        when = relative(task.submitted_at, now) if task.status != "scheduled" else f"due {relative(task.run_at, now)}"
        table.add_row(task.id, plain(task.app), _status(task), plain(task.queue), plain(task.owner), when, _took(task, now))
    return table


def new_table(*columns: str) -> Table:
    """An empty table with these headings."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        # On a narrow terminal the others give way: an id is for copying, a status is what is looked for.
        table.add_column(column, no_wrap=column in _RIGID, overflow="fold")
    return table


def new_card() -> Table:
    """An empty card: names, and what stands behind them."""
    card = Table.grid(padding=(0, 2))
    card.add_column(style="dim", no_wrap=True)
    card.add_column(overflow="fold")
    return card


def _status(task: TaskSummary) -> Text:
    text = Text(task.status, style=STYLES.get(task.status, ""))
    nuance = clean((task.error_type if task.status == "error" else "") or task.reason or "")
    if len(nuance) > _LONGEST_NUANCE:
        nuance = nuance[: _LONGEST_NUANCE - 1] + "…"
    return text.append(f" {nuance}", style="dim") if nuance else text


def _took(task: TaskSummary, now: datetime) -> str:
    if task.started_at is None:
        return "-"
    return span(((task.finished_at or now) - task.started_at).total_seconds())


def _told(event: EventView) -> str:
    """The fact in `name=value` words; payloads by their size, and nothing that only machines compare."""
    told = []
    for name, value in event.data.items():
        match value:
            case None | {} | []:
                continue
            case {"size_bytes": size, "media_type": media_type}:
                told.append(f"{name}={size} bytes of {media_type}")
            case str():
                told.append(f"{name}={value}")
            case _:
                told.append(f"{name}={msgspec.json.encode(value).decode()}")
    return "  ".join(each for each in told if not each.startswith("fingerprint="))


def as_json(value: Any) -> Text:
    """The value as JSON."""
    return plain(msgspec.json.encode(value).decode())


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def plain(text: str) -> Text:
    """Text that is neither markup nor able to drive the terminal."""
    return Text(clean(text))
