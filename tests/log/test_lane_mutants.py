"""The witness of `test_lanes` would notice: each other way to read or to append that was considered for the log is caught, within seconds."""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from tests.log.crowd import Roll, write
from tests.log.witness import SLOW_COMMITS, UNSTEADY_CLOCK, GlobalPositionReading, MutantPageReading, PageReading, Witness, follow

from daybook.log.connections import Connection, connect
from daybook.testing import eventually

PAGE = 7
PATIENCE_SECONDS = 20.0

# Draws the positions first, takes the lane afterwards: two transactions of one lane may then commit in another order than that of their positions.
POSITIONS_BEFORE_THE_LOCK = """
CREATE OR REPLACE FUNCTION log._take_lane(preferred int DEFAULT NULL) RETURNS int LANGUAGE sql AS $$ SELECT floor(random() * 3)::int $$;
CREATE OR REPLACE FUNCTION log._append(
    the_lane int, streams uuid[], versions int[], ids uuid[], kinds text[], namespaces text[], datas json[], payloads bytea[]
) RETURNS TABLE (stream uuid, lane int, "position" bigint, at timestamptz) LANGUAGE plpgsql AS $$
DECLARE
    positions bigint[] := ARRAY(SELECT nextval('log.position') FROM generate_subscripts(streams, 1));
BEGIN
    PERFORM pg_sleep(random() * 0.01);
    PERFORM pg_advisory_xact_lock(1684108900, the_lane);
    RETURN QUERY
    INSERT INTO log.event AS e (lane, position, stream, version, id, kind, namespace, data, payload)
    SELECT the_lane, g.position, g.stream, g.version, g.id, g.kind, g.namespace, g.data, g.payload
    FROM unnest(positions, streams, versions, ids, kinds, namespaces, datas, payloads) AS g (position, stream, version, id, kind, namespace, data, payload)
    WHERE g.version = 1 OR EXISTS (SELECT FROM log.event p WHERE p.stream = g.stream AND p.version = g.version - 1)
    ORDER BY g.stream
    ON CONFLICT ON CONSTRAINT one_event_per_version DO NOTHING
    RETURNING e.stream, e.lane, e.position, e.at;
END $$;
"""
# Takes no lock at all: transactions of one lane overlap.
NO_LOCK = "CREATE OR REPLACE FUNCTION log._take_lane(preferred int DEFAULT NULL) RETURNS int LANGUAGE sql AS $$ SELECT floor(random() * 3)::int $$;"


class Mutant(NamedTuple):
    """A way to do it wrong: what is changed in the database, and how it is read."""

    sql: str
    reading: Callable[[Connection], Any]
    head_start: int = 0
    """How many events there are before the reading begins: what keeps up with the writers rarely finds two lanes to read."""


def _ours(connection: Connection) -> PageReading:
    return PageReading(connection, PAGE)


def _ordered(order: str) -> Callable[[Connection], MutantPageReading]:
    return lambda connection: MutantPageReading(connection, PAGE, order)


MUTANTS = {
    "one position for all lanes": Mutant("", lambda connection: GlobalPositionReading(connection, PAGE)),
    "lane after lane": Mutant("", _ordered("e.lane, e.position"), head_start=500),
    "merged by time": Mutant(UNSTEADY_CLOCK, _ordered("e.at, e.position")),
    "positions drawn before the lock": Mutant(POSITIONS_BEFORE_THE_LOCK, _ours),
    "no lock": Mutant(NO_LOCK, _ours),
}


@pytest.mark.parametrize("name", MUTANTS)
async def test_a_mutant_is_caught(name: str, database_url: str, url_as: Callable[[str], str], owner: Connection) -> None:
    mutant = MUTANTS[name]
    await owner.execute(SLOW_COMMITS + mutant.sql)
    witness = await _watch(mutant.reading, database_url, url_as, seconds=PATIENCE_SECONDS, head_start=mutant.head_start)
    print(f"{name}: after {len(witness.seen)} events: {witness.violations}, missed {await witness.missed(owner)}")
    assert witness.violations


async def test_ours_is_not(database_url: str, url_as: Callable[[str], str], owner: Connection) -> None:
    """The control: the same crowd, the same witness, the product's functions and pages."""
    await owner.execute(SLOW_COMMITS + UNSTEADY_CLOCK)
    witness = await _watch(_ours, database_url, url_as, seconds=2.0)
    assert witness.violations == []
    assert await witness.missed(owner) == 0
    assert len(witness.seen) > 300


async def _watch(reading: Callable[[Connection], Any], database_url: str, url_as: Callable[[str], str], *, seconds: float, head_start: int = 0) -> Witness:
    """Let three writers race, and follow them until something is wrong or the time is over."""
    witness, connection = Witness(), await connect(database_url, None)
    roll = Roll(1, url_as("daybook_api"), "", streams=12)
    stop = asyncio.Event()
    writers = [asyncio.create_task(write(roll, str(number), stop)) for number in range(3)]
    await eventually(lambda: connection.fetchval("SELECT count(*) >= $1 FROM log.event", head_start))
    follower = asyncio.create_task(follow(witness, reading(connection).next, until=lambda: all(writer.done() for writer in writers)))
    await asyncio.wait([follower], timeout=seconds)
    stop.set()
    await asyncio.gather(*writers)
    await follower
    await connection.close()
    return witness
