"""/openapi.json. Litestar knows the paths and the parameters; what each endpoint takes and answers is the table below, with schemas made from the very structs that are
encoded and decoded. Every 4xx and 5xx is a problem.
"""

from typing import Any, Final, NamedTuple

import msgspec
from litestar import Litestar

from .problems import MEDIA_TYPE, ProblemDetails
from .schemas import (
    AppList,
    AppView,
    BatchItem,
    BatchOutcomes,
    CancelRequest,
    EventList,
    Health,
    RescheduleRequest,
    SubmitRequest,
    TaskList,
    TaskView,
)

_JSON: Final = "application/json"
_STREAM: Final = "text/event-stream"
_TEXT: Final = {"type": "string"}


class Body(NamedTuple):
    """A request body: its schema by media type."""

    schema: Any
    media_types: tuple[str, ...] = (_JSON,)
    required: bool = True
    array: bool = False


class Doc(NamedTuple):
    """What one endpoint answers, takes, and reads from headers beside what its signature says."""

    answers: dict[int, Any]
    problems: tuple[int, ...]
    body: Body | None = None
    headers: tuple[str, ...] = ()
    response_headers: tuple[str, ...] = ()
    streams: bool = False
    open: bool = False


_WRITTEN: Final = ("ETag", "Daybook-Position")
_SUBMITTED: Final = (*_WRITTEN, "Location", "Operation-Location", "Preference-Applied", "Idempotency-Replayed")
_CHANGES: Final = (400, 401, 403, 404, 409, 412, 413, 422, 500, 503)

HEADERS: Final[dict[str, str]] = {
    "Idempotency-Key": "The same key with the same body gives the same task; with another body, a problem.",
    "Prefer": "`wait=N`: wait up to N seconds (60 at most) and answer 200 with the finished task if it ends in time.",
    "Daybook-Owner": "On whose behalf: for tokens with the scope act_as.",
    "If-Match": "The version that the task must still have.",
    "ETag": "The task's version, in quotes.",
    "Daybook-Position": "Where the write lies in the log; a list that is sent it waits for it.",
    "Location": "The task.",
    "Operation-Location": "The task.",
    "Preference-Applied": "The wait that was applied.",
    "Idempotency-Replayed": "`true` when the task was there before.",
    "Link": 'The next page, as rel="next".',
    "X-Request-Id": "Names this request in the server's log.",
}

TABLE: Final[dict[str, Doc]] = {
    "submitTask": Doc(
        {200: TaskView, 202: TaskView},
        (400, 401, 403, 413, 415, 422, 500, 503),
        Body(SubmitRequest),
        ("Idempotency-Key", "Prefer", "Daybook-Owner"),
        _SUBMITTED,
    ),
    "submitBatch": Doc(
        {200: BatchOutcomes},
        (400, 401, 403, 413, 415, 422, 500, 503),
        Body(BatchItem, (_JSON, "application/x-ndjson"), array=True),
        ("Daybook-Owner",),
        ("Daybook-Position",),
    ),
    "listTasks": Doc({200: TaskList}, (400, 401, 403, 500, 503), headers=("Daybook-Owner",), response_headers=("Link",)),
    "getTask": Doc({200: TaskView, 304: None}, (400, 401, 403, 404, 500, 503), headers=("Daybook-Owner",), response_headers=("ETag", "Preference-Applied")),
    "getResult": Doc({200: ...}, (400, 401, 403, 404, 409, 410, 500, 503), headers=("Daybook-Owner",), response_headers=("ETag",)),
    "getEvents": Doc(
        {200: EventList, 204: None}, (400, 401, 403, 404, 500, 503), headers=("Daybook-Owner",), response_headers=("ETag",), streams=True
    ),
    "cancelTask": Doc(
        {200: TaskView, 202: TaskView}, _CHANGES, Body(CancelRequest, required=False), ("If-Match", "Daybook-Owner"), _WRITTEN
    ),
    "rescheduleTask": Doc({200: TaskView}, _CHANGES, Body(RescheduleRequest), ("If-Match", "Daybook-Owner"), _WRITTEN),
    "listApps": Doc({200: AppList}, (400, 401, 403, 500, 503), headers=("Daybook-Owner",)),
    "getApp": Doc({200: AppView}, (400, 401, 403, 404, 500, 503), headers=("Daybook-Owner",)),
    "livez": Doc({200: Health}, (500,), open=True),
    "readyz": Doc({200: Health, 503: Health}, (500,), open=True),
    "openapi": Doc({200: dict[str, Any]}, (500,), open=True),
}


def describe(app: Litestar) -> bytes:
    """The OpenAPI 3.1 document of the app, as JSON."""
    document = app.openapi_schema.to_schema()
    models = sorted({model for doc in TABLE.values() for model in _models(doc)} | {ProblemDetails}, key=lambda model: model.__name__)
    _, components = msgspec.json.schema_components(models, ref_template="#/components/schemas/{name}")
    document["components"] = {
        "schemas": components,
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "A token: `dbk_…`."}},
    }
    for path in document["paths"].values():
        for operation in path.values():
            _complete(operation, TABLE[operation["operationId"]])
    return msgspec.json.encode(document)


def _complete(operation: dict[str, Any], doc: Doc) -> None:
    operation["security"] = [] if doc.open else [{"bearer": []}]
    operation["responses"] = {
        **{str(status): _answer(status, model, doc) for status, model in doc.answers.items()},
        **{str(status): _problem(status) for status in doc.problems if status not in doc.answers},
    }
    if doc.headers:
        given = [
            {"name": name, "in": "header", "required": False, "description": HEADERS[name], "schema": _TEXT} for name in doc.headers
        ]
        operation["parameters"] = [*operation.get("parameters", []), *given]
    if doc.body is not None:
        operation["requestBody"] = _body(doc.body)


def _answer(status: int, model: Any, doc: Doc) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": _DESCRIPTIONS.get(status, "Done")}
    if model is ...:
        answer["content"] = {"*/*": {"schema": {}}}
    elif model is not None:
        answer["content"] = {_JSON: {"schema": {"type": "object"} if model == dict[str, Any] else _ref(model)}}
        if doc.streams:
            answer["content"][_STREAM] = {"schema": _TEXT}
    if doc.response_headers and status < 300:
        answer["headers"] = {name: {"description": HEADERS[name], "schema": _TEXT} for name in doc.response_headers}
    return answer


def _problem(status: int) -> dict[str, Any]:
    return {
        "description": "A problem (RFC 9457)",
        "content": {MEDIA_TYPE: {"schema": _ref(ProblemDetails)}},
        "headers": {"X-Request-Id": {"description": HEADERS["X-Request-Id"], "schema": _TEXT}},
    }


def _body(body: Body) -> dict[str, Any]:
    schema = _ref(body.schema)
    content = {}
    for media_type in body.media_types:
        whole = {"type": "array", "items": schema, "maxItems": 10_000} if body.array and media_type == _JSON else schema
        content[media_type] = {"schema": whole}
    return {"required": body.required, "content": content}


def _models(doc: Doc) -> set[Any]:
    models = {model for model in doc.answers.values() if model is not None and model is not ... and model != dict[str, Any]}
    return models | ({doc.body.schema} if doc.body else set())


def _ref(model: Any) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


_DESCRIPTIONS: Final = {
    200: "Done",
    202: "Accepted, and not finished yet",
    204: "The stream has ended; do not come back",
    304: "Not changed",
    503: "Cannot do its work now",
}
