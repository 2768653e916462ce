"""`daybook up` and `daybook serve …`: the ways to start services. What they need is imported when they are called, by
name."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from .exits import Complaint

USUAL_HOST = "127.0.0.1"
USUAL_PORT = 8420

serve = App(name="serve", help="Run one service against DAYBOOK_DATABASE_URL and DAYBOOK_NATS_URL, until a signal stops it.")

Sources = Annotated[str, Parameter(name="SOURCE", help="Apps to serve: MODULE:APP, or a folder of them.")]


def up(
    *sources: Sources,
    port: Annotated[int | None, Parameter(help="Where the API listens; without it a free one, kept.")] = None,
    host: Annotated[str, Parameter(help="The address that the API listens on.")] = USUAL_HOST,
    data: Annotated[Path | None, Parameter(help="The folder for all data; without it DAYBOOK_DATA or .daybook.")] = None,
) -> int:
    """Everything on this machine: Postgres, NATS, api, scheduler, runner. Prints the URL and a token; Ctrl-C stops
    it."""
    import asyncio
    import os

    import msgspec

    options_type = load("daybook_local.up", "UpOptions", extra="all")
    options = options_type.from_environment(os.environ, apps=sources, host=host, port=port)
    if data is not None:
        options = msgspec.structs.replace(options, data=data)
    code: int = asyncio.run(load("daybook_local.up", "up", extra="all")(options))
    return code


@serve.command
def api(
    *,
    host: Annotated[str, Parameter(help="The address to listen on.")] = USUAL_HOST,
    port: Annotated[int, Parameter(help="The port to listen on.")] = USUAL_PORT,
) -> int:
    """The HTTP API, with the relay and the projector."""
    return _serve("api", host, port)


@serve.command
def scheduler() -> int:
    """Timers and the dispatcher."""
    return _serve("scheduler")


@serve.command
def runner(
    *sources: Sources,
    queue: Annotated[list[str] | None, Parameter(negative=(), help="Queue to serve; may be repeated; without it DAYBOOK_QUEUES.")] = None,
    slots: Annotated[int | None, Parameter(help="How many tasks at once; without it DAYBOOK_SLOTS.")] = None,
) -> int:
    """Execute the tasks of these apps."""
    settings = _settings()
    queues = queue or [name.strip() for name in settings.queues.split(",") if name.strip()]
    return _serve("runner", list(sources), queues, settings.slots if slots is None else slots)


def _serve(name: str, *arguments: object) -> int:
    from daybook import settings

    try:
        code: int = load(f"daybook_{name}.serving", "serve", extra=name)(*arguments)
    except settings.SettingsError as error:
        raise Complaint(str(error)) from None
    return code


def _settings() -> Any:
    from daybook import settings

    try:
        return settings.load()
    except settings.SettingsError as error:
        raise Complaint(str(error)) from None


def load(module: str, name: str, *, extra: str) -> Any:
    """Import what a command needs, or say which extra brings it.

    The modules are named, not imported, so that the command line stands on no service: not even an import linter finds
    an arrow.
    """
    from importlib import import_module

    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("daybook"):
            raise
        raise Complaint(f"{error.name} is not installed", hint=f"install daybook-tasks[{extra}]") from None
