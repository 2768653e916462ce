"""GET /v1/tasks: the history, page by page, from the read model."""

from datetime import datetime
from typing import Final
from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency

from daybook import clock, ids
from daybook.access import Principal
from daybook.domain.status import Status
from daybook.projections.listing import TaskFilter, list_tasks

from .. import lists
from ..gateway import Gateway, answer
from ..moments import parse_moment
from ..requests import HttpRequest, query, refused
from ..schemas import TaskList
from ..views import summary

_FILTERS: Final = lists.PAGING | {"status", "app", "owner", "queue", "schedule", "since", "until"}
_REPEATABLE: Final = frozenset({"label"})


@get("/tasks", operation_id="listTasks", tags=["tasks"])
async def list_route(request: HttpRequest, gateway: NamedDependency[Gateway]) -> Response[bytes]:
    """The history: tasks by owner, app, status and more, newest first."""
    who = await gateway.access.authenticate(request, "read")
    given = query(request, _FILTERS, _REPEATABLE)
    single = {name: values[0] for name, values in given.items()}
    wanted = _filter(who, single, given.get("label", []))
    size = lists.limit_of(single.get("limit"))
    await lists.catch_up(gateway.log, request)
    with lists.cursors_checked():
        rows, following = await list_tasks(gateway.log.pool, wanted, limit=size, cursor=single.get("cursor"))
    return answer(TaskList(items=[summary(row) for row in rows], next_cursor=following), headers=lists.link(request, given, following))


def _filter(who: Principal, given: dict[str, str], labels: list[str]) -> TaskFilter:
    return TaskFilter(
        namespace=who.namespace,
        owner=lists.owner_of(who, given.get("owner")),
        app=given.get("app"),
        status=_statuses(given.get("status")),
        queue=given.get("queue"),
        labels=_labels(labels),
        schedule=_schedule(given.get("schedule")),
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


def _schedule(text: str | None) -> UUID | None:
    if text is None:
        return None
    stream = ids.parse("sch", text)
    if stream is None:
        raise refused("schedule", f"is a schedule's id, not {text!r}")
    return stream


def _instant(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = parse_moment(text)
        return moment if isinstance(moment, datetime) else clock.now() - moment
    except OverflowError:
        raise refused(name, "is beyond the calendar") from None
    except ValueError:
        raise refused(name, f"is a timestamp with an offset, or a duration such as 24h; not {text!r}") from None
