"""Who may do what: every route, for everybody. The matrix is made from the OpenAPI document, so a new route fails here until somebody has said what it does."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple
from uuid import UUID

import httpx2
import pytest
import pytest_asyncio
from tests.api.apps import app
from tests.services import Services

from daybook import clock
from daybook.log.envelope import Recorded
from daybook.testing import eventually

SCHEDULED = {"app": "t.echo", "delay": "1h"}
YEARLY = {"app": "t.echo", "cron": "0 0 1 1 *"}
HOOK = {"url": "https://ended.example/told"}
MADE = {"task": ("/v1/tasks", SCHEDULED, 202), "schedule": ("/v1/schedules", YEARLY, 201), "webhook": ("/v1/webhooks", HOOK, 201)}
"""How each thing is made that a route can be about."""


class Route(NamedTuple):
    """What a route does: to what of somebody's, and for which scope; and a request that its owner may make."""

    scope: str | None
    """None for a route that asks for no token."""
    of: Literal["task", "schedule", "webhook"] | None = None
    body: Any = None
    status: int = 200


ROUTES = {
    ("POST", "/v1/tasks"): Route("submit", body=SCHEDULED, status=202),
    ("POST", "/v1/tasks/batch"): Route("submit", body=[SCHEDULED]),
    ("GET", "/v1/tasks"): Route("read"),
    ("GET", "/v1/tasks/{task_id}"): Route("read", of="task"),
    ("GET", "/v1/tasks/{task_id}/result"): Route("read", of="task", status=409),
    ("GET", "/v1/tasks/{task_id}/events"): Route("read", of="task"),
    ("GET", "/v1/tasks/{task_id}/logs"): Route("read", of="task"),
    ("GET", "/v1/tasks/{task_id}/output"): Route("read", of="task"),
    ("POST", "/v1/tasks/{task_id}/cancel"): Route("submit", of="task"),
    ("POST", "/v1/tasks/{task_id}/reschedule"): Route("submit", of="task", body={"delay": "2h"}),
    ("POST", "/v1/tasks/{task_id}/run-now"): Route("submit", of="task"),
    ("POST", "/v1/tasks/{task_id}/retry"): Route("submit", of="task", status=409),
    ("POST", "/v1/tasks/{task_id}/rerun"): Route("submit", of="task", body={"delay": "2h"}, status=202),
    ("POST", "/v1/schedules"): Route("submit", body=YEARLY, status=201),
    ("GET", "/v1/schedules"): Route("read"),
    ("POST", "/v1/schedules/preview"): Route("read", body={"cron": "@daily"}),
    ("GET", "/v1/schedules/{schedule_id}"): Route("read", of="schedule"),
    ("PATCH", "/v1/schedules/{schedule_id}"): Route("submit", of="schedule", body={"priority": 1}),
    ("DELETE", "/v1/schedules/{schedule_id}"): Route("submit", of="schedule", status=204),
    ("POST", "/v1/schedules/{schedule_id}/pause"): Route("submit", of="schedule"),
    ("POST", "/v1/schedules/{schedule_id}/resume"): Route("submit", of="schedule"),
    ("POST", "/v1/schedules/{schedule_id}/trigger"): Route("submit", of="schedule", status=202),
    ("POST", "/v1/schedules/{schedule_id}/backfill"): Route("submit", of="schedule", body={"since": "1000d"}, status=202),
    ("GET", "/v1/schedules/{schedule_id}/slots"): Route("read", of="schedule"),
    ("GET", "/v1/tasks/{task_id}/deliveries"): Route("read", of="task"),
    ("POST", "/v1/webhooks"): Route("submit", body=HOOK, status=201),
    ("GET", "/v1/webhooks"): Route("read"),
    ("GET", "/v1/webhooks/secret"): Route("submit"),
    ("GET", "/v1/webhooks/{webhook_id}"): Route("read", of="webhook"),
    ("DELETE", "/v1/webhooks/{webhook_id}"): Route("submit", of="webhook", status=204),
    ("GET", "/v1/webhooks/{webhook_id}/secret"): Route("submit", of="webhook"),
    ("POST", "/v1/webhooks/{webhook_id}/test"): Route("submit", of="webhook", status=202),
    ("GET", "/v1/webhooks/{webhook_id}/deliveries"): Route("read", of="webhook"),
    ("GET", "/v1/events"): Route("read"),
    ("GET", "/v1/apps"): Route("read"),
    ("GET", "/v1/apps/{app}"): Route("read"),
    ("POST", "/v1/session"): Route(None, body={"code": "dbk_of_nobody"}, status=403),
    ("GET", "/v1/session"): Route("read"),
    ("DELETE", "/v1/session"): Route(None, status=204),
    ("GET", "/livez"): Route(None),
    ("GET", "/readyz"): Route(None),
    ("GET", "/openapi.json"): Route(None),
    ("GET", "/asyncapi.json"): Route(None),
}
PAGES = {("GET", "/"), ("GET", "/ui"), ("GET", "/ui/{rest}")}
"""What is for browsers, asks for no token, says nothing of anybody, and is not described."""
WITH_TOKEN = [key for key, route in ROUTES.items() if route.scope is not None]
OF_SOMEBODY = [key for key, route in ROUTES.items() if route.of is not None]
MISSING = "01kbr5vc2ze8trbz1mgbpz5yqd"


