"""What each endpoint reads and answers, for the OpenAPI document. A table: what is not in it is not promised, and a
route without an entry fails to be described."""

from typing import Any, Final, Literal, NamedTuple

from daybook.domain.status import Status
from daybook.stored_output import TYPES

from .feed.cursor import PATTERN as FEED_CURSOR
from .feed.facts import GROUPS, NAMES
from .feed.schemas import FeedList
from .schedule_schemas import (
    BackfillRequest,
    BackfillView,
    ChangeScheduleRequest,
    CreateScheduleRequest,
    PauseRequest,
    PreviewRequest,
    PreviewView,
    ResumeRequest,
    ScheduleList,
    ScheduleView,
    SlotList,
    TriggerRequest,
)
from .schemas import (
    DURATION,
    AppList,
    AppView,
    BatchItem,
    BatchOutcomes,
    CancelRequest,
    EventList,
    Health,
    LogList,
    OutputList,
    RerunRequest,
    RescheduleRequest,
    RetryTaskRequest,
    SubmitRequest,
    TaskList,
    TaskView,
)
from .sessions import LoginRequest, SessionView
from .watching.told import FACT_NAMES
from .webhook_schemas import CreateWebhookRequest, SecretView, WebhookList, WebhookView

JSON: Final = "application/json"
MERGE: Final = "application/merge-patch+json"
LINES: Final = "application/x-ndjson"
STREAM: Final = "text/event-stream"
TEXT: Final = "text/plain"
ANY: Final = "*/*"
"""The media type that the app's result has."""

_TEXT: Final = {"type": "string"}
_MOMENT: Final = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "pattern": DURATION}]}
_STATUSES: Final = {"type": "array", "items": {"enum": [str(status) for status in Status]}, "minItems": 1}


class Parameter(NamedTuple):
    """A parameter beside the body."""

    name: str
    where: Literal["path", "query", "header"]
    description: str
    schema: dict[str, Any]
    explode: bool | None = None


class Endpoint(NamedTuple):
    """What one endpoint answers (a model by status and media type; None for no body), which problems it has, and what it reads."""

    answers: dict[int, dict[str, Any] | None]
    problems: tuple[int, ...]
    parameters: tuple[Parameter, ...] = ()
    body: Any = None
    body_types: tuple[str, ...] = (JSON,)
    body_required: bool = True
    response_headers: tuple[str, ...] = ()
    leads_to: Literal["task", "schedule"] | None = None
    needs_token: bool = True


