"""Everything under /v1/schedules: making schedules and changing them, looking ahead (preview) and back (the ledger), and
slots out of turn."""

import asyncio
from typing import Final

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from daybook import clock, ids
from daybook.access import Principal
from daybook.domain.schedule_commands import DeleteSchedule, PauseSchedule, ResumeSchedule
from daybook.domain.task import PAST_TOLERANCE
from daybook.projections.schedule_listing import ScheduleFilter, SlotFilter, list_schedules, list_slots

from .. import bodies, lists
from ..gateway import Gateway, answer, written
from ..moments import in_utc, moment_ahead, moment_back
from ..out_of_turn import has_unfinished
from ..problems import Problem, Spot
from ..requests import HttpRequest, if_match, media_type, query, refused
from ..schedule_rules import rule_of_preview
from ..schedule_schemas import (
    BackfillRequest,
    BackfillView,
    ChangeScheduleRequest,
    CreateScheduleRequest,
    PauseRequest,
    PreviewRequest,
    ResumeRequest,
    ScheduleList,
    SlotList,
    TriggerRequest,
)
from ..schedule_views import decided_slot, pending_slots, planned_slots, preview_view, schedule_summary, schedule_view
from ..schedules import FoundSchedule

_JSON: Final = "application/json"
_CREATE: Final = msgspec.json.Decoder(CreateScheduleRequest)
_CHANGE: Final = msgspec.json.Decoder(ChangeScheduleRequest)
_PAUSE: Final = msgspec.json.Decoder(PauseRequest)
_RESUME: Final = msgspec.json.Decoder(ResumeRequest)
_TRIGGER: Final = msgspec.json.Decoder(TriggerRequest)
_BACKFILL: Final = msgspec.json.Decoder(BackfillRequest)
_PREVIEW: Final = msgspec.json.Decoder(PreviewRequest)
_LISTED: Final = lists.PAGING | {"app", "owner"}
_SLOTS: Final = lists.PAGING | {"outcome"}
_OUTCOMES: Final = ("fired", "skipped")
_BREATH: Final = 20


@post("/schedules", operation_id="createSchedule", tags=["schedules"], status_code=201)
async def create_route(request: HttpRequest, gateway: NamedDependency[Gateway]) -> Response[bytes]:
    """Make a schedule: a task that is submitted at every slot of a cron expression."""
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    media_type(request, _JSON)
    body = await request.body()
    return await created(request, gateway, who, bodies.decode(_CREATE, body), body)


async def created(request: HttpRequest, gateway: Gateway, who: Principal, wish: CreateScheduleRequest, body: bytes) -> Response[bytes]:
    """The answer to a request that makes a schedule, wherever it came in."""
    found = await gateway.schedules.create(wish, body, who, clock.now(), key=request.headers.get("idempotency-key"))
    more = {"Location": f"/v1/schedules/{found.name}"} | ({"Idempotency-Replayed": "true"} if found.replayed else {})
    return await _told(gateway, found, status=201, headers=more)


@get("/schedules", operation_id="listSchedules", tags=["schedules"])
async def list_route(request: HttpRequest, gateway: NamedDependency[Gateway]) -> Response[bytes]:
    """Schedules by owner and app, newest first."""
    who = await gateway.access.authenticate(request, "read")
    given = query(request, _LISTED)
    single = {name: values[0] for name, values in given.items()}
    wanted = ScheduleFilter(namespace=who.namespace, owner=lists.owner_of(who, single.get("owner")), app=single.get("app"))
    size = lists.limit_of(single.get("limit"))
    await lists.catch_up(gateway.log, request)
    with lists.cursors_checked():
        rows, following = await list_schedules(gateway.log.pool, wanted, limit=size, cursor=single.get("cursor"))
    items = []
    now = clock.now()
    for number, row in enumerate(rows, 1):
        items.append(schedule_summary(ids.spell("sch", row.id), row.snapshot.schedule, now))
        if number % _BREATH == 0:
            # Looking ahead takes its time, and others are waiting.
            await asyncio.sleep(0)
    return answer(ScheduleList(items=items, next_cursor=following), headers=lists.link(request, given, following))


