"""How this project talks to Postgres: every connection has deadlines in the driver, acts as one role, and notices a
dead peer.

A deadline around a call (`asyncio.wait_for`) is not enough: on a connection whose packets vanish it returned after a
minute, since the driver waits for the cancellation to be answered.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncpg
from asyncpg.connect_utils import SessionAttribute

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Connection, Pool = asyncpg.Connection, asyncpg.Pool

CONNECT_TIMEOUT_SECONDS: Final = 3.0
COMMAND_TIMEOUT_SECONDS: Final = 6.0

# What it looks like when the connection, not the statement, is at fault. An InternalClientError is one, too: asyncpg
# raises it when the server said farewell while nothing was asked, and when the server that answers may not write (any
# more, or yet).
LOST: Final = (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError,
               asyncpg.OperatorInterventionError, asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError,
               asyncpg.ReadOnlySQLTransactionError)  # fmt: skip

# What passes when the same is done again, since somebody else was in the way.
TRANSIENT: Final = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError)

_SETTINGS: Final = {
    "statement_timeout": "5s",
    "lock_timeout": "4s",
    "idle_in_transaction_session_timeout": "5s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "search_path": "pg_catalog",
    "timezone": "UTC",
    # Hot paths probe an index per row. Right after a migration the planner knows nothing of the tables and would cache a plan that scans them.
    "enable_seqscan": "off",
    # And pages are read in the order of an index, however many events the planner thinks there are.
    "enable_bitmapscan": "off",
    # The plan that suits one row suits all: made once, instead of for every append anew, which took a third of its time.
    "plan_cache_mode": "force_generic_plan",
}


# Whatever the server, the database or the login has as its default: what was answered is committed. Stronger settings stay.
_DURABLE: Final = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"


async def connect(url: str, role: str | None, *, asynchronous_commit: bool = False) -> Connection:
    """One connection that acts as `role` (None: as whoever the URL logs in). With `asynchronous_commit`, a crash of the
    database may forget its last transactions, which suits only what is derived from the log."""
    settings = {**_SETTINGS, "application_name": f"daybook {role or 'owner'}"}
    if asynchronous_commit:
        settings["synchronous_commit"] = "off"
    connection: Connection = await asyncpg.connect(
        url,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=COMMAND_TIMEOUT_SECONDS,
        server_settings=settings,
        target_session_attrs=SessionAttribute.read_write,
    )
    await _prepare(role, durable=not asynchronous_commit)(connection)
    return connection


async def connect_pool(url: str, role: str | None, *, size: int) -> Pool:
    """A pool of such connections, for reads that have no connection of their own."""
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=COMMAND_TIMEOUT_SECONDS,
        server_settings={**_SETTINGS, "application_name": f"daybook {role or 'owner'}"},
        target_session_attrs=SessionAttribute.read_write,
        init=_prepare(role),
        reset=_nothing,
    )


def _prepare(role: str | None, *, durable: bool = True) -> Callable[[Connection], Any]:
    said = ([f'SET ROLE "{role}"'] if role is not None else []) + ([_DURABLE] if durable else [])

    async def prepare(connection: Connection) -> None:
        if said:
            await connection.execute("; ".join(said))
        # JSON travels as the bytes it is; whoever needs it decoded knows its type.
        await connection.set_type_codec("json", schema="pg_catalog", format="binary", encoder=_same, decoder=bytes)
        await connection.set_type_codec("jsonb", schema="pg_catalog", format="binary", encoder=_versioned, decoder=_unversioned)

    return prepare


async def _nothing(connection: Connection) -> None:
    """No session state is ever changed on a pooled connection, so there is nothing to reset, and no round trip to spend on it."""


def _same(value: bytes) -> bytes:
    return value


def _versioned(value: bytes) -> bytes:
    return b"\x01" + value


def _unversioned(value: bytes) -> bytes:
    return bytes(value[1:])
