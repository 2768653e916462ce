"""Which addresses an app may call: the public ones, and those that the operator allows.

The user of an HTTP app may choose the host, and this runner stands inside a network that trusts it (server-side request
forgery). The rule here looks at resolved addresses only, never at names or spellings; `executors/guard.py` applies it
where a connection is made.

`DAYBOOK_HTTP_ALLOW` (networks, joined by commas) permits private targets, such as `10.1.0.0/16`.
"""

import asyncio
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_RESOLVERS: Final = ThreadPoolExecutor(16, thread_name_prefix="daybook-resolve")  # starts no thread before one is needed

# `is_global` alone calls these global, or did so in a Python we run on; each is a way to something that is not the
# internet.
_NOT_PUBLIC: Final = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carriers' and clouds' inside (RFC 6598)
        "168.63.129.16/32",  # Azure's metadata
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",  # benchmarks
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "2001::/23",  # Teredo and other protocol assignments
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address inside
        "3fff::/20",
    )
)
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")


class AddressRefused(Exception):
    """The target is not one that an app may call."""


def parse_networks(text: str) -> tuple[Network, ...]:
    """Networks (or single addresses) joined by commas. Raises ValueError naming the one that is none."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def is_permitted(address: Address, allowed: Iterable[Network] = ()) -> bool:
    """Whether an app may call this address: public, or in one of the allowed networks."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or (IPv4Address(address.packed[-4:]) if address in _NAT64 else None)
        if inner is not None:
            return is_permitted(inner, allowed)
    if any(address in network for network in allowed):
        return True
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not any(address in network for network in _NOT_PUBLIC)


async def resolve_host(host: str, port: int) -> list[str]:
    """All addresses of a host, as the system resolves it. Raises OSError when it has none.

    Looked up in threads of their own: a name server that does not answer holds each of them for a while, and must not hold
    up what else a runner does in threads.
    """
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    answers = await asyncio.get_running_loop().run_in_executor(_RESOLVERS, look_up)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))
