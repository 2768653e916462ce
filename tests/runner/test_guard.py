"""HTTP apps and names: which address is called when a name has several, or changes them between two questions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from daybook.context import Context
from daybook.manifest import Definition
from daybook_runner.addresses import parse_networks
from daybook_runner.executors import Call, Failure, Outcome, Success
from daybook_runner.executors.http import HttpExecutor
from daybook_runner.loading import load

if TYPE_CHECKING:
    from tests.runner.conftest import LocalServer


def fetching(folder: Path, url: str) -> Call:
    (folder / "it.json").write_bytes(msgspec.json.encode({"kind": "http", "url": url}))
    definition: Definition = load([str(folder / "it.json")])["it"]
    return Call(task_id="tsk_7", attempt=1, definition=definition, input={})


class Names:
    """A resolver that answers as it is told, one answer after the other, as a hostile DNS server may."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def __call__(self, host: str, port: int) -> list[str]:
        return self.answers.pop(0)


async def fetch(url: str, names: Names, folder: Path) -> Outcome:
    executor = HttpExecutor(parse_networks("127.0.0.2/32"), resolve=names)
    outcome = await executor.execute(fetching(folder, url), Context.for_test())
    await executor.aclose()
    return outcome


async def test_one_address_inside_spoils_the_name(server: LocalServer, tmp_path: Path) -> None:
    names = Names(["127.0.0.2", "127.0.0.1"])
    outcome = await fetch(f"http://mixed.test:{server.port}/", names, tmp_path)
    assert isinstance(outcome, Failure)
    assert outcome.error_type == "AddressRefused"
    assert "127.0.0" not in outcome.message
    assert not server.requests


async def test_the_address_that_was_checked_is_the_one_that_is_called(tmp_path: Path) -> None:
    # The second answer is another address: whoever asks twice connects there.
    names = Names(["127.0.0.2"], ["127.0.0.1"])
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.2", 0)
    port = listening.sockets[0].getsockname()[1]
    outcome = await fetch(f"http://rebind.test:{port}/x", names, tmp_path)
    listening.close()
    assert isinstance(outcome, Success)
    assert names.answers == [["127.0.0.1"]]
    assert f"\r\nhost: rebind.test:{port}\r\n".encode() in got[0].lower()


async def test_tls_names_the_host_and_not_the_address(tmp_path: Path) -> None:
    hello: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello.append(await reader.read(4096))
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.2", 0)
    port = listening.sockets[0].getsockname()[1]
    outcome = await fetch(f"https://secure.test:{port}/", Names(["127.0.0.2"]), tmp_path)
    listening.close()
    assert isinstance(outcome, Failure)
    assert outcome.error_type == "HttpUnreachable"
    assert b"secure.test" in hello[0]


async def test_the_next_address_is_tried_when_one_does_not_answer(server: LocalServer, tmp_path: Path) -> None:
    executor = HttpExecutor(parse_networks("127.0.0.0/8"), resolve=Names(["127.0.0.3", "127.0.0.1"]))
    outcome = await executor.execute(fetching(tmp_path, f"http://two.test:{server.port}/"), Context.for_test())
    await executor.aclose()
    assert isinstance(outcome, Success)