_TASK_ID: Final = Parameter("task_id", "path", "The task's id.", {"type": "string", "pattern": "^tsk_[0-7][0-9a-hjkmnp-tv-z]{25}$"})
_SCHEDULE_ID: Final = Parameter("schedule_id", "path", "The schedule's id.", {"type": "string", "pattern": "^sch_[0-7][0-9a-hjkmnp-tv-z]{25}$"})
_WEBHOOK_ID: Final = Parameter("webhook_id", "path", "The webhook's id.", {"type": "string", "pattern": "^whk_[0-7][0-9a-hjkmnp-tv-z]{25}$"})
_APP_ID: Final = Parameter("app", "path", "The app's id.", {"type": "string", "pattern": "^[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*$", "maxLength": 128})
_OWNER: Final = Parameter(
    "Daybook-Owner",
    "header",
    "On whose behalf, in UTF-8: for tokens with the scope act_as.",
    {"type": "string", "minLength": 1, "maxLength": 128},
)
_KEY: Final = Parameter(
    "Idempotency-Key",
    "header",
    "The same key with the same body gives the same task (or schedule, or webhook); with another body, a problem.",
    {"type": "string", "pattern": "^[ -~]{1,255}$"},
)
_TRIGGER_KEY: Final = _KEY._replace(description="The same key with the same body gives the same task, if it is among the schedule's latest 1,000 events.")
_WAIT: Final = Parameter("Prefer", "header", "`wait=N`: wait up to N seconds (60 at most), and answer 200 with the finished task if it ends in time.", _TEXT)
_LONG_POLL: Final = Parameter("Prefer", "header", "`wait=N`: with If-None-Match, wait up to N seconds (60 at most) for a change.", _TEXT)
_IF_MATCH: Final = Parameter("If-Match", "header", "The version that it must still have.", {"type": "string", "pattern": '^(\\*|[0-9]{1,9}|"[0-9]{1,9}")$'})
_IF_NONE_MATCH: Final = Parameter("If-None-Match", "header", "Answer 304 while the task still has this version.", _TEXT)
_LAST_EVENT_ID: Final = Parameter("Last-Event-ID", "header", "Where a stream was cut: only what came later is told.", _TEXT)
_TYPES: Final = Parameter(
    "types",
    "query",
    "Only these, joined by commas: `task` for all facts, or events by their names. A stream always tells snapshot, gap, heartbeat and end.",
    {"type": "array", "items": {"enum": ["task", *sorted(FACT_NAMES | TYPES)]}, "minItems": 1},
    explode=False,
)
_ATTEMPT: Final = Parameter("attempt", "query", "Only of this attempt.", {"type": "integer", "minimum": 1, "maximum": 999_999_999})
_PLACE: Final = {"type": "string", "pattern": "^[0-9]{1,9}\\.[0-9]{1,9}$"}
_LOGS: Final = (
    _ATTEMPT,
    Parameter("tail", "query", "Only the last lines, so many of them.", {"type": "integer", "minimum": 1, "maximum": 1000}),
    Parameter("after", "query", "Only what was said after this place: `next_after` of the answer before.", _PLACE),
    Parameter("level", "query", "This level and those above it.", {"enum": ["debug", "info", "warning", "error"]}),
)
_FROM: Final = Parameter("from", "query", "Only from this place on: `next_from` of the answer before.", _PLACE)
_POSITION: Final = Parameter(
    "Daybook-Position",
    "header",
    "What writes answered in this header, joined by commas: the list then shows them, or there is a 503.",
    {"type": "string", "pattern": "^ *[0-9]{1,2}:[0-9]{1,18} *(, *[0-9]{1,2}:[0-9]{1,18} *)*$"},
)
_APP: Final = Parameter("app", "query", "An app's id.", _TEXT)
_OF_OWNER: Final = Parameter("owner", "query", "An owner. Another than one's own needs the scope admin.", _TEXT)
_PAGING: Final = (
    Parameter("limit", "query", "How many; 50 unless said.", {"type": "integer", "minimum": 1, "maximum": 200}),
    Parameter("cursor", "query", "`next_cursor` of the page before, with the same filters.", _TEXT),
)
_OUTCOME: Final = Parameter("outcome", "query", "Only slots that fired, or only those that did not.", {"enum": ["fired", "skipped"]})
_FILTERS: Final = (
    Parameter("status", "query", "Statuses, joined by commas.", _STATUSES, explode=False),
    _APP,
    _OF_OWNER,
    Parameter("schedule", "query", "A schedule's id: the tasks of its slots.", _SCHEDULE_ID.schema),
    Parameter("queue", "query", "A queue's name.", _TEXT),
    Parameter("label", "query", "`key:value`. Several must all fit.", {"type": "array", "items": {"type": "string", "pattern": "^[^:]+:"}}, explode=True),
    Parameter("since", "query", "Submitted since: a timestamp with an offset, or a duration back from now, such as `24h`.", _MOMENT),
    Parameter("until", "query", "Submitted before: the same.", _MOMENT),
    *_PAGING,
)
_FEED_PLACE: Final = {"type": "string", "pattern": FEED_CURSOR}
_FEED: Final = (
    Parameter("cursor", "query", "Where to begin: `next_cursor` or an event's id, `start`, or `now`.", {"anyOf": [{"enum": ["start", "now"]}, _FEED_PLACE]}),
    Parameter(
        "limit", "query", "How many, of a page; 100 unless said. A stream has no end, and refuses it.", {"type": "integer", "minimum": 1, "maximum": 1000}
    ),
    _APP,
    _OF_OWNER,
    Parameter("task", "query", "A task's id: its events alone.", _TASK_ID.schema),
    Parameter("schedule", "query", "A schedule's id: its events, and those of the tasks that it submitted.", _SCHEDULE_ID.schema),
    Parameter(
        "types",
        "query",
        f"Names of events, joined by commas; {', '.join(f'`{group}`' for group in sorted(GROUPS))} stand for all of theirs.",
        {"type": "array", "items": {"enum": sorted(NAMES | GROUPS)}, "minItems": 1},
        explode=False,
    ),
    Parameter("Last-Event-ID", "header", "The id of the last event of a stream that was cut. It goes before `cursor`.", _FEED_PLACE),
    Parameter("Prefer", "header", "`wait=N`: where a page would be empty, wait up to N seconds (60 at most) for an event.", _TEXT),
)

_READ: Final = (400, 401, 403, 500, 503)
_READ_ONE: Final = (400, 401, 403, 404, 500, 503)
_SUBMIT: Final = (400, 401, 403, 413, 415, 422, 500, 503)
_CHANGE: Final = (400, 401, 403, 404, 409, 412, 413, 415, 422, 500, 503)
_CHANGE_BARE: Final = (400, 401, 403, 404, 409, 412, 500, 503)
_WRITTEN: Final = ("ETag", "Daybook-Position")
_ACCEPTED: Final = (*_WRITTEN, "Location", "Operation-Location", "Preference-Applied", "Idempotency-Replayed")
_TASK: Final = {JSON: TaskView}
_SCHEDULE: Final = {JSON: ScheduleView}
_WEBHOOK: Final = {JSON: WebhookView}
_MADE: Final = (*_WRITTEN, "Location", "Idempotency-Replayed")

