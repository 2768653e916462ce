"""Sending a webhook's message: where it may go, what it says, and what becomes of every answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from standardwebhooks import Webhook
from tests.webhook_receiver import BROKEN, GONE, MOVED, SILENT, receiving

from daybook.context import Context
from daybook.webhooks import DELIVER
from daybook_runner.addresses import parse_networks, resolve_host
from daybook_runner.executors import Call, Executors, Failure, Outcome, Success
from daybook_runner.executors.guard import Resolve
from daybook_runner.loading import LoadError, load
from daybook_runner.webhook import WebhookExecutor

SECRET = b"0123456789abcdef0123456789abcdef"
LOOPBACK = "127.0.0.1/32"
BODY = {"type": "task.success", "timestamp": "2026-11-23T12:00:00Z", "data": {"id": "tsk_1", "n": 1.5, "text": 'ü"\\\n'}}
SPELLINGS = (
    "127.0.0.1",
    "127.1",
    "0x7f000001",
    "2130706433",
    "0177.0.0.1",
    "0",
    "0.0.0.0",
    "localhost",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:7f00:1::]",
    "[fe80::1]",
    "[fd00::1]",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "100.64.0.1",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "\u2460\u2461\u2466.0.0.1",
)


async def secret_of(task_id: str) -> bytes | None:
    """What the database would say."""
    return SECRET if task_id == "tsk_7" else None


async def send(url: Any, *, allow: str = LOOPBACK, task_id: str = "tsk_7", resolve: Resolve = resolve_host, seconds: float = 10.0, body: Any = BODY) -> Outcome:
    executor = WebhookExecutor(parse_networks(allow), secret_of, resolve=resolve, timeout_seconds=seconds)
    try:
        return await executor.execute(Call(task_id=task_id, attempt=2, definition=DELIVER, input={"url": url, "body": body}), Context.for_test())
    finally:
        await executor.aclose()


async def failing(url: Any, **more: Any) -> Failure:
    outcome = await send(url, **more)
    assert isinstance(outcome, Failure), outcome
    return outcome


async def test_a_message_is_signed_as_the_library_reads_it() -> None:
    async with receiving() as receiver:
        assert isinstance(await send(receiver.url + "/x?y=1"), Success)
        received = await receiver.next()
    assert received.target == "/hook/x?y=1"
    assert received.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert (received.headers["webhook-id"], received.headers["daybook-attempt"]) == ("tsk_7", "2")
    assert Webhook(SECRET).verify(received.body, received.headers) == BODY


@pytest.mark.parametrize("host", SPELLINGS)
async def test_nothing_inside_is_called_however_it_is_spelled(host: str) -> None:
    async with receiving() as receiver:
        failure = await failing(f"http://{host}:{receiver.port}/", allow="")
        # A spelling that the resolver does not take is a name without an address, which may get one.
        assert failure.error_type in {"AddressRefused", "HttpUnreachable", "InvalidInput"}
        if failure.error_type == "AddressRefused":
            assert not failure.retryable
        assert receiver.received == []


async def test_a_name_that_means_something_else_the_second_time_is_asked_once() -> None:
    answers = [["127.0.0.1"], ["169.254.169.254"]]

    async def resolve(host: str, port: int) -> list[str]:
        return answers.pop(0)

    async with receiving() as receiver:
        assert isinstance(await send(f"http://rebind.test:{receiver.port}/", resolve=resolve), Success)
    assert len(answers) == 1


async def test_one_address_inside_spoils_a_name() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1", "10.0.0.1"]

    failure = await failing("http://mixed.test:1/", resolve=resolve)
    assert failure.error_type == "AddressRefused"
    assert "10.0.0.1" not in failure.message


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://ann@127.0.0.1/", "http:///x", "file:///etc/passwd", "", 3, None])
async def test_what_is_no_address_is_not_called(url: Any) -> None:
    failure = await failing(url)
    assert (failure.error_type, failure.retryable) == ("InvalidInput", False)


async def test_every_answer_is_one_of_these() -> None:
    for answer, kind, retryable in (
        (BROKEN, "NotTaken", True),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "NotTaken", True),
        (MOVED, "NotTaken", True),
        (GONE, "Gone", False),
        (b"SSH-2.0-OpenSSH_9\r\n", "HttpProtocol", True),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "HttpProtocol", True),
    ):
        async with receiving() as receiver:
            receiver.will_answer(answer)
            failure = await failing(receiver.url)
            assert (failure.error_type, failure.retryable) == (kind, retryable), failure


async def test_who_asks_for_time_gets_it() -> None:
    async with receiving() as receiver:
        receiver.will_answer(b"HTTP/1.1 503 Busy\r\nretry-after: 90\r\ncontent-length: 0\r\n\r\n")
        assert (await failing(receiver.url)).retry_after_seconds == 90


async def test_an_answer_that_never_comes_or_never_ends_is_not_waited_for() -> None:
    async with receiving() as receiver:
        receiver.will_answer(SILENT)
        assert (await failing(receiver.url, seconds=0.1)).error_type == "HttpTimeout"
        async with asyncio.timeout(5):
            await receiver.left.wait()


async def test_an_address_where_nobody_listens_is_tried_again() -> None:
    async with receiving() as receiver:
        url = receiver.url.replace(str(receiver.port), "1")
    failure = await failing(url)
    assert (failure.error_type, failure.retryable) == ("HttpUnreachable", True)
    assert "/hook" not in failure.message


async def test_without_a_secret_nothing_is_sent() -> None:
    async with receiving() as receiver:
        failure = await failing(receiver.url, task_id="tsk_8")
        assert (failure.error_type, failure.retryable) == ("NoSecret", False)
        assert receiver.received == []


async def test_control_characters_of_an_answer_are_not_kept() -> None:
    async with receiving() as receiver:
        receiver.will_answer(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\na\x00\x1b[31m\xffb")
        outcome = await send(receiver.url)
    assert isinstance(outcome, Success)
    assert outcome.content == '{"status":200,"answer":"a\ufffd[31m\ufffdb"}'.encode()


async def test_an_app_of_ones_own_is_not_taken_for_it() -> None:
    """Only the very definition that is built in gets a secret."""
    async with Executors(http_allow=LOOPBACK, secret_of=secret_of) as executors, receiving() as receiver:
        given = {"url": receiver.url, "body": BODY}
        assert isinstance(await executors.execute(Call(task_id="tsk_7", attempt=1, definition=DELIVER, input=given), Context.for_test()), Success)
        assert "webhook-signature" in (await receiver.next()).headers


def test_nobody_else_defines_what_is_built_in(tmp_path: Any) -> None:
    (tmp_path / "it.toml").write_text('kind = "http"\napp = "daybook.webhook"\nurl = "http://example.org/"\n')
    with pytest.raises(LoadError, match="is built in"):
        load([str(tmp_path / "it.toml")])