@post("/schedules/preview", operation_id="previewSchedule", tags=["schedules"], status_code=200)
async def preview_route(request: HttpRequest, gateway: NamedDependency[Gateway]) -> Response[bytes]:
    """What a cron expression means: in words, its next slots, and what changes of the clocks do to it. Nothing is saved."""
    await gateway.access.authenticate(request, "read")
    query(request)
    media_type(request, _JSON)
    wish = bodies.decode(_PREVIEW, await request.body())
    now = clock.now()
    after = now if wish.after is None else in_utc(wish.after, "/after")
    return answer(preview_view(rule_of_preview(wish, after, now), after, wish.count))


@get("/schedules/{schedule_id:str}", operation_id="getSchedule", tags=["schedules"])
async def get_route(request: HttpRequest, gateway: NamedDependency[Gateway], schedule_id: FromPath[str]) -> Response[bytes]:
    """One schedule, as it is now."""
    who = await gateway.access.authenticate(request, "read")
    query(request)
    return await _told(gateway, await gateway.schedules.find(schedule_id, who))


@patch("/schedules/{schedule_id:str}", operation_id="changeSchedule", tags=["schedules"])
async def change_route(request: HttpRequest, gateway: NamedDependency[Gateway], schedule_id: FromPath[str]) -> Response[bytes]:
    """Change a schedule from now on: what is named, and nothing else; null takes back what was said before.

    The app is taken as it is today: the input, also the same one, is checked against its schema.
    """
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    media_type(request, _JSON, "application/merge-patch+json")
    wish = bodies.decode(_CHANGE, await request.body())
    return await _told(gateway, await gateway.schedules.change(schedule_id, wish, who, if_match(request)))


@delete("/schedules/{schedule_id:str}", operation_id="deleteSchedule", tags=["schedules"], status_code=204)
async def delete_route(request: HttpRequest, gateway: NamedDependency[Gateway], schedule_id: FromPath[str]) -> Response[None]:
    """End a schedule for good. Its tasks stay, and so does its ledger."""
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    found = await gateway.schedules.tell(schedule_id, DeleteSchedule(actor=f"user:{who.owner}"), who, if_match(request))
    return Response(None, status_code=204, headers=written(found.position, found.schedule.version))


@post("/schedules/{schedule_id:str}/pause", operation_id="pauseSchedule", tags=["schedules"], status_code=200)
async def pause_route(request: HttpRequest, gateway: NamedDependency[Gateway], schedule_id: FromPath[str]) -> Response[bytes]:
    """Let no slot fire, until a time or until it is resumed. What is due meanwhile is skipped."""
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    media_type(request, _JSON)
    body = await request.body()
    wish = bodies.decode(_PAUSE, body) if body else PauseRequest()
    now = clock.now()
    until = None if wish.until is None else moment_ahead(wish.until, now, "/until")
    if until is not None and until <= now:
        raise Problem("in-the-past", "until has passed.", errors=[Spot(pointer="/until", message="is in the past")])
    command = PauseSchedule(actor=f"user:{who.owner}", reason=wish.note, until=until)
    return await _told(gateway, await gateway.schedules.tell(schedule_id, command, who, if_match(request)))


@post("/schedules/{schedule_id:str}/resume", operation_id="resumeSchedule", tags=["schedules"], status_code=200)
async def resume_route(request: HttpRequest, gateway: NamedDependency[Gateway], schedule_id: FromPath[str]) -> Response[bytes]:
    """Let slots fire again: those from now on."""
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    media_type(request, _JSON)
    body = await request.body()
    wish = bodies.decode(_RESUME, body) if body else ResumeRequest()
    command = ResumeSchedule(actor=f"user:{who.owner}", reason=wish.note)
    return await _told(gateway, await gateway.schedules.tell(schedule_id, command, who, if_match(request)))


