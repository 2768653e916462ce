"""POST /v1/tasks and POST /v1/tasks/batch: the way in. The hottest path of the house, so it decodes and encodes once, and by hand."""

import asyncio
from typing import Any, Final, TypeAlias

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import State

from daybook import clock, ids
from daybook.access import Principal
from daybook.domain.events import TaskEvent
from daybook.domain.status import TERMINAL, status_after

from ..gateway import Gateway, answer, preferred_wait, written
from ..problems import Problem, of_exception
from ..schemas import BatchItem, BatchOutcome, BatchOutcomes, task_view
from ..submission import Accepted, Prepared, check_json, decode, decode_request

_MOST_ITEMS: Final = 10_000
_BATCH_BYTES: Final = 32 * 1024 * 1024
_BREATH: Final = 128
_ITEM: Final = msgspec.json.Decoder(BatchItem)
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])

JsonRequest: TypeAlias = Request[None, None, State]


@post("/tasks", operation_id="submitTask", tags=["tasks"], status_code=202, request_max_body_size=1 << 20)
async def submit(request: JsonRequest, gateway: Gateway) -> Response[bytes]:
    """Submit a task."""
    who = await gateway.access.authenticate(request, "submit")
    require_json(request, "application/json")
    body = await request.body()
    wait = preferred_wait(request.headers.get("prefer"))
    decoded = decode_request(body)
    prepared = await gateway.submission.prepare(decoded, body, who, clock.now(), key=request.headers.get("idempotency-key"))
    if wait is None:
        return _accepted(await gateway.submission.accept(prepared))
    return await _accept_and_wait(gateway, prepared, who, wait)


@post("/tasks/batch", operation_id="submitBatch", tags=["tasks"], status_code=200, request_max_body_size=_BATCH_BYTES)
async def submit_batch(request: JsonRequest, gateway: Gateway) -> Response[bytes]:
    """Submit up to 10,000 tasks; each has its own outcome."""
    who = await gateway.access.authenticate(request, "submit")
    lines = require_json(request, "application/json", "application/x-ndjson") == "application/x-ndjson"
    items = _split(await request.body(), lines=lines)
    now = clock.now()
    begun: list[tuple[Prepared, Any] | Exception] = []
    for number, item in enumerate(items, 1):
        try:
            decoded = decode(_ITEM, item)
            prepared = await gateway.submission.prepare(decoded, item, who, now, key=decoded.idempotency_key)
            begun.append((prepared, await gateway.submission.begin(prepared)))
        except Problem as problem:
            begun.append(problem)
        if number % _BREATH == 0:
            await asyncio.sleep(0)
    furthest: dict[int, int] = {}
    outcomes = [await _outcome(gateway, each, request.url.path, furthest) for each in begun]
    accepted = sum(outcome.problem is None for outcome in outcomes)
    positions = ",".join(f"{lane}:{position}" for lane, position in sorted(furthest.items()))
    return answer(
        BatchOutcomes(items=outcomes, accepted=accepted, refused=len(outcomes) - accepted),
        headers={"Daybook-Position": positions} if positions else {},
    )


def require_json(request: JsonRequest, *known: str) -> str:
    """The request's media type, which must be one of `known`; nothing said means the first of them. Raises `unsupported-media-type`."""
    said = request.headers.get("content-type", known[0]).partition(";")[0].strip().lower()
    if said not in known:
        raise Problem("unsupported-media-type", f"Send {' or '.join(known)}.")
    return said


async def _accept_and_wait(gateway: Gateway, prepared: Prepared, who: Principal, wait: float) -> Response[bytes]:
    """`Prefer: wait`: answer with the finished task if it ends in time. The watch begins before the append, so the end cannot slip by."""
    applied = {"Preference-Applied": f"wait={wait:g}"}
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    with gateway.hub.watch(prepared.stream) as watch:
        accepted = await gateway.submission.accept(prepared)
        finished = accepted.task.status in TERMINAL
        while not finished and (remaining := deadline - loop.time()) > 0:
            try:
                recorded = await watch.next(remaining)
            except TimeoutError:
                break
            if recorded is None:
                break
            finished = isinstance(recorded.event, TaskEvent) and status_after(recorded.event) in TERMINAL
    if not finished:
        return _accepted(accepted, applied)
    found = await gateway.find(ids.spell("tsk", prepared.stream), who)
    return answer(await gateway.view(found), headers=_headers(accepted, found.task.version) | applied)


def _accepted(accepted: Accepted, more: dict[str, str] | None = None) -> Response[bytes]:
    view = task_view(ids.spell("tsk", accepted.stream), accepted.task, input=accepted.input)
    return answer(view, status=202, headers=_headers(accepted, accepted.task.version) | (more or {}))


def _headers(accepted: Accepted, version: int) -> dict[str, str]:
    path = f"/v1/tasks/{ids.spell('tsk', accepted.stream)}"
    headers = {"Location": path, "Operation-Location": path, **written(accepted.position, version)}
    if accepted.replayed:
        headers["Idempotency-Replayed"] = "true"
    return headers


def _split(body: bytes, *, lines: bool) -> list[bytes]:
    if lines:
        items = [line for line in body.splitlines() if line.strip()]
    else:
        try:
            items = [bytes(item) for item in _ITEMS.decode(body)]
        except (msgspec.DecodeError, RecursionError):
            check_json(body)
            raise Problem("invalid-body", "The body is an array of tasks.") from None
    if len(items) > _MOST_ITEMS:
        raise Problem("too-large", f"A batch may hold {_MOST_ITEMS} tasks; this one holds {len(items)}.")
    return items


async def _outcome(gateway: Gateway, begun: "tuple[Prepared, Any] | Exception", path: str, furthest: dict[int, int]) -> BatchOutcome:
    try:
        if isinstance(begun, Exception):
            raise begun
        accepted = await gateway.submission.finish(*begun)
    except Exception as error:  # noqa: BLE001 an item that fails, fails alone; the same mapping as for a request makes it a problem
        return BatchOutcome(problem=msgspec.to_builtins(of_exception(error).details(path, "")))
    lane, position = accepted.position
    furthest[lane] = max(position, furthest.get(lane, 0))
    return BatchOutcome(task_id=ids.spell("tsk", accepted.stream), status=accepted.task.status.value)
