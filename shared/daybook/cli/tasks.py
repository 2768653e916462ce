"""`daybook task …`: what was submitted, and what became of it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from cyclopts import App, Parameter

from . import exits
from .exits import Complaint, say
from .following import follow, tell_end
from .options import COMMON, Common, TaskId, client_for, remember, resolve, resolve_schedule
from .paging import pages_of
from .printing import print_many, print_one, print_result
from .wording import edited_input, parse_bound, parse_instant, parse_labels, parse_span

if TYPE_CHECKING:
    from daybook.client import Client
    from daybook.client.requests import Request

app = App(name="task", help="List, watch, cancel, repeat and read tasks.")

_LISTED = 50
_LONGEST_TAIL = 1_000
_FOLLOW_SECONDS = 1.0

Level: TypeAlias = Literal["debug", "info", "warning", "error"]


@app.command
def ls(
    *,
    status: Annotated[str | None, Parameter(help="One or several of scheduled,queued,running,success,error,cancelled.")] = None,
    app: Annotated[str | None, Parameter(help="Only of this app.")] = None,
    owner: Annotated[str | None, Parameter(help="Only of this owner.")] = None,
    queue: Annotated[str | None, Parameter(help="Only in this queue.")] = None,
    label: Annotated[list[str] | None, Parameter(negative=(), help="name=value; may be repeated.")] = None,
    schedule: Annotated[str | None, Parameter(help="Only of this schedule; @last is the one created last.")] = None,
    since: Annotated[str | None, Parameter(help="Submitted after: 24h, or a time.")] = None,
    until: Annotated[str | None, Parameter(help="Submitted before: 1h, or a time.")] = None,
    limit: Annotated[int, Parameter(help="At most so many.")] = _LISTED,
    common: Common = COMMON,
) -> int:
    """List tasks, newest first."""
    from daybook.client import requests

    from .tables import task_table

    if limit < 1:
        raise Complaint("--limit is at least 1")
    request = requests.list_tasks(
        status=status,
        app=app,
        owner=owner,
        queue=queue,
        label=parse_labels(label or ()),
        schedule=None if schedule is None else resolve_schedule(schedule),
        since=None if since is None else parse_bound(since),
        until=None if until is None else parse_bound(until),
        limit=limit,
    )
    with client_for(common) as client:
        print_many(common.output, pages_of(client, request, limit), task_table)
    return exits.OK


@app.command
def show(task_id: TaskId, /, *, common: Common = COMMON) -> int:
    """Everything known about one task."""
    from daybook.client import requests

    from .tables import task_card

    request = requests.get_task(resolve(task_id))
    with client_for(common) as client:
        print_one(common.output, client.request(request).body, task_card)
    return exits.OK


@app.command
def watch(task_id: TaskId, /, *, common: Common = COMMON) -> int:
    """Watch a task until it ends, then print its result. Ctrl-C detaches; the task goes on."""
    resolved = resolve(task_id)
    with client_for(common) as client:
        return follow(client, resolved, common.output)


@app.command
def wait(
    task_id: TaskId,
    /,
    *,
    timeout: Annotated[str | None, Parameter(help="Wait no longer than this: 45s, 10m.")] = None,
    common: Common = COMMON,
) -> int:
    """Wait until a task has ended; the exit code says how."""
    from daybook.client import requests

    from .tables import task_line

    resolved = resolve(task_id)
    seconds = None if timeout is None else parse_span(timeout).total_seconds()
    with client_for(common) as client:
        task = client.tasks.wait(resolved, seconds)
        print_one(common.output, client.request(requests.get_task(task.id)).body, task_line)
    return exits.of_status(task.status)


@app.command
def result(task_id: TaskId, /, *, common: Common = COMMON) -> int:
    """Print the result of a finished task, as the app made it."""
    from daybook.client import Conflict, flows, requests

    resolved = resolve(task_id)
    with client_for(common) as client:
        try:
            reply = client.request(requests.get_result(resolved))
        except Conflict as conflict:
            if conflict.code not in {"task-failed", "task-cancelled"}:
                raise
            task = client.run(flows.get(resolved))
            tell_end(task)
            return exits.of_status(task.status)
        print_result(reply)
    return exits.OK


@app.command
def logs(
    task_id: TaskId,
    /,
    *,
    attempt: Annotated[int | None, Parameter(help="Only of this attempt.")] = None,
    tail: Annotated[int | None, Parameter(help="Only the last lines, so many of them.")] = None,
    level: Annotated[Level | None, Parameter(help="Only of this level and above.")] = None,
    follow: Annotated[bool, Parameter(name=("--follow", "-f"), negative=(), help="Go on until the task has ended.")] = False,
    common: Common = COMMON,
) -> int:
    """What a task has logged, printed and warned of, oldest first."""
    from daybook.client import requests

    from .lines import print_lines

    if tail is not None and not 1 <= tail <= _LONGEST_TAIL:
        raise Complaint(f"--tail is a number from 1 to {_LONGEST_TAIL}")
    if follow and common.output == "json":
        raise Complaint("what is followed has no end that JSON could wait for", hint="use -o jsonl")
    request = requests.get_logs(resolve(task_id), attempt=attempt, tail=tail, level=level)
    with client_for(common) as client:
        print_lines(common.output, _log_pages(client, request, follow=follow))
    return exits.OK


@app.command
def events(task_id: TaskId, /, *, common: Common = COMMON) -> int:
    """Everything that ever happened to a task, oldest first."""
    from daybook.client import requests

    from .tables import event_table

    request = requests.list_events(resolve(task_id))
    with client_for(common) as client:
        print_many(common.output, [client.request(request).body], event_table)
    return exits.OK


@app.command
def cancel(
    task_id: TaskId,
    /,
    *,
    reason: Annotated[str | None, Parameter(help="Why; it is kept with the task.")] = None,
    common: Common = COMMON,
) -> int:
    """Cancel a task: at once while it waits, through its runner while it runs."""
    from daybook.client import requests

    from .tables import task_line

    request = requests.cancel_task(resolve(task_id), reason=reason)
    with client_for(common) as client:
        reply = client.request(request)
        print_one(common.output, reply.body, task_line)
        if reply.status == 202:
            say("it is running; its runner has been asked to stop it")
    return exits.OK


@app.command
def reschedule(
    task_id: TaskId,
    /,
    *,
    at: Annotated[str | None, Parameter(help="Run at this time; without an offset it is local time.")] = None,
    in_: Annotated[str | None, Parameter(name="--in", help="Run after this long: 45s, 10m, 1h30m.")] = None,
    common: Common = COMMON,
) -> int:
    """Let a task run at another time, as long as it has not started."""
    from daybook.client import requests

    if (at is None) == (in_ is None):
        raise Complaint("give either --at or --in")
    run_at = None if at is None else parse_instant(at)
    return _changed(requests.reschedule_task(resolve(task_id), run_at=run_at, delay=in_), common)


@app.command
def run_now(task_id: TaskId, /, *, common: Common = COMMON) -> int:
    """Let a scheduled task run now."""
    from daybook.client import requests

    return _changed(requests.run_task_now(resolve(task_id)), common)


@app.command
def retry(
    task_id: TaskId,
    /,
    *,
    reason: Annotated[str | None, Parameter(help="Why; it is kept with the task.")] = None,
    common: Common = COMMON,
) -> int:
    """Try a task again that ended with an error or was cancelled."""
    from daybook.client import requests

    return _changed(requests.retry_task(resolve(task_id), reason=reason), common)


@app.command
def rerun(
    task_id: TaskId,
    /,
    *,
    input_: Annotated[
        list[str] | None,
        Parameter(name="--input", negative=(), consume_multiple=True, help="What is to differ: k=v, k:=json, …; @file.json or - instead of all of it."),
    ] = None,
    watch: Annotated[bool, Parameter(negative=(), help="Stay and watch it; print the result.")] = False,
    at: Annotated[str | None, Parameter(help="Run at this time; without an offset it is local time.")] = None,
    in_: Annotated[str | None, Parameter(name="--in", help="Run after this long: 45s, 10m, 1h30m.")] = None,
    key: Annotated[str | None, Parameter(help="Idempotency key: the same key is the same task.")] = None,
    label: Annotated[list[str] | None, Parameter(negative=(), help="name=value, instead of its labels; may be repeated.")] = None,
    queue: Annotated[str | None, Parameter(help="Which line it waits in; without it the same.")] = None,
    priority: Annotated[int | None, Parameter(help="1 to 5; without it the same.")] = None,
    common: Common = COMMON,
) -> int:
    """Run a task once more, as a new task, with the same input or another."""
    import msgspec

    from daybook import ids
    from daybook.client import TaskDetail, flows, requests

    from .tables import task_line

    if at is not None and in_ is not None:
        raise Complaint("give either --at or --in, not both")
    original = resolve(task_id)
    run_at = None if at is None else parse_instant(at)
    labels = None if label is None else parse_labels(label)
    with client_for(common) as client:
        given = msgspec.UNSET if not input_ else edited_input(input_, lambda: client.run(flows.get(original)).input)
        request = requests.rerun_task(original, given, key=key or ids.new_secret(), run_at=run_at, delay=in_, queue=queue, priority=priority, labels=labels)
        reply = client.request(request)
        task = msgspec.json.decode(reply.body, type=TaskDetail)
        remember(task.id)
        if watch:
            return follow(client, task.id, common.output)
        print_one(common.output, reply.body, task_line)
        say(f"watch it: daybook task watch {task.id}")
    return exits.OK


def _changed(request: "Request", common: Common) -> int:
    """Send a change and print the task after it."""
    from .tables import task_line

    with client_for(common) as client:
        print_one(common.output, client.request(request).body, task_line)
    return exits.OK


def _log_pages(client: "Client", request: "Request", *, follow: bool) -> Iterator[bytes]:
    """The bodies of all pages that there are now, or, to `follow`, of all that will ever be."""
    import msgspec

    from daybook.client import requests
    from daybook.client.models import LogPage
    from daybook.client.watching import PATIENCE_SECONDS

    after = None
    tailed = any(name == "tail" for name, _ in request.query)
    while True:
        body = client.request(request).body
        yield body
        page = msgspec.json.decode(body, type=LogPage)
        is_up_to_date = page.next_after == after or tailed
        if page.next_after is None or (is_up_to_date and not follow):
            return
        after, tailed = page.next_after, False
        request = requests.next_logs(request, after)
        if is_up_to_date:
            request = msgspec.structs.replace(request, after_seconds=_FOLLOW_SECONDS, patience_seconds=PATIENCE_SECONDS)
        else:
            request = msgspec.structs.replace(request, after_seconds=0.0)
