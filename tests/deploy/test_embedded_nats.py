"""The embedded nats-server: who may use it, what it keeps, and whom it outlives (nobody)."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from daybook.testing.waiting import eventually
from daybook_local.nats import EmbeddedNats, find_nats
from daybook_local.processes import ServerFailed
from daybook_local.testing import outlived_its_parent


async def connect(url: str) -> Client:
    return await nats.connect(url, allow_reconnect=False, max_reconnect_attempts=1, connect_timeout=5)


async def messages_in(url: str, stream: str) -> int:
    connection = await connect(url)
    try:
        return int((await connection.jetstream().stream_info(stream)).state.messages)
    finally:
        await connection.close()


async def publish(url: str, stream: str) -> None:
    connection = await connect(url)
    try:
        jetstream = connection.jetstream()
        await jetstream.add_stream(name=stream, subjects=[f"{stream}.>"])
        await jetstream.publish(f"{stream}.fact", b"kept")
    finally:
        await connection.close()


def listening_on(port: int) -> list[str]:
    """The addresses, as /proc spells them, on which somebody listens at this port."""
    lines = [line.split() for table in ("tcp", "tcp6") for line in Path("/proc/net", table).read_text().splitlines()]
    addresses = [local.split(":") for _, local, _, state, *_ in lines if state == "0A"]
    return [address for address, at in addresses if int(at, 16) == port]


def pid_of(server: EmbeddedNats) -> int:
    assert server.process is not None
    return server.process.pid


async def test_it_serves_jetstream_on_loopback_to_those_with_the_password(nats_server: EmbeddedNats) -> None:
    await publish(nats_server.url, "A")
    assert await messages_in(nats_server.url, "A") == 1
    with pytest.raises(nats.errors.Error, match="Authorization"):
        await connect(f"nats://127.0.0.1:{nats_server.port}")
    assert listening_on(nats_server.port) == ["0100007F"]


async def test_a_stored_message_survives_kill_9_under_the_same_address(nats_server: EmbeddedNats) -> None:
    url = nats_server.url
    await publish(url, "A")
    os.kill(pid_of(nats_server), signal.SIGKILL)
    nats_server.start()
    assert nats_server.url == url
    assert await messages_in(url, "A") == 1


async def test_the_next_run_finds_store_address_and_password(nats_server: EmbeddedNats) -> None:
    await publish(nats_server.url, "A")
    nats_server.stop()
    next_run = EmbeddedNats(nats_server.folder)
    next_run.start()
    try:
        assert next_run.url == nats_server.url
        assert await messages_in(next_run.url, "A") == 1
    finally:
        next_run.stop()


async def test_a_second_server_on_the_same_folder_is_refused(nats_server: EmbeddedNats) -> None:
    with pytest.raises(ServerFailed, match="still running"):
        EmbeddedNats(nats_server.folder, takeover_seconds=0).start()


async def test_a_port_that_was_taken_meanwhile_is_given_up(nats_server: EmbeddedNats) -> None:
    nats_server.stop()
    with socket.create_server(("127.0.0.1", nats_server.port)):
        moved = EmbeddedNats(nats_server.folder)
        moved.start()
    try:
        assert moved.port != nats_server.port
        with pytest.raises(NotFoundError):
            await messages_in(moved.url, "A")
    finally:
        moved.stop()


async def test_a_stranger_on_its_port_is_not_taken_for_the_server(nats_server: EmbeddedNats, folder: Path) -> None:
    with pytest.raises(ServerFailed, match="did not start"):
        EmbeddedNats(folder / "other", port=nats_server.port).start()


async def test_it_ends_with_its_parent(folder: Path) -> None:
    code = """if True:
        import sys, pathlib
        from daybook_local.nats import EmbeddedNats
        server = EmbeddedNats(pathlib.Path(sys.argv[1]) / "nats")
        server.start()
        print(server.process.pid, flush=True)"""
    await eventually(outlived_its_parent(code, folder).is_gone)


def test_a_binary_given_by_setting_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match="cannot be run"):
        find_nats({"DAYBOOK_NATS_BIN": str(tmp_path / "nats-server")})
