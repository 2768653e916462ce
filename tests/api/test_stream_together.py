"""Many who watch the same task: what they share, who is cut off, and that nobody waits for anybody."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from uuid import UUID

import httpx2
import pytest
from tests.api.apps import Gate
from tests.api.asking import submit
from tests.api.saying import say
from tests.services import Services, serving_api, watching

from daybook import ids
from daybook.access import Principal
from daybook.log.envelope import Recorded
from daybook.testing import eventually
from daybook_api.watching import sse
from daybook_api.watching.stream import TaskStream
from daybook_api.watching.told import Wanted

MANY = 40


@pytest.fixture
async def running(client: httpx2.AsyncClient, gate: Gate) -> str:
    """A task that waits at the gate and says nothing by itself."""
    task = await submit(client, "t.gated", {"gate": gate.name}, wait=False)
    await gate.reached()
    return str(task["id"])


@contextmanager
def counted_loads(services: Services) -> Iterator[list[UUID]]:
    """Which streams were loaded from the log meanwhile."""
    looks = services.api.gateway.load
    loaded: list[UUID] = []
    ask = looks._ask

    async def counting(stream: UUID) -> list[Recorded]:
        loaded.append(stream)
        return await ask(stream)

    looks._ask = counting
    try:
        yield loaded
    finally:
        looks._ask = ask


def _watchers(services: Services, task_id: str) -> int:
    stream = ids.parse("tsk", task_id)
    channel = None if stream is None else services.api.gateway.channels.find(stream)
    return 0 if channel is None else channel.users


@asynccontextmanager
async def _raw_watcher(services: Services, client: httpx2.AsyncClient, task_id: str, last: str = "") -> AsyncIterator[socket.socket]:
    """A connection that has asked for a stream and reads only what it is told to read, into a small buffer."""
    loop = asyncio.get_running_loop()
    host, port = services.url.removeprefix("http://").split(":")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await loop.sock_connect(connection, (host, int(port)))
        token = client.headers["Authorization"]
        more = f"Last-Event-ID: {last}\r\n" if last else ""
        head = f"GET /v1/tasks/{task_id}/events HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nAccept: text/event-stream\r\n{more}\r\n"
        await loop.sock_sendall(connection, head.encode())
        yield connection


async def test_many_watchers_share_one_load_and_one_subscription(client: httpx2.AsyncClient, services: Services, gate: Gate, running: str) -> None:
    nats = await services.api.gateway.bus.connected()
    before = len(nats._subs)
    async with AsyncExitStack() as stack:
        with counted_loads(services) as loaded:
            streams = [await stack.enter_async_context(watching(client, running)) for _ in range(MANY)]
            for stream in streams:
                assert [frame.event for frame in await stream.until("snapshot")] == ["snapshot"]
        assert 1 <= len(loaded) <= 3, "one for all; another when what holds payloads was let go meanwhile"
        hearing = [each for each in nats._subs.values() if each.subject.endswith(running)]
        assert (len(hearing), len(services.api.gateway.channels)) == (1, 1)
        gate.opened.set()
        told = [await stream.until("end") for stream in streams]
    assert all([frame.event for frame in each] == ["task.success", "end"] for each in told)
    assert len({str(each) for each in told}) == 1
    await eventually(lambda: len(nats._subs) <= before and not len(services.api.gateway.channels))


async def test_those_who_wait_for_the_same_change_share_one_look_at_the_log(client: httpx2.AsyncClient, services: Services, gate: Gate, running: str) -> None:
    path = f"/v1/tasks/{running}"
    known = (await client.get(path)).headers["ETag"]
    polls = [asyncio.create_task(client.get(path, headers={"If-None-Match": known, "Prefer": "wait=30"})) for _ in range(MANY)]
    stream = ids.parse("tsk", running)
    assert stream is not None
    await eventually(lambda: len(services.api.gateway.hub.watches.get(stream, ())) == MANY)
    with counted_loads(services) as loaded:
        gate.opened.set()
        answers = [await poll for poll in polls]
    assert {answer.json()["status"] for answer in answers} == {"success"}
    assert loaded.count(stream) <= 3  # the runner's own are not the API's


async def test_a_client_that_reads_nothing_is_cut_off_and_comes_back_for_the_rest(
    client: httpx2.AsyncClient, services: Services, owner: str, gate: Gate, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "SLOWEST_SECONDS", 0.3)
    connections = services.served.server.server_state.connections
    async with watching(client, running) as quick, _raw_watcher(services, client, running) as slow:
        await quick.until("snapshot")
        await eventually(lambda: _watchers(services, running) == 2)
        before = len(connections)
        await say(services, owner, running, range(1, 61), "x" * 60_000)
        numbers = [(await quick.until("chunk"))[-1].data["n"] for _ in range(60)]
        assert numbers == list(range(1, 61)), "a slow client is nobody else's concern"
        await eventually(lambda: len(connections) == before - 1)
        got = await _drained(slow)
        last = _last_id(got)
        assert 0 < int(last.split(".")[2]) < 60
        async with watching(client, running, last) as back:
            gate.opened.set()
            frames = await back.until("end")
    rest = [frame.data["n"] for frame in frames if frame.event == "chunk"]
    assert rest == list(range(int(last.split(".")[2]) + 1, 61))
    assert "gap" not in {frame.event for frame in frames}


async def _drained(connection: socket.socket) -> bytes:
    """What is left to be read from a connection that was reset."""
    got = b""
    try:
        while part := await asyncio.get_running_loop().sock_recv(connection, 1 << 20):
            got += part
    except ConnectionResetError:
        pass
    return got


def _last_id(stream: bytes) -> str:
    """The id of the last event that arrived whole."""
    whole, _, _ = stream.rpartition(b"\n\n")
    return [line for line in whole.split(b"\n") if line.startswith(b"id: ")][-1][4:].decode()


async def test_a_client_that_vanishes_while_nothing_is_said_is_noticed(client: httpx2.AsyncClient, services: Services, running: str) -> None:
    async with _raw_watcher(services, client, running) as connection:
        assert b"200 OK" in await asyncio.get_running_loop().sock_recv(connection, 4096)
        assert _watchers(services, running) == 1
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await eventually(lambda: not _watchers(services, running))


async def test_a_stream_that_is_never_read_is_never_begun(services: Services, owner: str, running: str) -> None:
    """A request whose client has gone before the answer leaves nothing open."""
    who = Principal(token=ids.new_id(), namespace="default", owner=owner, scopes=frozenset({"read"}))
    await TaskStream(services.api.gateway, running, who, Wanted()).respond(None)
    await eventually(lambda: not len(services.api.gateway.channels))


async def test_a_large_snapshot_comes_whole(client: httpx2.AsyncClient) -> None:
    text = "y" * 900_000
    task = await submit(client, "t.echo", {"value": text})
    async with watching(client, task["id"]) as stream:
        frames = await stream.until("end")
    assert frames[0].data["task"]["input"] == {"value": text}
    assert frames[-1].data["status"] == "success"


async def test_who_knows_more_than_this_process_is_believed(client: httpx2.AsyncClient, services: Services, gate: Gate, running: str) -> None:
    """An API whose tail of the log is behind looks again before it tells somebody who comes from elsewhere everything anew."""
    stream = ids.parse("tsk", running)
    assert stream is not None
    async with serving_api(services.settings) as other:
        elsewhere = httpx2.AsyncClient(base_url=other.url, headers=client.headers, trust_env=False, verify=False)
        async with elsewhere, watching(elsewhere, running) as behind:
            await behind.until("snapshot")
            channel = other.api.gateway.channels.find(stream)
            assert channel is not None
            other.api.gateway.hub.leave(stream, channel)
            async with watching(client, running) as here:
                gate.opened.set()
                last = (await here.until("end"))[-1].id
            async with watching(elsewhere, running, last) as again:
                assert again.response.status_code == 204
            assert [frame.event for frame in await behind.until("end")] == ["task.success", "end"]
