"""Health, the catalogue, unknown routes and methods, and what is said when the database is away."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
import pytest_asyncio
from tests.api.apps import app
from tests.services import ServedApi, Services, serving_api

from daybook import ids
from daybook.access import issue_token
from daybook.domain.events import AppPublished
from daybook.log.envelope import Recorded
from daybook.log.migrate import migrate
from daybook.settings import Settings
from daybook.testing import eventually
from daybook_local.postgres import EmbeddedPostgres


async def test_it_says_that_it_lives_and_is_ready(services: Services) -> None:
    async with services.client(None) as anybody:
        live = await anybody.get("/livez")
        assert (live.status_code, live.json()) == (200, {"status": "ok", "checks": {}})
        ready = await anybody.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ok", "checks": {"postgres": "ok", "nats": "ok"}})
        assert ready.headers["Content-Type"] == "application/json"


async def test_the_catalogue_lists_what_can_be_run(client: httpx2.AsyncClient) -> None:
    async def listed() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await client.get("/v1/apps")).json()["items"]
        return items if {item["app"] for item in items} >= set(app.definitions) else []

    apps = await eventually(listed)
    assert [item["app"] for item in apps] == sorted(item["app"] for item in apps)
    order = (await client.get("/v1/apps/t.order")).json()
    assert order in apps
    assert (order["kind"], order["doc"], order["queue"], order["priority"]) == ("python", "Return a name.", "default", 3)
    assert order["policy"] == {
        "max_attempts": 1,
        "max_losses": 3,
        "backoff_seconds": 1.0,
        "backoff_factor": 2.0,
        "backoff_max_seconds": 300.0,
        "non_retryable": [],
        "timeout_seconds": None,
        "queue_ttl_seconds": None,
        "deadline_seconds": None,
        "delivery": "at_least_once",
    }
    assert order["version"] == app.definitions["t.order"].version
    assert order["input_schema"] == app.definitions["t.order"].input_schema
    missing = await client.get("/v1/apps/t.nothing")
    assert (missing.status_code, missing.json()["code"]) == (404, "not-found")


@pytest.mark.parametrize(
    "path", ["/nothing", "/v1", "/v1/nothing", "/v2/tasks", "/v1/tasks/x/y/z", "/openapi.yaml", "/_openapi", "/docs/../etc/passwd", "/%00", "/%ff"]
)
async def test_what_is_not_there_is_a_problem(services: Services, path: str) -> None:
    async with services.client(None) as anybody:
        answer = await anybody.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/tasks", {"GET", "POST"}),
        ("/v1/tasks/batch", {"POST", "GET"}),
        ("/v1/tasks/x/cancel", {"POST"}),
        ("/v1/schedules", {"GET", "POST"}),
        ("/v1/schedules/x", {"GET", "PATCH", "DELETE"}),
        ("/v1/schedules/preview", {"POST", "GET", "PATCH", "DELETE"}),
        ("/v1/apps", {"GET"}),
        ("/livez", {"GET"}),
    ],
)
async def test_another_method_is_a_problem_that_names_the_right_ones(services: Services, path: str, methods: set[str]) -> None:
    async with services.client(None) as anybody:
        for method in {"DELETE", "PUT", "PATCH", "POST"} - methods:
            answer = await anybody.request(method, path)
            assert (answer.status_code, answer.json()["code"]) == (405, "method-not-allowed")
            assert set(answer.headers["Allow"].split(", ")) <= methods | {"OPTIONS"}
            assert set(answer.headers["Allow"].split(", ")) - {"OPTIONS"}


async def test_an_answer_names_its_request_only_where_it_went_wrong(client: httpx2.AsyncClient) -> None:
    first, second = [await client.get("/v1/tasks/x") for _ in range(2)]
    assert first.headers["X-Request-Id"] == first.json()["request_id"] != second.json()["request_id"]
    assert "X-Request-Id" not in (await client.get("/v1/tasks")).headers


async def test_an_app_that_changes_while_it_is_read_is_not_remembered_as_it_was(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is read, then the app is published anew and everybody has heard of it, and only then does the reader go on."""
    versions = [AppPublished(app="changing", app_kind="python", version=str(number), actor="a test") for number in (1, 2)]
    await services.announce(versions[0], "changing")
    catalogue, log = services.api.gateway.catalogue, services.api.gateway.log
    token = await services.token("ann", namespace="changing")
    load = log.load

    async def slow_load(stream: UUID) -> list[Recorded]:
        recorded = await load(stream)
        if stream == ids.derive_id("app", "changing", "changing"):
            heard = catalogue._changes
            await services.announce(versions[1], "changing", number=2)
            await eventually(lambda: catalogue._changes > heard)
        return recorded

    async with services.client(token) as client:
        with monkeypatch.context() as patched:
            patched.setattr(log, "load", slow_load)
            first = await client.post("/v1/tasks", json={"app": "changing"})
        second = await client.post("/v1/tasks", json={"app": "changing"})
    assert [answer.json()["app_version"] for answer in (first, second)] == ["1", "2"]


class Fragile:
    """An API over a database of its own, which may be taken away."""

    def __init__(self, served: ServedApi, server: EmbeddedPostgres, client: httpx2.AsyncClient) -> None:
        self.served = served
        self.server = server
        self.client = client


@pytest_asyncio.fixture(loop_scope="session")
async def fragile(folder: Path, nats_url: str) -> AsyncIterator[Fragile]:
    """A database server, an API over it, and a task in it."""
    server = EmbeddedPostgres(folder / "fragile", fast=True)
    server.start()
    try:
        url = server.url("postgres")
        await migrate(url)
        token = await issue_token(url, "default", "ann", ("submit", "read"), "for a test", None)
        async with (
            serving_api(Settings(database_url=url, nats_url=nats_url)) as served,
            httpx2.AsyncClient(base_url=served.url, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False, verify=False) as client,
        ):
            assert (await client.get("/v1/tasks")).status_code == 200
            yield Fragile(served, server, client)
    finally:
        server.stop()


async def test_without_its_database_it_lives_and_is_not_ready(fragile: Fragile) -> None:
    await asyncio.to_thread(fragile.server.stop)
    assert (await fragile.client.get("/livez")).status_code == 200
    ready = await fragile.client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
    assert ready.headers["Content-Type"] == "application/json"
    assert ready.json()["checks"]["postgres"] != "ok"
    for path in ("/v1/tasks", "/v1/tasks/tsk_01kbr5vc2ze8trbz1mgbpz5yqd", "/v1/apps", "/v1/apps/t.echo"):
        answer = await fragile.client.get(path)
        assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "unavailable", "1"), answer.text
        assert "Traceback" not in answer.text
    submitted = await fragile.client.post("/v1/tasks", json={"app": "t.echo"})
    assert (submitted.status_code, submitted.json()["code"]) == (503, "unavailable")
    batch = await fragile.client.post("/v1/tasks/batch", json=[{"app": "t.echo"}] * 2_000)
    assert (batch.status_code, batch.json()["refused"]) == (200, 2_000)
    assert {item["problem"]["code"] for item in batch.json()["items"]} == {"unavailable"}
    unknown = await fragile.client.get("/v1/tasks", headers={"Authorization": "Bearer dbk_01kbr5vc2ze8trbz1mgbpz5yqd" + "0" * 32})
    assert unknown.status_code == 503
