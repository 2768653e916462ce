"""From what a request says about a schedule to its rule and its work. Pure: everything that can be wrong with them is
found here, and pointed at, before anything is written.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET

from daybook.domain import cadence
from daybook.domain.cadence import Cadence, InvalidCadence
from daybook.domain.events import AppPublished, Content, Policy
from daybook.domain.schedule_events import Rule, Work
from daybook.domain.slots import slots_of

from .moments import in_utc
from .problems import Problem, Spot
from .schedule_schemas import ChangeScheduleRequest, CreateScheduleRequest, PreviewRequest
from .schemas import LONGEST_SECONDS, SubmitRequest, TaskRequest
from .submission import policy_of, seconds
from .webhooks import target_of

Wish: TypeAlias = CreateScheduleRequest | ChangeScheduleRequest

_USUAL: Final = Rule(cadence=Cadence(cron=""))
_CADENCE: Final = ("timezone", "dst_gap", "dst_fold", "seconds")
_PLAIN: Final = ("overlap", "catch_up", "max_runs", "pause_after_errors")
_FURTHEST: Final = timedelta(seconds=LONGEST_SECONDS)
_LONGEST: Final = {"catch_up_window": _FURTHEST, "jitter": timedelta(days=1)}
_POLICY: Final = {
    "timeout": ("timeout_seconds",),
    "queue_ttl": ("queue_ttl_seconds",),
    "deadline": ("deadline_seconds",),
    "delivery": ("delivery",),
    "retry": ("max_attempts", "backoff_seconds", "backoff_max_seconds", "backoff_factor", "non_retryable"),
}
_AS_SUBMITTED: Final = ("timezone", "queue", "priority", "labels", "on_finish", *_POLICY)


def of_submit(request: SubmitRequest) -> CreateScheduleRequest:
    """The schedule that a submit with `cron` asks for. Raises a problem for one that wants a single time as well."""
    assert request.cron is not None
    if spots := [Spot(pointer=f"/{name}", message="is given beside cron") for name in ("run_at", "delay") if getattr(request, name) is not None]:
        raise Problem("invalid-body", "With cron there is no run_at, and no delay: it says when.", errors=spots)
    said = {name: value for name in _AS_SUBMITTED if (value := getattr(request, name)) is not None}
    return CreateScheduleRequest(app=request.app, cron=request.cron, input=request.input, **said)


def rule_of(wish: Wish, before: Rule | None, now: datetime) -> Rule:
    """The rule that a request makes of another, or of none. Raises problems."""
    usual = _USUAL if before is None else before
    times = _said(wish, _CADENCE, _USUAL.cadence) | ({} if wish.cron is UNSET else {"cron": wish.cron})
    said = _said(wish, _PLAIN, _USUAL)
    for name in ("start_at", "end_at"):
        if (instant := getattr(wish, name)) is not UNSET:
            said[name] = None if instant is None else in_utc(instant, f"/{name}")
    for name, longest in _LONGEST.items():
        if (duration := getattr(wish, name)) is not UNSET:
            field = f"{name}_seconds"
            said[field] = getattr(_USUAL, field) if duration is None else _duration(duration, f"/{name}", longest)
    rule = msgspec.structs.replace(usual, cadence=msgspec.structs.replace(usual.cadence, **times), **said)
    if before is None or (rule.cadence, rule.start_at, rule.end_at) != (before.cadence, before.start_at, before.end_at):
        _check_times(rule, now, now)
    return rule


def rule_of_preview(request: PreviewRequest, after: datetime, now: datetime) -> Rule:
    """The rule whose slots after an instant are to be shown. Raises problems."""
    times = {name: value for name in _CADENCE if (value := getattr(request, name)) is not None}
    bounds: dict[str, Any] = {name: in_utc(value, f"/{name}") for name in ("start_at", "end_at") if (value := getattr(request, name)) is not None}
    rule = Rule(cadence=Cadence(cron=request.cron, **times), **bounds)
    _check_times(rule, after, now)
    return rule


def _check_times(rule: Rule, after: datetime, now: datetime) -> None:
    """A rule that cannot be kept is unreadable, in no zone, or without a slot after that instant."""
    if rule.start_at is not None and abs(rule.start_at - now) > _FURTHEST:
        raise Problem("invalid-body", "start_at is more than ten years away.", errors=[Spot(pointer="/start_at", message="is too far away")])
    try:
        cadence.check(rule.cadence, after if rule.start_at is None else max(after, rule.start_at))
    except InvalidCadence as error:
        what = str(error)
        raise Problem("invalid-body", what, errors=[Spot(pointer=f"/{error.field}", message=what)]) from None
    if rule.start_at is not None and rule.end_at is not None and rule.end_at <= rule.start_at:
        raise Problem("invalid-body", "end_at does not lie after start_at.", errors=[Spot(pointer="/end_at", message="does not lie after start_at")])
    if next(slots_of(rule, after), None) is None:
        raise Problem("invalid-body", "Before end_at there is no slot.", errors=[Spot(pointer="/end_at", message="leaves no slot")])


def work_of(wish: Wish, before: Work | None, manifest: AppPublished, content: Content) -> Work:
    """What a request makes of other work, or of none, for the app as it is now. Raises problems."""
    work = before or Work(
        app=manifest.app, app_version="", input=content, queue=manifest.queue, priority=manifest.priority, policy=manifest.policy
    )  # fmt: skip
    said = _said(wish, ("queue", "priority"), manifest)
    if wish.labels is not UNSET:
        said["labels"] = wish.labels or {}
    if wish.on_finish is not UNSET:
        said["on_finish"] = target_of(wish.on_finish)
    policy = _policy(wish, work.policy, manifest.policy)
    return msgspec.structs.replace(work, app_version=manifest.version, input=content, policy=policy, **said)


def _said(wish: Wish, names: Iterable[str], usual: Any) -> dict[str, Any]:
    """What a request says under these names; null is what is usual."""
    said = {name: value for name in names if (value := getattr(wish, name)) is not UNSET}
    return {name: getattr(usual, name) if value is None else value for name, value in said.items()}


def _duration(said: str | float, pointer: str, longest: timedelta) -> float:
    duration = seconds(said, pointer)
    if duration > longest:
        raise Problem("invalid-body", f"It may be {longest.days} days.", errors=[Spot(pointer=pointer, message=f"is longer than {longest.days} days")])
    return duration.total_seconds()


def _policy(wish: Wish, before: Policy, usual: Policy) -> Policy:
    said = {name: getattr(wish, name) for name in _POLICY}
    taken_back = {field: getattr(usual, field) for name, fields in _POLICY.items() if said[name] is None for field in fields}
    request = TaskRequest(app="", **{name: value for name, value in said.items() if value is not UNSET})
    return policy_of(request, msgspec.structs.replace(before, **taken_back))
