"""Webhooks: who is told of which end, in which words, signed with what; what is refused; and the record of it.

The receiver is a socket that answers as a test says; everything else is what runs in production.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from standardwebhooks import WebhookVerificationError
from tests.api.apps import Gate, app
from tests.api.asking import WAIT, until
from tests.api.asking import submit as submitted
from tests.services import Services, fresh_database, running_services
from tests.webhook_receiver import BROKEN, GONE, MOVED, SILENT, Receiver, receiving

from daybook.domain.events import Policy
from daybook.settings import Settings
from daybook.testing import eventually
from daybook_local.nats import EmbeddedNats
from daybook_local.postgres import EmbeddedPostgres

_numbers = itertools.count(1)
QUICK = Policy(max_attempts=4, timeout_seconds=15.0, backoff_seconds=0.02, backoff_factor=1.0, backoff_max_seconds=0.02)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def services(postgres: EmbeddedPostgres, template_database: str, session_folder: Path) -> AsyncIterator[Services]:
    """An API, a scheduler and a runner that may send messages to this machine, and tries again at once."""
    nats = EmbeddedNats(session_folder / "nats-of-the-webhooks")
    nats.start()
    try:
        async with fresh_database(postgres, template_database) as url:
            settings = Settings(database_url=url, nats_url=nats.url, http_allow="127.0.0.1/32")
            async with running_services(settings, app) as running:
                running.api.gateway.deliveries.policy = QUICK
                yield running
    finally:
        nats.stop()


@pytest.fixture
def owner() -> str:
    """Somebody new."""
    return f"hooked-{next(_numbers)}"


@pytest_asyncio.fixture(loop_scope="session")
async def client(services: Services, owner: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Their client."""
    async with services.client(await services.token(owner)) as connected:
        yield connected


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[Receiver]:
    """Somebody who wants to hear."""
    async with receiving() as opened:
        yield opened


async def test_the_end_of_a_task_is_told_to_whom_it_names_in_signed_words(client: httpx2.AsyncClient, receiver: Receiver, owner: str) -> None:
    task = await submitted(client, "t.echo", {"value": "secret words"}, on_finish={"url": receiver.url}, labels={"order": "7"})
    assert task["on_finish"] == {"url": receiver.url}
    received = await receiver.next()
    message = received.opened(await own_secret(client))
    assert received.target == "/hook"
    assert received.headers["content-type"] == "application/json"
    assert b"secret words" not in received.body
    assert message["type"] == "task.success"
    assert message["timestamp"] == task["finished_at"]
    assert message["data"] == {
        "id": task["id"],
        "app": "t.echo",
        "status": "success",
        "reason": "",
        "owner": owner,
        "queue": "default",
        "labels": {"order": "7"},
        "attempt": 1,
        "version": 3,
        "submitted_at": task["submitted_at"],
        "started_at": task["started_at"],
        "finished_at": task["finished_at"],
        "error_type": None,
        "schedule": None,
        "rerun_of": None,
        "result": task["result"],
        "href": f"/v1/tasks/{task['id']}",
    }


async def test_the_record_of_a_delivery_is_the_task_that_made_it(client: httpx2.AsyncClient, receiver: Receiver) -> None:
    receiver.will_answer(BROKEN, BROKEN)
    task = await submitted(client, "t.echo", on_finish={"url": receiver.url})
    for _ in range(3):
        await receiver.next()
    delivery = await delivered(client, task)
    assert [attempt["outcome"] for attempt in delivery["attempts"]] == ["error", "error", "success"]
    assert {attempt["error_type"] for attempt in delivery["attempts"]} == {"NotTaken", None}
    assert delivery["app"] == "daybook.webhook"
    assert delivery["labels"] == {"task": task["id"]}
    assert (await client.get(delivery["links"]["result"])).json() == {"status": 200, "answer": "thanks"}
    logs = (await client.get(delivery["links"]["logs"])).json()["items"]
    assert [line["fields"]["status"] for line in logs] == [500, 500, 200]
    assert logs[0]["fields"]["answer"] == "oops"
    assert {received.headers["webhook-id"] for received in receiver.received} == {delivery["id"]}
    assert [received.headers["daybook-attempt"] for received in receiver.received] == ["1", "2", "3"]
    assert len({received.body for received in receiver.received}) == 1


