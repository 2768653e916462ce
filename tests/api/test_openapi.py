"""/openapi.json tells the truth: it is valid OpenAPI 3.1, and schemathesis finds no answer that it does not describe, and no 5xx."""

import asyncio
import json
import re
import sys
from pathlib import Path

import httpx2
import jsonschema_rs
import msgspec
import pytest
from tests.api.apps import Gate
from tests.services import Services

from daybook.domain.events import AppPublished
from daybook.log.envelope import START
from daybook_api import endpoints
from daybook_api.feed import cursor as feed_cursor

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


async def test_it_is_what_it_says_it_is(services: Services) -> None:
    async with services.client(None) as anybody:
        answer = await anybody.get("/openapi.json")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    document = answer.json()
    assert document["openapi"] == "3.1.0"
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    text = answer.text
    references = set(re.findall(r'"\$ref":"#/components/schemas/(\w+)"', text))
    assert references == set(document["components"]["schemas"])
    operations = {operation["operationId"]: operation for item in document["paths"].values() for operation in item.values()}
    assert set(operations) == set(endpoints.ENDPOINTS)
    for path, item in document["paths"].items():
        for operation in item.values():
            named = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))
            assert operation["summary"].endswith(".")
            assert set(operation["tags"]) <= {tag["name"] for tag in document["tags"]}
            for status, response in operation["responses"].items():
                if int(status) >= 400 and operation["operationId"] != "readyz":
                    assert set(response["content"]) == {"application/problem+json"}


async def test_bodies_are_strict_and_answers_complete(services: Services) -> None:
    async with services.client(None) as anybody:
        schemas = (await anybody.get("/openapi.json")).json()["components"]["schemas"]
    for name, schema in schemas.items():
        if name.endswith("Request") or name == "BatchItem":
            assert schema["additionalProperties"] is False, name
        elif name.endswith(("View", "Summary", "List", "Slot", "Counts")) and name != "ErrorView":
            assert set(schema["required"]) == set(schema["properties"]), name
    submit = schemas["SubmitRequest"]["properties"]
    assert submit["run_at"]["anyOf"][0] == {"type": "string", "format": "date-time"}
    assert submit["queue"]["anyOf"][0]["pattern"] == "^[a-z0-9_-]{1,32}(?!\\n)$"
    for name in ("submitted_at", "finished_at"):
        assert "date-time" in json.dumps(schemas["TaskView"]["properties"][name])


