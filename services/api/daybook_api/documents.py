"""/openapi.json: the OpenAPI 3.1 document. Paths come from the app's routes, words from their docstrings, schemas from
the very structs that are decoded and encoded, and the rest from the table in `endpoints`. Every 4xx and 5xx is a
problem (RFC 9457), but for the health of the process.
"""

from functools import lru_cache
from inspect import cleandoc
from itertools import combinations
from typing import Any, Final

import msgspec
from litestar import Litestar, Response, get
from litestar.routes import HTTPRoute

from .endpoints import ENDPOINTS, JSON, LINES, RESPONSE_HEADERS, STREAM, Endpoint, Parameter
from .problems import CODES, MEDIA_TYPE, ProblemDetails
from .requests import HttpRequest

_INTRODUCTION: Final = (
    "Hand work to any app, get on with your day. Submit a task, watch it run, read its result and its history. "
    "Every task is known by an id (`tsk_…`); somebody else's task is one that does not exist."
)
_TAGS: Final = {
    "schedules": "Tasks that are submitted again and again, when a cron expression says so; and what became of each time.",
    "tasks": "Submitted work: what is to be done, what is being done, what became of it.",
    "apps": "What can be run.",
    "webhooks": "Who is told when tasks end, with a signed message to a URL; and whether they were.",
    "events": "Everything that happens, as it happens.",
    "session": "Who is asking; and how a browser logs in and out.",
    "operations": "For whoever keeps the service running.",
}
_DESCRIPTIONS: Final = {
    200: "Done.",
    201: "Made.",
    202: "Accepted, and not finished yet.",
    204: "Done, and there is nothing more to say.",
    304: "Not changed.",
    503: "Cannot do its work now.",
}
_STREAM: Final = (
    "Server-sent events, with a `heartbeat` in silence. Of one task: `snapshot` first, then one event for each later fact (`task.running` …) "
    "and for what the attempt says (`progress`, `log`, `chunk`, `action`), `gap` where some of that was lost, and `end`. "
    "Of the feed: `begin` first, then one event for each fact."
)
_RUN_AT: Final = {"required": ["run_at"], "properties": {"run_at": {"type": "string"}}}
_DELAY: Final = {"required": ["delay"], "properties": {"delay": {"type": ["string", "number"]}}}
_CRON: Final = {"required": ["cron"], "properties": {"cron": {"type": "string"}}}
_TIMEZONE: Final = {"required": ["timezone"], "properties": {"timezone": {"type": "string"}}}
_LEADING: Final = {
    "task": ("getTask", "getResult", "getEvents", "cancelTask", "rescheduleTask", "runTaskNow", "retryTask", "rerunTask"),
    "schedule": ("getSchedule", "changeSchedule", "pauseSchedule", "resumeSchedule", "triggerSchedule", "backfillSchedule", "listSlots", "deleteSchedule"),
}


@get("/openapi.json", operation_id="openapi", tags=["operations"])
async def openapi(request: HttpRequest) -> Response[bytes]:
    """This document."""
    return Response(describe(request.app), media_type=JSON)


@lru_cache(maxsize=1)
def describe(app: Litestar) -> bytes:
    """The document of the app, as JSON. Raises KeyError for a route that `endpoints` does not know."""
    paths: dict[str, dict[str, Any]] = {}
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for handler in route.route_handlers:
            if handler.operation_id is not None:  # the answer to OPTIONS has none
                endpoint = ENDPOINTS[str(handler.operation_id)]
                words = cleandoc(handler.fn.__doc__ or "").partition("\n\n")
                operation = {"operationId": handler.operation_id, "summary": words[0], "tags": sorted(handler.tags or ()), **_operation(endpoint)}
                if words[2]:
                    operation["description"] = words[2]
                for method in handler.http_methods:
                    paths.setdefault(route.path_format, {})[method.lower()] = operation
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Daybook", "version": "1", "description": _INTRODUCTION, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "paths": {path: dict(sorted(methods.items())) for path, methods in sorted(paths.items())},
        "components": {
            "schemas": schemas(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "A token: `dbk_…`."}},
        },
    }
    return msgspec.json.encode(document)


