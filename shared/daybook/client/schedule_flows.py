"""What the client can do with schedules, each thing once; what a flow is, is told in `flows`."""

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

import msgspec

from daybook import ids

from . import schedule_requests as requests
from .flows import Flow, read
from .models import TaskDetail
from .requests import Reply, Request, next_page
from .schedule_models import Backfill, Ledger, Preview, SchedulePage, ScheduleView
from .schedule_requests import ScheduleOptions
from .spelling import Duration, Moment

if TYPE_CHECKING:
    from daybook.domain.cadence import Fold, Gap

ScheduleRef: TypeAlias = str | ScheduleView
"""A schedule's id, or what is known about it."""


def create(
    app: str,
    cron: str,
    input: Any = msgspec.UNSET,  # noqa: A002 - the word of the API
    *,
    paused: bool = False,
    note: str | None = None,
    key: str | None = None,
    **options: Unpack[ScheduleOptions],
) -> Flow[ScheduleView]:
    """Let a task be submitted to the app at every slot of the cron expression, in `timezone` (UTC). What is not given is
    as usual; the options are told in `ScheduleOptions`.

    `key` names the schedule, as it names a task in a submit; without one a key is made here, so that nothing is created
    twice.
    """
    wanted = requests.create_schedule(app, cron, input, key=key or ids.new_secret(), paused=paused, note=note, options=options)
    return read((yield wanted), ScheduleView)


def get(schedule: ScheduleRef) -> Flow[ScheduleView]:
    """The schedule as it is now."""
    return read((yield requests.get_schedule(_id(schedule))), ScheduleView)


def page(request: Request) -> Flow[SchedulePage]:
    """One page of a list."""
    return read((yield request), SchedulePage)


def change(
    schedule: ScheduleRef,
    *,
    cron: str | None = None,
    input: Any = msgspec.UNSET,  # noqa: A002 - the word of the API
    version: int | None = None,
    **options: Unpack[ScheduleOptions],
) -> Flow[ScheduleView]:
    """Let it be different from now on. What is not given stays; an option given as None is taken away (`end_at=None`).

    With a `version` it raises Conflict when anything has happened to the schedule since, if only that a slot fired.
    """
    return read((yield requests.change_schedule(_id(schedule), cron=cron, input=input, version=version, options=options)), ScheduleView)


def pause(schedule: ScheduleRef, *, note: str | None = None, until: Moment | Duration | None = None) -> Flow[ScheduleView]:
    """Let no slot fire, until a time (or for that long), or until it is resumed. The note says why, to whoever looks."""
    return read((yield requests.pause_schedule(_id(schedule), note=note, until=until)), ScheduleView)


def resume(schedule: ScheduleRef, *, note: str | None = None) -> Flow[ScheduleView]:
    """Let slots fire again: those from now on."""
    return read((yield requests.resume_schedule(_id(schedule), note=note)), ScheduleView)


def trigger(schedule: ScheduleRef, *, note: str | None = None, key: str | None = None) -> Flow[TaskDetail]:
    """Submit its task now, whatever else is due, and whether it is paused or not. `key` names the task, as in a submit."""
    return read((yield requests.trigger_schedule(_id(schedule), key=key or ids.new_secret(), note=note)), TaskDetail)


def backfill(
    schedule: ScheduleRef,
    since: Moment | Duration,
    until: Moment | Duration | None = None,
    *,
    dry_run: bool = False,
    limit: int | None = None,
) -> Flow[Backfill]:
    """Fire the slots between two instants (or durations ago; `until` now) that have not fired; with `dry_run`, only say
    which they are. `limit` bounds how many.
    """
    return read((yield requests.backfill_schedule(_id(schedule), since=since, until=until, dry_run=dry_run, limit=limit)), Backfill)


def slots(schedule: ScheduleRef, *, outcome: str | None = None, limit: int | None = 50) -> Flow[Ledger]:
    """What became of its slots, newest first, the last `limit` lines of it (None: all); what is undecided, and what is to
    come.
    """
    request = requests.list_slots(_id(schedule), outcome=outcome, limit=limit)
    ledger = yield from _ledger(request)
    items, cursor = list(ledger.items), ledger.next_cursor
    while cursor is not None and (limit is None or len(items) < limit):
        following = yield from _ledger(next_page(request, cursor, limit=None if limit is None else limit - len(items)))
        items += following.items
        cursor = following.next_cursor
    return msgspec.structs.replace(ledger, items=items, next_cursor=cursor)


def delete(schedule: ScheduleRef) -> Flow[None]:
    """End it for good. Its tasks stay, and so does its ledger."""
    yield requests.delete_schedule(_id(schedule))


def preview(
    cron: str,
    *,
    timezone: str | None = None,
    seconds: bool | None = None,
    dst_gap: "Gap | None" = None,
    dst_fold: "Fold | None" = None,
    start_at: Moment | None = None,
    end_at: Moment | None = None,
    after: Moment | None = None,
    count: int | None = None,
) -> Flow[Preview]:
    """What a cron expression means: in words, as its next `count` instants after `after`, and what changes of the clocks
    do to it. Nothing is saved.
    """
    wanted = requests.preview_schedule(
        cron,
        timezone=timezone,
        seconds=seconds,
        dst_gap=dst_gap,
        dst_fold=dst_fold,
        start_at=start_at,
        end_at=end_at,
        after=after,
        count=count,
    )
    return read((yield wanted), Preview)


def _ledger(request: Request) -> Generator[Request, Reply, Ledger]:
    return read((yield request), Ledger)


def _id(schedule: ScheduleRef) -> str:
    return schedule if isinstance(schedule, str) else schedule.id
