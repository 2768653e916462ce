"""What the client can do, each thing once: for the blocking client and the async one alike.

A flow is a generator that yields requests, is sent the replies, and returns its result. It does no I/O, so it does not
care who runs it: `Client` runs it on a blocking transport, `AsyncClient` on an async one, and neither repeats a line of
it.
"""

import math
from collections.abc import Generator, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

from daybook import ids
from daybook.domain.status import TERMINAL, Status

from . import requests
from .errors import DaybookError, TaskCancelled, TaskError, WaitTimedOut
from .models import AppPage, AppView, EventPage, EventView, Failure, LogLine, LogPage, TaskDetail, TaskPage, TaskSummary
from .requests import Reply, Request
from .spelling import Duration, Moment

if TYPE_CHECKING:
    from daybook.manifest import Retry

T = TypeVar("T")
Flow: TypeAlias = Generator[Request, Reply, T]
Ref: TypeAlias = str | TaskSummary
"""A task's id, or what is known about it."""

_HOLD_SECONDS = 30
_PAUSE_SECONDS = 0.5


def read(reply: Reply, shape: type[T]) -> T:
    """What the reply says, in that shape. Raises DaybookError for an answer that does not have it."""
    try:
        return msgspec.json.decode(reply.body, type=shape)
    except msgspec.MsgspecError as error:
        raise DaybookError(f"the API answered something that is not a {shape.__name__}: {error}") from error


def submit(
    app: str,
    input: Any = msgspec.UNSET,  # noqa: A002 - the word of the API
    *,
    run_at: Moment | None = None,
    delay: Duration | None = None,
    queue: str | None = None,
    priority: int | None = None,
    labels: Mapping[str, str] | None = None,
    timeout: Duration | None = None,
    queue_ttl: Duration | None = None,
    deadline: Duration | None = None,
    retry: "Retry | Mapping[str, Any] | None" = None,
    on_finish: str | None = None,
    key: str | None = None,
) -> Flow[TaskDetail]:
    """Hand in a task: now, at `run_at`, or after `delay`. What is not given is the app's default.

    `timeout` bounds one attempt, `queue_ttl` the wait in the queue, `deadline` all of it from when it is due. `retry` is
    a whole `Retry`, or a mapping of the fields that are to be other than the app's. `on_finish` is a URL that is sent a
    signed message whenever the task has ended.

    `key` names the task: handing it in again under the same key is answered with the same task. Without one a key is
    made here, so that a submit whose answer was lost can be repeated without making a second task.
    """
    reply = yield requests.submit_task(
        app,
        input,
        key=key or ids.new_secret(),
        run_at=run_at,
        delay=delay,
        queue=queue,
        priority=priority,
        labels=labels,
        timeout=timeout,
        queue_ttl=queue_ttl,
        deadline=deadline,
        retry=retry,
        on_finish=on_finish,
    )
    return read(reply, TaskDetail)


def get(task: Ref) -> Flow[TaskDetail]:
    """The task as it is now."""
    return read((yield requests.get_task(_id(task))), TaskDetail)


def cancel(task: Ref, *, reason: str | None = None) -> Flow[TaskDetail]:
    """Ask for its end: a waiting task is cancelled at once, a running one as soon as its runner has heard of it.

    Raises Conflict when it has already ended in another way.
    """
    return read((yield requests.cancel_task(_id(task), reason=reason)), TaskDetail)


def reschedule(task: Ref, *, run_at: Moment | None = None, delay: Duration | None = None) -> Flow[TaskDetail]:
    """Let it run at another time. Raises Conflict when it has already started."""
    return read((yield requests.reschedule_task(_id(task), run_at=run_at, delay=delay)), TaskDetail)


def run_now(task: Ref) -> Flow[TaskDetail]:
    """Let it run now instead of later. Raises Conflict when it has ended."""
    return read((yield requests.run_task_now(_id(task))), TaskDetail)


def retry(task: Ref, *, reason: str | None = None) -> Flow[TaskDetail]:
    """Try it again, after it ended with an error or was cancelled. Raises Conflict when it did neither."""
    return read((yield requests.retry_task(_id(task), reason=reason)), TaskDetail)