async def test_every_way_to_end_is_told_with_what_it_came_to(client: httpx2.AsyncClient, receiver: Receiver) -> None:
    secret = await own_secret(client)
    await submitted(client, "t.fails", {"message": "private"}, on_finish={"url": receiver.url})
    failed = (await receiver.next()).opened(secret)
    assert (failed["type"], failed["data"]["error_type"], failed["data"]["result"]) == ("task.error", "ValueError", None)
    assert "private" not in str(failed)
    waiting = await submitted(client, "t.echo", wait=False, delay="1h", on_finish={"url": receiver.url})
    await client.post(waiting["links"]["cancel"], json={"reason": "enough"})
    cancelled = (await receiver.next()).opened(secret)
    assert (cancelled["type"], cancelled["data"]["reason"]) == ("task.cancelled", "enough")


async def test_a_task_that_is_tried_again_tells_each_of_its_ends(client: httpx2.AsyncClient, receiver: Receiver) -> None:
    task = await submitted(client, "t.fails", {"message": "no"}, on_finish={"url": receiver.url})
    first = await receiver.next()
    await client.post(task["links"]["retry"])
    second = await receiver.next()
    assert [received.opened(await own_secret(client))["data"]["attempt"] for received in (first, second)] == [1, 2]
    assert first.headers["webhook-id"] != second.headers["webhook-id"]


async def test_a_rerun_tells_whom_its_original_told_unless_it_says_otherwise(client: httpx2.AsyncClient, receiver: Receiver) -> None:
    task = await submitted(client, "t.echo", on_finish={"url": receiver.url})
    await receiver.next()
    same = (await client.post(task["links"]["rerun"], headers=WAIT)).json()
    assert (await receiver.next()).opened(await own_secret(client))["data"]["rerun_of"] == task["id"]
    assert same["on_finish"] == {"url": receiver.url}
    other = (await client.post(task["links"]["rerun"], json={"on_finish": {"url": f"{receiver.url}?other"}}, headers=WAIT)).json()
    assert (await receiver.next()).target == "/hook?other"
    assert other["on_finish"]["url"].endswith("?other")
    nobody = (await client.post(task["links"]["rerun"], json={"on_finish": None}, headers=WAIT)).json()
    assert nobody["on_finish"] is None


async def test_the_tasks_of_a_schedule_tell_whom_it_names(client: httpx2.AsyncClient, receiver: Receiver) -> None:
    answer = await client.post("/v1/tasks", json={"app": "t.echo", "cron": "0 0 1 1 *", "on_finish": {"url": receiver.url}})
    schedule = answer.json()
    assert schedule["on_finish"] == {"url": receiver.url}
    await client.post(f"/v1/schedules/{schedule['id']}/trigger")
    assert (await receiver.next()).opened(await own_secret(client))["data"]["schedule"] == schedule["id"]
    changed = await client.patch(f"/v1/schedules/{schedule['id']}", json={"on_finish": None})
    assert changed.json()["on_finish"] is None


async def test_a_webhook_hears_of_its_owners_ends_that_it_asked_for(client: httpx2.AsyncClient, receiver: Receiver) -> None:
    webhook = await made(client, url=receiver.url, events=["task.error"], app="t.fails", note="the pager")
    assert webhook["events"] == ["task.error"]
    await submitted(client, "t.echo")
    await submitted(client, "t.flaky", {"good": 2})
    task = await submitted(client, "t.fails", {"message": "no"})
    message = (await receiver.next()).opened(await secret_of(client, webhook))
    assert message["data"]["id"] == task["id"]
    delivery = await delivered(client, task)
    assert delivery["labels"] == {"task": task["id"], "webhook": webhook["id"]}
    listed = await client.get(f"/v1/webhooks/{webhook['id']}/deliveries")
    assert [each["id"] for each in listed.json()["items"]] == [delivery["id"]]
    assert len(receiver.received) == 1


