"""What the client asks of the API, as values: each function builds one request, and none of them sends it.

The transports send them; everything that both the blocking and the async client have to agree on is decided here.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from .spelling import Duration, Moment, encode, spell_bound, spell_duration, spell_labels, spell_moment, spell_on_finish, spell_retry

if TYPE_CHECKING:
    from daybook.manifest import Retry

PAGE_LIMIT = 200


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One question. Each may be asked twice without harm, which is why the transports may try them all again."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    writes: bool = False
    """It changes something, so its answer carries a position worth remembering."""
    sees_writes: bool = False
    """It reads a list that must already show what this client wrote."""
    hold_seconds: float = 0.0
    """How long the API may hold the answer back on purpose, on top of the usual timeout."""
    after_seconds: float = 0.0
    """How long to wait before sending it."""
    patience_seconds: float | None = None
    """Keep trying for that long, however many attempts it takes; None is the client's usual number of attempts."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One answer below 400; the transports raise the others."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def post(path: str, body: bytes, headers: Mapping[str, str] | None = None, *, method: str = "POST") -> Request:
    """A change, with a body of JSON."""
    return Request(
        method=method,
        path=path,
        headers={"Content-Type": "application/json", **(headers or {})},
        body=body,
        writes=True,
    )


class _Submission(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    app: str | None = None
    input: Any = msgspec.UNSET
    run_at: str | None = None
    delay: str | float | None = None
    queue: str | None = None
    priority: int | None = None
    labels: Mapping[str, str] | None = None
    timeout: str | float | None = None
    queue_ttl: str | float | None = None
    deadline: str | float | None = None
    retry: Mapping[str, Any] | None = None
    on_finish: Mapping[str, str] | None = None


def submit_task(
    app: str,
    input: Any = msgspec.UNSET,  # noqa: A002 - the word of the API
    *,
    key: str,
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
) -> Request:
    """POST /tasks with an Idempotency-Key. Raises ValueError for an input that JSON cannot hold, or a time without an
    offset.
    """
    submission = _Submission(
        app=app,
        input=input,
        run_at=spell_moment(run_at),
        delay=spell_duration(delay),
        queue=queue,
        priority=priority,
        labels=labels,
        timeout=spell_duration(timeout),
        queue_ttl=spell_duration(queue_ttl),
        deadline=spell_duration(deadline),
        retry=spell_retry(retry),
        on_finish=spell_on_finish(on_finish),
    )
    return post("/v1/tasks", encode(submission), {"Idempotency-Key": key})


def get_task(task_id: str) -> Request:
    """GET /tasks/{id}."""
    return Request(method="GET", path=_task(task_id))


def poll_task(task_id: str, *, version: int, hold_seconds: int) -> Request:
    """GET /tasks/{id} that answers when the task has moved past this version, or 304 when it has not in time."""
    headers = {"If-None-Match": f'"{version}"'}
    if hold_seconds:
        headers["Prefer"] = f"wait={hold_seconds}"
    return Request(method="GET", path=_task(task_id), headers=headers, hold_seconds=hold_seconds)


def list_tasks(
    *,
    status: str | Iterable[str] | None = None,
    app: str | None = None,
    owner: str | None = None,
    queue: str | None = None,
    label: str | Mapping[str, str] | None = None,
    schedule: str | None = None,
    since: Moment | Duration | None = None,
    until: Moment | Duration | None = None,
    limit: int | None = None,
) -> Request:
    """The tasks that fit all filters, newest first; pages are fetched as they are needed. `limit` bounds the whole
    list.

    `status` is one or several; `label` is `"name:value"` or a mapping; `schedule` is the id of the one that submitted them;
    `since` and `until` are instants, or durations before now.
    """
    filters = {
        "status": status if status is None or isinstance(status, str) else ",".join(status),
        "app": app,
        "owner": owner,
        "queue": queue,
        "schedule": schedule,
        "since": spell_bound(since),
        "until": spell_bound(until),
        "limit": None if limit is None else str(min(limit, PAGE_LIMIT)),
    }
    query = [(name, value) for name, value in filters.items() if value is not None]
    query += [("label", each) for each in spell_labels(label)]
    return Request(method="GET", path="/v1/tasks", query=tuple(query), sees_writes=True)


def next_page(request: Request, cursor: str, *, limit: int | None = None) -> Request:
    """The same list, from where the last page ended; `limit` is how many tasks are still wanted, None for all."""
    changed = {"cursor": cursor} if limit is None else {"cursor": cursor, "limit": str(min(limit, PAGE_LIMIT))}
    kept = tuple((name, value) for name, value in request.query if name not in changed)
    return msgspec.structs.replace(request, query=(*kept, *changed.items()))


def cancel_task(task_id: str, *, reason: str | None = None) -> Request:
    """POST /tasks/{id}/cancel."""
    return post(f"{_task(task_id)}/cancel", encode({} if reason is None else {"reason": reason}))


def reschedule_task(task_id: str, *, run_at: Moment | None = None, delay: Duration | None = None) -> Request:
    """POST /tasks/{id}/reschedule. Raises ValueError unless exactly one of `run_at` and `delay` is given."""
    if (run_at is None) == (delay is None):
        raise ValueError("give either run_at or delay")
    wanted = {"run_at": spell_moment(run_at)} if run_at is not None else {"delay": spell_duration(delay)}
    return post(f"{_task(task_id)}/reschedule", encode(wanted))


def run_task_now(task_id: str) -> Request:
    """POST /tasks/{id}/run-now."""
    return post(f"{_task(task_id)}/run-now", b"{}")


def retry_task(task_id: str, *, reason: str | None = None) -> Request:
    """POST /tasks/{id}/retry."""
    return post(f"{_task(task_id)}/retry", encode({} if reason is None else {"reason": reason}))


def rerun_task(
    task_id: str,
    input: Any = msgspec.UNSET,  # noqa: A002 - the word of the API
    *,
    key: str,
    run_at: Moment | None = None,
    delay: Duration | None = None,
    queue: str | None = None,
    priority: int | None = None,
    labels: Mapping[str, str] | None = None,
) -> Request:
    """POST /tasks/{id}/rerun with an Idempotency-Key. Raises ValueError as `submit_task` does."""
    wanted = _Submission(input=input, run_at=spell_moment(run_at), delay=spell_duration(delay), queue=queue, priority=priority, labels=labels)
    return post(f"{_task(task_id)}/rerun", encode(wanted), {"Idempotency-Key": key})


def get_result(task_id: str) -> Request:
    """GET /tasks/{id}/result: the bytes as the app made them."""
    return Request(method="GET", path=f"{_task(task_id)}/result", headers={"Accept": "*/*"})


def list_events(task_id: str) -> Request:
    """GET /tasks/{id}/events, as JSON."""
    return Request(method="GET", path=f"{_task(task_id)}/events")


def get_logs(
    task_id: str,
    *,
    attempt: int | None = None,
    tail: int | None = None,
    level: str | None = None,
) -> Request:
    """GET /tasks/{id}/logs: the log lines of all attempts or of one, all or the last few, of this level and above."""
    wanted = {"attempt": attempt, "tail": tail, "level": level}
    query = tuple((name, str(value)) for name, value in wanted.items() if value is not None)
    return Request(method="GET", path=f"{_task(task_id)}/logs", query=query)


def next_logs(request: Request, after: str) -> Request:
    """The log lines that follow the last answer, which said where to go on."""
    kept = tuple((name, value) for name, value in request.query if name not in {"tail", "after"})
    return msgspec.structs.replace(request, query=(*kept, ("after", after)))


def watch_task(task_id: str, *, last_event_id: str | None) -> Request:
    """GET /tasks/{id}/events as a stream of server-sent events, from after the last one seen."""
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if last_event_id:
        headers["Last-Event-ID"] = last_event_id
    return Request(method="GET", path=f"{_task(task_id)}/events", headers=headers)


def list_apps() -> Request:
    """GET /apps."""
    return Request(method="GET", path="/v1/apps", sees_writes=True)


def get_app(app: str) -> Request:
    """GET /apps/{app}."""
    return Request(method="GET", path=f"/v1/apps/{quote(app, safe='')}")


def _task(task_id: str) -> str:
    return f"/v1/tasks/{quote(task_id, safe='')}"
