"""Timers: with a million of them pending, how late the due ones fire, what that costs, and what the idle ones cost.

The million are one task that was submitted through the API, copied by the owner of the database while no service runs:
its event in the log, its rows in the read models `task` and `timer`, each with an id and a time of its own, the first of
them tomorrow. The followers' cursors are set behind the copies, where they would stand had they read them; that would
take minutes, inserting takes half of one. What the release writes for a task is copied as it is, whatever that is.
Statistics are gathered and a checkpoint is made before anything is measured: a database that was filled at leisure has
long had both.

The tasks that become due are submitted through the API in advance, in batches, and followed by everybody, as any. They
go to a queue that no runner serves and stay there when they have fired: what is measured is the firing, in a system
whose relay and read models keep up with it, and not how many tasks the processors can run besides. Lateness is what the
log says: when `task.due.v1` was recorded, less when the task was to run, by the database's clock.
"""

import asyncio
import os
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from daybook import ids
from daybook.log.connections import Connection
from daybook_local.postgres import EmbeddedPostgres

from . import load
from .house import House, ProcessorTime, house

PENDING: Final = 1_000_000
PER_SECOND: Final = 1_000
SECONDS: Final = 30
BURST: Final = 10_000
_IDLE_SECONDS: Final = 10.0
_SETTLE_SECONDS: Final = 3.0
_BATCH: Final = 500
_TASK: Final = {"app": "bench.noop", "queue": "nobody"}
# Tasks are submitted so far ahead that everybody can have followed before they are due.
_FOLLOWED_PER_SECOND: Final = 3_000
_PATIENCE_SECONDS: Final = 120.0

# What tells the copies apart; every other column is as the model has it. `n` counts them.
_ID: Final = "('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid"
_AT: Final = "date_trunc('second', statement_timestamp()) + interval '1 day' + n * interval '30 seconds'"
_TIME: Final = f"""to_char({_AT}, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""
_COPIES: Final = {
    "log.event": ("stream", {"lane": "n % 64", "position": "nextval('log.position')", "stream": _ID, "id": _ID, "at": "clock_timestamp()",
                             "data": f"replace(model.data::text, model.data ->> 'run_at', {_TIME})::json"}),
    "read.task": ("id", {"id": _ID, "run_at": _AT}),
    "read.timer": ("id", {"id": _ID, "due_at": _AT}),
}  # fmt: skip
_LIST_INDEXES: Final = "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = $1::regclass AND NOT indisunique"

_HEAD: Final = "SELECT array_agg(coalesce((SELECT max(e.position) FROM log.event e WHERE e.lane = n), 0) ORDER BY n) FROM generate_series(0, 63) n"
_FOLLOWED: Final = f"""
SELECT bool_and(p.position >= head.positions[p.lane])
FROM log.cursor c, unnest(c.positions) WITH ORDINALITY AS p (position, lane), ({_HEAD}) AS head (positions)
"""
_FIRED: Final = """
SELECT e.stream, e.at FROM generate_series(0, 63) AS l (lane)
CROSS JOIN LATERAL (SELECT * FROM log.event e WHERE e.lane = l.lane AND e.position > $1 AND e.kind = 'task.due.v1') e
"""


async def timers() -> dict[str, float]:
    """All figures about timers, measured once; about two minutes."""
    with tempfile.TemporaryDirectory(prefix="daybook-bench-", dir="/var/tmp") as folder:
        # PostgreSQL never runs as root; where this does, its user must be able to enter.
        Path(folder).chmod(0o711)
        postgres = EmbeddedPostgres(Path(folder) / "postgres")
        postgres.start()
        try:
            return await _measured(postgres.url())
        finally:
            postgres.stop()


async def _measured(url: str) -> dict[str, float]:
    ours = ProcessorTime(os.getpid())
    async with house(url) as empty:
        model = await _model(empty)
        await asyncio.sleep(_SETTLE_SECONDS)
        without = ours.resident_mb()["scheduler"]
    _tell(f"copying a task {PENDING:,} times")
    await _fill(url, model)
    async with house(url) as full:
        await asyncio.sleep(_SETTLE_SECONDS)
        idle = await _percent(ours, _IDLE_SECONDS)
        figures = {
            "scheduler_idle_cpu_percent": idle["scheduler"],
            "scheduler_idle_postgres_cpu_percent": idle["postgres"],
            "scheduler_rss_mb_per_million_timers": (ours.resident_mb()["scheduler"] - without) * 1e6 / PENDING,
        }
        _tell(f"{PER_SECOND:,} due per second for {SECONDS} s")
        figures |= await _steady(full, ours)
        _tell(f"{BURST:,} due at one instant")
        return figures | await _burst(full)


async def _model(house: House) -> UUID:
    """Submit the task that the others are copies of; returns its id when every follower has read it."""
    (model,) = await _submit(house, [await house.database.fetchval("SELECT now() + interval '1 day'")])
    await _followed(house)
    return model


async def _fill(url: str, model: UUID) -> None:
    """Copy the task; the log and the read models beside each other, since each keeps a processor busy."""

    async def copy(*tables: str) -> None:
        connection = await asyncpg.connect(url)
        for table in tables:
            await _copy(connection, table, model)
            await connection.execute(f"VACUUM (ANALYZE) {table}")
        await connection.close()

    await asyncio.gather(copy("log.event"), copy("read.task", "read.timer"))
    owner = await asyncpg.connect(url)
    await owner.execute(f"UPDATE log.cursor SET positions = ({_HEAD})")
    await owner.execute("CHECKPOINT")
    await owner.close()


async def _copy(connection: Connection, table: str, model: UUID) -> None:
    """Copy the model's row of one table. The indexes for lists are made again afterwards, which takes a third of the time."""
    key, differing = _COPIES[table]
    columns = await connection.fetch("SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped", table)
    values = {column: differing.get(column, f"model.{column}") for (column,) in columns}
    indexes = await connection.fetch(_LIST_INDEXES, table)
    for name, _ in indexes:
        await connection.execute(f"DROP INDEX {name}")
    await connection.execute(
        f"INSERT INTO {table} ({', '.join(values)}) SELECT {', '.join(values.values())} "
        f"FROM (SELECT * FROM {table} WHERE {key} = $1) AS model, generate_series(1, $2) AS n",
        model,
        PENDING,
    )
    for _, definition in indexes:
        await connection.execute(definition)


