"""`daybook up`: everything on this machine, from an empty folder to a server that accepts tasks.

    hold the folder → PostgreSQL, NATS → migrate → passwords → api, scheduler, runner → /readyz → token, login link → banner → wait

What it keeps in the data folder (`.daybook`, or DAYBOOK_DATA), readable by its owner only:

    postgres/  nats/       the embedded servers' own folders
    passwords.json         of the service roles, so that their addresses survive a restart
    port                   where the API listened last time
    token                  what clients show
    env.json               where the running server is; there while it runs

Refuses to share its folder with another `daybook up`, and to wait for ever: what is not ready in time ends the whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import msgspec

from daybook.ids import new_secret
from daybook_local import folders
from daybook_local.banner import banner
from daybook_local.console import Console
from daybook_local.nats import EmbeddedNats
from daybook_local.postgres import EmbeddedPostgres
from daybook_local.probe import Api, Served, reachable
from daybook_local.processes import ServerFailed
from daybook_local.services import Service
from daybook_local.serving import NewRunner
from daybook_local.supervisor import StopAsked, Supervisor, wait_ready

USUAL_API_PORT = 8420
SERVICES = ("api", "scheduler", "runner")
# Whom the token stands for. It may do everything: who can read the file owns the database anyway.
NAMESPACE, OWNER, LABEL = "default", "local", "daybook up"
_READY_SECONDS = 30.0
_APPS_SECONDS = 10.0
_LEFTOVERS_SECONDS = 15.0


class UpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for. An address that is given replaces the embedded server."""

    data: Path
    apps: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int | None = None
    database_url: str | None = None
    migrate_url: str | None = None
    nats_url: str | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], *, apps: tuple[str, ...] = (), host: str = "127.0.0.1", port: int | None = None) -> Self:
        """The options with everything that environment variables say; an empty variable says nothing."""
        return cls(
            data=Path(environ.get("DAYBOOK_DATA") or ".daybook"),
            apps=apps,
            host=host,
            port=port,
            database_url=environ.get("DAYBOOK_DATABASE_URL") or None,
            migrate_url=environ.get("DAYBOOK_MIGRATE_URL") or None,
            nats_url=environ.get("DAYBOOK_NATS_URL") or None,
        )


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where the servers are: the database as its owner and as each service, and NATS."""

    owner: str
    services: dict[str, str]
    nats: str
    places: dict[str, str | Path]


async def up(options: UpOptions) -> int:
    """Bring everything up, stay until a signal, stop everything. Returns the exit status: 0 after Ctrl-C or SIGTERM."""
    console = Console(sys.stderr)
    try:
        with _held(options.data) as (data, services_lock):
            async with Supervisor(console) as supervisor:
                with contextlib.suppress(StopAsked):
                    await _run(options, data, services_lock, supervisor)
            return supervisor.exit_code
    except ServerFailed as failure:
        console.say("daybook", str(failure))
        return 1
    finally:
        console.close()


async def _run(options: UpOptions, data: Path, services_lock: int, supervisor: Supervisor) -> None:
    addresses = await _prepare(options, data, supervisor)
    port = _api_port(options, data)
    api = reachable(options.host, port)
    async with NewRunner(addresses.owner) as runner:
        for service in _services(options, addresses, port, services_lock):
            supervisor.start(service)
        try:
            await supervisor.unless_stopped(wait_ready(api.is_ready, _READY_SECONDS))
        except TimeoutError:
            raise ServerFailed(f"the API was not ready within {_READY_SECONDS:.0f} s; its own lines say why") from None
        token = await supervisor.unless_stopped(_valid_token(data / "token", api, addresses.owner))
        link = await supervisor.unless_stopped(_login_link(api, addresses.owner))
        served = await supervisor.unless_stopped(_find_app(runner, api, token))
    with _announced(data / "env.json", api, token, addresses):
        places = addresses.places | {"data": data}
        command = _command(data, api, token)
        print(banner(url=api.url, token=token, link=link, served=served, places=places, command=command), flush=True)
        await supervisor.stop_asked()


@contextlib.contextmanager
def _held(wanted: Path) -> Iterator[tuple[Path, int]]:
    """The folder for us alone, and a lock for the services to inherit.

    The first lock is ours only: who cannot have it meets a living `daybook up`. The second is held by each service too,
    so what is left of a run that was killed is waited for.
    """
    data = folders.make_folder(wanted)
    if not (data / ".gitignore").exists():
        (data / ".gitignore").write_text("*\n")
    with contextlib.ExitStack() as locks:

        def take(name: str, patience_seconds: float, refusal: str) -> int:
            lock = folders.take_lock(data / name, patience_seconds=patience_seconds, refusal=refusal)
            locks.callback(os.close, lock)
            return lock

        take("up.lock", 0.0, f"another `daybook up` runs on {data}; stop it, or set DAYBOOK_DATA to another folder")
        services_lock = take("services.lock", _LEFTOVERS_SECONDS, f"services of an earlier run on {data} still live")
        yield data, services_lock


async def _prepare(options: UpOptions, data: Path, supervisor: Supervisor) -> Addresses:
    """Start the embedded servers that are wanted and bring the database to this release."""
    from daybook.log.migrate import migrate, set_service_passwords

    postgres = nats = None
    if options.database_url is None:
        postgres = EmbeddedPostgres(data / "postgres")
        postgres.spawn()
        supervisor.keep(postgres)
        if postgres.folder != data / "postgres":
            supervisor.tell(f"PostgreSQL may not run as root, and its user cannot enter {data}; it uses {postgres.folder}")
    if options.nats_url is None:
        nats = EmbeddedNats(data / "nats")
        nats.spawn()
        supervisor.keep(nats)
    for server in (postgres, nats):
        if server is not None:
            await supervisor.unless_stopped(asyncio.to_thread(server.wait_ready))
    nats_url = options.nats_url or (nats.url if nats else "")
    if postgres is None:
        given = options.database_url or ""
        owner = options.migrate_url or given
        await supervisor.unless_stopped(migrate(owner))
        return Addresses(owner=owner, services=dict.fromkeys(SERVICES, given), nats=nats_url, places=_places(None, nats))
    passwords = _service_passwords(data / "passwords.json")
    await supervisor.unless_stopped(migrate(postgres.url()))
    await supervisor.unless_stopped(set_service_passwords(postgres.url(), passwords))
    return Addresses(
        owner=postgres.url(),
        services={name: postgres.url(user=_role(name), password=passwords[_role(name)]) for name in SERVICES},
        nats=nats_url,
        places=_places(postgres, nats),
    )


def _places(postgres: EmbeddedPostgres | None, nats: EmbeddedNats | None) -> dict[str, str | Path]:
    """What the user may want to look at, without passwords."""
    return {
        "PostgreSQL": f"127.0.0.1:{postgres.port}, data in {postgres.data}" if postgres else "yours (DAYBOOK_DATABASE_URL)",
        "NATS": f"127.0.0.1:{nats.port}, store in {nats.store}" if nats else "yours (DAYBOOK_NATS_URL)",
    }


def _role(service: str) -> str:
    return f"daybook_{service}"


def _service_passwords(path: Path) -> dict[str, str]:
    def make() -> str:
        return msgspec.json.encode({_role(service): new_secret(40) for service in SERVICES}).decode()

    return msgspec.json.decode(folders.read_or_write_private(path, make), type=dict[str, str])


def _api_port(options: UpOptions, data: Path) -> int:
    if options.port is None:
        return folders.choose_port(data / "port", first=USUAL_API_PORT, host=options.host)
    if not folders.is_free(options.port, options.host):
        raise ServerFailed(f"port {options.port} on {options.host} is taken")
    return options.port


def _services(options: UpOptions, addresses: Addresses, port: int, services_lock: int) -> list[Service]:
    """The three processes. Each knows the database by its own role only, never as the owner."""
    arguments = {"api": ("--host", options.host, "--port", str(port)), "scheduler": (), "runner": options.apps}
    inherited = {name: value for name, value in os.environ.items() if name != "DAYBOOK_MIGRATE_URL"}
    return [
        Service(
            name=name,
            argv=(sys.executable, "-m", "daybook", "serve", name, *arguments[name]),
            env=inherited
            | {
                "DAYBOOK_DATABASE_URL": addresses.services[name],
                "DAYBOOK_NATS_URL": addresses.nats,
                "PYTHONUNBUFFERED": "1",
            },
            keep_open=(services_lock,),
        )
        for name in SERVICES
    ]


async def _valid_token(path: Path, api: Api, owner_url: str) -> str:
    """The token of last time if this database knows it, else a new one."""
    token = folders.find_text(path)
    if token is not None and not await api.refuses(token):
        return token
    from daybook.access import SCOPES, issue_token

    token = await issue_token(owner_url, NAMESPACE, OWNER, tuple(sorted(SCOPES)), LABEL)
    if await api.refuses(token):  # Then it is not our database that this API reads.
        raise ServerFailed(f"something else answers at {api.url}; choose another --port")
    folders.write_private(path, token)
    return token


async def _login_link(api: Api, owner_url: str) -> str:
    """An address at which one browser logs in to the page; it may do there what a page can."""
    from daybook.access import issue_link

    return await issue_link(owner_url, api.url, NAMESPACE, OWNER, ("admin", "read", "submit"), LABEL)


async def _find_app(runner: NewRunner, api: Api, token: str) -> Served | None:
    """An app for the examples: of those that the runner serves, the one that asks for least, so that an example stays short.

    Waits until all of them can be submitted, which is a moment after the API is ready, so that the banner's reader finds them.
    What is built into every runner is nothing to submit.
    """
    from daybook.domain.events import BUILT_IN

    served: list[Served] = []

    async def look() -> bool:
        apps = await runner.find_apps()
        if apps is None:
            return False
        wanted = {app for app in apps if not app.startswith(BUILT_IN)}
        served[:] = [app for app in await api.catalogue(token) if app.app in wanted]
        return len(served) == len(wanted)

    with contextlib.suppress(TimeoutError):
        await wait_ready(look, _APPS_SECONDS)
    return min(served, key=lambda app: len(app.input_schema.get("required", ())), default=None)


def _command(data: Path, api: Api, token: str) -> str:
    """How to call the command line from here; it looks for `.daybook` from the current folder upwards."""
    program = "daybook" if shutil.which("daybook") else f"{sys.executable} -m daybook"
    if data.name == ".daybook" and data.parent in (Path.cwd(), *Path.cwd().parents):
        return program
    return f"DAYBOOK_URL={api.url} DAYBOOK_TOKEN={token} {program}"


@contextlib.contextmanager
def _announced(path: Path, api: Api, token: str, addresses: Addresses) -> Iterator[None]:
    """Tell the command line on this machine where the server is, for as long as it is there."""
    here = {"url": api.url, "token": token, "database_url": addresses.owner, "nats_url": addresses.nats}
    folders.write_private(path, msgspec.json.encode(here).decode())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
