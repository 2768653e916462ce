"""Brings a database to this release's schema: plain SQL files, forward only, each in a transaction, each once.

Starters wait for each other by polling a lock that is tried, not waited for (waiters in a blocking lock deadlock with
`CREATE INDEX CONCURRENTLY`). A file that was applied and then edited is refused: its checksum is kept.
"""

import asyncio
from hashlib import sha256
from importlib.resources import files
from typing import Final

import asyncpg

_LOCK: Final = 1684108901
_WAIT_SECONDS: Final = 60.0


class MigrationError(Exception):
    """The database cannot be brought to this release's schema; the text says why."""


async def migrate(database_url: str) -> list[str]:
    """Apply what is missing, as the owner of the database, and return its names in order. Raises `MigrationError`, or
    the database's own error."""
    connection = await asyncpg.connect(database_url, timeout=5, command_timeout=600)
    try:
        await _lock(connection)
        await connection.execute(
            "CREATE SCHEMA IF NOT EXISTS daybook_meta;"
            "CREATE TABLE IF NOT EXISTS daybook_meta.migration"
            " (name text PRIMARY KEY, checksum text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())"
        )
        applied: dict[str, str] = dict(await connection.fetch("SELECT name, checksum FROM daybook_meta.migration"))  # type: ignore[arg-type]
        scripts = {name: (script, sha256(script.encode()).hexdigest()) for name, script in _scripts()}
        _refuse_other_history(applied, {name: checksum for name, (_, checksum) in scripts.items()})
        missing = [name for name in scripts if name not in applied]
        for name in missing:
            script, checksum = scripts[name]
            async with connection.transaction():
                await connection.execute(script)
                await connection.execute("INSERT INTO daybook_meta.migration VALUES ($1, $2)", name, checksum)
        await connection.execute(files("daybook.projections").joinpath("schema.sql").read_text("utf-8"))
        return missing
    finally:
        await connection.close()


async def set_service_passwords(database_url: str, passwords: dict[str, str]) -> None:
    """Let the service roles (`daybook_api` …) log in with these passwords."""
    connection = await asyncpg.connect(database_url, timeout=5, command_timeout=30)
    try:
        for role, password in passwords.items():
            quoted = await connection.fetchval("SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)", role, password)
            await connection.execute(quoted)
    finally:
        await connection.close()


def _refuse_other_history(applied: dict[str, str], shipped: dict[str, str]) -> None:
    """Before anything is changed: what was applied must be what this release ships."""
    for name, checksum in applied.items():
        if name in shipped and shipped[name] != checksum:
            raise MigrationError(f"{name} was applied in another form than the one shipped; never edit a migration")
    unknown = sorted(applied.keys() - shipped.keys())
    if unknown:
        raise MigrationError(f"the database is newer than this release: it has {', '.join(unknown)}")


def _scripts() -> list[tuple[str, str]]:
    folder = files("daybook.log").joinpath("migrations")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(name, folder.joinpath(name).read_text("utf-8")) for name in names]


async def _lock(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    deadline = asyncio.get_running_loop().time() + _WAIT_SECONDS
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
        if asyncio.get_running_loop().time() > deadline:
            raise MigrationError("another migration has been running for a minute")
        await asyncio.sleep(0.2)
