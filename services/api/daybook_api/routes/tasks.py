"""Reading tasks, and changing their fate: /v1/tasks and what lies under it."""

import asyncio
from datetime import datetime
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import urlencode

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.params import Parameter

from daybook import clock, ids
from daybook.access import Principal
from daybook.domain.commands import Reschedule
from daybook.domain.events import TaskSucceeded
from daybook.domain.refusals import AlreadyDone
from daybook.domain.status import Status
from daybook.durations import parse_duration
from daybook.handling import Handled
from daybook.log.envelope import LANES, Position
from daybook.log.sql import statements
from daybook.projections.listing import BadCursor, TaskFilter, list_tasks
from daybook.projections.projector import FOLLOWER, has_passed

from ..gateway import Found, Gateway, answer, if_match, preferred_wait, written
from ..problems import Problem, Spot, not_a_result, of_refusal
from ..schemas import CancelRequest, EventList, RescheduleRequest, TaskList, event_view, summary
from ..stream import TaskStream, wants_stream
from ..submission import decode, run_time

_PARAMETERS: Final = frozenset({"status", "app", "owner", "queue", "label", "since", "until", "limit", "cursor"})
_READ_MODEL_SECONDS: Final = 2.0
_SQL: Final = statements("daybook.log")
_CANCEL: Final = msgspec.json.Decoder(CancelRequest)
_RESCHEDULE: Final = msgspec.json.Decoder(RescheduleRequest)
_TIMESTAMP: Final[msgspec.json.Decoder[datetime]] = msgspec.json.Decoder(Annotated[datetime, msgspec.Meta(tz=True)])

HttpRequest: TypeAlias = Request[None, None, State]


@get("/tasks", operation_id="listTasks", tags=["tasks"])
async def list_route(
    request: HttpRequest,
    gateway: Gateway,
    status: Annotated[str | None, Parameter(description="Statuses, comma separated.")] = None,
    app: Annotated[str | None, Parameter(description="An app's id.")] = None,
    owner: Annotated[str | None, Parameter(description="An owner; another than one's own needs the scope admin.")] = None,
    queue: Annotated[str | None, Parameter(description="A queue's name.")] = None,
    label: Annotated[list[str] | None, Parameter(description="`key:value`; several must all fit.")] = None,
    since: Annotated[str | None, Parameter(description="Submitted since: a duration back from now (`24h`) or a timestamp.")] = None,
    until: Annotated[str | None, Parameter(description="Submitted before: a duration back from now, or a timestamp.")] = None,
    limit: Annotated[str | None, Parameter(description="1 to 200; 50 unless said.")] = None,
    cursor: Annotated[str | None, Parameter(description="`next_cursor` of the page before, with the same filters.")] = None,
    daybook_position: Annotated[str | None, Parameter(header="Daybook-Position", description="Wait for these writes.")] = None,
) -> Response[bytes]:
    """The history: tasks by owner, app, status and more, newest first."""
    who = await gateway.access.authenticate(request, "read")
    unknown = sorted(set(request.query_params.keys()) - _PARAMETERS)
    if unknown:
        known = ", ".join(sorted(_PARAMETERS))
        raise Problem("invalid-request", f"There is no parameter {unknown[0]!r}.", hint=f"The parameters are {known}.")
    wanted = _filter(who, status=status, app=app, owner=owner, queue=queue, labels=label, since=since, until=until)
    size = _limit(limit)
    if daybook_position is not None:
        await _wait_for(gateway, daybook_position)
    try:
        rows, following = await list_tasks(gateway.log.pool, wanted, limit=size, cursor=cursor)
    except BadCursor as error:
        raise Problem("invalid-request", f"{error}.".capitalize(), errors=[Spot(pointer="cursor", message=str(error))]) from None
    headers = {}
    if following is not None:
        headers["Link"] = f'<{_with_cursor(request, following)}>; rel="next"'
    return answer(TaskList(items=[summary(row) for row in rows], next_cursor=following), headers=headers)