@pytest.mark.slow
async def test_schemathesis_finds_nothing(services: Services, owner: str, gate: Gate, tmp_path: Path) -> None:
    await services.announce(AppPublished(app="any", app_kind="python", version="1", actor="a test"), "default")
    token = await services.token(owner, scopes=("submit", "read", "act_as"))
    async with services.client(token) as client:
        tasks = await _tasks_of_all_kinds(client, gate)
        position = (await client.post(f"/v1/tasks/{tasks[-1]}/cancel")).headers["Daybook-Position"]
        schedules = await _schedules_of_all_kinds(client)
        webhooks = await _webhooks_of_all_kinds(client)
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION.read_text() + _dictionaries(tasks, schedules, webhooks, position, owner))
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration), "--no-color", "run", f"{services.url}/openapi.json"]
    process = await asyncio.create_subprocess_exec(
        *command,
        *("--header", f"Authorization: Bearer {token}"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(180):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    print(said.decode())
    assert process.returncode == 0, said.decode()[-20_000:]


async def _tasks_of_all_kinds(client: httpx2.AsyncClient, gate: Gate) -> list[str]:
    """Tasks in every state, for requests to find."""
    finished = {"Prefer": "wait=10"}
    bodies: list[tuple[dict[str, object], dict[str, str]]] = [
        ({"app": "t.echo", "input": {"value": "x" * 10_000}}, finished),
        ({"app": "t.raw"}, finished),
        ({"app": "t.fails", "input": {"message": "no luck"}}, finished),
        ({"app": "t.gated", "input": {"gate": gate.name}}, {}),
        ({"app": "t.echo", "delay": "1h"}, {}),
        ({"app": "t.echo", "delay": "2h"}, {}),
        ({"app": "t.echo", "queue": "nobody"}, {}),
    ]
    return [(await client.post("/v1/tasks", json=body, headers=headers)).json()["id"] for body, headers in bodies]


async def _schedules_of_all_kinds(client: httpx2.AsyncClient) -> list[str]:
    """The same of schedules; none of them comes due."""
    bodies: list[dict[str, object]] = [{"paused": True, "note": "n"}, {"timezone": "Europe/Berlin", "jitter": "1m"}, {"max_runs": 1}, {}]
    paths = [(await client.post("/v1/schedules", json={"app": "any", "cron": "0 0 1 1 *", **body})).headers["Location"] for body in bodies]
    await client.post(f"{paths[0]}/backfill", json={"since": "1000d"})
    await client.post(f"{paths[1]}/trigger")
    await client.delete(paths[-1])
    return [path.rpartition("/")[2] for path in paths]


async def _webhooks_of_all_kinds(client: httpx2.AsyncClient) -> list[str]:
    """The same of webhooks; nobody listens where they lead."""
    bodies: list[dict[str, object]] = [{"app": "t.order", "events": ["task.cancelled"]}, {"app": "nobodys", "note": "n"}, {"app": "nobodys"}]
    paths = [(await client.post("/v1/webhooks", json={"url": "http://127.0.0.1:1/", **body})).headers["Location"] for body in bodies]
    await client.delete(paths[-1])
    return [path.rpartition("/")[2] for path in paths]


def _dictionaries(tasks: list[str], schedules: list[str], webhooks: list[str], position: str, owner: str) -> str:
    # One app takes anything; it is submitted to more often than those that do not.
    inputs = ["any"] * 6 + ["t.echo", "t.order", "t.fails", "t.raw"]
    return f"""
# A position that lies ahead is waited for in vain, and answered with the 503 that the document promises.
[dictionaries.positions]
values = ["{position}"]

# Anybody may be named, but of somebody else's tasks there is nothing to find; and a header in schemathesis' hands is latin-1, where the API wants UTF-8.
[dictionaries.owners]
values = ["{owner}"]

# Whether a text is a place of the feed is beyond a schema, too.
[dictionaries.places]
values = ["{feed_cursor.spell(START, "default")}"]

[dictionaries.tasks]
values = {msgspec.json.encode(tasks).decode()}

[dictionaries.schedules]
values = {msgspec.json.encode(schedules).decode()}

[dictionaries.webhooks]
values = {msgspec.json.encode(webhooks).decode()}

# Whether a text is an expression is beyond a schema; and what came due would disturb the other tests.
[dictionaries.expressions]
values = ["0 0 1 1 *", "@yearly", "0 0 29 2 *", "0 12 L 12 *", "0 0 30 2 *"]

[dictionaries.zones]
values = ["UTC", "Europe/Berlin", "Mars/Olympus"]

[dictionaries.apps]
values = {msgspec.json.encode(inputs).decode()}

[parameters]
"header.Daybook-Position" = {{ dictionary = "positions", probability = 1.0 }}
"header.Last-Event-ID" = {{ dictionary = "places", probability = 0.8 }}
"header.Daybook-Owner" = {{ dictionary = "owners", probability = 1.0 }}
"query.owner" = {{ dictionary = "owners", probability = 0.9 }}
"path.task_id" = {{ dictionary = "tasks", probability = 0.8 }}
"path.webhook_id" = {{ dictionary = "webhooks", probability = 0.8 }}
"path.schedule_id" = {{ dictionary = "schedules", probability = 0.8 }}
"query.schedule" = {{ dictionary = "schedules", probability = 0.8 }}
"body.cron" = {{ dictionary = "expressions", probability = 1.0 }}
"body.timezone" = {{ dictionary = "zones", probability = 0.8 }}
"path.app" = {{ dictionary = "apps", probability = 0.8 }}
"query.app" = {{ dictionary = "apps", probability = 0.5 }}
"body.app" = {{ dictionary = "apps", probability = 0.8 }}
"""
