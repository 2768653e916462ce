"""POST /v1/tasks and POST /v1/tasks/batch: the way in; and POST /v1/tasks/{id}/rerun, the way in again. The hottest path
of the house, so it decodes and encodes once, and by hand."""

import asyncio
from typing import Final, TypeAlias

import msgspec
from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from daybook import clock, ids
from daybook.access import Principal
from daybook.blobs import BlobsUnavailable
from daybook.domain.events import TaskEvent, TaskSucceeded
from daybook.domain.status import TERMINAL, status_after
from daybook.domain.task import fold
from daybook.log.connections import LOST
from daybook.log.envelope import Recorded
from daybook.log.postgres import events_of

from .. import bodies
from ..gateway import Found, Gateway, answer, written
from ..problems import Problem, Spot, new_request_id, of_exception, tell
from ..requests import HttpRequest, media_type, preferred_wait, query
from ..schedule_rules import of_submit
from ..schemas import BatchItem, BatchOutcome, BatchOutcomes, RerunRequest, TaskRequest
from ..submission import Accepted, Begun, Kept, Prepared, decode_request
from ..views import on_finish_view, task_view
from .schedules import created

_MOST_ITEMS: Final = 10_000
_BODY_BYTES: Final = 1024 * 1024
_BATCH_BYTES: Final = 32 * _BODY_BYTES
_BREATH: Final = 128
_JSON: Final = "application/json"
_LINES: Final = "application/x-ndjson"
_ITEM: Final = msgspec.json.Decoder(BatchItem)
_RERUN: Final = msgspec.json.Decoder(RerunRequest)

ItemBegun: TypeAlias = Begun | Exception


@post("/tasks", operation_id="submitTask", tags=["tasks"], status_code=202, request_max_body_size=_BODY_BYTES)
async def submit(request: HttpRequest, gateway: NamedDependency[Gateway]) -> Response[bytes]:
    """Submit a task: to run now, at `run_at`, or after `delay`; or, with `cron`, make a schedule of it (201)."""
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    media_type(request, _JSON)
    body = await request.body()
    wish = decode_request(body)
    if wish.cron is not None:
        return await created(request, gateway, who, of_submit(wish), body)
    if wish.timezone is not None:
        raise Problem("invalid-body", "A time zone is for cron.", errors=[Spot(pointer="/timezone", message="is given without cron")])
    wait = preferred_wait(request)
    prepared = await gateway.submission.prepare(wish, body, who, clock.now(), key=request.headers.get("idempotency-key"))
    return await _accept(gateway, prepared, who, wait)


@post("/tasks/{task_id:str}/rerun", operation_id="rerunTask", tags=["tasks"], status_code=202, request_max_body_size=_BODY_BYTES)
async def rerun(request: HttpRequest, gateway: NamedDependency[Gateway], task_id: FromPath[str]) -> Response[bytes]:
    """Run a task once more, as a new task: with the same input, or with another.

    The app is taken as it is today: the input, also the same one, is checked against its schema.
    """
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    media_type(request, _JSON)
    body = await request.body()
    wait = preferred_wait(request)
    wish = bodies.decode(_RERUN, body) if body else RerunRequest()
    found = await gateway.find(task_id, who)
    original = ids.spell("tsk", found.stream)
    prepared = await gateway.submission.prepare(
        await _once_more(gateway, found, wish),
        # A key stands for the whole request, and its path is a part of that.
        f"rerun {original}\n".encode() + body,
        who,
        clock.now(),
        key=request.headers.get("idempotency-key"),
        kept=Kept(rerun_of=original, policy=found.task.policy),
    )
    return await _accept(gateway, prepared, who, wait)


async def _once_more(gateway: Gateway, found: Found, wish: RerunRequest) -> TaskRequest:
    """The submit that a wish for a rerun comes to. Raises `input-erased`."""
    task = found.task
    content = bytes(wish.input) or await gateway.content(task.input, found.recorded[0].payload)
    if content is None:
        raise Problem("input-erased", "The input of this task was erased.", hint="Give another input.")
    return TaskRequest(
        app=task.app,
        input=msgspec.Raw(content),
        run_at=wish.run_at,
        delay=wish.delay,
        queue=wish.queue or task.queue,
        priority=wish.priority or task.priority,
        labels=task.labels if wish.labels is None else wish.labels,
        on_finish=on_finish_view(task.on_finish) if wish.on_finish is msgspec.UNSET else wish.on_finish,
    )


@post("/tasks/batch", operation_id="submitBatch", tags=["tasks"], status_code=200, request_max_body_size=_BATCH_BYTES)
async def submit_batch(request: HttpRequest, gateway: NamedDependency[Gateway]) -> Response[bytes]:
    """Submit up to 10,000 tasks; each has its own outcome."""
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    split = bodies.split_lines if media_type(request, _JSON, _LINES) == _LINES else bodies.split_array
    items = split(await request.body(), _MOST_ITEMS)
    batch = _Batch(gateway, who, request.url.path)
    begun: list[ItemBegun] = []
    for number, item in enumerate(items, 1):
        begun.append(await batch.begin(item))
        if number % _BREATH == 0:
            await asyncio.sleep(0)
    outcomes = [await batch.outcome(each) for each in begun]
    accepted = sum(outcome.problem is None for outcome in outcomes)
    return answer(BatchOutcomes(items=outcomes, accepted=accepted, refused=len(outcomes) - accepted), headers=batch.headers())


