"""GET /v1/tasks: the history, page by page, from the read model; and the wait for it to catch up with what the caller wrote."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import urlencode

import asyncpg
import msgspec
from litestar import Response, get
from litestar.di import NamedDependency

from daybook import clock
from daybook.access import Principal
from daybook.domain.status import Status
from daybook.durations import parse_duration
from daybook.log.envelope import LANES, Position
from daybook.log.sql import statements
from daybook.projections.listing import BadCursor, TaskFilter, list_tasks
from daybook.projections.projector import FOLLOWER, has_passed

from ..gateway import Gateway, answer
from ..problems import Problem
from ..requests import HttpRequest, query, refused
from ..schemas import TaskList
from ..views import summary

_FILTERS: Final = frozenset({"status", "app", "owner", "queue", "since", "until", "limit", "cursor"})
_REPEATABLE: Final = frozenset({"label"})
_LONGEST_POSITION: Final = 24
_READ_MODEL_SECONDS: Final = 2.0
_SQL: Final = statements("daybook.log")
_TIMESTAMP: Final[msgspec.json.Decoder[datetime]] = msgspec.json.Decoder(Annotated[datetime, msgspec.Meta(tz=True)])


@get("/tasks", operation_id="listTasks", tags=["tasks"])
async def list_route(request: HttpRequest, gateway: NamedDependency[Gateway]) -> Response[bytes]:
    """The history: tasks by owner, app, status and more, newest first."""
    who = await gateway.access.authenticate(request, "read")
    given = query(request, _FILTERS, _REPEATABLE)
    single = {name: values[0] for name, values in given.items()}
    wanted = _filter(who, single, given.get("label", []))
    size = _limit(single.get("limit"))
    position = request.headers.get("daybook-position")
    if position is not None:
        await _wait_for(gateway, position)
    cursor = single.get("cursor")
    try:
        rows, following = await list_tasks(gateway.log.pool, wanted, limit=size, cursor=cursor)
    except BadCursor as error:
        raise Problem("invalid-request", f"{error}.".capitalize(), hint="Send `next_cursor` as it came, with the filters it came with.") from None
    except asyncpg.DataError:
        # A cursor that was tampered with can name a time that the calendar does not have.
        raise refused("cursor", "is not one that was given out") from None
    headers = {}
    if following is not None:
        kept = [(name, value) for name, values in given.items() if name != "cursor" for value in values]
        headers["Link"] = f'<{request.url.path}?{urlencode([*kept, ("cursor", following)])}>; rel="next"'
    return answer(TaskList(items=[summary(row) for row in rows], next_cursor=following), headers=headers)


def _filter(who: Principal, given: dict[str, str], labels: list[str]) -> TaskFilter:
    admin = "admin" in who.scopes
    owner = given.get("owner")
    if owner is not None and owner != who.owner and not admin:
        raise Problem("forbidden", "Another owner's tasks can be listed only with the scope admin.")
    return TaskFilter(
        namespace=who.namespace,
        owner=owner if admin else who.owner,
        app=given.get("app"),
        status=_statuses(given.get("status")),
        queue=given.get("queue"),
        labels=_labels(labels),
        since=_instant("since", given.get("since")),
        until=_instant("until", given.get("until")),
    )


def _statuses(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    names = tuple(sorted({name.strip() for name in text.split(",")}))
    for name in names:
        if name not in Status.__members__.values():
            raise refused("status", f"does not know {name!r}", hint=f"The statuses are {', '.join(Status)}.")
    return names


def _labels(texts: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for text in texts:
        key, colon, value = text.partition(":")
        if not colon or not key:
            raise refused("label", f"is key:value, not {text!r}")
        if labels.setdefault(key, value) != value:
            raise refused("label", f"asks for two values of {key!r}, and a task has one")
    return labels


def _limit(text: str | None) -> int:
    if text is None:
        return 50
    if not text.isascii() or not text.isdigit() or len(text) > 6 or not 1 <= int(text) <= 200:
        raise refused("limit", "is a number from 1 to 200")
    return int(text)


def _instant(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return _TIMESTAMP.decode(msgspec.json.encode(text)).astimezone(UTC)
    except OverflowError:
        raise refused(name, "is beyond the calendar") from None
    except msgspec.DecodeError:
        pass
    try:
        return clock.now() - parse_duration(text)
    except (ValueError, OverflowError):
        raise refused(name, f"is a timestamp with an offset, or a duration such as 24h; not {text!r}") from None


async def _wait_for(gateway: Gateway, header: str) -> None:
    """Read your writes: wait until the read model has passed the positions, two seconds at most."""
    parts = header.split(",")
    positions = [position for part in parts if len(part) <= _LONGEST_POSITION and (position := Position.parse(part)) is not None]
    if len(positions) != len(parts) or len(parts) > LANES:
        raise Problem("invalid-request", "Daybook-Position is what a write answered: lane:position, or a list of them.")
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _READ_MODEL_SECONDS
    while True:
        cursor = await gateway.log.pool.fetchval(_SQL["read_cursor"], FOLLOWER)
        if cursor is not None and has_passed(tuple(cursor), positions):
            return
        if loop.time() > deadline:
            raise Problem("read-model-behind", headers={"Retry-After": "1"})
        await asyncio.sleep(0.01)