def schemas() -> dict[str, Any]:
    """The schemas of everything that comes in and goes out, by name."""
    models: set[Any] = {ProblemDetails}
    for endpoint in ENDPOINTS.values():
        models |= {model for content in endpoint.answers.values() if content for model in content.values() if model is not None}
        models |= {endpoint.body} if endpoint.body is not None else set()
    _, components = msgspec.json.schema_components(sorted(models, key=lambda model: model.__name__), ref_template="#/components/schemas/{name}")
    for name in ("BatchItem", "RerunRequest", "RescheduleRequest"):
        components[name]["not"] = {"allOf": [_RUN_AT, _DELAY]}
    components["SubmitRequest"]["not"] = {
        "anyOf": [*({"allOf": pair} for pair in combinations((_RUN_AT, _DELAY, _CRON), 2)), {"allOf": [_TIMEZONE, {"not": _CRON}]}],
    }
    components["ChangeScheduleRequest"]["properties"]["input"] = {"description": "Any JSON that fits the app's input schema; without it the same as before."}
    for name in ("SubmitRequest", "BatchItem", "CreateScheduleRequest"):
        components[name]["properties"]["input"] = {"description": "Any JSON that fits the app's input schema.", "default": {}}
    components["RerunRequest"]["properties"]["input"] = {"description": "Any JSON that fits the app's input schema; without it the same as before."}
    components["RescheduleRequest"]["anyOf"] = [_RUN_AT, _DELAY]
    components["ProblemDetails"]["properties"]["code"]["enum"] = sorted(CODES)
    return components


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "security": [{"bearer": []}] if endpoint.needs_token else [],
        "responses": {
            **{str(status): _answer(status, content, endpoint) for status, content in endpoint.answers.items()},
            **{str(status): _problem(status) for status in sorted(endpoint.problems) if status not in endpoint.answers},
        },
    }
    if endpoint.parameters:
        operation["parameters"] = [_parameter(parameter) for parameter in endpoint.parameters]
    if endpoint.body is not None:
        operation["requestBody"] = {"required": endpoint.body_required, "content": _body(endpoint)}
    return operation


def _parameter(parameter: Parameter) -> dict[str, Any]:
    described = {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.where == "path",
        "description": parameter.description,
        "schema": parameter.schema,
    }
    return described if parameter.explode is None else described | {"style": "form", "explode": parameter.explode}


def _answer(status: int, content: dict[str, Any] | None, endpoint: Endpoint) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": _DESCRIPTIONS[status]}
    if content is not None:
        answer["content"] = {media_type: _content(media_type, model) for media_type, model in content.items()}
    names = endpoint.response_headers if status < 400 else ()
    if names:
        answer["headers"] = {name: _header(name) for name in names}
    what = "schedule" if status == 201 else endpoint.leads_to
    if what is not None and endpoint.leads_to is not None:
        parameters = {f"{what}_id": "$response.body#/id"}
        answer["links"] = {name: {"operationId": name, "parameters": parameters} for name in _LEADING[what]}
    return answer


def _content(media_type: str, model: Any) -> dict[str, Any]:
    if model is not None:
        return {"schema": _ref(model)}
    if media_type == STREAM:
        return {"schema": {"type": "string", "description": _STREAM}}
    return {"schema": {"type": "object"}} if media_type == JSON else {}


def _problem(status: int) -> dict[str, Any]:
    names = {401: ("X-Request-Id", "WWW-Authenticate"), 503: ("X-Request-Id", "Retry-After")}.get(status, ("X-Request-Id",))
    codes = sorted(code for code, meaning in CODES.items() if meaning.status == status)
    return {
        "description": f"A problem: {', '.join(codes)}.",
        "content": {MEDIA_TYPE: {"schema": _ref(ProblemDetails)}},
        "headers": {name: _header(name) for name in names},
    }


def _header(name: str) -> dict[str, Any]:
    description, schema = RESPONSE_HEADERS[name]
    return {"description": description, "required": False, "schema": schema}


def _body(endpoint: Endpoint) -> dict[str, Any]:
    schema = _ref(endpoint.body)
    if LINES not in endpoint.body_types:
        return {media_type: {"schema": schema} for media_type in endpoint.body_types}
    lines = {"type": "string", "description": f"Lines, each of them a {endpoint.body.__name__} as JSON."}
    return {JSON: {"schema": {"type": "array", "items": schema, "maxItems": 10_000}}, LINES: {"schema": lines}}


def _ref(model: Any) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
