"""Watch one task to its end on a screen, then say how it ended, with the exit code that says the same."""

from typing import TYPE_CHECKING

import msgspec

from . import exits
from .exits import say
from .options import Output

if TYPE_CHECKING:
    from daybook.client import Client, TaskDetail


def follow(client: "Client", task_id: str, output: Output | None) -> int:
    """Watch until it ends. Ctrl-C detaches: the task goes on, and the way back is told."""
    from .screen import screen_for

    try:
        with screen_for(output) as screen:
            for event in client.tasks.watch(task_id):
                screen.show(event)
    except KeyboardInterrupt:
        say(f"\ndetached; the task goes on. Watch it again with: daybook task watch {task_id}")
        return exits.INTERRUPTED
    return conclude(client, task_id, output)


def conclude(client: "Client", task_id: str, output: Output | None) -> int:
    """Say how it ended: the result (or, with json, the whole task) on stdout, an error on stderr."""
    from daybook.client import TaskDetail, requests

    from .printing import print_result, write_json

    body = client.request(requests.get_task(task_id)).body
    task = msgspec.json.decode(body, type=TaskDetail)
    if output == "json":
        write_json(body)
    tell_end(task)
    if output in (None, "table") and task.status == "success" and task.result is not None:
        print_result(client.request(requests.get_result(task_id)))
    return exits.of_status(task.status)


def tell_end(task: "TaskDetail") -> None:
    """One line on stderr about the end, and the traceback of an error."""
    from .wording import clean, span

    took = ""
    if task.started_at is not None and task.finished_at is not None:
        took = f" after {span((task.finished_at - task.started_at).total_seconds())}"
    wanted_by = f"wanted by {task.cancellation.requested_by}" if task.status == "cancelled" and task.cancellation else ""
    why = "; ".join(clean(part) for part in (task.reason, wanted_by) if part)
    nuance = f" ({why})" if why else ""
    say(f"{task.id} {task.status}{took}{nuance}")
    if task.error is not None:
        last = f"{task.error.type}: {task.error.message}"
        trace = (task.error.traceback or "").rstrip()
        say(clean(trace if trace.endswith(last) else f"{trace}\n{last}".lstrip()))
