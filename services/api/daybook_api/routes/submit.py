"""POST /v1/tasks and POST /v1/tasks/batch: the way in. The hottest path of the house, so it decodes and encodes once, and by hand."""

import asyncio
from typing import Final, TypeAlias

import msgspec
from litestar import Response, post

from daybook import clock, ids
from daybook.access import Principal
from daybook.domain.events import TaskEvent
from daybook.domain.status import TERMINAL, status_after

from .. import bodies
from ..gateway import Gateway, answer, written
from ..problems import Problem, of_exception, tell
from ..requests import HttpRequest, media_type, preferred_wait, query
from ..schemas import BatchItem, BatchOutcome, BatchOutcomes, task_view
from ..submission import Accepted, Begun, Prepared, decode_request

_MOST_ITEMS: Final = 10_000
_BODY_BYTES: Final = 1024 * 1024
_BATCH_BYTES: Final = 32 * _BODY_BYTES
_BREATH: Final = 128
_JSON: Final = "application/json"
_LINES: Final = "application/x-ndjson"
_ITEM: Final = msgspec.json.Decoder(BatchItem)
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])

ItemBegun: TypeAlias = Begun | Exception


@post("/tasks", operation_id="submitTask", tags=["tasks"], status_code=202, request_max_body_size=_BODY_BYTES)
async def submit(request: HttpRequest, gateway: Gateway) -> Response[bytes]:
    """Submit a task."""
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    media_type(request, _JSON)
    body = await request.body()
    wait = preferred_wait(request)
    key = request.headers.get("idempotency-key")
    prepared = await gateway.submission.prepare(decode_request(body), body, who, clock.now(), key=key)
    if wait is None:
        return _accepted(await gateway.submission.accept(prepared))
    return await _accept_and_wait(gateway, prepared, who, wait)


@post("/tasks/batch", operation_id="submitBatch", tags=["tasks"], status_code=200, request_max_body_size=_BATCH_BYTES)
async def submit_batch(request: HttpRequest, gateway: Gateway) -> Response[bytes]:
    """Submit up to 10,000 tasks; each has its own outcome."""
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    lines = media_type(request, _JSON, _LINES) == _LINES
    items = _split(await request.body(), lines=lines)
    begun: list[ItemBegun] = []
    for number, item in enumerate(items, 1):
        begun.append(await _begin(gateway, item, who))
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


async def _accept_and_wait(gateway: Gateway, prepared: Prepared | Accepted, who: Principal, wait: float) -> Response[bytes]:
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
    """The items of a batch, each still to be read."""
    if lines:
        items = [line for line in body.splitlines() if line.strip()]
    else:
        # Only what lies around the items is looked at here, so that a bad item costs itself alone, unless nobody can say where it ends.
        items = [bytes(item) for item in bodies.outline(_ITEMS, body)]
    if len(items) > _MOST_ITEMS:
        raise Problem("too-large", f"A batch may hold {_MOST_ITEMS} tasks; this one holds {len(items)}.")
    return items


async def _begin(gateway: Gateway, item: bytes, who: Principal) -> ItemBegun:
    """Check one item and hand it to the log's writer, without waiting for the commit that it shares with others."""
    try:
        if len(item) > _BODY_BYTES:
            return Problem("too-large")
        decoded = bodies.decode(_ITEM, item)
        return await gateway.submission.begin(await gateway.submission.prepare(decoded, item, who, clock.now(), key=decoded.idempotency_key))
    except Exception as error:  # noqa: BLE001 an item that fails, fails alone
        return error


async def _outcome(gateway: Gateway, begun: ItemBegun, path: str, furthest: dict[int, int]) -> BatchOutcome:
    try:
        accepted = begun if isinstance(begun, Exception) else await gateway.submission.finish(begun)
    except Exception as error:  # noqa: BLE001 the same: the mapping that serves requests makes a problem of it, and logs what is ours
        accepted = error
    if isinstance(accepted, Exception):
        details = of_exception(accepted).details(path)
        tell(details, accepted)
        return BatchOutcome(problem=details)
    lane, position = accepted.position
    furthest[lane] = max(position, furthest.get(lane, 0))
    return BatchOutcome(task_id=ids.spell("tsk", accepted.stream), status=accepted.task.status.value)
