"""Every event ever shipped can be read for ever, means what it meant, and is written as it was.

A file `<kind>.json` holds a fact with every field, `<kind>.bare.json` one with only those that have no default. Files are
added (a new field of an old kind comes with one more, `<kind>.<field>.json`), never changed: when a test here fails, the
code is wrong. What a bare fact means is spelled out down to the defaults, since a default that changes changes the past.
"""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from daybook.domain.cadence import Cadence
from daybook.domain.events import (
    OTHER_EVENTS,
    TASK_EVENTS,
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
    SCHEDULE_EVENTS,
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
from daybook.log import codec

FOLDER: Final = Path(__file__).with_name("golden")
SAID: Final[dict[str, Any]] = {"actor": "ann", "reason": "asked for", "correlation": "req_7", "causation": "evt_1"}
SILENT: Final[dict[str, Any]] = {"actor": "", "reason": "", "correlation": "", "causation": ""}
INSTANT: Final = datetime(2026, 3, 14, 15, 9, 26, 535897, tzinfo=UTC)
ELSEWHERE: Final = datetime(2026, 3, 29, 3, 30, tzinfo=timezone(timedelta(hours=2)))
CONTENT: Final = Content(digest="ab" * 32, size_bytes=12, media_type="application/json", blob=False)
LARGE: Final = Content(digest="cd" * 32, size_bytes=1048576, media_type="text/plain", blob=True)
POLICY: Final = Policy(max_attempts=5, timeout_seconds=2.5, delivery="at_most_once")
ONCE: Final = Policy(
    max_attempts=1,
    timeout_seconds=None,
    delivery="at_least_once",
    max_losses=3,
    backoff_seconds=1.0,
    backoff_factor=2.0,
    backoff_max_seconds=300.0,
    non_retryable=(),
    queue_ttl_seconds=None,
    deadline_seconds=None,
)
PATIENT: Final = Policy(
    max_attempts=7,
    timeout_seconds=1.5,
    delivery="at_most_once",
    max_losses=0,
    backoff_seconds=0.25,
    backoff_factor=1.5,
    backoff_max_seconds=86400.0,
    non_retryable=("ValueError", "books.NotFound"),
    queue_ttl_seconds=3600.0,
    deadline_seconds=90000.5,
)
BARE_SUBMISSION: Final[dict[str, Any]] = SILENT | {
    "owner": "ann",
    "app": "texts.count",
    "app_version": "9f86d081884c",
    "input": CONTENT,
    "queue": "default",
    "priority": 3,
    "run_at": None,
    "policy": ONCE,
    "labels": {},
    "fingerprint": "",
    "rerun_of": "",
    "expires_at": None,
    "schedule": "",
    "slot": None,
    "on_finish": "",
}
SLOT: Final = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
RULE: Final = Rule(
    cadence=Cadence(cron="30 3 * * *", timezone="UTC", dst_gap="next", dst_fold="once", seconds=False),
    overlap="skip",
    catch_up="latest",
    catch_up_window_seconds=3600.0,
    jitter_seconds=0.0,
    start_at=None,
    end_at=None,
    max_runs=None,
    pause_after_errors=None,
)
PECULIAR: Final = Rule(
    cadence=Cadence(cron="0 30 3 * * *", timezone="Europe/Berlin", dst_gap="skip", dst_fold="twice", seconds=True),
    overlap="queue_one",
    catch_up="all",
    catch_up_window_seconds=90.5,
    jitter_seconds=2.5,
    start_at=INSTANT,
    end_at=ELSEWHERE,
    max_runs=7,
    pause_after_errors=3,
)
WORK: Final = Work(app="texts.count", app_version="9f86d081884c", input=CONTENT, queue="default", priority=3, policy=ONCE, labels={}, on_finish="")
ODD_WORK: Final = Work(app="texts.count", app_version="9f86d081884c", input=LARGE, queue="slow", priority=1, policy=PATIENT, labels={"team": "blau & grün"})
TOLD: Final = "https://example.net/ended?a=1&b=2"

EVENTS: Final[dict[str, Event]] = {
    "task.submitted.v1": TaskSubmitted(
        **SAID,
        owner="ann",
        app="texts.count",
        app_version="9f86d081884c",
        input=LARGE,
        queue="slow",
        priority=1,
        run_at=INSTANT,
        policy=POLICY,
        labels={"team": "blau & grün", "quote": '"\\\n'},
        fingerprint="ef" * 32,
        rerun_of="",
        expires_at=None,
        schedule="",
        slot=None,
        on_finish="",
    ),
    "task.submitted.v1.bare": TaskSubmitted(**BARE_SUBMISSION),
    "task.submitted.v1.policy": TaskSubmitted(**BARE_SUBMISSION | {"policy": PATIENT}),
    "task.submitted.v1.rerun_of": TaskSubmitted(**BARE_SUBMISSION | {"rerun_of": "tsk_01h2xcejqtf2nbrexx3vqjhp41"}),
    "task.submitted.v1.expires_at": TaskSubmitted(**BARE_SUBMISSION | {"expires_at": INSTANT}),
    "task.submitted.v1.schedule": TaskSubmitted(**BARE_SUBMISSION | {"schedule": "sch_01h2xcejqtf2nbrexx3vqjhp41", "slot": SLOT}),
    "task.submitted.v1.on_finish": TaskSubmitted(**BARE_SUBMISSION | {"on_finish": TOLD}),
    "task.rescheduled.v1": TaskRescheduled(**SAID, run_at=ELSEWHERE),
    "task.rescheduled.v1.bare": TaskRescheduled(**SILENT, run_at=INSTANT),
    "task.due.v1": TaskDue(**SAID, expires_at=None),
    "task.due.v1.bare": TaskDue(**SILENT, expires_at=None),
    "task.due.v1.expires_at": TaskDue(**SILENT, expires_at=INSTANT),
    "task.started.v1": TaskStarted(**SAID, attempt=2, runner="run_1", overdue_at=None),
    "task.started.v1.bare": TaskStarted(**SILENT, attempt=1, runner="run_1", overdue_at=None),
    "task.started.v1.overdue_at": TaskStarted(**SILENT, attempt=1, runner="run_1", overdue_at=INSTANT),
    "task.released.v1": TaskReleased(**SAID, attempt=2, expires_at=None),
    "task.released.v1.bare": TaskReleased(**SILENT, attempt=1, expires_at=None),
    "task.released.v1.expires_at": TaskReleased(**SILENT, attempt=1, expires_at=INSTANT),
    "task.succeeded.v1": TaskSucceeded(**SAID, attempt=2, result=LARGE),
    "task.succeeded.v1.bare": TaskSucceeded(**SILENT, attempt=1, result=CONTENT),
    "task.failed.v1": TaskFailed(**SAID, attempt=2, error=LARGE, error_type="ValueError", retry_at=INSTANT),
    "task.failed.v1.bare": TaskFailed(**SILENT, attempt=1, error=CONTENT, error_type="ValueError", retry_at=None),
    "task.lost.v1": TaskLost(**SAID, attempt=2, runner="run_1", retry_at=INSTANT, final=True, expires_at=ELSEWHERE),
    "task.lost.v1.bare": TaskLost(**SILENT, attempt=1, runner="", retry_at=None, final=False, expires_at=None),
    "task.expired.v1": TaskExpired(**SAID),
    "task.expired.v1.bare": TaskExpired(**SILENT),
    "task.retried.v1": TaskRetried(**SAID, expires_at=INSTANT),
    "task.retried.v1.bare": TaskRetried(**SILENT, expires_at=None),
    "task.cancel_requested.v1": TaskCancelRequested(**SAID),
    "task.cancel_requested.v1.bare": TaskCancelRequested(**SILENT),
    "task.cancelled.v1": TaskCancelled(**SAID, attempt=2, requested_by=""),
    "task.cancelled.v1.bare": TaskCancelled(**SILENT, attempt=0, requested_by=""),
    "task.cancelled.v1.requested_by": TaskCancelled(**SILENT, attempt=0, requested_by="user:ann"),
    "schedule.created.v1": ScheduleCreated(**SAID, owner="ann", rule=PECULIAR, work=ODD_WORK, paused=True, fingerprint="ef" * 32),
    "schedule.created.v1.bare": ScheduleCreated(**SILENT, owner="ann", rule=RULE, work=WORK, paused=False, fingerprint=""),
    "schedule.changed.v1": ScheduleChanged(**SAID, rule=PECULIAR, work=ODD_WORK),
    "schedule.changed.v1.bare": ScheduleChanged(**SILENT, rule=RULE, work=WORK),
    "schedule.created.v1.on_finish": ScheduleCreated(
        **SILENT, owner="ann", rule=RULE, work=msgspec.structs.replace(WORK, on_finish=TOLD), paused=False, fingerprint=""
    ),
    "schedule.changed.v1.on_finish": ScheduleChanged(**SILENT, rule=RULE, work=msgspec.structs.replace(WORK, on_finish=TOLD)),
    "schedule.paused.v1": SchedulePaused(**SAID, until=INSTANT, live=(SLOT, ELSEWHERE)),
    "schedule.paused.v1.bare": SchedulePaused(**SILENT, until=None, live=None),
    "schedule.resumed.v1": ScheduleResumed(**SAID, since=INSTANT),
    "schedule.resumed.v1.bare": ScheduleResumed(**SILENT, since=None),
    "schedule.deleted.v1": ScheduleDeleted(**SAID),
    "schedule.deleted.v1.bare": ScheduleDeleted(**SILENT),
    "schedule.backfilled.v1": ScheduleBackfilled(**SAID, slots=(SLOT, INSTANT)),
    "schedule.backfilled.v1.bare": ScheduleBackfilled(**SILENT, slots=(SLOT,)),
    "slot.fired.v1": SlotFired(**SAID, slot=SLOT, task="tsk_01h2xcejqtf2nbrexx3vqjhp41", due_at=INSTANT, cause="backfill", live=(SLOT,), errors=2),
    "slot.fired.v1.bare": SlotFired(**SILENT, slot=SLOT, task="tsk_01h2xcejqtf2nbrexx3vqjhp41", due_at=None, cause="slot", live=(), errors=0),
    "slots.skipped.v1": SlotsSkipped(**SAID | {"reason": "overlap"}, first=SLOT, last=INSTANT, count=3),
    "slots.skipped.v1.bare": SlotsSkipped(**SILENT, first=SLOT, last=SLOT, count=1),
    "app.published.v1": AppPublished(
        **SAID,
        app="texts.count",
        app_kind="python",
        version="9f86d081884c",
        doc="Counts words.\n\nAnd lines.",
        input_schema={"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
        queue="slow",
        priority=1,
        policy=POLICY,
    ),
    "app.published.v1.bare": AppPublished(
        **SILENT,
        app="texts.count",
        app_kind="chat",
        version="9f86d081884c",
        doc="",
        input_schema={},
        queue="default",
        priority=3,
        policy=ONCE,
    ),
    "app.published.v1.policy": AppPublished(
        **SILENT, app="texts.count", app_kind="chat", version="9f86d081884c", doc="", input_schema={}, queue="default", priority=3, policy=PATIENT
    ),
    "token.issued.v1": TokenIssued(**SAID, owner="ann", scopes=("submit", "act_as"), label="laptop", expires_at=INSTANT, use=""),
    "token.issued.v1.bare": TokenIssued(**SILENT, owner="ann", scopes=(), label="", expires_at=None, use=""),
    "token.issued.v1.use": TokenIssued(**SILENT, owner="ann", scopes=("read",), label="", expires_at=INSTANT, use="session"),
    "token.revoked.v1": TokenRevoked(**SAID),
    "token.revoked.v1.bare": TokenRevoked(**SILENT),
    "webhook.created.v1": WebhookCreated(**SAID, owner="ann", url=TOLD, events=("task.error", "task.cancelled"), app="texts.count", all_owners=True),
    "webhook.created.v1.bare": WebhookCreated(**SILENT, owner="ann", url=TOLD, events=(), app="", all_owners=False),
    "webhook.deleted.v1": WebhookDeleted(**SAID),
    "webhook.deleted.v1.bare": WebhookDeleted(**SILENT),
}


def kind_in(name: str) -> str:
    """`task.due.v1` of `task.due.v1` and of `task.due.v1.bare`."""
    return ".".join(name.split(".")[:3])


def fact(name: str) -> bytes:
    return (FOLDER / f"{name}.json").read_bytes().removesuffix(b"\n")


@pytest.mark.parametrize("name", EVENTS)
def test_a_fact_means_what_it_meant(name: str) -> None:
    assert codec.decode(kind_in(name), fact(name)) == EVENTS[name]


@pytest.mark.parametrize("name", EVENTS)
def test_a_fact_is_written_as_it_was(name: str) -> None:
    event = codec.decode(kind_in(name), fact(name))
    assert isinstance(event, Event)
    assert codec.encode(event) == fact(name)


@pytest.mark.parametrize("name", [name for name in EVENTS if name == kind_in(name)])
def test_a_fact_with_every_field_is_written_from_scratch_as_it_was(name: str) -> None:
    assert codec.encode(EVENTS[name]) == fact(name)


@pytest.mark.parametrize("event", TASK_EVENTS + SCHEDULE_EVENTS + OTHER_EVENTS)
def test_every_kind_and_every_field_has_its_files(event: type[Event]) -> None:
    kind, fields = kind_of(event), msgspec.structs.fields(event)
    facts = {name: msgspec.json.decode(fact(name), type=dict[str, object]) for name in EVENTS if kind_in(name) == kind}
    assert {one["kind"] for one in facts.values()} == {kind}
    assert {key for one in facts.values() for key in one} == {"kind"} | {field.encode_name for field in fields}
    assert set(facts[f"{kind}.bare"]) == {"kind"} | {field.encode_name for field in fields if field.required}


@pytest.mark.parametrize("kind", ["task.submitted.v1", "app.published.v1"])
def test_every_field_of_a_policy_has_its_file(kind: str) -> None:
    written = msgspec.json.decode(fact(f"{kind}.policy"), type=dict[str, Any])["policy"]
    assert set(written) == {field.encode_name for field in msgspec.structs.fields(Policy)}


@pytest.mark.parametrize("kind", ["schedule.created.v1", "schedule.changed.v1"])
def test_every_field_of_a_rule_and_its_work_has_its_file(kind: str) -> None:
    written, bare, told = (msgspec.json.decode(fact(name), type=dict[str, Any]) for name in (kind, f"{kind}.bare", f"{kind}.on_finish"))
    for struct, all_of_it, least in (
        (Rule, written["rule"], bare["rule"]),
        (Cadence, written["rule"]["cadence"], bare["rule"]["cadence"]),
        (Work, written["work"] | told["work"], bare["work"]),
    ):
        fields = msgspec.structs.fields(struct)
        assert set(all_of_it) == {field.encode_name for field in fields}
        assert set(least) == {field.encode_name for field in fields if field.required}


def test_every_file_is_still_read() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.json" for name in EVENTS}


def test_a_kind_names_one_event() -> None:
    kinds = [kind_of(event) for event in TASK_EVENTS + SCHEDULE_EVENTS + OTHER_EVENTS]
    assert len(set(kinds)) == len(kinds)
    assert {kind.rsplit(".", 1)[1] for kind in kinds} == {"v1"}


@pytest.mark.parametrize("name", EVENTS)
def test_a_field_that_is_not_known_yet_is_passed_over(name: str) -> None:
    from_the_future = fact(name)[:-1] + b',"mood":{"level":[1,null]}}'
    assert codec.decode(kind_in(name), from_the_future) == EVENTS[name]