def rerun(
    task: Ref,
    input: Any = msgspec.UNSET,  # noqa: A002 - the word of the API
    *,
    run_at: Moment | None = None,
    delay: Duration | None = None,
    queue: str | None = None,
    priority: int | None = None,
    labels: Mapping[str, str] | None = None,
    key: str | None = None,
) -> Flow[TaskDetail]:
    """Run it once more as a new task, which is answered. What is not given is as it was, but for the time, which is now.

    `key` names the new task, as it does with `submit`.
    """
    wanted = requests.rerun_task(_id(task), input, key=key or ids.new_secret(), run_at=run_at, delay=delay, queue=queue, priority=priority, labels=labels)
    return read((yield wanted), TaskDetail)


def events(task: Ref) -> Flow[list[EventView]]:
    """Everything that ever happened to it, oldest first."""
    return read((yield requests.list_events(_id(task))), EventPage).items


def logs(task: Ref, *, attempt: int | None = None, tail: int | None = None, level: str | None = None) -> Flow[list[LogLine]]:
    """What its attempts have logged, printed and warned of until now, oldest first: all of them or one, all lines or the
    last few, of this level and above.
    """
    request = requests.get_logs(_id(task), attempt=attempt, tail=tail, level=level)
    lines: list[LogLine] = []
    after = None
    while True:
        page = read((yield request), LogPage)
        lines += page.items
        if tail is not None or page.next_after in {None, after}:
            return lines
        after = page.next_after
        request = requests.next_logs(request, str(after))


def page(request: Request) -> Flow[TaskPage]:
    """One page of a list."""
    return read((yield request), TaskPage)


def list_apps() -> Flow[list[AppView]]:
    """All apps that the token may use."""
    return read((yield requests.list_apps()), AppPage).items


def get_app(app: str) -> Flow[AppView]:
    """One app, in its newest version."""
    return read((yield requests.get_app(app)), AppView)


def wait(task: Ref, timeout: float | None = None) -> Flow[TaskDetail]:
    """Wait until it has ended, in whichever way. `timeout` is in seconds; raises WaitTimedOut (a TimeoutError) when it
    has not.
    """
    deadline = math.inf if timeout is None else monotonic() + timeout
    known = task if isinstance(task, TaskSummary) else (yield from get(task))
    pause = 0.0
    while known.status not in TERMINAL:
        left = deadline - monotonic()
        if left <= 0:
            raise WaitTimedOut(f"{known.id} is {known.status} after {timeout} s of waiting; it goes on")
        # The API counts in whole seconds, so the last fraction of one is waited out here.
        hold = int(min(left, _HOLD_SECONDS))
        poll = requests.poll_task(known.id, version=known.version, hold_seconds=hold)
        asked = monotonic()
        reply = yield msgspec.structs.replace(poll, after_seconds=pause if hold else left)
        if reply.status != 304:
            known, pause = read(reply, TaskDetail), 0.0
        else:
            # An answer that was not held back must not turn this loop into a hot one.
            pause = 0.0 if monotonic() - asked > hold / 2 else _PAUSE_SECONDS
    return known if isinstance(known, TaskDetail) else (yield from get(known))


def result(task: Ref, timeout: float | None = None) -> Flow[Any]:
    """Wait for its result, and return it: decoded when it is JSON, as str when it is text, else as bytes.

    Raises TaskError or TaskCancelled when there is none, and WaitTimedOut (a TimeoutError) when it has not ended in
    `timeout` seconds.
    """
    ended = yield from wait(task, timeout)
    if ended.status is Status.CANCELLED:
        raise TaskCancelled(ended.id, ended.reason)
    if ended.status is Status.ERROR:
        raise TaskError(ended.id, ended.error or Failure(type=ended.error_type or "error", message=ended.reason or ""))
    return decode_result((yield requests.get_result(ended.id)))


def decode_result(reply: Reply) -> Any:
    """The value in the answer of GET /tasks/{id}/result, by its media type."""
    media_type = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        return msgspec.json.decode(reply.body) if reply.body else None
    return reply.body.decode("utf-8", "replace") if media_type.startswith("text/") else reply.body


def _id(task: Ref) -> str:
    return task if isinstance(task, str) else task.id
