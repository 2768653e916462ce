"""One of each fact, for the examples of the document."""

from datetime import UTC, datetime, timedelta
from typing import Final

from daybook.domain.cadence import Cadence
from daybook.domain.events import (
    AppPublished,
    Content,
    Event,
    Policy,
    TaskCancelled,
    TaskCancelRequested,
    TaskDue,
    TaskExpired,
    TaskFailed,
    TaskLost,
    TaskReleased,
    TaskRescheduled,
    TaskRetried,
    TaskStarted,
    TaskSubmitted,
    TaskSucceeded,
    TokenIssued,
    TokenRevoked,
    WebhookCreated,
    WebhookDeleted,
    kind_of,
)
from daybook.domain.schedule_events import (
    Rule,
    ScheduleBackfilled,
    ScheduleChanged,
    ScheduleCreated,
    ScheduleDeleted,
    SchedulePaused,
    ScheduleResumed,
    SlotFired,
    SlotsSkipped,
    Work,
)

AT: Final = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
IDS: Final = {
    "event": "evt_01k9x3v5n8e4q9t2h7c6w1r0zd",
    "task": "tsk_01k9x3v4m2f8w6z5b1s7q0y3ke",
    "schedule": "sch_01k9x2d7r5g1n8m4x0j6v9p2tc",
    "app": "app_01k9x1a0c3h6y9w2e5s8q7r4vb",
    "token": "tok_01k9x0q2f6s9e3j8c4m7a1h5xw",
    "webhook": "whk_01k9x3m9b2y5r8w1e6t0q4n7hk",
    "runner": "run_01k9x0z8p4t7k1d5b2n6g9m3fj",
}

_LATER: Final = AT + timedelta(minutes=10)
_DAY: Final = timedelta(days=1)
_VERSION: Final = "d8507cfd9b16222d"
_INPUT: Final = Content(digest="4be1" * 16, size_bytes=14)
_RULE: Final = Rule(cadence=Cadence(cron="30 9 * * mon-fri", timezone="Europe/Berlin"))
_WORK: Final = Work(app="hello.greet", app_version=_VERSION, input=_INPUT)
_ANN: Final = "user:ann"
_SCHEDULER: Final = "scheduler"
_RUNNER: Final = f"runner:{IDS['runner']}"

EXAMPLES: Final[dict[str, Event]] = {
    kind_of(event): event
    for event in (
        TaskSubmitted(actor=_ANN, owner="ann", app="hello.greet", app_version=_VERSION, input=_INPUT, labels={"team": "blue"}),
        TaskRescheduled(actor=_ANN, run_at=_LATER),
        TaskDue(actor=_SCHEDULER),
        TaskStarted(actor=_RUNNER, attempt=1, runner=IDS["runner"], overdue_at=_LATER),
        TaskReleased(actor=_RUNNER, attempt=1),
        TaskSucceeded(actor=_RUNNER, attempt=1, result=Content(digest="90ad" * 16, size_bytes=12)),
        TaskFailed(actor=_RUNNER, attempt=1, error=Content(digest="7c3e" * 16, size_bytes=310), error_type="ValueError", retry_at=_LATER),
        TaskLost(actor=_SCHEDULER, reason="lost_runner", attempt=1, runner=IDS["runner"]),
        TaskExpired(actor=_SCHEDULER, reason="queue_ttl"),
        TaskRetried(actor=_ANN, reason="the disk is back"),
        TaskCancelRequested(actor=_ANN, reason="the wrong file"),
        TaskCancelled(actor=_RUNNER, attempt=1, requested_by=_ANN),
        ScheduleCreated(actor=_ANN, owner="ann", rule=_RULE, work=_WORK),
        ScheduleChanged(actor=_ANN, rule=_RULE, work=_WORK),
        SchedulePaused(actor=_ANN, reason="until the move is over", until=AT + _DAY),
        ScheduleResumed(actor=_ANN),
        ScheduleDeleted(actor=_ANN),
        ScheduleBackfilled(actor=_ANN, slots=(AT - _DAY, AT)),
        SlotFired(actor=_SCHEDULER, slot=AT, task=IDS["task"], live=(AT - _DAY,)),
        SlotsSkipped(actor=_SCHEDULER, reason="missed", first=AT - 3 * _DAY, last=AT - _DAY, count=3),
        AppPublished(actor=_RUNNER, app="hello.greet", app_kind="python", version=_VERSION, doc="Say hello to somebody.", policy=Policy(max_attempts=3)),
        TokenIssued(actor="owner", owner="ann", scopes=("submit", "read"), label="laptop", expires_at=AT + 90 * _DAY),
        TokenRevoked(actor="owner"),
        WebhookCreated(actor=_ANN, owner="ann", url="https://example.net/ended", events=("task.error",)),
        WebhookDeleted(actor=_ANN),
    )
}