@post("/schedules/{schedule_id:str}/trigger", operation_id="triggerSchedule", tags=["schedules"], status_code=202)
async def trigger_route(request: HttpRequest, gateway: NamedDependency[Gateway], schedule_id: FromPath[str]) -> Response[bytes]:
    """Submit a schedule's task now, whatever else is due, and also while it is paused."""
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    media_type(request, _JSON)
    body = await request.body()
    wish = bodies.decode(_TRIGGER, body) if body else TriggerRequest()
    triggered = await gateway.out_of_turn.trigger(schedule_id, wish.note, who, key=request.headers.get("idempotency-key"))
    task = ids.spell("tsk", triggered.task)
    found = await gateway.find(task, who)
    path = f"/v1/tasks/{task}"
    headers = {"Location": path, "Operation-Location": path, "Daybook-Position": ",".join(str(position) for position in triggered.positions)}
    replayed = {"Idempotency-Replayed": "true"} if triggered.replayed else {}
    return answer(await gateway.view(found), status=202, headers=written(None, found.task.version) | headers | replayed)


@post("/schedules/{schedule_id:str}/backfill", operation_id="backfillSchedule", tags=["schedules"], status_code=202)
async def backfill_route(request: HttpRequest, gateway: NamedDependency[Gateway], schedule_id: FromPath[str]) -> Response[bytes]:
    """Fire past slots after all, one after the other: those that were skipped, or lie before the schedule was made.

    With `dry_run` they are only named. Slots that have fired, or that are still to be decided, are left alone.
    """
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    media_type(request, _JSON)
    wish = bodies.decode(_BACKFILL, await request.body())
    now = clock.now()
    since = moment_back(wish.since, now, "/since")
    until = now if wish.until is None else moment_back(wish.until, now, "/until")
    if until > now + PAST_TOLERANCE:
        raise Problem("invalid-body", "until lies ahead: what is to come cannot be made up for.", errors=[Spot(pointer="/until", message="lies ahead")])
    found, gaps = await gateway.out_of_turn.backfill(schedule_id, (since, min(until, now)), wish.limit, who, dry_run=wish.dry_run)
    view = BackfillView(
        dry_run=wish.dry_run,
        slots=gaps.slots,
        count=len(gaps.slots),
        already_fired=gaps.already_fired,
        already_waiting=gaps.already_waiting,
        more=gaps.next_since is not None,
        next_since=gaps.next_since,
    )
    return answer(view, status=202 if gaps.slots and not wish.dry_run else 200, headers=written(found.position, found.schedule.version))


@get("/schedules/{schedule_id:str}/slots", operation_id="listSlots", tags=["schedules"])
async def slots_route(request: HttpRequest, gateway: NamedDependency[Gateway], schedule_id: FromPath[str]) -> Response[bytes]:
    """The ledger: what became of each slot, newest first; and which slots are waiting, and which are to come."""
    who = await gateway.access.authenticate(request, "read")
    given = query(request, _SLOTS)
    single = {name: values[0] for name, values in given.items()}
    outcome = single.get("outcome")
    if outcome is not None and outcome not in _OUTCOMES:
        raise refused("outcome", f"does not know {outcome!r}", hint=f"The outcomes are {', '.join(_OUTCOMES)}.")
    size = lists.limit_of(single.get("limit"))
    found = await gateway.schedules.find(schedule_id, who, deleted=True)
    await lists.catch_up(gateway.log, request)
    with lists.cursors_checked():
        ledger = await list_slots(gateway.log.pool, SlotFilter(schedule=found.stream, outcome=outcome), limit=size, cursor=single.get("cursor"))
    # As the read model has it, so that no slot is in two places, or in none.
    schedule = found.schedule if ledger.snapshot is None else ledger.snapshot.schedule
    now = clock.now()
    view = SlotList(
        items=[decided_slot(row) for row in ledger.slots],
        next_cursor=ledger.following,
        pending=pending_slots(schedule, found.name, now, has_live=await has_unfinished(gateway.log, found.name, schedule)),
        planned=planned_slots(schedule, found.name, now),
    )
    return answer(view, headers=lists.link(request, given, ledger.following))


async def _told(gateway: Gateway, found: FoundSchedule, *, status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    view = schedule_view(found.name, found.schedule, clock.now(), await gateway.schedules.content(found))
    return answer(view, status=status, headers=written(found.position, found.schedule.version) | (headers or {}))