async def test_what_ended_before_a_webhook_was_made_it_is_not_told_and_after_its_end_nothing(client: httpx2.AsyncClient, receiver: Receiver) -> None:
    await submitted(client, "t.echo")
    webhook = await made(client, url=receiver.url)
    heard = await submitted(client, "t.echo")
    assert (await receiver.next()).opened(await secret_of(client, webhook))["data"]["id"] == heard["id"]
    path = f"/v1/webhooks/{webhook['id']}"
    gone = await client.delete(path)
    assert (gone.status_code, (await client.get(path)).status_code, (await client.delete(path)).status_code) == (204, 404, 204)
    told = await submitted(client, "t.echo", on_finish={"url": f"{receiver.url}?last"})
    assert (await receiver.next()).target == "/hook?last"
    assert len(await deliveries(client, told, 1)) == 1
    assert len((await client.get(f"{path}/deliveries")).json()["items"]) == 1
    listed = await client.get("/v1/webhooks", headers={"Daybook-Position": gone.headers["daybook-position"]})
    assert listed.json()["items"] == []


async def test_each_of_several_who_want_to_know_is_told_once(client: httpx2.AsyncClient, receiver: Receiver) -> None:
    webhooks = [await made(client, url=f"{receiver.url}?{name}") for name in "ab"]
    task = await submitted(client, "t.echo", on_finish={"url": f"{receiver.url}?own"})
    received = {(each := await receiver.next()).target: each for _ in range(3)}
    secrets = {"/hook?own": await own_secret(client)} | {
        f"/hook?{name}": await secret_of(client, webhook) for name, webhook in zip("ab", webhooks, strict=True)
    }
    assert len(set(secrets.values())) == 3
    for target, secret in secrets.items():
        assert received[target].opened(secret)["data"]["id"] == task["id"]
        for other in set(secrets.values()) - {secret}:
            with pytest.raises(WebhookVerificationError):
                received[target].opened(other)
    assert len(await deliveries(client, task, 3)) == 3


async def test_only_an_admin_hears_of_everybodys_ends(services: Services, client: httpx2.AsyncClient, receiver: Receiver, owner: str) -> None:
    refused = await client.post("/v1/webhooks", json={"url": receiver.url, "all_owners": True})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    async with services.client(await services.token("the-admin", scopes=("submit", "read", "admin"))) as admin:
        webhook = await made(admin, url=receiver.url, all_owners=True)
        task = await submitted(client, "t.echo")
        assert (await receiver.next()).opened(await secret_of(admin, webhook))["data"]["owner"] == owner
        assert [each["owner"] for each in await deliveries(admin, task, 1)] == ["the-admin"]
        # Whose URL it is, is nobody else's business.
        assert await deliveries(client, task) == []
        assert (await admin.delete(f"/v1/webhooks/{webhook['id']}")).status_code == 204


async def test_somebody_elses_webhook_is_one_that_does_not_exist(services: Services, client: httpx2.AsyncClient) -> None:
    webhook = await made(client, url="https://example.net/hook")
    async with services.client(await services.token(f"other-{next(_numbers)}")) as other, services.client(None) as nobody:
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/secret"), ("GET", "/deliveries"), ("POST", "/test")):
            assert (await other.request(method, f"/v1/webhooks/{webhook['id']}{path}")).status_code == 404, path
            assert (await nobody.request(method, f"/v1/webhooks/{webhook['id']}{path}")).status_code == 401, path
        assert await own_secret(client) != await own_secret(other)
        assert (await other.get("/v1/webhooks")).json()["items"] == []
    async with services.client(await services.token("reader", scopes=("read",))) as reader:
        assert (await reader.get("/v1/webhooks/secret")).status_code == 403
    assert (await client.get(f"/v1/webhooks/{webhook['id']}")).json() == webhook


