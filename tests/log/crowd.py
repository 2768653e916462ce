"""A crowd that writes to one log at once: writers that race for the same streams, guests that dawdle in transactions of their own, a nemesis.

Run as a program (`python -m tests.log.crowd`), it keeps its crowd going, each member a process of its own; now and then it kills one without
warning and starts another. When something comes on its standard input, the crowd ends in order, and it prints what it did as JSON.
"""

import asyncio
import json
import os
import select
import signal
import sys
from random import Random
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
from tests.log.samples import CANCEL_REQUESTED, RESCHEDULED, SUBMITTED

from daybook import ids
from daybook.log.envelope import Appended, Conflict
from daybook.log.postgres import Log

ISOLATIONS: Final = ("read_committed", "repeatable_read", "serializable")
_BATCHES: Final = (1, 1, 2, 5, 13, 40)
_HEADS = "SELECT stream, max(version) AS version FROM log.event WHERE stream = ANY ($1) GROUP BY stream"


class Roll(NamedTuple):
    """Who writes, and where."""

    seed: int
    api_url: str
    guest_url: str
    writers: int = 6
    guests: int = 3
    streams: int = 60

    def shared_streams(self) -> list[UUID]:
        """The streams that all writers race for."""
        return [ids.derive_id("crowd", str(self.seed), str(number)) for number in range(self.streams)]


class _ChangedItsMind(Exception):
    """A guest rolls back."""


async def write(roll: Roll, name: str, stop: asyncio.Event) -> tuple[int, int]:
    """Append to shared and fresh streams, in batches of any size, until told to stop; returns how many appends were made and how many lost their race."""
    chance = Random(f"{roll.seed} {name}")
    shared = roll.shared_streams()
    log = await Log.open(roll.api_url, "api", pool_size=1, writers=2)
    appended = conflicts = 0
    try:
        while not stop.is_set():
            chosen = chance.sample(shared, min(chance.choice(_BATCHES), len(shared)))
            known = {row["stream"]: row["version"] for row in await log.pool.fetch(_HEADS, chosen)}
            appends = [log.append(stream, known.get(stream, 0) + 1, chance.choice((RESCHEDULED, CANCEL_REQUESTED)), namespace="default") for stream in chosen]
            appends += [log.append(ids.new_id(), 1, SUBMITTED, namespace="default") for _ in range(chance.choice((0, 0, 1, 3)))]
            for outcome in await asyncio.gather(*appends, return_exceptions=True):
                appended += isinstance(outcome, Appended)
                conflicts += isinstance(outcome, Conflict)
                if not isinstance(outcome, Appended | Conflict):
                    raise outcome
            await log.pool.execute("SELECT pg_sleep(random() * $1)", 0.01)
    finally:
        await log.close()
    return appended, conflicts


async def visit(roll: Roll, name: str, stop: asyncio.Event) -> int:
    """Submit from SQL, inside transactions of every isolation level that stay open for a while, partly or wholly roll back, and submit more than once."""
    chance = Random(f"{roll.seed} {name}")
    connection = await asyncpg.connect(roll.guest_url, command_timeout=20)
    committed = 0
    try:
        while not stop.is_set():
            try:
                async with connection.transaction(isolation=chance.choice(ISOLATIONS)):
                    submitted = await _stay(connection, chance)
                committed += submitted
            except (_ChangedItsMind, asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
                continue
    finally:
        await connection.close()
    return committed


async def _stay(connection: "asyncpg.Connection[asyncpg.Record]", chance: Random) -> int:
    submitted = 0
    for _ in range(chance.randint(1, 4)):
        try:
            async with connection.transaction():  # A savepoint.
                key = f"key {chance.randrange(500)}" if chance.random() < 0.3 else None
                await connection.fetchval("SELECT daybook.submit_task('hello', key => $1)", key)
                await connection.execute("SELECT pg_sleep(random() * 0.03)")
                if chance.random() < 0.3:
                    raise _ChangedItsMind
            submitted += 1
        except _ChangedItsMind:
            pass
    if chance.random() < 0.3:
        raise _ChangedItsMind
    return submitted


def main() -> None:
    """Keep the crowd going and keep killing, until told to stop."""
    roll = Roll(*(kind(text) for kind, text in zip(Roll.__annotations__.values(), sys.argv[1:], strict=True)))
    chance = Random(roll.seed)
    ending, held_open = os.pipe()
    roles = ["writer"] * roll.writers + ["guest"] * roll.guests
    lives = dict.fromkeys(range(len(roles)), 0)
    children = {_start(roll, roles[number], f"{number}.0", ending, held_open): number for number in lives}
    kills = failures = 0
    while not select.select([sys.stdin], [], [], chance.uniform(0.1, 0.4))[0]:
        pid = chance.choice(sorted(children))
        number = children.pop(pid)
        os.kill(pid, signal.SIGKILL)
        failures += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != -signal.SIGKILL
        kills += 1
        lives[number] += 1
        children[_start(roll, roles[number], f"{number}.{lives[number]}", ending, held_open)] = number
    os.close(held_open)
    failures += sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0 for pid in children)
    print(json.dumps({"kills": kills, "failures": failures}), flush=True)


def _start(roll: Roll, role: str, name: str, ending: int, held_open: int) -> int:
    """Fork a member of the crowd; it lives until `ending` ends, which it does when this process closes its other end, or is no more."""
    pid = os.fork()
    if pid:
        return pid
    os.close(held_open)
    try:
        asyncio.run(_live(roll, role, name, ending))
    except BaseException as error:  # noqa: BLE001 - a forked child must never return into its parent's code
        print(f"{role} {name}: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


async def _live(roll: Roll, role: str, name: str, ending: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(ending, stop.set)
    await (write if role == "writer" else visit)(roll, name, stop)


if __name__ == "__main__":
    main()