@get("/tasks/{task_id:str}", operation_id="getTask", tags=["tasks"])
async def get_route(
    request: HttpRequest,
    gateway: Gateway,
    task_id: str,
    if_none_match: Annotated[str | None, Parameter(header="If-None-Match", description="304 while the version is still this one.")] = None,
    prefer: Annotated[str | None, Parameter(header="Prefer", description="`wait=N`: with If-None-Match, wait for a change.")] = None,
) -> Response[bytes]:
    """One task, as it is now."""
    who = await gateway.access.authenticate(request, "read")
    wait = preferred_wait(prefer)
    headers = {} if wait is None else {"Preference-Applied": f"wait={wait:g}"}
    stream = ids.parse("tsk", task_id)
    if stream is None or if_none_match is None:
        found = await gateway.find(task_id, who)
        return answer(await gateway.view(found), headers=written(None, found.task.version) | headers)
    with gateway.hub.watch(stream) as watch:
        found = await gateway.find(task_id, who)
        deadline = asyncio.get_running_loop().time() + (wait or 0)
        while _is_known(if_none_match, found.task.version):
            try:
                told = await watch.next(deadline - asyncio.get_running_loop().time())
            except TimeoutError:
                told = None
            if told is None:
                return Response(b"", status_code=304, headers=written(None, found.task.version) | headers)
            found = await gateway.find(task_id, who)
    return answer(await gateway.view(found), headers=written(None, found.task.version) | headers)


@get("/tasks/{task_id:str}/result", operation_id="getResult", tags=["tasks"])
async def result_route(request: HttpRequest, gateway: Gateway, task_id: str) -> Response[bytes]:
    """The result itself, with its own media type."""
    found = await gateway.find(task_id, await gateway.access.authenticate(request, "read"))
    task = found.task
    if task.result is None:
        error = await gateway.error(found) if task.status is Status.ERROR else None
        raise not_a_result(task.status, None if error is None else msgspec.to_builtins(error))
    succeeded = next(each for each in reversed(found.recorded) if isinstance(each.event, TaskSucceeded))
    content = await gateway.content(task.result, succeeded.payload)
    if content is None:
        raise Problem("result-erased")
    safe = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
    return Response(content, media_type=task.result.media_type, headers=written(None, task.version) | safe)


@get("/tasks/{task_id:str}/events", operation_id="getEvents", tags=["tasks"])
async def events_route(
    request: HttpRequest,
    gateway: Gateway,
    task_id: str,
    last_event_id: Annotated[str | None, Parameter(header="Last-Event-ID", description="Where a stream was cut.")] = None,
) -> Response[Any]:
    """Every event of the task; as a stream of server-sent events where the client accepts `text/event-stream`."""
    who = await gateway.access.authenticate(request, "read")
    if wants_stream(request.headers.get("accept")):
        return await TaskStream(gateway, task_id, who).respond(last_event_id)
    found = await gateway.find(task_id, who)
    return answer(EventList(items=[event_view(each) for each in found.recorded]), headers=written(None, found.task.version))


@post("/tasks/{task_id:str}/cancel", operation_id="cancelTask", tags=["tasks"], status_code=200)
async def cancel_route(request: HttpRequest, gateway: Gateway, task_id: str) -> Response[bytes]:
    """Cancel a task: at once where it has not started; where it runs, its runner is asked (202)."""
    who = await gateway.access.authenticate(request, "submit")
    body = await request.body()
    wish = decode(_CANCEL, body) if body else CancelRequest()
    found = await gateway.find(task_id, who)
    handled = await gateway.cancel(found.stream, who, wish.reason, if_match(request.headers.get("if-match")))
    return await _changed(gateway, found, who, handled)