@dataclass
class People:
    """Tokens of everybody who asks."""

    ann: str
    ben: str
    ann_elsewhere: str
    reader: str
    submitter: str
    admin: str
    backend: str


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def people(services: Services) -> AsyncIterator[People]:
    """Ann, Ben, an Ann of another namespace, and others."""
    for definition in app.definitions.values():
        for namespace in ("here", "elsewhere"):
            await services.announce(definition.published("a test"), namespace)
    yield People(
        ann=await services.token("ann", namespace="here"),
        ben=await services.token("ben", namespace="here"),
        ann_elsewhere=await services.token("ann", namespace="elsewhere"),
        reader=await services.token("ann", namespace="here", scopes=("read",)),
        submitter=await services.token("ann", namespace="here", scopes=("submit",)),
        admin=await services.token("root", namespace="here", scopes=("admin",)),
        backend=await services.token("backend", namespace="here", scopes=("submit", "read", "act_as")),
    )


async def test_every_route_is_in_the_matrix(services: Services) -> None:
    async with services.client(None) as anybody:
        document = (await anybody.get("/openapi.json")).json()
    described = {(method.upper(), path): operation for path, item in document["paths"].items() for method, operation in item.items()}
    assert set(described) == set(ROUTES)
    for key, operation in described.items():
        assert bool(operation["security"]) == (ROUTES[key].scope is not None), key
        assert ("401" in operation["responses"]) == (ROUTES[key].scope is not None), key
        assert ("404" in operation["responses"]) >= (key in OF_SOMEBODY), key
    routed = {(method, route.path_format) for route in services.api.app.routes for method in route.methods if method != "OPTIONS"}
    assert routed == set(ROUTES) | PAGES


@pytest.mark.parametrize("key", ROUTES, ids=" ".join)
async def test_who_owns_a_task_may_do_everything_with_it(services: Services, people: People, key: tuple[str, str]) -> None:
    answer = await _ask(services, people.ann, key, await _thing_of(services, people.ann, key))
    assert answer.status_code == ROUTES[key].status, answer.text


@pytest.mark.parametrize("key", OF_SOMEBODY, ids=" ".join)
@pytest.mark.parametrize("other", ["ben", "ann_elsewhere"])
async def test_somebody_elses_task_is_the_same_as_none(services: Services, people: People, key: tuple[str, str], other: str) -> None:
    task = await _thing_of(services, people.ann, key)
    token = getattr(people, other)
    theirs = await _ask(services, token, key, task)
    missing = f"{task[:4]}{MISSING}"
    none = await _ask(services, token, key, missing)
    assert theirs.status_code == none.status_code == 404
    assert _comparable(theirs, task) == _comparable(none, missing)
    for header in ({"If-Match": '"1"'}, {"If-None-Match": '"1"', "Prefer": "wait=30"}, {"Accept": "text/event-stream"}):
        assert (await _ask(services, token, key, task, **header)).status_code == 404
    async with services.client(people.ann) as ann:
        is_there = await ann.get(f"/v1/{ROUTES[key].of}s/{task}")
    assert (is_there.status_code, is_there.json().get("version", 1)) == (200, 1)


@pytest.mark.parametrize("key", WITH_TOKEN, ids=" ".join)
async def test_without_a_token_that_is_good_there_is_nothing(services: Services, people: People, key: tuple[str, str]) -> None:
    task = await _thing_of(services, people.ann, key)
    short = people.ann[:-1]
    last = "0" if people.ann[-1] != "0" else "1"
    for token in (None, "dbk_", "x", short, short + last, "dbk_01kbr5vc2ze8trbz1mgbpz5yqd" + "0" * 32, people.ann.upper(), f"{people.ann} x"):
        answer = await _ask(services, token, key, task)
        assert (answer.status_code, answer.headers["WWW-Authenticate"], answer.json()["code"]) == (401, "Bearer", "unauthorized"), token
    for authorization in (f"Basic {people.ann}", "Bearer", people.ann):
        assert (await _ask(services, None, key, task, Authorization=authorization)).status_code == 401


