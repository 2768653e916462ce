"""`daybook db …`, `daybook token …` and `daybook login`: what the owner of the database does, without the API."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from cyclopts import App, Parameter

from . import exits
from .exits import Complaint, say

db = App(name="db", help="Bring the database to this release.")
token = App(name="token", help="Who may use the API.")

_URL_HELP = "The database, as its owner; without it DAYBOOK_MIGRATE_URL, DAYBOOK_DATABASE_URL, or the one of `daybook up`."
_USUAL_SCOPES = ("read", "submit")
_LOCAL = "local"
"""Whom the token of `daybook up` stands for."""


@db.command
def migrate(*, url: Annotated[str | None, Parameter(help=_URL_HELP)] = None) -> int:
    """Apply the migrations that are missing, and print their names."""
    import asyncio

    from daybook.log.migrate import migrate

    with _explained():
        applied = asyncio.run(migrate(_database_url(url)))
    for name in applied:
        print(name)
    if not applied:
        say("the database is up to date")
    return exits.OK


@token.command
def create(
    *,
    owner: Annotated[str, Parameter(help="Whose tasks it sees and submits.")],
    namespace: Annotated[str, Parameter(help="The tenant that the owner belongs to.")] = "default",
    scope: Annotated[list[str] | None, Parameter(negative=(), help="read, submit, act_as or admin; may be repeated.")] = None,
    label: Annotated[str, Parameter(help="What it is for.")] = "",
    url: Annotated[str | None, Parameter(name=("--url", "--database-url"), help=_URL_HELP)] = None,
) -> int:
    """Make a token and print it. It is shown this once; only its digest is kept."""
    import asyncio

    from daybook.access import issue_token

    with _explained():
        made = asyncio.run(issue_token(_database_url(url), namespace, owner, tuple(scope or _USUAL_SCOPES), label))
    print(made)
    return exits.OK


def login(
    *,
    owner: Annotated[str, Parameter(help="Whose tasks the page shows and submits.")] = _LOCAL,
    namespace: Annotated[str, Parameter(help="The tenant that the owner belongs to.")] = "default",
    scope: Annotated[
        list[str] | None, Parameter(negative=(), help="What the page may do; may be repeated. Without it read and submit, for local admin too.")
    ] = None,
    api_url: Annotated[str | None, Parameter(name="--api-url", help="Where browsers find the API; without it DAYBOOK_URL, or that of `daybook up`.")] = None,
    url: Annotated[str | None, Parameter(name=("--url", "--database-url"), help=_URL_HELP)] = None,
) -> int:
    """Print a link that logs one browser in to the page, once, within a quarter of an hour. It opens nothing."""
    import asyncio

    from daybook.access import issue_link
    from daybook.client.address import find_address

    scopes = tuple(scope or (*_USUAL_SCOPES, *(("admin",) if owner == _LOCAL else ())))
    with _explained():
        page = find_address(api_url).url
        print(asyncio.run(issue_link(_database_url(url), page, namespace, owner, scopes, "daybook login")))
    return exits.OK


def _database_url(given: str | None) -> str:
    from daybook.client.address import find_local

    named = given or os.environ.get("DAYBOOK_MIGRATE_URL") or os.environ.get("DAYBOOK_DATABASE_URL")
    if named:
        return named
    local = find_local()
    if local is None or local[1].database_url is None:
        raise Complaint("no database is known here", hint="give --url, or set DAYBOOK_MIGRATE_URL")
    return local[1].database_url


@contextmanager
def _explained() -> Iterator[None]:
    """A database that cannot be reached, or refuses, is told in its own words."""
    import asyncpg

    try:
        yield
    except ValueError as error:
        raise Complaint(str(error)) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Complaint(f"the database: {error or type(error).__name__}", code=exits.UNREACHABLE) from error