@post("/tasks/{task_id:str}/reschedule", operation_id="rescheduleTask", tags=["tasks"], status_code=200)
async def reschedule_route(request: HttpRequest, gateway: Gateway, task_id: str) -> Response[bytes]:
    """Give a task that has not started another time."""
    who = await gateway.access.authenticate(request, "submit")
    wish = decode(_RESCHEDULE, await request.body())
    run_at = run_time(wish.run_at, wish.delay, clock.now())
    if run_at is None:
        raise Problem("invalid-body", "Give run_at or delay.", errors=[Spot(pointer="/run_at", message="is missing")])
    found = await gateway.find(task_id, who)
    command = Reschedule(actor=f"user:{who.owner}", run_at=run_at)
    handled = await gateway.reschedule(found.stream, who, command, if_match(request.headers.get("if-match")))
    return await _changed(gateway, found, who, handled)


async def _changed(gateway: Gateway, before: Found, who: Principal, handled: Any) -> Response[bytes]:
    if not isinstance(handled, Handled) and not isinstance(handled, AlreadyDone):
        raise of_refusal(handled)
    found = await gateway.find(ids.spell("tsk", before.stream), who)
    position = handled.position if isinstance(handled, Handled) else None
    status = 202 if found.task.status is Status.RUNNING else 200
    return answer(await gateway.view(found), status=status, headers=written(position, found.task.version))


def _filter(
    who: Principal,
    *,
    status: str | None,
    app: str | None,
    owner: str | None,
    queue: str | None,
    labels: list[str] | None,
    since: str | None,
    until: str | None,
) -> TaskFilter:
    for name, text in (("app", app), ("owner", owner), ("queue", queue)):
        if text is not None and "\x00" in text:
            raise Problem("invalid-request", f"{name} holds a NUL character.")
    admin = "admin" in who.scopes
    if owner is not None and owner != who.owner and not admin:
        raise Problem("forbidden", "Another owner's tasks can be listed only with the scope admin.")
    return TaskFilter(
        namespace=who.namespace,
        owner=owner if admin else who.owner,
        app=app,
        status=_statuses(status),
        queue=queue,
        labels=dict(map(_label, labels or [])),
        since=_instant("since", since),
        until=_instant("until", until),
    )


def _statuses(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    names = tuple(sorted({name.strip() for name in text.split(",")}))
    for name in names:
        if name not in Status.__members__.values():
            raise Problem("invalid-request", f"There is no status {name!r}.", hint=f"The statuses are {', '.join(Status)}.")
    return names


def _label(text: str) -> tuple[str, str]:
    key, colon, value = text.partition(":")
    if not colon or not key or "\x00" in text:
        raise Problem("invalid-request", f"label is key:value, not {text!r}.")
    return key, value


def _limit(text: str | None) -> int:
    if text is None:
        return 50
    if not text.isascii() or not text.isdigit() or len(text) > 6 or not 1 <= int(text) <= 200:
        raise Problem("invalid-request", "limit is a number from 1 to 200.")
    return int(text)


def _instant(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return _TIMESTAMP.decode(msgspec.json.encode(text))
    except msgspec.DecodeError:
        pass
    try:
        return clock.now() - parse_duration(text)
    except (ValueError, OverflowError):
        raise Problem("invalid-request", f"{name} is a timestamp with an offset, or a duration such as 24h; not {text!r}.") from None


async def _wait_for(gateway: Gateway, header: str) -> None:
    """Read your writes: wait until the read model has passed the positions, two seconds at most."""
    parsed = [Position.parse(part) for part in header.split(",")]
    positions = [position for position in parsed if position is not None]
    if len(positions) != len(parsed) or len(positions) > LANES:
        raise Problem("invalid-request", "Daybook-Position is what a write answered: lane:position, or a list of them.")
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _READ_MODEL_SECONDS
    while True:
        cursor = await gateway.log.pool.fetchval(_SQL["read_cursor"], FOLLOWER)
        if cursor is not None and has_passed(tuple(cursor), positions):
            return
        if loop.time() > deadline:
            raise Problem("read-model-behind", headers={"Retry-After": "1"})
        await asyncio.sleep(0.01)


def _is_known(header: str, version: int) -> bool:
    return header.strip() == "*" or f'"{version}"' in header.replace("W/", "")


def _with_cursor(request: HttpRequest, cursor: str) -> str:
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f"{request.url.path}?{urlencode([*kept, ('cursor', cursor)])}"
