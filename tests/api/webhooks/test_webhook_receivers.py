"""Where messages may go, and receivers that answer badly, late, or not at all."""

import asyncio
import itertools

import httpx2
import pytest
from tests.api.asking import submit as submitted
from tests.api.asking import until
from tests.api.webhooks.hooking import QUICK, delivered, own_secret
from tests.services import Services
from tests.webhook_receiver import BROKEN, GONE, MOVED, SILENT, Receiver, receiving

from daybook.domain.events import Policy


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
