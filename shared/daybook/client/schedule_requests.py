"""What the client asks of the API about schedules; what holds for all requests is told in `requests`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypedDict
from urllib.parse import quote

import msgspec

from .requests import PAGE_LIMIT, Request, post
from .spelling import Duration, Moment, encode, spell_duration, spell_either, spell_moment, spell_on_finish, spell_retry

if TYPE_CHECKING:
    from daybook.domain.cadence import Fold, Gap
    from daybook.domain.schedule_events import CatchUp, Overlap
    from daybook.manifest import Retry

_PATH: Final = "/v1/schedules"
_MOMENTS: Final = frozenset({"start_at", "end_at"})
_DURATIONS: Final = frozenset({"catch_up_window", "jitter", "timeout", "queue_ttl", "deadline"})


class ScheduleOptions(TypedDict, total=False):
    """What a schedule may have beside an app, an input and a cron expression; what is left out is as usual.

    When it is due: `timezone` (IANA, UTC), `seconds` (the expression has a sixth field, first), `dst_gap` and `dst_fold`
    (times that clocks leave out or show twice), `start_at`, `end_at`, `max_runs`, `jitter`. What becomes of a slot that
    comes at a bad time: `overlap`, `catch_up`, `catch_up_window`, `pause_after_errors`. The rest is about its tasks, as it
    is in a submit.
    """

    timezone: str | None
    seconds: bool | None
    overlap: "Overlap | None"
    catch_up: "CatchUp | None"
    catch_up_window: Duration | None
    jitter: Duration | None
    dst_gap: "Gap | None"
    dst_fold: "Fold | None"
    start_at: Moment | None
    end_at: Moment | None
    max_runs: int | None
    pause_after_errors: int | None
    queue: str | None
    priority: int | None
    labels: Mapping[str, str] | None
    timeout: Duration | None
    queue_ttl: Duration | None
    deadline: Duration | None
    retry: "Retry | Mapping[str, Any] | None"
    delivery: str | None
    on_finish: str | None


def create_schedule(
    app: str,
    cron: str,
    input: Any = msgspec.UNSET,  # noqa: A002 - the word of the API
    *,
    key: str,
    paused: bool,
    note: str | None,
    options: ScheduleOptions,
) -> Request:
    """POST /schedules with an Idempotency-Key. Raises ValueError for an input that JSON cannot hold, or a time without an
    offset.
    """
    wanted = {"app": app, "cron": cron} | _given({"input": input}) | _spelled({name: value for name, value in options.items() if value is not None})
    if paused:
        wanted["paused"] = True
    if note is not None:
        wanted["note"] = note
    return post(_PATH, encode(wanted), {"Idempotency-Key": key})


def get_schedule(schedule_id: str) -> Request:
    """GET /schedules/{id}."""
    return Request(method="GET", path=_schedule(schedule_id))


def list_schedules(*, app: str | None = None, owner: str | None = None, limit: int | None = None) -> Request:
    """The schedules that fit all filters, newest first; pages are fetched as they are needed. `limit` bounds the whole
    list.
    """
    filters = {"app": app, "owner": owner, "limit": None if limit is None else str(min(limit, PAGE_LIMIT))}
    return Request(method="GET", path=_PATH, query=_query(filters), sees_writes=True)


def change_schedule(
    schedule_id: str,
    *,
    cron: str | None = None,
    input: Any = msgspec.UNSET,  # noqa: A002 - the word of the API
    version: int | None = None,
    options: ScheduleOptions,
) -> Request:
    """PATCH /schedules/{id}, if it is still at that version. An option that is None is taken away. Raises ValueError as
    `create_schedule` does.
    """
    wanted = ({} if cron is None else {"cron": cron}) | _given({"input": input}) | _spelled(options)
    headers = {} if version is None else {"If-Match": f'"{version}"'}
    return post(_schedule(schedule_id), encode(wanted), headers, method="PATCH")


def pause_schedule(schedule_id: str, *, note: str | None = None, until: Moment | Duration | None = None) -> Request:
    """POST /schedules/{id}/pause."""
    wanted = {"note": note, "until": spell_either(until)}
    return post(f"{_schedule(schedule_id)}/pause", encode({name: value for name, value in wanted.items() if value is not None}))


def resume_schedule(schedule_id: str, *, note: str | None = None) -> Request:
    """POST /schedules/{id}/resume."""
    return post(f"{_schedule(schedule_id)}/resume", encode({} if note is None else {"note": note}))


def trigger_schedule(schedule_id: str, *, key: str, note: str | None = None) -> Request:
    """POST /schedules/{id}/trigger with an Idempotency-Key."""
    return post(f"{_schedule(schedule_id)}/trigger", encode({} if note is None else {"note": note}), {"Idempotency-Key": key})


def backfill_schedule(
    schedule_id: str, *, since: Moment | Duration, until: Moment | Duration | None = None, dry_run: bool = False, limit: int | None = None
) -> Request:
    """POST /schedules/{id}/backfill."""
    wanted = {"since": spell_either(since), "until": spell_either(until), "dry_run": dry_run, "limit": limit}
    return post(f"{_schedule(schedule_id)}/backfill", encode({name: value for name, value in wanted.items() if value is not None}))


def delete_schedule(schedule_id: str) -> Request:
    """DELETE /schedules/{id}."""
    return Request(method="DELETE", path=_schedule(schedule_id), writes=True)


def list_slots(schedule_id: str, *, outcome: str | None = None, limit: int | None = None) -> Request:
    """GET /schedules/{id}/slots."""
    filters = {"outcome": outcome, "limit": None if limit is None else str(min(limit, PAGE_LIMIT))}
    return Request(method="GET", path=f"{_schedule(schedule_id)}/slots", query=_query(filters), sees_writes=True)


def preview_schedule(
    cron: str,
    *,
    timezone: str | None = None,
    seconds: bool | None = None,
    dst_gap: "Gap | None" = None,
    dst_fold: "Fold | None" = None,
    start_at: Moment | None = None,
    end_at: Moment | None = None,
    after: Moment | None = None,
    count: int | None = None,
) -> Request:
    """POST /schedules/preview, which changes nothing."""
    wanted = {
        "cron": cron,
        "timezone": timezone,
        "seconds": seconds,
        "dst_gap": dst_gap,
        "dst_fold": dst_fold,
        "start_at": spell_moment(start_at),
        "end_at": spell_moment(end_at),
        "after": spell_moment(after),
        "count": count,
    }
    asked = post(f"{_PATH}/preview", encode({name: value for name, value in wanted.items() if value is not None}))
    return msgspec.structs.replace(asked, writes=False)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not msgspec.UNSET}


def _spelled(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _spell(name, value) for name, value in options.items()}


def _spell(name: str, value: Any) -> Any:
    if name in _MOMENTS:
        return spell_moment(value)
    if name in _DURATIONS:
        return spell_duration(value)
    if name == "on_finish":
        return spell_on_finish(value)
    return spell_retry(value) if name == "retry" else value


def _query(filters: Mapping[str, str | None]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in filters.items() if value is not None)


def _schedule(schedule_id: str) -> str:
    return f"{_PATH}/{quote(schedule_id, safe='')}"
