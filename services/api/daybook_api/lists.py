"""What all lists have: a limit, a cursor, an owner, a link to the next page; and the wait for the read model to catch up
with what the caller wrote."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias
from urllib.parse import urlencode

import asyncpg

from daybook.access import Principal
from daybook.log.envelope import LANES, Position
from daybook.log.postgres import Log
from daybook.log.sql import statements
from daybook.projections.paging import BadCursor
from daybook.projections.projector import FOLLOWER, has_passed

from .problems import Problem
from .requests import HttpRequest, refused

Given: TypeAlias = dict[str, list[str]]

PAGING: Final = frozenset({"limit", "cursor"})
_LONGEST_POSITION: Final = 24
_READ_MODEL_SECONDS: Final = 2.0
_SQL: Final = statements("daybook.log")


def owner_of(who: Principal, named: str | None) -> str | None:
    """Whose things to list: one's own, or (for admins) anybody's, or everybody's. Raises `forbidden`."""
    admin = "admin" in who.scopes
    if named is not None and named != who.owner and not admin:
        raise Problem("forbidden", "What is another owner's can be listed only with the scope admin.")
    return named if admin else who.owner


def limit_of(text: str | None) -> int:
    """How many to list. Raises a problem."""
    if text is None:
        return 50
    if not text.isascii() or not text.isdigit() or len(text) > 6 or not 1 <= int(text) <= 200:
        raise refused("limit", "is a number from 1 to 200")
    return int(text)


@contextmanager
def cursors_checked() -> Iterator[None]:
    """Makes problems of cursors that are none."""
    try:
        yield
    except BadCursor as error:
        raise Problem("invalid-request", f"{error}.".capitalize(), hint="Send `next_cursor` as it came, with the filters it came with.") from None
    except asyncpg.DataError:
        # A cursor that was tampered with can name a time that the calendar does not have.
        raise refused("cursor", "is not one that was given out") from None


def link(request: HttpRequest, given: Given, following: str | None) -> dict[str, str]:
    """The header that leads to the next page, if there is one."""
    if following is None:
        return {}
    kept = [(name, value) for name, values in given.items() if name != "cursor" for value in values]
    return {"Link": f'<{request.url.path}?{urlencode([*kept, ("cursor", following)])}>; rel="next"'}


async def catch_up(log: Log, request: HttpRequest) -> None:
    """Read your writes: wait until the read model has passed the positions that the request names, two seconds at most.
    Raises `read-model-behind`."""
    header = request.headers.get("daybook-position")
    if header is None:
        return
    parts = header.split(",")
    positions = [position for part in parts if len(part) <= _LONGEST_POSITION and (position := Position.parse(part)) is not None]
    if len(positions) != len(parts) or len(parts) > LANES:
        raise Problem("invalid-request", "Daybook-Position is what a write answered: lane:position, or a list of them.")
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _READ_MODEL_SECONDS
    while True:
        cursor = await log.pool.fetchval(_SQL["read_cursor"], FOLLOWER)
        if cursor is not None and has_passed(tuple(cursor), positions):
            return
        if loop.time() > deadline:
            raise Problem("read-model-behind", headers={"Retry-After": "1"})
        await asyncio.sleep(0.01)
