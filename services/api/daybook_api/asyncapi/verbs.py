"""What can be asked for over NATS by request and reply, from the table of verbs, with the schemas of HTTP: it is the same
house behind another door."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

from litestar import Litestar

from daybook.bus import subjects

from ..endpoints import ENDPOINTS, JSON, RESPONSE_HEADERS, Endpoint, Parameter
from ..over_nats.verbs import HEADERS, Verb, verbs_of
from ..problems import MEDIA_TYPE, ProblemDetails
from .parts import NAMESPACE, OWNER, Part, channel, object_of, operation, ref

ANSWERS: Final = "answers"
PROBLEM: Final = "problem"
_INFO: Final = {"name": "daybook", "discovery": "$SRV.INFO.daybook", "queue": subjects.API_QUEUE}
_TEXT: Final = {"type": "string"}
_STATUS: Final = "Daybook-Status"
_OWNER: Final = {**_TEXT, "description": "The owner's name, where the subject has `x-` and a digest of it.", "minLength": 1, "maxLength": 128}
_ASKED: Final = (
    "A request; the answer comes to its reply subject, which must be an inbox. Who asks is what the subject says: the server's permissions give each user "
    "the subjects of their own. An empty body stands for `{}`."
)


def verbs(app: Litestar, schemas: dict[str, Any]) -> Part:
    """A channel for each verb, and one for all answers. `schemas` are those of HTTP."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {PROBLEM: _problem()}
    for verb in verbs_of(app):
        endpoint = ENDPOINTS[verb.operation]
        asked, answered = f"{verb.name}.request", f"{verb.name}.answer"
        address = f"daybook.{{namespace}}.{{owner}}.api.{verb.name}"
        channels[verb.name] = channel(address, verb.name, _ASKED, [asked], namespace=NAMESPACE, owner=OWNER)
        operations[verb.name] = operation("receive", verb.name, f"The same as `{verb.method} {_path(verb)}`.", [asked]) | {
            "bindings": {"nats": {"queue": subjects.API_QUEUE, "bindingVersion": "0.1.0"}},
            "reply": {
                "channel": {"$ref": f"#/channels/{ANSWERS}"},
                "messages": [{"$ref": f"#/channels/{ANSWERS}/messages/{name}"} for name in (answered, PROBLEM)],
            },
            "x-nats-micro": _INFO,
        }
        messages[asked] = _request(verb, endpoint, schemas)
        messages[answered] = _answer(verb, endpoint)
    replies = "What comes to the reply subject of a request: the answer, or, with `Nats-Service-Error-Code` among its headers, a problem."
    channels[ANSWERS] = channel(None, "Answers", replies, [name for name in messages if not name.endswith(".request")])
    return Part(channels, operations, messages)


def _path(verb: Verb) -> str:
    return verb.path.format(f"{{{verb.key}}}")


def _request(verb: Verb, endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    properties = {each.name: _header(each) for each in endpoint.parameters if each.where == "header" and each.name in HEADERS}
    message: dict[str, Any] = {
        "name": f"{verb.name}.request",
        "title": f"{verb.name}: the request",
        "summary": f"Asks for `{verb.name}`.",
        "contentType": JSON,
        "headers": object_of(properties | {"Daybook-Owner": _OWNER}),
    }
    payload = ref(endpoint.body) if verb.passes_through else _fields(verb, endpoint, schemas)
    return message | {"payload": payload}


def _fields(verb: Verb, endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    """The object whose fields become the path, and the query or the body."""
    path = {str(verb.key): {**each.schema, "description": each.description} for each in endpoint.parameters if each.where == "path"}
    if verb.has_body:
        # A body refuses fields that it does not know, so it cannot be had by reference together with the path's.
        body: dict[str, Any] = deepcopy(schemas[endpoint.body.__name__])
        body["title"] = f"{verb.name}: the request"
        return body | {"properties": path | body["properties"], "required": sorted([*path, *body["required"]])}
    query = {each.name: _parameter(each) for each in endpoint.parameters if each.where == "query"}
    return object_of(path | query, path, additionalProperties=False)


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema = {**parameter.schema, "description": parameter.description}
    return {"description": parameter.description, "anyOf": [parameter.schema, _TEXT]} if parameter.schema.get("type") == "array" else schema


def _header(parameter: Parameter) -> dict[str, Any]:
    return {**parameter.schema, "description": parameter.description}


def _answer(verb: Verb, endpoint: Endpoint) -> dict[str, Any]:
    statuses = sorted(str(status) for status, content in endpoint.answers.items() if _is_seen(verb, status, content))
    empty = [status for status in statuses if endpoint.answers[int(status)] is None]
    models = {model for content in endpoint.answers.values() for model in _models(content)}
    names = [name for name in endpoint.response_headers if name not in ("Set-Cookie", "WWW-Authenticate")]
    headers = {
        _STATUS: {"enum": statuses, "description": "What HTTP would have answered."},
        **{name: {"description": RESPONSE_HEADERS[name][0], **RESPONSE_HEADERS[name][1]} for name in ("X-Request-Id", *names)},
        "Content-Type": _TEXT,
    }
    message: dict[str, Any] = {
        "name": f"{verb.name}.answer",
        "title": f"{verb.name}: the answer",
        "summary": f"The answer to `{verb.name}`." if models else f"The answer to `{verb.name}`: bytes of any kind, or none.",
        "headers": object_of(headers, [_STATUS]),
    }
    if empty:
        message["description"] = f"With the status {' or '.join(empty)} it has no body."
        message["x-without-body"] = empty
    if not models:
        return message | {"contentType": "application/octet-stream"}
    schemas = [ref(model) for model in sorted(models, key=lambda model: str(model.__name__))]
    return message | {"contentType": JSON, "payload": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}


def _is_seen(verb: Verb, status: int, content: dict[str, Any] | None) -> bool:
    """Whether a status can be answered here: 204 is also how a stream of server-sent events ends, which nobody asks for over NATS."""
    return content is not None or status == 304 or verb.method == "DELETE"


def _models(content: dict[str, Any] | None) -> Iterator[Any]:
    model = None if content is None else content.get(JSON)
    if model is not None:
        yield model


def _problem() -> dict[str, Any]:
    code = {**_TEXT, "pattern": "^[45][0-9]{2}$"}
    headers = {
        _STATUS: {**code, "description": "What HTTP would have answered."},
        "Nats-Service-Error-Code": code,
        "Nats-Service-Error": {**_TEXT, "description": "The problem's detail, on one line."},
        "Content-Type": {"const": MEDIA_TYPE},
        **{name: {"description": RESPONSE_HEADERS[name][0], **RESPONSE_HEADERS[name][1]} for name in ("X-Request-Id", "Retry-After")},
    }
    return {
        "name": PROBLEM,
        "title": "Problem",
        "summary": "A refusal (RFC 9457), the same as over HTTP.",
        "contentType": MEDIA_TYPE,
        "headers": object_of(headers, [_STATUS, "Nats-Service-Error-Code", "Nats-Service-Error", "Content-Type"]),
        "payload": ref(ProblemDetails),
    }
