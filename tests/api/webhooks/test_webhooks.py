"""Webhooks: who is told of which end, in which words, signed with what; how many there may be; and the record of it."""

import asyncio
from typing import Any

import httpx2
import pytest
from standardwebhooks import WebhookVerificationError
from tests.api.apps import Gate
from tests.api.asking import WAIT, until
from tests.api.asking import submit as submitted
from tests.api.webhooks.hooking import delivered, deliveries, made, own_secret, secret_of
from tests.services import Services
from tests.webhook_receiver import BROKEN, Receiver


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


async def test_somebody_elses_webhook_is_one_that_does_not_exist(services: Services, client: httpx2.AsyncClient, owner: str) -> None:
    webhook = await made(client, url="https://example.net/hook")
    async with services.client(await services.token(f"not-{owner}")) as other, services.client(None) as nobody:
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