async def test_a_webhook_can_be_tried_out(client: httpx2.AsyncClient, receiver: Receiver) -> None:
    webhook = await made(client, url=receiver.url, events=["task.cancelled"])
    answer = await client.post(f"/v1/webhooks/{webhook['id']}/test")
    assert answer.status_code == 202, answer.text
    message = (await receiver.next()).opened(await secret_of(client, webhook))
    assert (message["type"], message["data"]) == ("webhook.test", {"webhook": webhook["id"]})
    assert (await until(client, answer.json(), "success"))["labels"] == {"webhook": webhook["id"]}


async def test_nobody_is_told_of_the_end_of_a_delivery(client: httpx2.AsyncClient, receiver: Receiver) -> None:
    await made(client, url=receiver.url)
    task = await submitted(client, "t.echo")
    await receiver.next()
    first = await delivered(client, task)
    await submitted(client, "t.echo")
    await receiver.next()
    assert len(receiver.received) == 2
    assert (await client.get(f"/v1/tasks/{first['id']}/deliveries")).json()["items"] == []


async def test_deliveries_are_listed_only_when_they_are_asked_for(client: httpx2.AsyncClient, receiver: Receiver) -> None:
    task = await submitted(client, "t.echo", on_finish={"url": receiver.url})
    delivery = await delivered(client, task)
    assert [each["id"] for each in (await client.get("/v1/tasks")).json()["items"]] == [task["id"]]
    assert [each["id"] for each in (await client.get("/v1/tasks?app=daybook.webhook")).json()["items"]] == [delivery["id"]]
    assert "daybook.webhook" not in (await client.get("/v1/apps")).text
    for query, told in (("", task), ("&app=daybook.webhook", delivery), (f"&task={delivery['id']}", delivery)):
        items = (await client.get(f"/v1/events?cursor=start&types=task&limit=1000{query}")).json()["items"]
        assert {item["subject"] for item in items} == {told["id"]}


