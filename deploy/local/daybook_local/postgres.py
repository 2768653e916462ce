"""A PostgreSQL of our own: made on first start, kept across restarts, reachable on 127.0.0.1 only.

Durable by default, since everything that Daybook promises rests on it; `fast=True` is for tests: no process that is
killed loses anything, but the machine must not stop. Everything that belongs to the server lives in one folder:

    data/  password  port  lock  postgres.log

Refuses to run two servers on one folder, and to hand out a half-made data folder: it is made under another name and
renamed when complete.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from daybook.ids import new_secret
from daybook_local import binaries, folders, processes
from daybook_local.processes import ServerFailed

DATABASE = "daybook"
SUPERUSER = "postgres"

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    # A log is written all the time: checkpoints by the clock rather than by the gigabyte, so that fewer pages are written whole.
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    # A peer that vanished without a word must not hold a lane or a lease for hours.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20s",
    "idle_in_transaction_session_timeout": "60s",
    "synchronous_commit": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}
_DURABLE = {"fsync": "on", "full_page_writes": "on"}
_FAST = {
    # What was committed is with the operating system, so it survives `kill -9` of every process, but not a power cut.
    "fsync": "off",
    "full_page_writes": "off",
    # Shared memory in the data folder, so that a server that is killed for good leaves nothing elsewhere.
    "dynamic_shared_memory_type": "mmap",
    # Cheap logins: tests open many connections, and the password is random anyway.
    "scram_iterations": "1",
}
_INITDB_OPTIONS: tuple[str, ...] = (
    *("-U", SUPERUSER, "-A", "scram-sha-256", "-E", "UTF8", "--no-instructions"),
    # The same sort order on every platform, and no dependency on the system's locales.
    *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
)


class EmbeddedPostgres:
    """One PostgreSQL server in a folder. Start it from the main thread; it ends when this process does.

    `folder` changes at the start when we are root and the wanted one is closed to the account that the server needs.
    """

    name = "postgres"

    def __init__(self, folder: Path, *, fast: bool = False, port: int | None = None, takeover_seconds: float = 10.0) -> None:
        self.folder = folder.absolute()
        self.process: subprocess.Popen[bytes] | None = None
        self._fast = fast
        self._port = port
        self._takeover_seconds = takeover_seconds

    def start(self) -> None:
        """Make the data folder if there is none, start the server, and return when it accepts connections."""
        self.spawn()
        self.wait_ready()

    def url(self, database: str = DATABASE, user: str = SUPERUSER, password: str | None = None) -> str:
        """The address for clients. Without a password it carries that of the superuser."""
        password = self._password() if password is None else password
        return f"postgresql://{quote(user)}:{quote(password, safe='')}@127.0.0.1:{self.port}/{quote(database)}"

    @property
    def port(self) -> int:
        """Where the server listens; known once it was started."""
        if self._port is None:
            raise RuntimeError("the port is chosen at the first start")
        return self._port

    @property
    def data(self) -> Path:
        """The data folder of the server."""
        return self.folder / "data"

    @property
    def log_path(self) -> Path:
        """What the server says goes here."""
        return self.folder / "postgres.log"

    def spawn(self) -> None:
        """Start the server without waiting for it. After a crash: the same, on the same port."""
        self.folder = _home(self.folder)
        # Right after a crash the old server's own children may still be about to end; a supervisor asks again later.
        patience = self._takeover_seconds if self.process is None else 0.5
        lock = folders.take_lock(
            self.folder / "lock",
            patience_seconds=patience,
            refusal=f"another PostgreSQL is still running on {self.folder}",
        )
        try:
            if self.process is not None:
                self.process.wait()  # Collected, lest its successor take it for alive.
            account = binaries.unprivileged_account(self.data)
            tools = binaries.readable_by(account, binaries.find_postgres(os.environ))
            if not self.data.exists():
                self._make_data(tools, account, lock)
            self._forget_stale_pid()
            if self._port is None:
                self._port = folders.choose_port(self.folder / "port", first=folders.usual_port(self.folder))
            with processes.open_log(self.log_path) as log:
                self.process = processes.spawn(
                    [tools / "postgres", "-D", self.data, "-p", str(self.port), *self._options()],
                    death_signal=signal.SIGINT,
                    stdout=log,
                    env=processes.bare_environment(),
                    cwd="/",
                    account=account,
                    keep_open=(lock,),
                )
        finally:
            os.close(lock)  # From here on the lock is the server's own: it lasts as long as any of its processes.

    def wait_ready(self, timeout_seconds: float = 120.0) -> None:
        """Return when the server accepts connections; recovery after a crash may take a while.

        Asks the server's own pid file, as pg_ctl does: a stranger on the same port would satisfy pg_isready too.
        """
        process = self._running()
        deadline = time.monotonic() + timeout_seconds
        while not self._says_ready(process.pid):
            if process.poll() is not None:
                raise ServerFailed(f"PostgreSQL did not start:\n{processes.log_tail(self.log_path)}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"PostgreSQL was not ready within {timeout_seconds:.0f} s; see {self.log_path}")
            time.sleep(0.01)

    def stop(self) -> None:
        """A fast shutdown: clients are cut off, open transactions rolled back, nothing committed is lost."""
        if self.process is not None:
            # Not SIGTERM, which waits for every client to leave.
            processes.end(self.process, (signal.SIGINT, 30), (signal.SIGQUIT, 5), (signal.SIGKILL, 5))

    def kill(self) -> None:
        """End it at once; it recovers at the next start."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)

    def _make_data(self, tools: Path, account: processes.Account | None, lock: int) -> None:
        _require_known_user()
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if account is not None:
            os.chown(fresh, account.uid, account.gid)
        with self._password_file(account) as password_file:
            command: list[str | Path] = [tools / "initdb", "-D", fresh, "--pwfile", password_file, *_INITDB_OPTIONS]
            command += ["--no-sync", "-c", "scram_iterations=1"] if self._fast else []
            processes.run(command, account=account, keep_open=(lock,))
        said = processes.run(
            [tools / "postgres", "--single", "-D", fresh, *self._options(), "postgres"],
            account=account,
            keep_open=(lock,),
            stdin=f"CREATE DATABASE {DATABASE}\n".encode(),
        )
        if "ERROR" in said:  # The single-user server reports a failed statement and yet ends with status 0.
            raise ServerFailed(f"the database {DATABASE} could not be made:\n{said}")
        fresh.rename(self.data)

    @contextmanager
    def _password_file(self, account: processes.Account | None) -> Iterator[Path]:
        """A copy of the password that initdb can read, for as long as it needs it."""
        copy = self.folder / "password.initdb"
        folders.write_private(copy, self._password())
        try:
            if account is not None:
                os.chown(copy, account.uid, account.gid)
            yield copy
        finally:
            copy.unlink()

    def _password(self) -> str:
        return folders.read_or_write_private(self.folder / "password", lambda: new_secret(40))

    def _options(self) -> list[str]:
        settings = _SETTINGS | (_FAST if self._fast else _DURABLE)
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise RuntimeError("not started")
        return self.process

    def _says_ready(self, pid: int) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _forget_stale_pid(self) -> None:
        """Remove the pid file of a server that was killed, when PostgreSQL would wrongly take that server for alive.

        Its number may belong to some other program by now (after a restart of a container, where pids begin at 1 again),
        or to a corpse that nobody collects. We hold the lock, so the old server and all its children are gone.
        """
        pid_file = self.data / "postmaster.pid"
        if not pid_file.exists():
            return
        try:
            status = Path("/proc", pid_file.read_text().splitlines()[0], "stat").read_text()
        except OSError:
            return  # No such process, or no such folder on this system: PostgreSQL decides.
        program, state = status[status.index("(") + 1 : status.rindex(")")], status[status.rindex(")") + 2]
        if program != "postgres" or state == "Z":
            pid_file.unlink()


def _home(folder: Path) -> Path:
    """The folder itself, or a public place that stands for it when the unprivileged account could not reach it."""
    folder = folders.make_folder(folder)
    if os.geteuid() != 0 or binaries.everyone_can_enter(folder):
        return folder
    return binaries.public_place(f"daybook-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}")


def _require_known_user() -> None:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise ServerFailed(
            f"user id {os.geteuid()} has no name on this system and PostgreSQL's initdb wants one: "
            "add it to /etc/passwd, or set DAYBOOK_DATABASE_URL to a running server"
        ) from None
