"""`daybook run`: submit one task and watch it if asked, or let it run again and again."""

from typing import Annotated

from cyclopts import Parameter

from . import exits
from .exits import Complaint, say
from .following import follow
from .options import COMMON, WORK, Common, InputWord, Work, client_for, remember
from .printing import print_one
from .wording import parse_input, parse_instant


def run(
    app: str,
    /,
    *words: InputWord,
    watch: Annotated[bool, Parameter(negative=(), help="Stay and watch it; print the result.")] = False,
    at: Annotated[str | None, Parameter(help="Run at this time; without an offset it is local time.")] = None,
    in_: Annotated[str | None, Parameter(name="--in", help="Run after this long: 45s, 10m, 1h30m.")] = None,
    cron: Annotated[str | None, Parameter(help='Run again and again: "0 9 * * mon-fri"; creates a schedule.')] = None,
    timezone: Annotated[str | None, Parameter(help="The time zone of --cron, such as Europe/Berlin; without it UTC.")] = None,
    key: Annotated[str | None, Parameter(help="Idempotency key: the same key is the same task.")] = None,
    work: Work = WORK,
    common: Common = COMMON,
) -> int:
    """Submit a task to an app: now, later, or again and again.

    At once, in ten minutes, at nine on working days:

        daybook run hello name=Ada --watch
        daybook run hello name=Ada --in 10m
        daybook run hello name=Ada --cron "0 9 * * mon-fri"

    Parameters
    ----------
    app
        What to run; `daybook app ls` lists it.
    """
    if (at is not None) + (in_ is not None) + (cron is not None) > 1:
        raise Complaint("give one of --at, --in and --cron")
    run_at = None if at is None else parse_instant(at)
    options = work.given()
    given = parse_input(words)
    if cron is not None:
        if watch:
            raise Complaint("what runs again and again has no end to watch", hint="`daybook schedule slots @last` shows its tasks")
        from .schedules import create_schedule

        return create_schedule(app, cron, given, {"timezone": timezone, **options}, key=key, common=common)
    if timezone is not None:
        raise Complaint("--timezone is for --cron", hint="--at takes an offset: 2026-12-01T09:00+01:00")
    with client_for(common) as client:
        from daybook import ids
        from daybook.client import TaskDetail, requests

        reply = client.request(requests.submit_task(app, given, key=key or ids.new_secret(), run_at=run_at, delay=in_, **options))
        import msgspec

        task = msgspec.json.decode(reply.body, type=TaskDetail)
        remember(task.id)
        if watch:
            return follow(client, task.id, common.output)
        from .tables import task_line

        print_one(common.output, reply.body, task_line)
        say(f"watch it: daybook task watch {task.id}")
    return exits.OK
