"""Real servers for the tests: one PostgreSQL and one nats-server for the session, a database of its own for each test.

Every test that asks for `database_url` gets a fresh clone of a database that was migrated once. Streams are global to a
nats-server, so a test that needs them to itself asks for `nats_server`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio
import structlog

from daybook_local import folders
from daybook_local.nats import EmbeddedNats
from daybook_local.postgres import EmbeddedPostgres
from daybook_local.processes import ServerFailed

TEMPLATE = "daybook_template"
ROLES = ("daybook_api", "daybook_scheduler", "daybook_runner", "daybook_projector", "daybook_janitor", "daybook_guest")
ROLE_PASSWORDS = {role: f"{role}-in-tests" for role in ROLES}
_ROOM_BYTES = 4 * 1024**3

_HANGS_SECONDS = 110

_numbers = itertools.count(1)

# By default structlog draws every frame with its locals, up to a second per traceback: an event loop in which duties crash would stand still for as long.
# And what services log beside a test is none of what a test finds in `sys.stdout` and `sys.stderr`; pytest shows it when the test fails.
_renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(
    processors=[*structlog.get_config()["processors"][:-1], _renderer],
    logger_factory=structlog.PrintLoggerFactory(sys.__stderr__),
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Where a test hangs, pytest tells the stacks of all threads, which for asyncio is the selector. This tells, just before, where its tasks wait."""

    def tell(*_: object) -> None:
        with contextlib.suppress(RuntimeError), item.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            for task in asyncio.all_tasks():
                print(f"\n{task.get_name()} waits at", *_waits_at(task), sep="\n  ", file=sys.stderr)

    signal.signal(signal.SIGALRM, tell)
    signal.alarm(_HANGS_SECONDS)
    try:
        return (yield)
    finally:
        signal.alarm(0)


@pytest.fixture(scope="session")
def session_folder() -> Iterator[Path]:
    """A folder for the servers of the whole session."""
    _remove_leftovers()
    with _open_folder() as place:
        yield place


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in which a test may start servers."""
    with _open_folder() as place:
        yield place


@pytest.fixture(scope="session")
def postgres(session_folder: Path) -> Iterator[EmbeddedPostgres]:
    """One PostgreSQL for all tests. Not to be stopped by a test."""
    server = EmbeddedPostgres(session_folder / "postgres", fast=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def nats(session_folder: Path) -> Iterator[EmbeddedNats]:
    """One nats-server for all tests that do not mind each other's streams. Not to be stopped by a test."""
    server = EmbeddedNats(session_folder / "nats")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def nats_url(nats: EmbeddedNats) -> str:
    """The address of the session's nats-server."""
    return nats.url


@pytest.fixture
def nats_server(folder: Path) -> Iterator[EmbeddedNats]:
    """A nats-server for this test alone, to be stopped, killed and wiped as it likes."""
    server = EmbeddedNats(folder / "nats")
    server.start()
    yield server
    server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template_database(postgres: EmbeddedPostgres) -> str:
    """The name of a migrated database without rows, whose service roles can log in; only ever copied."""
    from daybook.log.migrate import migrate, set_service_passwords

    await _execute(postgres, f"CREATE DATABASE {TEMPLATE}")
    await migrate(postgres.url(TEMPLATE))
    await set_service_passwords(postgres.url(TEMPLATE), ROLE_PASSWORDS)
    return TEMPLATE


@pytest_asyncio.fixture(loop_scope="session")
async def database_url(postgres: EmbeddedPostgres, template_database: str) -> AsyncIterator[str]:
    """The address of a migrated database of this test's own, as its owner."""
    name = f"daybook_test_{next(_numbers)}"
    await _execute(postgres, f"CREATE DATABASE {name} TEMPLATE {template_database} STRATEGY wal_log")
    yield postgres.url(name)
    await _execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def url_as(postgres: EmbeddedPostgres, database_url: str) -> Callable[[str], str]:
    """The address of this test's database for a service role, `daybook_api` for instance."""
    database = urlsplit(database_url).path.removeprefix("/")
    return lambda role: postgres.url(database, user=role, password=ROLE_PASSWORDS[role])


@contextlib.contextmanager
def _open_folder() -> Iterator[Path]:
    """A temporary folder that other users can pass through, as PostgreSQL needs when we are root; pytest's are closed."""
    folder = Path(tempfile.mkdtemp(prefix="daybook-test-", dir=_memory()))
    folder.chmod(0o711)
    held = folders.take_lock(folder / "held", patience_seconds=1, refusal=f"{folder} is somebody else's")
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        os.close(held)


def _remove_leftovers() -> None:
    """Remove the folders of sessions that were killed: they take room in memory, and nobody holds them any more."""
    for mark in Path(_memory() or tempfile.gettempdir()).glob("daybook-test-*/held"):
        with contextlib.suppress(ServerFailed, PermissionError):
            held = folders.take_lock(mark, patience_seconds=0, refusal="in use")
            shutil.rmtree(mark.parent)
            os.close(held)


def _memory() -> Path | None:
    """A file system in memory with room for the databases: a clone takes 10 ms there and 100 to 200 ms on a disk."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > _ROOM_BYTES else None


def _waits_at(task: asyncio.Task[object]) -> Iterator[str]:
    """From the outermost coroutine inwards; the task's own `get_stack` knows the outermost alone."""
    awaited: object = task.get_coro()
    while (frame := getattr(awaited, "cr_frame", None)) is not None:
        yield f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        awaited = getattr(awaited, "cr_await", None)


async def _execute(postgres: EmbeddedPostgres, statement: str) -> None:
    connection = await asyncpg.connect(postgres.url("postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
