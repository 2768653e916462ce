"""The lease: renewed while the database is there, lost in time when it is not, and the end of a runner when it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio
from tests.e2e.house import open_house, start

from daybook.log.postgres import Log
from daybook.testing import eventually
from daybook.testing.proxy import Proxy
from daybook_local.nats import EmbeddedNats
from daybook_runner.lease import Lease, LeaseLost

TTL, RENEW = 0.8, 0.1


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    place = urlsplit(database_url)
    assert place.hostname is not None
    assert place.port is not None
    async with Proxy(place.hostname, place.port) as opened:
        yield opened


@asynccontextmanager
async def taken(database_url: str, proxy: Proxy) -> AsyncIterator[Lease]:
    """A lease, through the proxy."""
    place = urlsplit(database_url)
    lease = Lease(ttl_seconds=TTL, renew_seconds=RENEW)
    log = await Log.open(database_url.replace(f":{place.port}/", f":{proxy.port}/"), "runner", credentials=lease.credentials, pool_size=1, writers=1)
    try:
        await lease.take(log, namespace="default", queues=["default"], apps=[], slots=1, host="here")
        yield lease
    finally:
        log.pool.terminate()


async def remaining(database_url: str, lease: Lease) -> float:
    """For how long the lease is good, by the database's clock; negative when it has run out."""
    connection = await asyncpg.connect(database_url)
    query = "SELECT extract(epoch FROM greatest(until, clock_timestamp() - interval '1 day') - clock_timestamp())::float8 FROM daybook.runner WHERE id = $1"
    seconds: float = await connection.fetchval(query, lease.runner)
    await connection.close()
    return seconds


async def test_it_is_renewed_again_and_again(database_url: str, proxy: Proxy) -> None:
    async with taken(database_url, proxy) as lease:
        loop = asyncio.get_running_loop()
        taken_until = loop.time() + await remaining(database_url, lease)
        keeping = asyncio.create_task(lease.keep())

        async def outlives_itself() -> bool:
            return loop.time() + await remaining(database_url, lease) > taken_until + TTL / 2

        await eventually(outlives_itself)
        assert not keeping.done()
        keeping.cancel()


@pytest.mark.parametrize("fault", ["refuse", "stall", "drop"])
async def test_without_a_database_it_is_lost_before_anybody_else_thinks_so(database_url: str, proxy: Proxy, fault: str) -> None:
    """Refused, or in a black hole where nothing ever answers."""
    async with taken(database_url, proxy) as lease:
        loop = asyncio.get_running_loop()
        keeping = asyncio.create_task(lease.keep())
        began = loop.time()
        if fault == "drop":
            proxy.drop("answer")
        else:
            getattr(proxy, fault)()
        with pytest.raises(LeaseLost):
            await asyncio.wait_for(asyncio.shield(keeping), 5)
        # A request that the black hole still let out may have been granted: then it ended even earlier than it had to.
        assert loop.time() - began <= TTL + RENEW
        assert await remaining(database_url, lease) > -0.1


async def test_an_outage_shorter_than_the_lease_is_survived(database_url: str, proxy: Proxy) -> None:
    async with taken(database_url, proxy) as lease:
        keeping = asyncio.create_task(lease.keep())
        refused = proxy.accepted
        proxy.refuse()
        await eventually(lambda: proxy.accepted > refused)  # it has tried
        proxy.heal()

        async def is_fresh() -> bool:
            return await remaining(database_url, lease) > TTL - RENEW

        await eventually(is_fresh)
        assert not keeping.done()
        keeping.cancel()


async def test_one_that_ran_out_is_not_renewed(database_url: str, proxy: Proxy) -> None:
    async with taken(database_url, proxy) as lease:
        await lease.end()
        assert await remaining(database_url, lease) < 0
        with pytest.raises(LeaseLost, match="had run out"):
            async with asyncio.timeout(5):
                await lease.keep()


async def test_giving_it_up_without_a_database_is_no_error(database_url: str, proxy: Proxy) -> None:
    async with taken(database_url, proxy) as lease:
        proxy.refuse()
        await lease.end()


async def test_a_runner_that_was_frozen_for_too_long_ends_at_once_whatever_it_does(database_url: str, nats_server: EmbeddedNats, folder: Path) -> None:
    """Even in a thread that nothing can stop: what it runs may run elsewhere by now."""
    async with open_house(database_url, nats_server, folder) as house:
        api, scheduler = house.add_api(), house.add_scheduler()
        runner = house.add_runner(slots=2, DAYBOOK_LEASE_TTL_SECONDS="1", DAYBOOK_LEASE_RENEW_SECONDS="0.2")
        await start(api, scheduler, runner)
        for app in ("fault.hold_thread", "fault.hold"):
            assert await api.accepted(app) == await house.gate.knock()
        runner.signal(SIGSTOP)
        connection = await asyncpg.connect(database_url)

        async def has_run_out() -> bool:
            return bool(await connection.fetchval("SELECT bool_and(until < clock_timestamp()) FROM daybook.runner"))

        await eventually(has_run_out)
        await connection.close()
        runner.signal(SIGCONT)
        assert await runner.ended(3) == 1
        assert runner.has_said("lease.lost")
