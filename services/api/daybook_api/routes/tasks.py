"""One task: reading it, following it, and changing its fate. Everything under /v1/tasks/{id}."""

import asyncio
from typing import Any, Final

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from daybook import clock, ids
from daybook.access import Principal
from daybook.domain.events import TaskSucceeded
from daybook.domain.refusals import AlreadyDone, Refusal
from daybook.domain.status import Status
from daybook.handling import Handled
from daybook.log.envelope import Position

from .. import bodies
from ..gateway import Found, Gateway, answer, written
from ..problems import Problem, Spot, not_a_result, of_refusal
from ..requests import HttpRequest, accepts, if_match, media_type, preferred_wait, query
from ..schemas import CancelRequest, EventList, RescheduleRequest, RetryTaskRequest
from ..submission import run_time
from ..views import event_view
from ..watching.stream import TaskStream, is_wanted, wanted_of

_JSON: Final = "application/json"
_TYPES: Final = frozenset({"types"})
_CANCEL: Final = msgspec.json.Decoder(CancelRequest)
_RESCHEDULE: Final = msgspec.json.Decoder(RescheduleRequest)
_RETRY: Final = msgspec.json.Decoder(RetryTaskRequest)


@get("/tasks/{task_id:str}", operation_id="getTask", tags=["tasks"])
async def get_route(request: HttpRequest, gateway: NamedDependency[Gateway], task_id: FromPath[str]) -> Response[bytes]:
    """One task, as it is now. With `If-None-Match` and `Prefer: wait=N`, as soon as it is another than the client knows."""
    who = await gateway.access.authenticate(request, "read")
    query(request)
    wait = preferred_wait(request)
    headers = {} if wait is None else {"Preference-Applied": f"wait={wait:g}"}
    known = request.headers.get("if-none-match")
    stream = ids.parse("tsk", task_id)
    if stream is None or known is None:
        found = await gateway.find(task_id, who)
        return answer(await gateway.view(found), headers=written(None, found.task.version) | headers)
    deadline = asyncio.get_running_loop().time() + (wait or 0)
    with gateway.hub.watch(stream) as watch:
        found = await gateway.find(task_id, who)
        while _is_known(known, found.task.version):
            try:
                told = await watch.next(deadline - asyncio.get_running_loop().time())
            except TimeoutError:
                told = None
            if told is None:
                return Response(b"", status_code=304, headers=written(None, found.task.version) | headers)
            found = await gateway.find(task_id, who)
    return answer(await gateway.view(found), headers=written(None, found.task.version) | headers)


@get("/tasks/{task_id:str}/result", operation_id="getResult", tags=["tasks"])
async def result_route(request: HttpRequest, gateway: NamedDependency[Gateway], task_id: FromPath[str]) -> Response[bytes]:
    """The result itself, with its own media type."""
    who = await gateway.access.authenticate(request, "read")
    query(request)
    found = await gateway.find(task_id, who)
    task = found.task
    if task.result is None:
        error = await gateway.error(found) if task.status is Status.ERROR else None
        raise not_a_result(task.status, None if error is None else msgspec.to_builtins(error))
    succeeded = next(each for each in reversed(found.recorded) if isinstance(each.event, TaskSucceeded))
    content = await gateway.content(task.result, succeeded.payload)
    if content is None:
        raise Problem("result-erased")
    safe = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
    # As a header, since Litestar gives every media type of text a charset, and a second one where there is one already.
    headers = {"content-type": task.result.media_type} | written(None, task.version) | safe
    return Response(content, media_type=task.result.media_type, headers=headers)


