"""`daybook schedule …`: what runs again and again, and what became of each time it was due."""

from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from cyclopts import App, Parameter

from . import exits
from .exits import Complaint, say
from .following import follow
from .options import COMMON, WORK, Common, InputWord, ScheduleId, Work, client_for, remember, resolve_schedule
from .paging import pages_of
from .printing import print_many, print_one
from .schedule_options import MANNERS, WHEN, Manners, Note, Outcome, Removable, When
from .wording import edited_input, parse_bound, parse_input, parse_instant

if TYPE_CHECKING:
    from daybook.client import Client, ScheduleOptions
    from daybook.client.requests import Request

app = App(name="schedule", help="Run things again and again, and see what became of each time.")

_LISTED: Final = 50


@app.command
def ls(
    *,
    app: Annotated[str | None, Parameter(help="Only of this app.")] = None,
    owner: Annotated[str | None, Parameter(help="Only of this owner.")] = None,
    limit: Annotated[int, Parameter(help="At most so many.")] = _LISTED,
    common: Common = COMMON,
) -> int:
    """List schedules, newest first."""
    from daybook.client import schedule_requests

    from .schedule_tables import schedule_table

    if limit < 1:
        raise Complaint("--limit is at least 1")
    with client_for(common) as client:
        pages = pages_of(client, schedule_requests.list_schedules(app=app, owner=owner, limit=limit), limit)
        print_many(common.output, pages, schedule_table)
    return exits.OK


@app.command
def show(schedule_id: ScheduleId, /, *, common: Common = COMMON) -> int:
    """Everything known about one schedule."""
    from daybook.client import schedule_requests

    return _shown(schedule_requests.get_schedule(resolve_schedule(schedule_id)), common)


@app.command
def create(
    app: str,
    cron: str,
    /,
    *words: InputWord,
    note: Note = None,
    paused: Annotated[bool, Parameter(negative=(), help="Let it begin paused.")] = False,
    key: Annotated[str | None, Parameter(help="Idempotency key: the same key is the same schedule.")] = None,
    when: When = WHEN,
    manners: Manners = MANNERS,
    work: Work = WORK,
    common: Common = COMMON,
) -> int:
    """Submit a task to an app again and again.

    Every five minutes; at nine on working days in Berlin; every second:

        daybook schedule create hello "*/5 * * * *" name=Ada
        daybook schedule create hello "0 9 * * mon-fri" --timezone Europe/Berlin
        daybook schedule create hello "* * * * * *" --seconds --max-runs 10

    Parameters
    ----------
    app
        What to run; `daybook app ls` lists it.
    cron
        When: minute hour day-of-month month day-of-week, or @hourly, @daily, @weekly, @monthly, @yearly.
    """
    options = when.given() | manners.given() | work.given()
    return create_schedule(app, cron, parse_input(words), options, note=note, paused=paused, key=key, common=common)


def create_schedule(
    app: str, cron: str, given: Any, options: dict[str, Any], *, note: str | None = None, paused: bool = False, key: str | None, common: Common
) -> int:
    """Create it and print it; the work of `schedule create` and of `run --cron`."""
    import msgspec

    from daybook import ids
    from daybook.client import ScheduleView, schedule_requests

    from .schedule_tables import schedule_card

    request = schedule_requests.create_schedule(
        app, cron, given, key=key or ids.new_secret(), paused=paused, note=note, options=cast("ScheduleOptions", options)
    )
    with client_for(common) as client:
        reply = client.request(request)
    created = msgspec.json.decode(reply.body, type=ScheduleView)
    remember(created.id)
    print_one(common.output, reply.body, schedule_card)
    say(f"see what becomes of it: daybook schedule slots {created.id}")
    return exits.OK