async def _accept(gateway: Gateway, prepared: Prepared | Accepted, who: Principal, wait: float | None) -> Response[bytes]:
    if wait is None:
        return _accepted(await gateway.submission.accept(prepared))
    return await _accept_and_wait(gateway, prepared, who, wait)


async def _accept_and_wait(gateway: Gateway, prepared: Prepared | Accepted, who: Principal, wait: float) -> Response[bytes]:
    """`Prefer: wait`: answer with the finished task if it ends in time. The watch begins before the append, so the end cannot slip by."""
    applied = {"Preference-Applied": f"wait={wait:g}"}
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    with gateway.hub.watch(prepared.stream) as watch:
        accepted = await gateway.submission.accept(prepared)
        finished = accepted.task.status in TERMINAL
        told: list[Recorded] = []
        while not finished and (remaining := deadline - loop.time()) > 0:
            try:
                recorded = await watch.next(remaining)
            except TimeoutError:
                break
            if recorded is None:
                break
            told.append(recorded)
            finished = isinstance(recorded.event, TaskEvent) and status_after(recorded.event) in TERMINAL
    if not finished:
        return _accepted(accepted, applied)
    found = _seen_whole(prepared, told) or await gateway.find(ids.spell("tsk", prepared.stream), who)
    return answer(await gateway.view(found), headers=_headers(accepted, found.task.version) | applied)


def _seen_whole(prepared: Prepared | Accepted, told: list[Recorded]) -> Found | None:
    """A task that succeeded while it was watched from its first event on: nothing of it is left to be read."""
    if not isinstance(prepared, Prepared) or not told or not isinstance(told[-1].event, TaskSucceeded):
        return None
    if [each.version for each in told] != list(range(1, len(told) + 1)):
        return None
    told[0] = msgspec.structs.replace(told[0], payload=prepared.sealed.payload)  # of which the watch knows nothing
    task = fold(events_of(told))
    return None if task is None else Found(prepared.stream, told, task)


def _accepted(accepted: Accepted, more: dict[str, str] | None = None) -> Response[bytes]:
    view = task_view(ids.spell("tsk", accepted.stream), accepted.task, content=accepted.input)
    return answer(view, status=202, headers=_headers(accepted, accepted.task.version) | (more or {}))


def _headers(accepted: Accepted, version: int) -> dict[str, str]:
    path = f"/v1/tasks/{ids.spell('tsk', accepted.stream)}"
    headers = {"Location": path, "Operation-Location": path, **written(accepted.position, version)}
    if accepted.replayed:
        headers["Idempotency-Replayed"] = "true"
    return headers


class _Batch:
    """A batch on its way: what is remembered from one item to the next."""

    def __init__(self, gateway: Gateway, who: Principal, path: str) -> None:
        self._gateway = gateway
        self._who = who
        self._path = path
        self._now = clock.now()
        self._request_id = new_request_id()
        self._lost: Exception | None = None
        self._unknown: dict[str, Problem] = {}
        self._told: set[str] = set()
        self._furthest: dict[int, int] = {}

    async def begin(self, item: bytes) -> ItemBegun:
        """Check one item and hand it to the log's writer, without waiting for the commit that it shares with others."""
        if self._lost is not None:
            return self._lost
        if len(item) > _BODY_BYTES:
            return Problem("too-large")
        submission = self._gateway.submission
        app = ""
        try:
            decoded = bodies.decode(_ITEM, item)
            app, key = decoded.app, decoded.idempotency_key
            if key is None and app in self._unknown:
                return self._unknown[app]  # or ten thousand items would ask for it one after the other
            return await submission.begin(await submission.prepare(decoded, item, self._who, self._now, key=key))
        except Problem as problem:
            if problem.code == "unknown-app":
                self._unknown[app] = problem
            return problem
        except (BlobsUnavailable, *LOST) as error:
            # The other items would wait for the same store, one after the other.
            self._lost = error
            return error
        except Exception as error:  # noqa: BLE001 an item that fails, fails alone
            return error

    async def outcome(self, begun: ItemBegun) -> BatchOutcome:
        """What became of an item, once that is certain."""
        try:
            accepted = begun if isinstance(begun, Exception) else await self._gateway.submission.finish(begun)
        except Exception as error:  # noqa: BLE001 the same
            accepted = error
        if isinstance(accepted, Exception):
            details = of_exception(accepted).details(self._path, self._request_id)
            if details.code not in self._told:
                self._told.add(details.code)
                tell(details, accepted)
            return BatchOutcome(problem=details)
        lane, position = accepted.position
        self._furthest[lane] = max(position, self._furthest.get(lane, 0))
        return BatchOutcome(task_id=ids.spell("tsk", accepted.stream), status=accepted.task.status.value)

    def headers(self) -> dict[str, str]:
        """The positions that a list has to pass to show what was accepted."""
        positions = ",".join(f"{lane}:{position}" for lane, position in sorted(self._furthest.items()))
        return {"Daybook-Position": positions} if positions else {}