async def test_nobody_can_submit_a_delivery(client: httpx2.AsyncClient, receiver: Receiver) -> None:
    wish: dict[str, Any] = {"app": "daybook.webhook", "input": {"url": receiver.url, "body": {}}}
    for more in ({}, {"cron": "@daily"}):
        answer = await client.post("/v1/tasks", json=wish | more)
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown-app")
    delivery = await delivered(client, await submitted(client, "t.echo", on_finish={"url": receiver.url}))
    again = await client.post(delivery["links"]["rerun"], json={"input": {"url": receiver.url, "body": {"type": "forged"}}})
    assert again.json()["code"] == "unknown-app"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.net/",
        "//example.net/",
        "https:///path",
        "https://user@example.net/",
        "https://user:pass@example.net/",
        "https://exämple.net/",
        "https://example.net/a b",
        "https://example.net:99999/",
        "https://example.net\\@127.0.0.1/",
        "https://example.net/\r\nhost: other",
        "https://[::1/",
        "",
        f"https://example.net/{'x' * 2048}",
    ],
)
async def test_a_url_that_is_none_is_refused_before_anything_is_written(services: Services, client: httpx2.AsyncClient, url: str) -> None:
    before = await services.events("default")
    for path, body, pointer in (
        ("/v1/webhooks", {"url": url}, "/url"),
        ("/v1/tasks", {"app": "t.echo", "on_finish": {"url": url}}, "/on_finish/url"),
        ("/v1/tasks", {"app": "t.echo", "cron": "@daily", "on_finish": {"url": url}}, "/on_finish/url"),
    ):
        answer = await client.post(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-body"), answer.text
        assert answer.json()["errors"][0]["pointer"] == pointer
    assert await services.events("default") == before


@pytest.mark.parametrize("host", ["10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:169.254.169.254]", "2130706434", "0x0a000001", "100.64.0.1"])
async def test_addresses_inside_are_not_called(client: httpx2.AsyncClient, host: str) -> None:
    """The table of spellings is the guard's, and tested there. This shows that deliveries go through it."""
    task = await submitted(client, "t.echo", on_finish={"url": f"http://{host}:1/"})
    delivery = await delivered(client, task, "error")
    assert delivery["error"]["type"] == "AddressRefused"
    assert len(delivery["attempts"]) == 1


async def test_a_redirect_is_not_followed(client: httpx2.AsyncClient, receiver: Receiver) -> None:
    async with receiving() as elsewhere:
        receiver.will_answer(*[MOVED.replace(b"{url}", elsewhere.url.encode())] * 4)
        task = await submitted(client, "t.echo", on_finish={"url": receiver.url})
        delivery = await delivered(client, task, "error")
        assert "redirects are not followed" in delivery["error"]["message"]
        assert elsewhere.received == []


async def test_a_receiver_that_is_gone_is_told_no_more(client: httpx2.AsyncClient, receiver: Receiver) -> None:
    receiver.will_answer(GONE)
    delivery = await delivered(client, await submitted(client, "t.echo", on_finish={"url": receiver.url}), "error")
    assert (delivery["error"]["type"], len(delivery["attempts"])) == ("Gone", 1)


async def test_a_receiver_that_talks_without_end_is_not_listened_to(client: httpx2.AsyncClient, receiver: Receiver) -> None:
    receiver.will_answer(itertools.chain([b"HTTP/1.1 200 OK\r\n\r\n"], itertools.repeat(b"words " * 4096)))
    task = await submitted(client, "t.echo", on_finish={"url": receiver.url})
    delivery = await delivered(client, task)
    async with asyncio.timeout(10):
        await receiver.left.wait()
    assert len((await client.get(delivery["links"]["result"])).content) < 5000


async def test_a_receiver_that_does_not_answer_is_asked_again(services: Services, client: httpx2.AsyncClient, receiver: Receiver) -> None:
    deliveries_of_api = services.api.gateway.deliveries
    deliveries_of_api.policy = Policy(max_attempts=2, timeout_seconds=0.2, backoff_seconds=0.01)
    try:
        receiver.will_answer(SILENT)
        task = await submitted(client, "t.echo", on_finish={"url": receiver.url})
        delivery = await delivered(client, task)
    finally:
        deliveries_of_api.policy = QUICK
    assert [attempt["error_type"] for attempt in delivery["attempts"]] == ["Timeout", None]


async def test_a_delivery_that_failed_for_good_can_be_made_by_hand(client: httpx2.AsyncClient, receiver: Receiver) -> None:
    receiver.will_answer(*[BROKEN] * 4)
    delivery = await delivered(client, await submitted(client, "t.echo", on_finish={"url": receiver.url}), "error")
    assert (await client.post(delivery["links"]["retry"])).status_code == 200
    done = await until(client, delivery, "success")
    assert len(done["attempts"]) == 5
    assert {received.headers["webhook-id"] for received in receiver.received} == {delivery["id"]}


async def test_labels_too_large_for_the_log_are_told_all_the_same(client: httpx2.AsyncClient, receiver: Receiver) -> None:
    labels = {f"{number:0128d}": "ü" * 256 for number in range(32)}
    await submitted(client, "t.echo", labels=labels, on_finish={"url": receiver.url})
    assert (await receiver.next()).opened(await own_secret(client))["data"]["labels"] == labels


async def test_a_key_makes_one_webhook(client: httpx2.AsyncClient) -> None:
    wish, key = {"url": "https://example.net/hook", "events": ["task.error", "task.error"]}, {"Idempotency-Key": "one"}
    first, again = [await client.post("/v1/webhooks", json=wish, headers=key) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    other = await client.post("/v1/webhooks", json={"url": "https://example.net/other"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")


async def test_an_owner_may_have_only_so_many(client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daybook_api.webhooks.MOST", 1)
    answer = await client.post("/v1/webhooks", json={"url": "https://example.net/hook"})
    await client.get("/v1/webhooks", headers={"Daybook-Position": answer.headers["daybook-position"]})
    answer = await client.post("/v1/webhooks", json={"url": "https://example.net/hook"})
    assert (answer.status_code, answer.json()["code"]) == (422, "too-many-webhooks")


async def test_many_at_once_are_no_more_than_one_may_have(client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daybook_api.webhooks.MOST", 3)
    made = await asyncio.gather(*(client.post("/v1/webhooks", json={"url": f"https://example.net/{number}"}) for number in range(12)))
    assert sorted(answer.status_code for answer in made) == [201] * 3 + [422] * 9


async def test_a_webhook_that_was_made_is_found_again_by_its_key_when_there_is_no_room(client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daybook_api.webhooks.MOST", 1)
    wish, key = {"url": "https://example.net/hook"}, {"Idempotency-Key": "once"}
    first, again = [await client.post("/v1/webhooks", json=wish, headers=key) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotency-replayed"] == "true"
    assert (await client.post("/v1/webhooks", json=wish)).status_code == 422


async def test_lists_are_paged_and_bounded(client: httpx2.AsyncClient) -> None:
    written = [await client.post("/v1/webhooks", json={"url": f"https://example.net/{number}"}) for number in range(5)]
    pages, path = [], "/v1/webhooks?limit=2"
    while path:
        page = (await client.get(path, headers={"Daybook-Position": written[-1].headers["daybook-position"]})).json()
        pages.append([each["url"] for each in page["items"]])
        path = f"/v1/webhooks?limit=2&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    assert pages == [[f"https://example.net/{number}" for number in numbers] for numbers in ((4, 3), (2, 1), (0,))]
    assert (await client.get("/v1/webhooks?cursor=nonsense")).status_code == 400
    for wish in (
        {"url": "https://a.example", "events": []},
        {"url": "https://a.example", "events": ["task.started"]},
        {"url": "https://a.example", "app": "a b"},
        {},
    ):
        assert (await client.post("/v1/webhooks", json=wish)).status_code == 422, wish


async def test_a_webhook_made_while_a_task_runs_hears_of_its_end(client: httpx2.AsyncClient, receiver: Receiver, gate: Gate) -> None:
    task = await submitted(client, "t.gated", {"gate": gate.name}, wait=False)
    await gate.reached()
    webhook = await made(client, url=receiver.url)
    gate.opened.set()
    assert (await receiver.next()).opened(await secret_of(client, webhook))["data"]["id"] == task["id"]


async def made(client: httpx2.AsyncClient, **wish: Any) -> dict[str, Any]:
    """A webhook."""
    answer = await client.post("/v1/webhooks", json=wish)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/webhooks/{answer.json()['id']}"
    webhook: dict[str, Any] = answer.json()
    return webhook


async def own_secret(client: httpx2.AsyncClient) -> str:
    """What messages to `on_finish` are signed with."""
    secret: str = (await client.get("/v1/webhooks/secret")).json()["secret"]
    return secret


async def secret_of(client: httpx2.AsyncClient, webhook: dict[str, Any]) -> str:
    """What a webhook's messages are signed with."""
    secret: str = (await client.get(f"/v1/webhooks/{webhook['id']}/secret")).json()["secret"]
    return secret


async def deliveries(client: httpx2.AsyncClient, task: dict[str, Any], least: int = 0) -> list[dict[str, Any]]:
    """The deliveries of a task's ends, once there are so many."""

    async def listed() -> Any:
        items = (await client.get(f"/v1/tasks/{task['id']}/deliveries")).json()["items"]
        return (items,) if len(items) >= least else None

    found: tuple[list[dict[str, Any]]] = await eventually(listed, 15)
    return found[0]


async def delivered(client: httpx2.AsyncClient, task: dict[str, Any], status: str = "success") -> dict[str, Any]:
    """The one delivery of a task's end, once it has this status."""

    async def one() -> Any:
        found = await deliveries(client, task)
        assert len(found) < 2
        return found and found[0]["status"] == status and found[0]

    found: dict[str, Any] = await eventually(one, 15)
    whole: dict[str, Any] = (await client.get(f"/v1/tasks/{found['id']}")).json()
    return whole