@app.command
def change(
    schedule_id: ScheduleId,
    /,
    *,
    cron: Annotated[str | None, Parameter(help="When, from now on.")] = None,
    input_: Annotated[
        list[str] | None,
        Parameter(name="--input", negative=(), consume_multiple=True, help="What is to differ: k=v, k:=json, …; @file.json or - instead of all of it."),
    ] = None,
    without: Annotated[list[Removable] | None, Parameter(negative=(), help="Take back what was said about this; may be repeated.")] = None,
    when: When = WHEN,
    manners: Manners = MANNERS,
    work: Work = WORK,
    common: Common = COMMON,
) -> int:
    """Let a schedule be different from now on; what is not given stays as it is.

    Another time; another input, and no end:

        daybook schedule change @last --cron "30 8 * * *" --timezone Asia/Tokyo
        daybook schedule change @last --input name=Grace --without end-at
    """
    import msgspec

    from daybook.client import schedule_flows, schedule_requests

    wanted = resolve_schedule(schedule_id)
    removed = {name.replace("-", "_"): None for name in without or ()}
    options = cast("ScheduleOptions", when.given() | manners.given() | work.given() | removed)
    if cron is None and not input_ and not options:
        raise Complaint("nothing is to be changed", hint="say what: --cron, --input, --timezone, …")
    with client_for(common) as client:
        given = msgspec.UNSET if not input_ else edited_input(input_, lambda: client.run(schedule_flows.get(wanted)).input)
        _print_schedule(client, schedule_requests.change_schedule(wanted, cron=cron, input=given, options=options), common)
    return exits.OK


@app.command
def preview(
    cron: str,
    /,
    *,
    after: Annotated[str | None, Parameter(help="Begin at this time; without it now.")] = None,
    count: Annotated[int | None, Parameter(help="So many.")] = None,
    when: When = WHEN,
    common: Common = COMMON,
) -> int:
    """What a cron expression means, and what daylight saving does to it. Nothing is saved.

    Half past two in Berlin, and the Sunday without one:

        daybook schedule preview "30 2 * * *" --timezone Europe/Berlin
        daybook schedule preview "30 2 * * sun" --timezone Europe/Berlin \\
            --after 2027-03-20 --dst-gap skip

    Parameters
    ----------
    cron
        Minute hour day-of-month month day-of-week, or @hourly, @daily, @weekly, @monthly, @yearly.
    """
    from daybook.client import schedule_requests

    from .schedule_tables import preview_table

    begin = None if after is None else parse_instant(after)
    request = schedule_requests.preview_schedule(cron, after=begin, count=count, **when.given())
    with client_for(common) as client:
        print_one(common.output, client.request(request).body, preview_table)
    return exits.OK


@app.command
def pause(
    schedule_id: ScheduleId,
    /,
    *,
    note: Note = None,
    until: Annotated[str | None, Parameter(help="Go on by itself then: 2h, 3d, or a time.")] = None,
    common: Common = COMMON,
) -> int:
    """Let no slot fire until it is resumed, or until a time.

    The ledger says which ones would have. For two days, with a word for the others:

        daybook schedule pause @last --until 2d --note "the printer is being moved"
    """
    from daybook.client import schedule_requests

    then = None if until is None else parse_bound(until)
    return _shown(schedule_requests.pause_schedule(resolve_schedule(schedule_id), note=note, until=then), common)


@app.command
def resume(schedule_id: ScheduleId, /, *, note: Note = None, common: Common = COMMON) -> int:
    """Let its slots fire again, from the next one on."""
    from daybook.client import schedule_requests

    return _shown(schedule_requests.resume_schedule(resolve_schedule(schedule_id), note=note), common)