@pytest.mark.parametrize("key", WITH_TOKEN, ids=" ".join)
async def test_a_token_that_has_run_out_is_worth_nothing(services: Services, people: People, key: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    task = await _thing_of(services, people.ann, key)
    token = await services.token("ann", namespace="here", expires_at=clock.after(3600))
    assert (await _ask(services, token, key, task)).status_code == ROUTES[key].status
    later = clock.after(3601)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert (await _ask(services, token, key, task)).status_code == 401
    expired = await services.token("ann", namespace="here", expires_at=clock.after(-1))
    assert (await _ask(services, expired, key, task)).status_code == 401


async def test_a_revoked_token_is_worth_nothing_anywhere(services: Services, people: People) -> None:
    token = await services.token("ann", namespace="here")
    task = await _task_of(services, token)
    await services.revoke(token)

    async def refused() -> bool:
        return (await _ask(services, token, ("GET", "/v1/tasks"), task)).status_code == 401

    await eventually(refused)
    for key in WITH_TOKEN:
        assert (await _ask(services, token, key, task)).status_code == 401, key
    assert (await _ask(services, people.ann, ("GET", "/v1/tasks"), task)).status_code == 200


async def test_a_token_that_is_revoked_while_it_is_read_is_not_remembered(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is read, then the token is revoked and everybody has heard of it, and only then does the reader go on."""
    token = await services.token("ann", namespace="here")
    access, log = services.api.gateway.access, services.api.gateway.log
    load = log.load

    async def slow_load(stream: UUID) -> list[Recorded]:
        recorded = await load(stream)
        heard = access._revocations
        await services.revoke(token)
        await eventually(lambda: access._revocations > heard)
        return recorded

    with monkeypatch.context() as patched:
        patched.setattr(log, "load", slow_load)
        assert (await _ask(services, token, ("GET", "/v1/apps"), "")).status_code == 200
    assert (await _ask(services, token, ("GET", "/v1/apps"), "")).status_code == 401


@pytest.mark.parametrize("key", WITH_TOKEN, ids=" ".join)
async def test_a_token_does_what_its_scopes_say(services: Services, people: People, key: tuple[str, str]) -> None:
    task = await _thing_of(services, people.ann, key)
    for token, scope in ((people.reader, "read"), (people.submitter, "submit")):
        answer = await _ask(services, token, key, task)
        if scope == ROUTES[key].scope:
            assert answer.status_code == ROUTES[key].status
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
            assert ROUTES[key].scope in answer.json()["detail"].split(".")[0]


@pytest.mark.parametrize("key", OF_SOMEBODY, ids=" ".join)
async def test_an_admin_may_do_everything_in_the_namespace(services: Services, people: People, key: tuple[str, str]) -> None:
    assert (await _ask(services, people.admin, key, await _thing_of(services, people.ann, key))).status_code == ROUTES[key].status
    assert (await _ask(services, people.admin, key, await _thing_of(services, people.ann_elsewhere, key))).status_code == 404


@pytest.mark.parametrize("key", WITH_TOKEN, ids=" ".join)
async def test_a_backend_acts_for_its_users_and_others_do_not(services: Services, people: People, key: tuple[str, str]) -> None:
    task = await _thing_of(services, people.ann, key)
    as_ann = await _ask(services, people.backend, key, task, **{"Daybook-Owner": "ann"})
    assert as_ann.status_code == ROUTES[key].status
    forbidden = await _ask(services, people.ben, key, task, **{"Daybook-Owner": "ann"})
    assert (forbidden.status_code, forbidden.json()["code"]) == (403, "forbidden")
    if key in OF_SOMEBODY:
        assert (await _ask(services, people.backend, key, task)).status_code == 404
        assert (await _ask(services, people.backend, key, task, **{"Daybook-Owner": "ben"})).status_code == 404
        assert (await _ask(services, people.backend, key, await _thing_of(services, people.ann_elsewhere, key), **{"Daybook-Owner": "ann"})).status_code == 404


async def test_a_task_submitted_for_somebody_is_theirs(services: Services, people: People) -> None:
    async with services.client(people.backend) as backend:
        answer = await backend.post("/v1/tasks", json=SCHEDULED, headers={b"Daybook-Owner": "Zoë".encode()})
        assert (answer.status_code, answer.json()["owner"]) == (202, "Zoë")
        own = await backend.post("/v1/tasks", json=SCHEDULED, headers={"Daybook-Owner": "backend"})
        assert own.json()["owner"] == "backend"
        for bad in (b"", b"x" * 129, b"a\tb", b"\xff", "\x80".encode()):
            assert (await backend.post("/v1/tasks", json=SCHEDULED, headers={b"Daybook-Owner": bad})).status_code == 400, bad
    async with services.client(await services.token("Zoë", namespace="here")) as zoe:
        assert (await zoe.get(answer.headers["Location"])).status_code == 200


async def test_an_admin_who_acts_for_somebody_is_no_admin(services: Services, people: People) -> None:
    token = await services.token("root", namespace="here", scopes=("admin", "act_as", "read"))
    task = await _task_of(services, people.ann)
    key = ("GET", "/v1/tasks/{task_id}")
    assert (await _ask(services, token, key, task)).status_code == 200
    assert (await _ask(services, token, key, task, **{"Daybook-Owner": "ben"})).status_code == 404


async def test_lists_show_ones_own_tasks_and_an_admin_everybodys(services: Services, people: People) -> None:
    anns, bens = await _task_of(services, people.ann), await _task_of(services, people.ben)
    elsewhere = await _task_of(services, people.ann_elsewhere)
    shown = {name: await _listed(services, getattr(people, name)) for name in ("ann", "ben", "ann_elsewhere", "admin")}
    tasks = {anns, bens, elsewhere}
    assert shown["ann"] & tasks == {anns}
    assert shown["ben"] & tasks == {bens}
    assert shown["ann_elsewhere"] & tasks == {elsewhere}
    assert shown["admin"] & tasks == {anns, bens}
    async with services.client(people.admin) as admin, services.client(people.ben) as ben:
        filtered = (await admin.get("/v1/tasks", params={"owner": "ben", "limit": "200"})).json()["items"]
        assert {task["owner"] for task in filtered} == {"ben"}
        assert (await ben.get("/v1/tasks", params={"owner": "ben"})).status_code == 200
        refused = await ben.get("/v1/tasks", params={"owner": "ann"})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_a_cursor_is_of_no_use_to_anybody_else(services: Services, people: People) -> None:
    for _ in range(2):
        await _task_of(services, people.ann)
    await _listed(services, people.ann)
    async with services.client(people.ann) as ann:
        cursor = (await ann.get("/v1/tasks", params={"limit": "1"})).json()["next_cursor"]
    for token in (people.ben, people.ann_elsewhere, people.admin):
        async with services.client(token) as other:
            assert (await other.get("/v1/tasks", params={"limit": "1", "cursor": cursor})).status_code == 400


async def test_apps_are_those_of_the_namespace(services: Services) -> None:
    async with services.client(await services.token("ann", namespace="empty")) as client:
        assert (await client.get("/v1/apps")).json() == {"items": []}
        assert (await client.get("/v1/apps/t.echo")).status_code == 404
        unknown = await client.post("/v1/tasks", json={"app": "t.echo"})
        assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown-app")


async def _task_of(services: Services, token: str) -> str:
    return await _made(services, token, "task")


async def _thing_of(services: Services, token: str, key: tuple[str, str]) -> str:
    """What the route is about: a task, unless it says so."""
    return await _made(services, token, ROUTES[key].of or "task")


async def _made(services: Services, token: str, what: str) -> str:
    path, body, status = MADE[what]
    async with services.client(token) as client:
        answer = await client.post(path, json=body)
        assert answer.status_code == status, answer.text
        return str(answer.json()["id"])


async def _ask(services: Services, token: str | None, key: tuple[str, str], task: str, **headers: str) -> httpx2.Response:
    method, path = key
    async with services.client(token, **headers) as client:
        return await client.request(method, path.format(task_id=task, schedule_id=task, webhook_id=task, app="t.echo"), json=ROUTES[key].body)


async def _listed(services: Services, token: str) -> set[str]:
    """All tasks that a token's list shows, once everything written so far can be in it."""
    log = services.api.gateway.log
    lanes = await log.head()
    position = ",".join(f"{lane}:{position}" for lane, position in enumerate(lanes) if position)
    found: set[str] = set()
    async with services.client(token) as client:
        url: str | None = "/v1/tasks?limit=200"
        while url is not None:
            answer = await client.get(url, headers={"Daybook-Position": position})
            assert answer.status_code == 200, answer.text
            found |= {task["id"] for task in answer.json()["items"]}
            url = answer.headers["Link"].split(">")[0][1:] if "Link" in answer.headers else None
    return found


def _comparable(answer: httpx2.Response, task: str) -> tuple[dict[str, str], str]:
    """An answer without what differs from one request to the next."""
    headers = {name: value for name, value in answer.headers.items() if name not in {"date", "x-request-id"}}
    return headers, answer.text.replace(task, "").replace(answer.json()["request_id"], "")
