"""A message for each kind of event, and the subjects on which they are told."""

from collections.abc import Sequence
from inspect import cleandoc
from typing import Any, Final

import msgspec

from daybook.bus.topology import FACTS
from daybook.domain.events import OTHER_EVENTS, TASK_EVENTS, Event, TaskCancelRequested, kind_of
from daybook.domain.schedule_events import SCHEDULE_EVENTS
from daybook.domain.status import TABLE

from .examples import AT, EXAMPLES, IDS
from .parts import APP, JSON, NAMESPACE, OWNER, Part, channel, operation, ref

EVENTS: Final[tuple[type[Event], ...]] = TASK_EVENTS + SCHEDULE_EVENTS + OTHER_EVENTS
"""The registry."""
_BINDING: Final = "https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/nats-protocol-binding.md"
_TEXT: Final = {"type": "string"}
_ID: Final = "[0-7][0-9a-hjkmnp-tv-z]{25}$"
_EVENT_ID: Final = {**_TEXT, "pattern": f"^evt_{_ID}"}
_OMITTED: Final = "daybook-omitted-bytes"
_TOLD: Final = (
    "Told at least once, in order for each subject of a CloudEvent; `Nats-Msg-Id` is the event's id, and JetStream stores what is told twice within "
    "half a minute once. Whoever needs each exactly once remembers `ce-sequence`, the version, for each `ce-subject`, and asks "
    "`GET /v1/tasks/{id}/events` for what is missing. A fact too large for a message of this server is told with an empty body and the header "
    f"`{_OMITTED}`."
)


def facts() -> Part:
    """The channels of facts, one for each noun that facts are about."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    for noun, events in _by_noun().items():
        name, kinds = f"{noun}Facts", [kind_of(event) for event in events]
        channels[name] = channel(_address(noun), f"Facts about {noun}s", _TOLD, kinds, **_parameters(noun, events))
        channels[name]["x-jetstream"] = FACTS
        operations[f"tell{noun.capitalize()}"] = operation("send", name, f"Tell what happened to a {noun}.", kinds)
        messages |= {kind: _message(noun, event) for kind, event in zip(kinds, events, strict=True)}
    return Part(channels, operations, messages)


def verbs_of(event: type[Event]) -> list[str]:
    """What the last token of a fact's subject can be: the status that a fact about a task leads to, or what happened when that
    stays as it was; else the verb of its kind."""
    if event is TaskCancelRequested or event not in TASK_EVENTS:
        return [kind_of(event).split(".")[1]]
    return sorted({str(row.to) for row in TABLE if row.event is event})


def _by_noun() -> dict[str, Sequence[type[Event]]]:
    others: dict[str, list[type[Event]]] = {}
    for event in OTHER_EVENTS:
        others.setdefault(kind_of(event).split(".")[0], []).append(event)
    return {"task": TASK_EVENTS, "schedule": SCHEDULE_EVENTS, **others}


def _address(noun: str) -> str:
    match noun:
        case "task" | "schedule":
            return f"daybook.{{namespace}}.{{owner}}.fact.{{app}}.{{{noun}}}.{{what}}"
        case "webhook":
            return "daybook.{namespace}.{owner}.fact.webhook.{id}.{what}"
        case "app":
            return "daybook.{namespace}.system.fact.{app}.{id}.{what}"
        case _:
            return f"daybook.{{namespace}}.system.fact.{noun}.{{id}}.{{what}}"


def _parameters(noun: str, events: Sequence[type[Event]]) -> dict[str, dict[str, Any]]:
    address = _address(noun)
    verbs = sorted({verb for event in events for verb in verbs_of(event)})
    what = "The status that it leads to, or what happened when the status stays." if noun == "task" else "What happened."
    known: dict[str, dict[str, Any]] = {
        "namespace": NAMESPACE,
        "owner": OWNER,
        "app": APP,
        "task": {"description": "The task's id, `tsk_…`.", "location": "$message.header#/ce-subject", "examples": [IDS["task"]]},
        "schedule": {"description": "The schedule's id, `sch_…`.", "location": "$message.header#/ce-subject", "examples": [IDS["schedule"]]},
        "id": {"description": f"Which {noun}.", "location": "$message.header#/ce-subject"},
        "what": {"description": what, "enum": verbs},
    }
    return {name: value for name, value in known.items() if f"{{{name}}}" in address}


def _message(noun: str, event: type[Event]) -> dict[str, Any]:
    kind = kind_of(event)
    words = cleandoc(event.__doc__ or "")
    message: dict[str, Any] = {
        "name": kind,
        "title": event.__name__,
        "summary": " ".join(words.partition(".")[0].split()) + ".",
        "description": words,
        "contentType": JSON,
        "headers": _headers(noun, kind),
        "payload": ref(event),
        "correlationId": {"description": "What led to it: the request, the schedule, the task before.", "location": "$message.payload#/correlation"},
        "externalDocs": {"description": "CloudEvents 1.0 in binary mode, over NATS", "url": _BINDING},
        "x-cloudevents": {"specversion": "1.0", "mode": "binary"},
        "x-subject-verbs": verbs_of(event),
    }
    example = EXAMPLES.get(kind)
    if example is not None:
        # A kind without one is for the tests to find; the document is true all the same.
        message["examples"] = [{"name": kind, "headers": _example_headers(noun, kind), "payload": msgspec.to_builtins(example)}]
    return message


def _headers(noun: str, kind: str) -> dict[str, Any]:
    properties = {
        "ce-specversion": {"const": "1.0"},
        "ce-id": {**_EVENT_ID, "description": "The event's id."},
        "ce-source": {**_TEXT, "pattern": "^/daybook/[a-z0-9_-]{1,32}$", "description": "The namespace."},
        "ce-type": {"const": kind},
        "ce-subject": {**_TEXT, "pattern": f"^{_prefix(noun)}_{_ID}", "description": f"Which {noun}."},
        "ce-time": {**_TEXT, "format": "date-time", "description": "When it was recorded, by the database's clock."},
        "ce-sequence": {**_TEXT, "pattern": "^[1-9][0-9]*$", "description": "The version: 1, 2, 3 … for each `ce-subject`."},
        "content-type": {"const": JSON},
        "Nats-Msg-Id": {**_EVENT_ID, "description": "The event's id: JetStream stores it once within the duplicate window."},
        "Nats-Expected-Stream": {"const": FACTS},
    }
    optional = {
        "Nats-Expected-Last-Msg-Id": {**_EVENT_ID, "description": "The fact right behind which JetStream stores this one."},
        _OMITTED: {**_TEXT, "pattern": "^[1-9][0-9]*$", "description": "The body was larger than a message may be, and is empty: so many bytes were left out."},
    }
    return {"type": "object", "properties": properties | optional, "required": sorted(properties)}


def _example_headers(noun: str, kind: str) -> dict[str, str]:
    return {
        "ce-specversion": "1.0",
        "ce-id": IDS["event"],
        "ce-source": "/daybook/default",
        "ce-type": kind,
        "ce-subject": IDS.get(noun, IDS["token"]),
        "ce-time": AT.isoformat(),
        "ce-sequence": "1" if kind in ("task.submitted.v1", "schedule.created.v1") or noun not in ("task", "schedule") else "3",
        "content-type": JSON,
        "Nats-Msg-Id": IDS["event"],
        "Nats-Expected-Stream": FACTS,
    }


def _prefix(noun: str) -> str:
    return {"task": "tsk", "schedule": "sch", "app": "app", "token": "tok", "webhook": "whk"}.get(noun, "[a-z]{3}")
