"""Which addresses an app may call, and that every other one is refused however it is written."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from daybook.context import Context
from daybook_runner.addresses import is_permitted, parse_networks
from daybook_runner.executors import Call, Executors, Failure
from daybook_runner.loading import load

if TYPE_CHECKING:
    from tests.runner.conftest import LocalServer

INSIDE = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.1.2.3",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "::ffff:8.8.8.8", "64:ff9b::808:808", "2606:4700:4700::1111"]

# How else an address inside can be written, in a URL. The local server listens on 127.0.0.1.
SPELLINGS = [
    "http://127.0.0.1:{port}/",
    "http://127.1:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.1:{port}/",
    "http://2130706433:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://017700000001:{port}/",
    "http://localhost:{port}/",
    "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:{port}/",
    "http://LOCALHOST:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://\uff11\uff12\uff17.0.0.1:{port}/",
    "http://127。0。0。1:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[::ffff:0:127.0.0.1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://example.org@127.0.0.1:{port}/",
    "http://example.org:80@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@example.org/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/latest/meta-data/",
    "http://100.64.0.1/",
    "http://192.0.0.192/",
    "http://224.0.0.1/",
    "https://127.0.0.1:{port}/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_x",
    "//127.0.0.1:{port}/",
    "127.0.0.1:{port}",
    "http:///",
    "",
]
# Some systems resolve these and others do not.
DOUBTFUL = ["http://127.0.0.1.:{port}/", "http://localhost.:{port}/", "http://[fe80::1%25lo]:{port}/", "http://[::1%25lo]:{port}/"]


@pytest.mark.parametrize("address", INSIDE)
def test_inside(address: str) -> None:
    assert not is_permitted(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_permitted(ip_address(address))


def test_the_operator_may_allow_networks() -> None:
    allowed = parse_networks("10.1.0.0/16, fd00:1::/64,127.0.0.1")
    assert is_permitted(ip_address("10.1.2.3"), allowed)
    assert is_permitted(ip_address("::ffff:10.1.2.3"), allowed)
    assert is_permitted(ip_address("fd00:1::9"), allowed)
    assert is_permitted(ip_address("127.0.0.1"), allowed)
    assert not is_permitted(ip_address("10.2.0.1"), allowed)
    assert not is_permitted(ip_address("127.0.0.2"), allowed)


@pytest.mark.parametrize("text", ["localhost", "10.0.0.0/40", "10.0.0.1/8", "10.0.0.0/8;"])
def test_what_is_no_network_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(ValueError, match=r"network|host bits|address"):
        Executors(http_allow=text)


@pytest.mark.parametrize("spelling", SPELLINGS + DOUBTFUL)
async def test_no_spelling_of_an_inside_address_gets_through(server: LocalServer, tmp_path: Path, spelling: str) -> None:
    (tmp_path / "fetch.toml").write_text('kind = "http"\nurl = "{{url}}"')
    definition = load([str(tmp_path)])["fetch"]
    async with Executors() as executors:
        url = spelling.format(port=server.port)
        call = Call(task_id="tsk_1", attempt=1, definition=definition, input={"url": url})
        outcome = await executors.execute(call, Context.for_test())
    assert isinstance(outcome, Failure)
    assert outcome.error_type in ("AddressRefused", "InvalidInput", *["HttpUnreachable"] * (spelling in DOUBTFUL)), outcome
    assert not server.requests