ENDPOINTS: Final[dict[str, Endpoint]] = {
    "submitTask": Endpoint(
        {200: _TASK, 201: _SCHEDULE, 202: _TASK},
        _SUBMIT,
        (_KEY, _WAIT, _OWNER),
        body=SubmitRequest,
        response_headers=_ACCEPTED,
        leads_to="task",
    ),
    "submitBatch": Endpoint({200: {JSON: BatchOutcomes}}, _SUBMIT, (_OWNER,), body=BatchItem, body_types=(JSON, LINES), response_headers=("Daybook-Position",)),
    "listTasks": Endpoint({200: {JSON: TaskList}}, _READ, (*_FILTERS, _POSITION, _OWNER), response_headers=("Link",)),
    "getTask": Endpoint({200: _TASK, 304: None}, _READ_ONE, (_TASK_ID, _IF_NONE_MATCH, _LONG_POLL, _OWNER), response_headers=("ETag", "Preference-Applied")),
    "getResult": Endpoint({200: {ANY: None}}, (*_READ_ONE, 409, 410), (_TASK_ID, _OWNER), response_headers=("ETag",)),
    "getEvents": Endpoint({200: {JSON: EventList, STREAM: None}, 204: None}, _READ_ONE, (_TASK_ID, _TYPES, _LAST_EVENT_ID, _OWNER), response_headers=("ETag",)),
    "getLogs": Endpoint({200: {JSON: LogList}}, _READ_ONE, (_TASK_ID, *_LOGS, _OWNER)),
    "getOutput": Endpoint({200: {JSON: OutputList, LINES: None, TEXT: None}}, _READ_ONE, (_TASK_ID, _ATTEMPT, _FROM, _OWNER), response_headers=("Link",)),
    "cancelTask": Endpoint(
        {200: _TASK, 202: _TASK}, _CHANGE, (_TASK_ID, _IF_MATCH, _OWNER), body=CancelRequest, body_required=False, response_headers=_WRITTEN
    ),
    "rescheduleTask": Endpoint({200: _TASK}, _CHANGE, (_TASK_ID, _IF_MATCH, _OWNER), body=RescheduleRequest, response_headers=_WRITTEN),
    "runTaskNow": Endpoint({200: _TASK}, _CHANGE_BARE, (_TASK_ID, _IF_MATCH, _OWNER), response_headers=_WRITTEN),
    "retryTask": Endpoint({200: _TASK}, _CHANGE, (_TASK_ID, _IF_MATCH, _OWNER), body=RetryTaskRequest, body_required=False, response_headers=_WRITTEN),
    "rerunTask": Endpoint(
        {200: _TASK, 202: _TASK},
        (*_SUBMIT, 404, 410),
        (_TASK_ID, _KEY, _WAIT, _OWNER),
        body=RerunRequest,
        body_required=False,
        response_headers=_ACCEPTED,
        leads_to="task",
    ),
    "createSchedule": Endpoint({201: _SCHEDULE}, _SUBMIT, (_KEY, _OWNER), body=CreateScheduleRequest, response_headers=_MADE, leads_to="schedule"),
    "listSchedules": Endpoint({200: {JSON: ScheduleList}}, _READ, (_APP, _OF_OWNER, *_PAGING, _POSITION, _OWNER), response_headers=("Link",)),
    "previewSchedule": Endpoint({200: {JSON: PreviewView}}, _SUBMIT, (_OWNER,), body=PreviewRequest),
    "getSchedule": Endpoint({200: _SCHEDULE}, _READ_ONE, (_SCHEDULE_ID, _OWNER), response_headers=("ETag",)),
    "changeSchedule": Endpoint(
        {200: _SCHEDULE},
        (*_CHANGE, 410),
        (_SCHEDULE_ID, _IF_MATCH, _OWNER),
        body=ChangeScheduleRequest,
        body_types=(JSON, MERGE),
        response_headers=_WRITTEN,
    ),
    "deleteSchedule": Endpoint({204: None}, _CHANGE_BARE, (_SCHEDULE_ID, _IF_MATCH, _OWNER), response_headers=_WRITTEN),
    "pauseSchedule": Endpoint({200: _SCHEDULE}, _CHANGE, (_SCHEDULE_ID, _IF_MATCH, _OWNER), body=PauseRequest, body_required=False, response_headers=_WRITTEN),
    "resumeSchedule": Endpoint(
        {200: _SCHEDULE}, _CHANGE, (_SCHEDULE_ID, _IF_MATCH, _OWNER), body=ResumeRequest, body_required=False, response_headers=_WRITTEN
    ),
    "triggerSchedule": Endpoint(
        {202: _TASK},
        (*_SUBMIT, 404, 409),
        (_SCHEDULE_ID, _TRIGGER_KEY, _OWNER),
        body=TriggerRequest,
        body_required=False,
        response_headers=(*_MADE, "Operation-Location"),
        leads_to="task",
    ),
    "backfillSchedule": Endpoint(
        {200: {JSON: BackfillView}, 202: {JSON: BackfillView}}, (*_SUBMIT, 404, 409), (_SCHEDULE_ID, _OWNER), body=BackfillRequest, response_headers=_WRITTEN
    ),
    "listSlots": Endpoint({200: {JSON: SlotList}}, _READ_ONE, (_SCHEDULE_ID, _OUTCOME, *_PAGING, _POSITION, _OWNER), response_headers=("Link",)),
    "getFeed": Endpoint({200: {JSON: FeedList, STREAM: None}}, _READ, (*_FEED, _OWNER), response_headers=("Preference-Applied",)),
    "createWebhook": Endpoint({201: _WEBHOOK}, _SUBMIT, (_KEY, _OWNER), body=CreateWebhookRequest, response_headers=_MADE),
    "listWebhooks": Endpoint({200: {JSON: WebhookList}}, _READ, (_OF_OWNER, *_PAGING, _POSITION, _OWNER), response_headers=("Link",)),
    "getOwnSecret": Endpoint({200: {JSON: SecretView}}, _READ, (_OWNER,)),
    "getWebhook": Endpoint({200: _WEBHOOK}, _READ_ONE, (_WEBHOOK_ID, _OWNER)),
    "deleteWebhook": Endpoint({204: None}, _READ_ONE, (_WEBHOOK_ID, _OWNER), response_headers=_WRITTEN),
    "getWebhookSecret": Endpoint({200: {JSON: SecretView}}, _READ_ONE, (_WEBHOOK_ID, _OWNER)),
    "testWebhook": Endpoint({202: _TASK}, _READ_ONE, (_WEBHOOK_ID, _OWNER), response_headers=("ETag", "Location", "Operation-Location"), leads_to="task"),
    "listWebhookDeliveries": Endpoint({200: {JSON: TaskList}}, _READ_ONE, (_WEBHOOK_ID, *_PAGING, _POSITION, _OWNER), response_headers=("Link",)),
    "listTaskDeliveries": Endpoint({200: {JSON: TaskList}}, _READ_ONE, (_TASK_ID, *_PAGING, _POSITION, _OWNER), response_headers=("Link",)),
    "listApps": Endpoint({200: {JSON: AppList}}, _READ, (_OWNER,)),
    "getApp": Endpoint({200: {JSON: AppView}}, _READ_ONE, (_APP_ID, _OWNER)),
    "getSession": Endpoint({200: {JSON: SessionView}}, _READ, (_OWNER,)),
    "logIn": Endpoint({200: {JSON: SessionView}}, (400, 403, 413, 415, 422, 500, 503), body=LoginRequest, response_headers=("Set-Cookie",), needs_token=False),
    "logOut": Endpoint({204: None}, (400, 403, 500, 503), response_headers=("Set-Cookie",), needs_token=False),
    "livez": Endpoint({200: {JSON: Health}}, (500,), needs_token=False),
    "readyz": Endpoint({200: {JSON: Health}, 503: {JSON: Health}}, (500,), needs_token=False),
    "openapi": Endpoint({200: {JSON: None}}, (500,), needs_token=False),
    "asyncapi": Endpoint({200: {JSON: None}}, (500,), needs_token=False),
}

RESPONSE_HEADERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "ETag": ("The version, in quotes.", {"type": "string", "pattern": '^"[0-9]+"$'}),
    "Daybook-Position": (
        "Where the write lies in the log; a list that is sent it waits for it.",
        {"type": "string", "pattern": "^[0-9]+:[0-9]+(,[0-9]+:[0-9]+)*$"},
    ),
    "Location": ("What was made.", {"type": "string", "format": "uri-reference"}),
    "Operation-Location": ("The task.", {"type": "string", "format": "uri-reference"}),
    "Preference-Applied": ("The wait that was applied.", {"type": "string", "pattern": "^wait=[0-9]+$"}),
    "Idempotency-Replayed": ("`true` when it was there before.", {"const": "true"}),
    "Link": ('The next page, as rel="next".', _TEXT),
    "Set-Cookie": ("The session, for browsers.", _TEXT),
    "X-Request-Id": ("Names this request in the server's log.", _TEXT),
    "Retry-After": ("Seconds after which to try again.", {"type": "string", "pattern": "^[0-9]+$"}),
    "WWW-Authenticate": ("`Bearer`.", {"const": "Bearer"}),
}
