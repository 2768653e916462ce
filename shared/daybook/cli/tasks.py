"""`daybook task …`: what was submitted, and what became of it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from . import exits
from .exits import Complaint, say
from .following import follow, tell_end
from .options import COMMON, Common, TaskId, client_for, resolve
from .printing import print_many, print_one, print_result
from .wording import parse_bound, parse_instant, parse_labels, parse_span

if TYPE_CHECKING:
    from daybook.client import Client
    from daybook.client.requests import Request

app = App(name="task", help="List, watch, cancel and read tasks.")

_LISTED = 50


@app.command
def ls(
    *,
    status: Annotated[str | None, Parameter(help="One or several of scheduled,queued,running,success,error,cancelled.")] = None,
    app: Annotated[str | None, Parameter(help="Only of this app.")] = None,
    owner: Annotated[str | None, Parameter(help="Only of this owner.")] = None,
    queue: Annotated[str | None, Parameter(help="Only in this queue.")] = None,
    label: Annotated[list[str] | None, Parameter(negative=(), help="name=value; may be repeated.")] = None,
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
        since=None if since is None else parse_bound(since),
        until=None if until is None else parse_bound(until),
        limit=limit,
    )
    with client_for(common) as client:
        print_many(common.output, _pages(client, request, limit), task_table)
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

    from .tables import task_line

    if (at is None) == (in_ is None):
        raise Complaint("give either --at or --in")
    run_at = None if at is None else parse_instant(at)
    request = requests.reschedule_task(resolve(task_id), run_at=run_at, delay=in_)
    with client_for(common) as client:
        print_one(common.output, client.request(request).body, task_line)
    return exits.OK


def _pages(client: "Client", request: "Request", limit: int) -> Iterator[bytes]:
    """The bodies of as many pages as hold `limit` tasks; the last one asks only for what is missing."""
    import msgspec

    from daybook.client import requests
    from daybook.client.models import TaskPage

    while True:
        body = client.request(request).body
        yield body
        page = msgspec.json.decode(body, type=TaskPage)
        limit -= len(page.items)
        if page.next_cursor is None or limit <= 0:
            return
        request = requests.next_page(request, page.next_cursor, limit=limit)