@app.command
def trigger(
    schedule_id: ScheduleId,
    /,
    *,
    note: Note = None,
    watch: Annotated[bool, Parameter(negative=(), help="Stay and watch the task; print its result.")] = False,
    common: Common = COMMON,
) -> int:
    """Submit its task once, now, whatever else is due; a pause does not matter."""
    import msgspec

    from daybook import ids
    from daybook.client import TaskDetail, schedule_requests

    from .tables import task_line

    request = schedule_requests.trigger_schedule(resolve_schedule(schedule_id), key=ids.new_secret(), note=note)
    with client_for(common) as client:
        reply = client.request(request)
        task = msgspec.json.decode(reply.body, type=TaskDetail)
        remember(task.id)
        if watch:
            return follow(client, task.id, common.output)
        print_one(common.output, reply.body, task_line)
        say(f"watch it: daybook task watch {task.id}")
    return exits.OK


@app.command
def backfill(
    schedule_id: ScheduleId,
    /,
    *,
    since: Annotated[str, Parameter(help="From then on: 24h, or a time.")],
    until: Annotated[str | None, Parameter(help="Until then: 1h, or a time; without it now.")] = None,
    dry_run: Annotated[bool, Parameter(negative=(), help="Only say what would fire.")] = False,
    limit: Annotated[int | None, Parameter(help="At most so many.")] = None,
    common: Common = COMMON,
) -> int:
    """Fire past slots that have not fired.

    What has fired already does not fire again. What would yesterday have been?

        daybook schedule backfill @last --since 48h --until 24h --dry-run
    """
    from daybook.client import schedule_requests

    from .schedule_tables import backfill_table

    wanted = resolve_schedule(schedule_id)
    then = None if until is None else parse_bound(until)
    request = schedule_requests.backfill_schedule(wanted, since=parse_bound(since), until=then, dry_run=dry_run, limit=limit)
    with client_for(common) as client:
        body = client.request(request).body
        print_one(common.output, body, lambda answer: backfill_table(answer, _timezone(client, wanted)))
    return exits.OK


@app.command
def slots(
    schedule_id: ScheduleId,
    /,
    *,
    outcome: Annotated[Outcome | None, Parameter(help="Only what fired, or only what did not.")] = None,
    limit: Annotated[int, Parameter(help="At most so many lines of what is decided.")] = _LISTED,
    common: Common = COMMON,
) -> int:
    """The ledger: what became of every slot, newest first.

    Each fired, with a task and so much late, or did not, for a reason. Above them
    stands what is due but undecided (`pending`) and what is to come (`planned`).
    `-o jsonl` prints what is decided, a line each; `-o json` all of it.

        daybook schedule slots @last --outcome skipped
    """
    from daybook.client import schedule_requests

    from .schedule_tables import ledger_table

    if limit < 1:
        raise Complaint("--limit is at least 1")
    wanted = resolve_schedule(schedule_id)
    with client_for(common) as client:
        pages = pages_of(client, schedule_requests.list_slots(wanted, outcome=outcome, limit=limit), limit)
        print_many(common.output, pages, lambda body: ledger_table(body, _timezone(client, wanted)))
    return exits.OK


@app.command
def rm(schedule_id: ScheduleId, /, *, common: Common = COMMON) -> int:
    """End a schedule for good. Its tasks stay, and so does its ledger."""
    from daybook.client import schedule_requests

    wanted = resolve_schedule(schedule_id)
    with client_for(common) as client:
        client.request(schedule_requests.delete_schedule(wanted))
    say(f"{wanted} is deleted")
    return exits.OK


def _shown(request: "Request", common: Common) -> int:
    """Send a request that is answered with the schedule, and print that."""
    with client_for(common) as client:
        _print_schedule(client, request, common)
    return exits.OK


def _print_schedule(client: "Client", request: "Request", common: Common) -> None:
    from .schedule_tables import schedule_card

    print_one(common.output, client.request(request).body, schedule_card)


def _timezone(client: "Client", schedule_id: str) -> str:
    """The zone whose clocks its slots go by, for people to read them."""
    from daybook.client import NotFound, schedule_flows

    try:
        return client.run(schedule_flows.get(schedule_id)).timezone
    except NotFound:
        # The ledger outlives its schedule.
        return "UTC"