@get("/tasks/{task_id:str}/events", operation_id="getEvents", tags=["tasks"])
async def events_route(request: HttpRequest, gateway: NamedDependency[Gateway], task_id: FromPath[str]) -> Response[Any]:
    """Every event of the task; where the client accepts `text/event-stream`, as a stream with what its attempts say."""
    who = await gateway.access.authenticate(request, "read")
    wanted = wanted_of(query(request, _TYPES).get("types", []))
    if accepts(request, "text/event-stream"):
        return await TaskStream(gateway, task_id, who, wanted).respond(request.headers.get("last-event-id"))
    found = await gateway.find(task_id, who)
    return answer(EventList(items=[event_view(each) for each in found.recorded if is_wanted(each, wanted)]), headers=written(None, found.task.version))


@post("/tasks/{task_id:str}/cancel", operation_id="cancelTask", tags=["tasks"], status_code=200)
async def cancel_route(request: HttpRequest, gateway: NamedDependency[Gateway], task_id: FromPath[str]) -> Response[bytes]:
    """Cancel a task: at once where it has not started; where it runs, its runner is asked (202)."""
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    media_type(request, _JSON)
    body = await request.body()
    wish = bodies.decode(_CANCEL, body) if body else CancelRequest()
    version = if_match(request)
    found = await gateway.find(task_id, who)
    found = await _changed(gateway, found, who, await gateway.cancel(found.stream, who, wish.reason, version))
    status = 202 if found.task.status is Status.RUNNING else 200
    return answer(await gateway.view(found), status=status, headers=_written(found))


@post("/tasks/{task_id:str}/reschedule", operation_id="rescheduleTask", tags=["tasks"], status_code=200)
async def reschedule_route(request: HttpRequest, gateway: NamedDependency[Gateway], task_id: FromPath[str]) -> Response[bytes]:
    """Give a task that has not started another time."""
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    media_type(request, _JSON)
    wish = bodies.decode(_RESCHEDULE, await request.body())
    run_at = run_time(wish.run_at, wish.delay, clock.now())
    if run_at is None:
        raise Problem("invalid-body", "Give run_at or delay.", errors=[Spot(pointer="/run_at", message="is missing")])
    version = if_match(request)
    found = await gateway.find(task_id, who)
    found = await _changed(gateway, found, who, await gateway.reschedule(found.stream, who, run_at, version))
    return answer(await gateway.view(found), headers=_written(found))


@post("/tasks/{task_id:str}/run-now", operation_id="runTaskNow", tags=["tasks"], status_code=200)
async def run_now_route(request: HttpRequest, gateway: NamedDependency[Gateway], task_id: FromPath[str]) -> Response[bytes]:
    """Let a scheduled task run now: also one that waits to be tried again."""
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    version = if_match(request)
    found = await gateway.find(task_id, who)
    found = await _changed(gateway, found, who, await gateway.run_now(found.stream, who, version))
    return answer(await gateway.view(found), headers=_written(found))


@post("/tasks/{task_id:str}/retry", operation_id="retryTask", tags=["tasks"], status_code=200)
async def retry_route(request: HttpRequest, gateway: NamedDependency[Gateway], task_id: FromPath[str]) -> Response[bytes]:
    """Try a task again that ended with an error or was cancelled: the same task, with its attempts so far."""
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    media_type(request, _JSON)
    body = await request.body()
    wish = bodies.decode(_RETRY, body) if body else RetryTaskRequest()
    version = if_match(request)
    found = await gateway.find(task_id, who)
    found = await _changed(gateway, found, who, await gateway.retry(found.stream, who, wish.reason, version))
    return answer(await gateway.view(found), headers=_written(found))


async def _changed(gateway: Gateway, before: Found, who: Principal, handled: Handled | Refusal) -> Found:
    """The task after a command that was followed, or that asked for what is so already. Raises a problem for any other refusal."""
    if not isinstance(handled, Handled | AlreadyDone):
        raise of_refusal(handled)
    return await gateway.find(ids.spell("tsk", before.stream), who)


def _written(found: Found) -> dict[str, str]:
    last = found.recorded[-1]
    return written(Position(last.lane, last.position), found.task.version)


def _is_known(header: str, version: int) -> bool:
    return header.strip() == "*" or f'"{version}"' in header.replace("W/", "")
