"""Holds messages against /asyncapi.json, as somebody would who has nothing but that document.

Stricter than the document in one thing: a field that it does not describe is refused, though clients should ignore such.
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any, Final

import jsonschema_rs
import msgspec

_PARAMETER: Final = re.compile(r"\\\{(\w+)\\\}")
_REFERENCE: Final = re.compile(r'"#/components/schemas/(\w+)"')
_OMITTED: Final = "daybook-omitted-bytes"


class Described:
    """A document, and what it says of messages."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = closed(document)
        self._channels = [(name, _pattern(channel)) for name, channel in self.document["channels"].items() if channel["address"] is not None]
        self._validators: dict[str, tuple[Any, Any]] = {}

    def check(self, subject: str, headers: dict[str, str] | None, body: bytes) -> str:
        """The name of the one message that this is. Raises AssertionError where it is none, or more than one."""
        found, errors = set[str](), [f"no channel has the subject {subject}"]
        for channel, pattern in self._channels:
            if (match := pattern.fullmatch(subject)) is not None:
                for name in self.document["channels"][channel]["messages"]:
                    wrong = self.wrong_with(name, headers, body) + self._wrong_verb(name, match)
                    if wrong:
                        errors += [f"{name}: {each}" for each in wrong]
                    else:
                        found.add(name)
        assert found, f"{subject} {headers} {body[:500]!r} is not described: " + "; ".join(errors)
        assert len(found) == 1, f"{subject} could be {found}"
        return found.pop()

    def check_answer(self, verb: str, headers: dict[str, str] | None, body: bytes) -> str:
        """The same for what was answered to a request."""
        errors = []
        for reference in self.document["operations"][verb]["reply"]["messages"]:
            name = reference["$ref"].rpartition("/")[2]
            wrong = self.wrong_with(name, headers, body)
            if not wrong:
                return str(name)
            errors += [f"{name}: {each}" for each in wrong]
        raise AssertionError(f"the answer to {verb}, {headers} {body[:500]!r}, is not described: " + "; ".join(errors))

    def wrong_with(self, name: str, headers: dict[str, str] | None, body: bytes) -> list[str]:
        """What keeps this from being a message of that name."""
        message = self.document["components"]["messages"][name]
        if name not in self._validators:
            self._validators[name] = (self._validator(message.get("headers")), self._validator(message.get("payload")))
        of_headers, of_payload = self._validators[name]
        wrong = [] if of_headers is None and not headers else ["has headers"] if of_headers is None else _errors(of_headers, headers or {})
        if _OMITTED in (headers or {}):
            return wrong + (["has a body all the same"] if body else [])
        if (headers or {}).get("Daybook-Status") in message.get("x-without-body", ()):
            return wrong + (["has a body all the same"] if body else [])
        if of_payload is None:
            return wrong
        if not body and ".request" in name:
            body = b"{}"
        try:
            return wrong + _errors(of_payload, msgspec.json.decode(body))
        except msgspec.DecodeError as error:
            return [*wrong, str(error)]

    def _wrong_verb(self, name: str, match: re.Match[str]) -> list[str]:
        verbs = self.document["components"]["messages"][name].get("x-subject-verbs")
        return [] if verbs is None or match["what"] in verbs else [f"is not told as {match['what']}"]

    def _validator(self, schema: Any) -> Any:
        if schema is None:
            return None
        used: dict[str, Any] = {}
        waiting = [schema]
        while waiting:
            for name in _REFERENCE.findall(msgspec.json.encode(waiting.pop()).decode()):
                if name not in used:
                    used[name] = self.document["components"]["schemas"][name]
                    waiting.append(used[name])
        return jsonschema_rs.Draft7Validator({"allOf": [schema], "components": {"schemas": used}}, validate_formats=True)


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """The document, with objects that have no other fields than those described."""
    copy = deepcopy(document)
    waiting: list[Any] = [copy["components"]["schemas"], copy["components"]["messages"]]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if value.get("type") == "object" and value.get("properties"):
                value.setdefault("additionalProperties", False)
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return copy


def _errors(validator: Any, value: Any) -> list[str]:
    return [f"{list(error.instance_path)}: {error.message}" for error in validator.iter_errors(value)]


def _pattern(channel: dict[str, Any]) -> re.Pattern[str]:
    """What the subjects of a channel look like."""
    parameters = channel.get("parameters", {})

    def token(match: re.Match[str]) -> str:
        values = parameters[match[1]].get("enum")
        return f"(?P<{match[1]}>{'|'.join(map(re.escape, values)) if values else '[^.]+'})"

    return re.compile(_PARAMETER.sub(token, re.escape(channel["address"])))
