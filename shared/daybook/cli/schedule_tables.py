"""What people see of schedules: their words, their next times on two clocks, and the ledger of their slots.

An instant is shown as the clocks in the schedule's zone have it, and beside it as the clocks here do where that is not the
same.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from itertools import groupby
from typing import Final

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from daybook import clock
from daybook.client.schedule_models import Backfill, DecidedSlot, Ledger, PendingSlot, Preview, SchedulePage, ScheduleView
from daybook.domain.cadence import InvalidCadence, zone

from .tables import as_json, new_card, new_table, plain
from .wording import relative, span

_STYLES: Final = {"fired": "green", "skipped": "magenta", "pending": "yellow", "planned": "cyan"}


def schedule_table(body: bytes) -> RenderableType:
    """A list of schedules, one line each."""
    page = msgspec.json.decode(body, type=SchedulePage)
    if not page.items:
        return Text("no such schedules", style="dim")
    now = clock.now()
    table = new_table("ID", "APP", "DUE", "NEXT", "LAST", "STATE")
    for each in page.items:
        upcoming = relative(each.next[0], now) if each.next else "-"
        last = relative(each.last.fired_at or each.last.slot, now) if each.last else "-"
        table.add_row(each.id, plain(each.app), plain(each.words), upcoming, last, _state(each))
    return Group(table, Text("there are more; see --limit", style="dim")) if page.next_cursor else table


def schedule_card(body: bytes) -> RenderableType:
    """One schedule with everything that is known about it."""
    now = clock.now()
    schedule = msgspec.json.decode(body, type=ScheduleView)
    place = _place(schedule.timezone)
    card = new_card()
    card.add_row("id", schedule.id)
    card.add_row("app", plain(f"{schedule.app}  {schedule.app_version or ''}".strip()))
    card.add_row("state", _whole_state(schedule, place, now))
    card.add_row("due", plain(schedule.words))
    card.add_row("cron", plain(f"{schedule.cron}  in {schedule.timezone}"))
    if bounds := _bounds(schedule, place):
        card.add_row("bounds", plain(bounds))
    card.add_row("bad times", plain(_bad_times(schedule)))
    card.add_row("queue", plain(f"{schedule.queue}, priority {schedule.priority}"))
    card.add_row("owner", plain(schedule.owner))
    if schedule.labels:
        card.add_row("labels", plain("  ".join(f"{name}={value}" for name, value in schedule.labels.items())))
    card.add_row("input", as_json(schedule.input))
    if counts := [f"{count} {what}" for what, count in schedule.counts.items() if count]:
        card.add_row("slots", plain(", ".join(counts)))
    if schedule.last is not None:
        card.add_row("last", plain(f"{_shown(schedule.last.slot, place)}  {relative(schedule.last.slot, now)}  {schedule.last.task}"))
    for number, (at, shown) in enumerate(zip(schedule.next, _clocks(schedule.next, place), strict=True)):
        card.add_row("" if number else "next", plain("  ".join([*shown, relative(at, now)])))
    return card


def preview_table(body: bytes) -> RenderableType:
    """What a cadence means, in words and as instants, and what changes of the clocks do to it."""
    now = clock.now()
    preview = msgspec.json.decode(body, type=Preview)
    place = _place(preview.timezone)
    words = plain(preview.words)
    if not preview.next:
        return Group(words, Text("it is never due in that time", style="dim"))
    instants = [each.at for each in preview.next]
    table = new_table(*_headings("DUE", instants, place), "WHEN")
    for at, shown in zip(instants, _clocks(instants, place), strict=True):
        table.add_row(*shown, relative(at, now))
    return Group(words, table, *(plain(f"note: {note.text}") for note in preview.notes))


def ledger_table(body: bytes, timezone: str) -> RenderableType:
    """What became of slots, newest first, above it what is undecided and what is to come, on the clocks of that zone."""
    now = clock.now()
    ledger = msgspec.json.decode(body, type=Ledger)
    place = _place(timezone)
    rows = [
        *((each.slot, "planned", relative(each.due_at or each.slot, now), "", "") for each in reversed(ledger.planned)),
        *((first.slot, "pending", first.why, "", _many(count, first.slot, last.slot, place)) for first, last, count in _runs(ledger.pending)),
        *((each.slot, each.outcome, each.reason, _late(each), each.task or _many(each.count, each.slot, each.last, place)) for each in ledger.items),
    ]
    if not rows:
        return Text("no slots", style="dim")
    table = new_table("SLOT", "OUTCOME", "WHY", "LATE", "TASK")
    for slot, outcome, why, late, task in rows:
        table.add_row(_shown(slot, place), Text(outcome, style=_STYLES.get(outcome, "")), plain(why), late, task)
    return Group(table, Text("there are more; see --limit", style="dim")) if ledger.next_cursor else table


def backfill_table(body: bytes, timezone: str) -> RenderableType:
    """The past slots that are fired after all, or would be."""
    answer = msgspec.json.decode(body, type=Backfill)
    place = _place(timezone)
    told = f"{answer.count} {'would be' if answer.dry_run else 'are'} fired"
    if answer.already_fired:
        told += f", {answer.already_fired} had been"
    if answer.already_waiting:
        told += f", {answer.already_waiting} are waiting for it"
    if answer.more:
        told += "; there are more, see --limit"
    table = new_table(*_headings("SLOT", answer.slots, place))
    for shown in _clocks(answer.slots, place):
        table.add_row(*shown)
    return Group(table, Text(told, style="dim")) if answer.slots else Text(told, style="dim")


def _state(schedule: ScheduleView) -> Text:
    if schedule.paused:
        return Text("paused", style="yellow")
    return Text("active", style="green") if schedule.next else Text("over", style="dim")


def _whole_state(schedule: ScheduleView, place: tzinfo, now: datetime) -> Text:
    """`paused by ana until … (in 2h): the printer is broken`."""
    state = _state(schedule)
    if not schedule.paused:
        return state
    told = f" by {schedule.paused_by}" if schedule.paused_by else ""
    if schedule.paused_until is not None:
        told += f" until {_shown(schedule.paused_until, place)} ({relative(schedule.paused_until, now)})"
    return state.append(plain(told + (f": {schedule.note}" if schedule.note else "")))


def _bounds(schedule: ScheduleView, place: tzinfo) -> str:
    bounds = [
        "" if schedule.start_at is None else f"from {_shown(schedule.start_at, place)}",
        "" if schedule.end_at is None else f"until {_shown(schedule.end_at, place)}",
        "" if schedule.max_runs is None else f"{schedule.runs} of {schedule.max_runs} runs",
    ]
    return ", ".join(bound for bound in bounds if bound)


def _bad_times(schedule: ScheduleView) -> str:
    window = "" if schedule.catch_up == "none" or schedule.catch_up_window_seconds is None else f" within {span(schedule.catch_up_window_seconds)}"
    told = [f"overlap {schedule.overlap}", f"catch-up {schedule.catch_up}{window}", f"gap {schedule.dst_gap}, fold {schedule.dst_fold}"]
    if schedule.jitter_seconds:
        told.append(f"jitter {span(schedule.jitter_seconds)}")
    if schedule.pause_after_errors is not None:
        told.append(f"paused after {schedule.pause_after_errors} errors in a row")
    return "; ".join(told)


def _runs(pending: list[PendingSlot]) -> list[tuple[PendingSlot, PendingSlot, int]]:
    """Pending slots, newest first, each run of those that wait for the same as its first, its last, and how many."""
    runs = [list(run) for _, run in groupby(pending, key=lambda each: each.why)]
    return [(run[0], run[-1], len(run)) for run in reversed(runs)]


def _many(count: int, first: datetime, last: datetime | None, place: tzinfo) -> str:
    """`58 slots to 14:48:09`; nothing for a single one."""
    if count == 1 or last is None:
        return ""
    first, last = first.astimezone(place), last.astimezone(place)
    return f"{count} slots to {last:%H:%M:%S}" if first.date() == last.date() else f"{count} slots to {last:%Y-%m-%d %H:%M:%S}"


def _late(slot: DecidedSlot) -> str:
    if slot.outcome != "fired" or slot.lateness_ms is None:
        return ""
    return f"{slot.lateness_ms:.0f}ms" if slot.lateness_ms < 1_000 else span(slot.lateness_ms / 1_000)


def _place(timezone: str) -> tzinfo:
    try:
        return zone(timezone)
    except InvalidCadence:
        # The API may know zones that are younger than this client.
        return UTC


def _headings(first: str, instants: Sequence[datetime], place: tzinfo) -> list[str]:
    return [first, "HERE"] if _are_elsewhere(instants, place) else [first]


def _clocks(instants: Sequence[datetime], place: tzinfo) -> list[list[str]]:
    """Each instant as clocks in the zone show it, and, where one of them differs here, as they do here."""
    if not _are_elsewhere(instants, place):
        return [[_shown(at, place)] for at in instants]
    return [[_shown(at, place), _shown_here(at, place)] for at in instants]


def _are_elsewhere(instants: Iterable[datetime], place: tzinfo) -> bool:
    return any(at.astimezone(place).utcoffset() != at.astimezone().utcoffset() for at in instants)


def _shown(at: datetime, place: tzinfo) -> str:
    return at.astimezone(place).strftime("%Y-%m-%d %H:%M:%S %Z")


def _shown_here(at: datetime, place: tzinfo) -> str:
    """The time here, with its date where that is another."""
    here = at.astimezone()
    return here.strftime("%H:%M:%S %Z" if here.date() == at.astimezone(place).date() else "%Y-%m-%d %H:%M:%S %Z")
