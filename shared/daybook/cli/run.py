"""`daybook run`: submit one task, and watch it if asked."""

from typing import Annotated

from cyclopts import Parameter

from . import exits
from .exits import Complaint, say
from .following import follow
from .options import COMMON, Common, client_for, remember
from .printing import print_one
from .wording import parse_input, parse_instant, parse_labels


def run(
    app: str,
    /,
    *words: Annotated[str, Parameter(name="INPUT", help="k=v (text), k=@file (its text), k:=json, @file.json, or - for stdin.")],
    watch: Annotated[bool, Parameter(negative=(), help="Stay and watch it; print the result.")] = False,
    at: Annotated[str | None, Parameter(help="Run at this time; without an offset it is local time.")] = None,
    in_: Annotated[str | None, Parameter(name="--in", help="Run after this long: 45s, 10m, 1h30m.")] = None,
    key: Annotated[str | None, Parameter(help="Idempotency key: the same key is the same task.")] = None,
    label: Annotated[list[str] | None, Parameter(negative=(), help="name=value; may be repeated.")] = None,
    queue: Annotated[str | None, Parameter(help="Which line it waits in; without it the app's.")] = None,
    priority: Annotated[int | None, Parameter(help="1 to 5; without it the app's.")] = None,
    timeout: Annotated[str | None, Parameter(help="What one attempt may take: 45s, 10m; without it the app's.")] = None,
    max_attempts: Annotated[int | None, Parameter(help="How often it is tried at most; without it the app's.")] = None,
    queue_ttl: Annotated[str | None, Parameter(help="How long it may wait in its queue; without it the app's.")] = None,
    deadline: Annotated[str | None, Parameter(help="What all of it may take, from when it is due; without it the app's.")] = None,
    common: Common = COMMON,
) -> int:
    """Submit a task to an app.

    Parameters
    ----------
    app
        What to run; `daybook app ls` lists it.
    """
    if at is not None and in_ is not None:
        raise Complaint("give either --at or --in, not both")
    labels = parse_labels(label or ())
    run_at = None if at is None else parse_instant(at)
    given = parse_input(words)
    with client_for(common) as client:
        from daybook import ids
        from daybook.client import TaskDetail, requests

        reply = client.request(
            requests.submit_task(
                app,
                given,
                key=key or ids.new_secret(),
                run_at=run_at,
                delay=in_,
                queue=queue,
                priority=priority,
                labels=labels or None,
                timeout=timeout,
                queue_ttl=queue_ttl,
                deadline=deadline,
                retry=None if max_attempts is None else {"max_attempts": max_attempts},
            )
        )
        import msgspec

        task = msgspec.json.decode(reply.body, type=TaskDetail)
        remember(task.id)
        if watch:
            return follow(client, task.id, common.output)
        from .tables import task_line

        print_one(common.output, reply.body, task_line)
        say(f"watch it: daybook task watch {task.id}")
    return exits.OK
