"""The ways in on which everybody is cut off: proxies that reset each connection after a random number of bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import httpx2
from tests.e2e.house import ApiService, House

from daybook.testing.proxy import Proxy

_PAGE_MEAN_BYTES: Final = 400_000
_NATS_MEAN_BYTES: Final = 150_000
_HEAD_MEAN_BYTES: Final = 300
_HEADS: Final = 0.2


class Lifetimes:
    """After how many bytes a connection is cut: any byte of a stream is as likely as any other. Every fifth connection is cut
    in its first few hundred, where the head of the answer and the snapshot are."""

    def __init__(self, chance: Random, mean_bytes: float) -> None:
        self._chance = chance
        self._mean_bytes = mean_bytes

    def __call__(self) -> int:
        mean = _HEAD_MEAN_BYTES if self._chance.random() < _HEADS else self._mean_bytes
        return int(self._chance.expovariate(1 / mean)) + 1


class Doors(NamedTuple):
    """Where watchers and subscribers come in."""

    streams: list[Proxy]
    """One for each API."""
    nats: Proxy
    nats_url: str
    https: list[httpx2.AsyncClient]
    """What subscribers fill their gaps with. Their answers are longer, and are cut less often: they have to be whole."""

    @property
    def ports(self) -> list[int]:
        """Of the APIs, for streams."""
        return [door.port for door in self.streams]

    @property
    def resets(self) -> int:
        """How many streams were reset at their byte."""
        return sum(door.cut_short for door in self.streams)


@asynccontextmanager
async def open_doors(house: House, apis: list[ApiService], chance: Random, *, mean_bytes: float) -> AsyncIterator[Doors]:
    """Doors to these APIs and to NATS. `mean_bytes` is how much passes through a stream before it is cut."""
    async with AsyncExitStack() as stack:

        async def door(url: str, mean: float) -> Proxy:
            place = urlsplit(url)
            assert place.hostname is not None
            assert place.port is not None
            opened = await stack.enter_async_context(Proxy(place.hostname, place.port))
            opened.cut_each_after(Lifetimes(chance, mean))
            return opened

        streams = [await door(api.url, mean_bytes) for api in apis]
        nats = await door(house.nats.url, _NATS_MEAN_BYTES)
        https = []
        for api in apis:
            url = f"http://127.0.0.1:{(await door(api.url, _PAGE_MEAN_BYTES)).port}"
            headers = {"Authorization": f"Bearer {house.token}"}
            https.append(await stack.enter_async_context(httpx2.AsyncClient(base_url=url, headers=headers, timeout=10, trust_env=False, verify=False)))
        yield Doors(streams, nats, house.nats.url.replace(f":{house.nats.port}", f":{nats.port}"), https)
