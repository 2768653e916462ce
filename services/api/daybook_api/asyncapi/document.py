"""Puts the document together, and answers with it."""

from functools import lru_cache
from typing import Any, Final

import msgspec
from litestar import Litestar, Response, get

from ..documents import schemas as http_schemas
from ..requests import HttpRequest
from . import others
from .facts import EVENTS, facts
from .parts import JSON, merged, schemas
from .verbs import verbs

_INTRODUCTION: Final = (
    "Hand work to any app, get on with your day. On NATS Daybook tells every fact as a CloudEvent and everything that a running attempt says, "
    "and answers requests as it does over HTTP. All of it is made from the log in PostgreSQL and can be lost without losing a task: facts and words are "
    "numbered, and what is missing is asked for over HTTP (`/openapi.json`)."
)
_SERVERS: Final = {
    "nats": {
        "host": "{host}:{port}",
        "protocol": "nats",
        "description": "The nats-server, with JetStream, that this Daybook was given.",
        "variables": {
            "host": {"default": "localhost", "description": "Where it is."},
            "port": {"default": "4222", "description": "Its port."},
        },
        "security": [{"$ref": "#/components/securitySchemes/nats"}],
    }
}
_PERMITTED: Final = "Whatever the server asks for; its permissions say who may listen to whose subjects, and ask on them."
_SECURITY: Final = {"nats": {"type": "userPassword", "description": _PERMITTED}}


@get("/asyncapi.json", operation_id="asyncapi", tags=["operations"])
async def asyncapi(request: HttpRequest) -> Response[bytes]:
    """What is said on NATS: facts, live output, requests and answers (AsyncAPI 3.0)."""
    return Response(describe(request.app), media_type=JSON)


@lru_cache(maxsize=1)
def describe(app: Litestar) -> bytes:
    """The document, as JSON."""
    shapes = http_schemas()
    parts = [facts(), others.others(), verbs(app, shapes)]
    document: dict[str, Any] = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Daybook on NATS",
            "version": "1",
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": JSON,
        "servers": _SERVERS,
        "channels": merged(part.channels for part in parts),
        "operations": merged(part.operations for part in parts),
        "components": {
            "messages": merged(part.messages for part in parts),
            "schemas": merged([schemas(EVENTS), others.shapes(), shapes]),
            "securitySchemes": _SECURITY,
        },
    }
    return msgspec.json.encode(_without_the_unused(document))


def _without_the_unused(document: dict[str, Any]) -> dict[str, Any]:
    """Without the schemas that only HTTP has."""
    components = document["components"]
    used: set[str] = set()
    waiting = [*_references(components["messages"])]
    while waiting:
        name = waiting.pop()
        if name not in used:
            used.add(name)
            waiting += _references(components["schemas"][name])
    components["schemas"] = {name: schema for name, schema in sorted(components["schemas"].items()) if name in used}
    return document


def _references(value: Any) -> list[str]:
    """The names of the schemas that are referred to in there."""
    if isinstance(value, list):
        return [name for each in value for name in _references(each)]
    if not isinstance(value, dict):
        return []
    reference = value.get("$ref")
    mine = [reference.removeprefix("#/components/schemas/")] if isinstance(reference, str) and reference.startswith("#/components/schemas/") else []
    return mine + [name for each in value.values() for name in _references(each)]
