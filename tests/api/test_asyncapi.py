"""/asyncapi.json is what it says it is: AsyncAPI 3.0, whole in itself, with a message for everything that can be said, and
examples that are true. That real messages are as it describes them is tested in `tests/bus/test_messages_described.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest
from tests.bus.described import Described
from tests.services import Services

from daybook.domain.events import OTHER_EVENTS, TASK_EVENTS, kind_of
from daybook.domain.schedule_events import SCHEDULE_EVENTS
from daybook_api.over_nats.verbs import VERBS

REFERENCE: Final = Path(__file__).parents[2] / "docs" / "reference" / "messages.md"


@pytest.fixture
async def document(services: Services) -> Any:
    """The document, as anybody gets it."""
    async with services.client(None) as anybody:
        answer = await anybody.get("/asyncapi.json")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    return answer.json()


def references(value: Any) -> Iterator[str]:
    """Every reference in there."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def resolved(document: Any, reference: str) -> Any:
    """What a reference stands for."""
    found = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def test_every_reference_leads_somewhere(document: Any) -> None:
    assert document["asyncapi"] == "3.0.0"
    found = set(references(document))
    for reference in found:
        assert resolved(document, reference) is not None
    for kind in ("schemas", "messages"):
        unused = {name for name in document["components"][kind] if f"#/components/{kind}/{name}" not in found}
        assert unused == set()


def test_channels_and_operations_fit_together(document: Any) -> None:
    addresses = [channel["address"] for channel in document["channels"].values() if channel["address"] is not None]
    assert len(addresses) == len(set(addresses))
    for channel in document["channels"].values():
        assert set(re.findall(r"\{(\w+)\}", channel["address"] or "")) == set(channel.get("parameters", {}))
        assert channel["messages"]
    for operation in document["operations"].values():
        assert operation["action"] in ("send", "receive")
        messages = resolved(document, operation["channel"]["$ref"])["messages"]
        assert {reference["$ref"].rpartition("/")[2] for reference in operation["messages"]} == set(messages)
        if operation["action"] == "receive":
            replies = resolved(document, operation["reply"]["channel"]["$ref"])["messages"]
            assert {reference["$ref"].rpartition("/")[2] for reference in operation["reply"]["messages"]} <= set(replies)


def test_every_schema_is_one(document: Any) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "http://json-schema.org/draft-07/schema#", **schema})
    for name, message in document["components"]["messages"].items():
        assert message["name"] == name
        for part in ("headers", "payload"):
            jsonschema_rs.meta.validate({"$schema": "http://json-schema.org/draft-07/schema#", **message.get(part, {})})


def test_there_is_a_message_for_every_kind_of_event_and_every_verb(document: Any) -> None:
    kinds = {kind_of(event) for event in TASK_EVENTS + SCHEDULE_EVENTS + OTHER_EVENTS}
    assert kinds | {f"{verb}.{part}" for verb in VERBS for part in ("request", "answer")} | {
        *("live.progress", "live.log", "live.chunk", "live.action", "doorbell", "cancel", "poke", "problem")
    } == set(document["components"]["messages"])
    assert set(VERBS) == {name for name, operation in document["operations"].items() if operation["action"] == "receive"}


def test_every_message_that_is_told_has_an_example_and_examples_are_true(document: Any) -> None:
    described = Described(document)
    for name, message in document["components"]["messages"].items():
        if not name.endswith((".request", ".answer", "problem")):
            assert message["examples"], name
        for example in message.get("examples", ()):
            assert described.wrong_with(name, example.get("headers"), json.dumps(example["payload"]).encode()) == []


def test_moments_are_described_as_such(document: Any) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["TaskStarted"]["properties"]["overdue_at"]["anyOf"][0] == {"type": "string", "format": "date-time"}
    assert schemas["TaskRescheduled"]["properties"]["run_at"]["format"] == "date-time"
    assert schemas["SlotFired"]["properties"]["live"]["items"]["format"] == "date-time"
    assert schemas["Rule"]["properties"]["end_at"]["anyOf"][0]["format"] == "date-time"


def test_the_reference_page_says_the_same(document: Any) -> None:
    page = REFERENCE.read_text(encoding="utf-8")
    for name, message in document["components"]["messages"].items():
        if "x-subject-verbs" in message:
            row = f"| `{name}` | {', '.join(f'`{verb}`' for verb in message['x-subject-verbs'])} | {message['summary']} |"
            assert row in page, f"the page has no line {row}"
            assert set(re.findall(r"`(ce-\w+)`", page)) == {header for header in message["headers"]["properties"] if header.startswith("ce-")}
    for word in ("Progress", "Log", "Chunk"):
        fields = set(document["components"]["schemas"][f"{word}Word"]["properties"]) - {"type", "attempt", "n", "at"}
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{word.lower()}` |")]
        assert fields <= set(re.findall(r"`(\w+)`", line))


def test_it_tells_nothing_about_this_machine(document: Any, services: Services) -> None:
    text = json.dumps(document)
    for secret in (services.settings.nats_url, services.settings.database_url, "127.0.0.1"):
        assert secret not in text
