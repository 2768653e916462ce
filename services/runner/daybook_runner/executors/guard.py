"""The network as an HTTP app sees it: connections go to permitted addresses, or nowhere.

The check is made where a connection is made: the name is resolved once, every address it has must be permitted
(`addresses.py`), and the connection goes to one of exactly those addresses. Spellings of an address (`127.1`,
`0x7f000001`), userinfo, and a DNS answer that changes between two questions then make no difference. The Host header
and the TLS server name stay the name's, since the pool above knows nothing of this.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address
from typing import TypeAlias

import httpcore2

from ..addresses import AddressRefused, Network, is_permitted, resolve_host

Resolve: TypeAlias = Callable[[str, int], Awaitable[list[str]]]
SocketOption: TypeAlias = httpcore2.SOCKET_OPTION


class GuardedNetwork(httpcore2.AsyncNetworkBackend):
    """Makes the connections of an HTTP pool, to permitted addresses only."""

    def __init__(self, allowed: tuple[Network, ...] = (), resolve: Resolve = resolve_host) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._plain = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """A connection to the first address that answers. Raises AddressRefused when any of the host's addresses is not
        permitted."""
        failure: Exception = httpcore2.ConnectError(f"{host} has no address")
        for address in await self._addresses(host, port):
            try:
                return await self._plain.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[SocketOption] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        raise AddressRefused("an app cannot call a local socket")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> list[str]:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"{host} cannot be resolved") from error
        # One bad address spoils the name: whoever runs its DNS would otherwise choose which one is tried.
        if not all(is_permitted(ip_address(address), self._allowed) for address in addresses):
            # Which address it was stays unsaid: the answer would map the inside of the network.
            raise AddressRefused(f"{host} is not a public address, and DAYBOOK_HTTP_ALLOW does not permit it")
        return addresses
