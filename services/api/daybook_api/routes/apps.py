"""GET /v1/apps: the catalogue."""

from typing import Final

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from daybook import ids
from daybook.log.sql import statements

from ..gateway import Gateway, answer
from ..problems import Problem
from ..requests import HttpRequest, query
from ..schemas import AppList
from ..views import app_view

_SQL: Final = statements("daybook.projections")


@get("/apps", operation_id="listApps", tags=["apps"])
async def list_route(request: HttpRequest, gateway: NamedDependency[Gateway]) -> Response[bytes]:
    """Everything that can be run."""
    who = await gateway.access.authenticate(request, "read")
    query(request)
    rows = await gateway.log.pool.fetch(_SQL["list_apps"], who.namespace)
    return answer(AppList(items=[app_view(row["manifest"], row["published_at"]) for row in rows]))


@get("/apps/{app:str}", operation_id="getApp", tags=["apps"])
async def get_route(request: HttpRequest, gateway: NamedDependency[Gateway], app: FromPath[str]) -> Response[bytes]:
    """One app: what it does, and the JSON Schema of its input."""
    who = await gateway.access.authenticate(request, "read")
    query(request)
    recorded = [] if "\x00" in app else await gateway.log.load(ids.derive_id("app", who.namespace, app))
    if not recorded:
        raise Problem("not-found", f"There is no app {app!r}.")
    return answer(app_view(recorded[-1].data, recorded[-1].at))
