"""What can be asked for over NATS: a verb for each operation of HTTP, and nothing else about it. Method, path and
parameters are read from the routes and from the table in `endpoints`, so neither door can know what the other does not.

The fields of the JSON object that is sent become the path, and then the query where the operation takes no body, and
the body where it does.
"""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlencode

import msgspec
from litestar import Litestar
from litestar.routes import HTTPRoute

from .. import bodies
from ..endpoints import ENDPOINTS, JSON
from ..problems import Problem, Spot
from ..requests import refused
from .in_process import Asked

VERBS: Final = {
    "tasks.submit": "submitTask",
    "tasks.list": "listTasks",
    "tasks.get": "getTask",
    "tasks.result": "getResult",
    "tasks.events": "getEvents",
    "tasks.logs": "getLogs",
    "tasks.output": "getOutput",
    "tasks.cancel": "cancelTask",
    "tasks.reschedule": "rescheduleTask",
    "tasks.run_now": "runTaskNow",
    "tasks.retry": "retryTask",
    "tasks.rerun": "rerunTask",
    "schedules.create": "createSchedule",
    "schedules.list": "listSchedules",
    "schedules.get": "getSchedule",
    "schedules.change": "changeSchedule",
    "schedules.delete": "deleteSchedule",
    "schedules.pause": "pauseSchedule",
    "schedules.resume": "resumeSchedule",
    "schedules.trigger": "triggerSchedule",
    "schedules.backfill": "backfillSchedule",
    "schedules.preview": "previewSchedule",
    "schedules.slots": "listSlots",
    "apps.list": "listApps",
    "apps.get": "getApp",
    "events.list": "getFeed",
}
HEADERS: Final = ("Idempotency-Key", "If-Match", "If-None-Match", "Prefer", "Daybook-Position")
"""The headers of a request that mean over NATS what they mean over HTTP. `Daybook-Owner` means something else, and no other means anything."""

_STEP: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Verb(msgspec.Struct, frozen=True, kw_only=True):
    """A verb, and the operation that it stands for."""

    name: str
    operation: str
    method: str
    path: str
    """With `{}` where the field `key` goes, if there is one."""
    key: str | None
    repeatable: frozenset[str]
    """The parameters of which each value is one of its own; of others, the values are joined by commas."""
    has_body: bool

    @property
    def passes_through(self) -> bool:
        """Whether what is sent is the body as it stands."""
        return self.has_body and self.key is None


def verbs_of(app: Litestar) -> Iterator[Verb]:
    """Every verb. Raises KeyError for one whose operation no route has."""
    routes = {
        str(handler.operation_id): (sorted(handler.http_methods)[0], route.path_format)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
    }
    for name, operation in VERBS.items():
        method, path = routes[operation]
        endpoint = ENDPOINTS[operation]
        parameter = _PARAMETER.search(path)
        yield Verb(
            name=name,
            operation=operation,
            method=method,
            path=_PARAMETER.sub("{}", path),
            key=None if parameter is None else field_of(parameter[1]),
            repeatable=frozenset(each.name for each in endpoint.parameters if each.explode),
            has_body=endpoint.body is not None,
        )


def field_of(parameter: str) -> str:
    """The field for a part of the path: `id` for the id of a task or schedule, else the parameter's own name."""
    return "id" if parameter.endswith("_id") else parameter


def as_http(verb: Verb, payload: bytes, headers: dict[str, str]) -> Asked:
    """The request that stands for this one. Raises the problems of bodies that are no JSON object, and of fields that
    cannot become a path or a query; all else is for the route to judge."""
    kept = {name: headers[name.lower()] for name in HEADERS if name.lower() in headers}
    if verb.passes_through:
        return Asked(verb.method, verb.path, b"", kept | {"Content-Type": JSON}, payload or b"{}")
    fields = bodies.decode(_OBJECT, payload) if payload else {}
    path = verb.path if verb.key is None else verb.path.format(_step(verb.key, fields))
    if verb.has_body:
        return Asked(verb.method, path, b"", kept | {"Content-Type": JSON}, msgspec.json.encode(fields))
    return Asked(verb.method, path, _query(fields, verb.repeatable), kept, b"")


def _step(name: str, fields: dict[str, msgspec.Raw]) -> str:
    raw = fields.pop(name, None)
    if raw is None:
        raise Problem("invalid-body", f"Say which one, in the field {name}.", errors=[Spot(pointer=f"/{name}", message="is missing")])
    value = bodies.decode_part(bytes(raw), f"/{name}")
    if not isinstance(value, str):
        raise Problem("invalid-body", f"The field {name} is text.", errors=[Spot(pointer=f"/{name}", message="is not text")])
    if _STEP.fullmatch(value) is None or not value.strip("."):
        # Such a name could lead to another route, and names nothing.
        raise Problem("not-found")
    return value


def _query(fields: dict[str, msgspec.Raw], repeatable: frozenset[str]) -> bytes:
    pairs: list[tuple[str, str]] = []
    for name, raw in fields.items():
        value = bodies.decode_part(bytes(raw), f"/{bodies.escaped(name)}")
        if isinstance(value, list):
            texts = [_text(name, each) for each in value]
            pairs += [(name, text) for text in texts] if name in repeatable else [(name, ",".join(texts))]
        elif value is not None:
            pairs.append((name, _text(name, value)))
    return urlencode(pairs).encode()


def _text(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise refused(name, "is text, a number, or an array of these")
    return str(value)