async def _steady(house: House, ours: ProcessorTime) -> dict[str, float]:
    """So many due per second, spread evenly, for some seconds."""
    begin, position = await _soon(house, PER_SECOND * SECONDS), await _position(house)
    due = await _submit(house, [begin + n * timedelta(seconds=1 / PER_SECOND) for n in range(PER_SECOND * SECONDS)])
    await _until(house, begin)
    percent = await _percent(ours, SECONDS)
    late = quantiles(await _lateness_ms(house, due, position), n=100)
    return {"schedule_lateness_p50_ms": late[49], "schedule_lateness_p99_ms": late[98], f"scheduler_cpu_percent_at_{PER_SECOND}_per_s": percent["scheduler"]}


async def _burst(house: House) -> dict[str, float]:
    """So many due at one instant."""
    begin, position = await _soon(house, BURST), await _position(house)
    due = await _submit(house, [begin] * BURST)
    await _until(house, begin)
    return {f"schedule_burst_{BURST}_s": max(await _lateness_ms(house, due, position)) / 1000}


async def _submit(house: House, times: list[datetime]) -> dict[UUID, datetime]:
    """Submit a task for each of these times, in batches."""
    connection = await load.Connection.open(house.port)
    submitted: list[UUID] = []
    for start in range(0, len(times), _BATCH):
        batch = times[start : start + _BATCH]
        body = msgspec.json.encode([{**_TASK, "run_at": time} for time in batch])
        head, answer = await connection.exchange(load.render("POST", "/v1/tasks/batch", token=house.token, body=body))
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{head[:60]!r} {answer[:500]!r}")
        submitted += [task for item in msgspec.json.decode(answer)["items"] if (task := ids.parse("tsk", item["task_id"])) is not None]
    connection.close()
    return dict(zip(submitted, times, strict=True))


async def _soon(house: House, tasks: int) -> datetime:
    """A time until which so many tasks can be submitted and followed."""
    soon: datetime = await house.database.fetchval("SELECT now() + $1", timedelta(seconds=5 + tasks / _FOLLOWED_PER_SECOND))
    return soon


async def _until(house: House, begin: datetime) -> None:
    """Sleep until then; by that time everybody must have read what was submitted."""
    await _followed(house)
    left: float = await house.database.fetchval("SELECT extract(epoch FROM $1 - clock_timestamp())::float8", begin)
    if left < 0:
        raise RuntimeError(f"the tasks were due {-left:.1f} s before everybody had followed their submission: the machine is too slow, or too busy")
    await asyncio.sleep(left)


async def _followed(house: House) -> None:
    """Return when every follower has read everything."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not await house.database.fetchval(_FOLLOWED):
            await asyncio.sleep(0.2)


async def _position(house: House) -> int:
    position: int = await house.database.fetchval("SELECT last_value FROM log.position")
    return position


async def _lateness_ms(house: House, due: dict[UUID, datetime], position: int) -> list[float]:
    """How late each of these tasks fired; waits until all have."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while len(fired := await house.database.fetch(_FIRED, position)) < len(due):
            await asyncio.sleep(0.5)
    return [(at - due[stream]) / timedelta(milliseconds=1) for stream, at in fired]


async def _percent(ours: ProcessorTime, seconds: float) -> dict[str, float]:
    """How much of one processor each service takes in that time."""
    loop = asyncio.get_running_loop()
    started, before = loop.time(), ours.read()
    await asyncio.sleep(seconds)
    after, took = ours.read(), loop.time() - started
    return {service: 100 * (after[service] - before[service]) / took for service in before}


def _tell(what: str) -> None:
    print(f"  timers: {what}", file=sys.stderr)
