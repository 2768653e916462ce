"""/livez and /readyz: whether to restart this process, and whether to send it requests."""

from litestar import Response, get
from litestar.di import NamedDependency

from daybook.log.connections import LOST

from ..gateway import Gateway, answer
from ..schemas import Health


@get("/livez", operation_id="livez", tags=["operations"])
async def livez() -> Health:
    """The process runs."""
    return Health(status="ok")


@get("/readyz", operation_id="readyz", tags=["operations"])
async def readyz(gateway: NamedDependency[Gateway]) -> Response[bytes]:
    """The process can accept tasks: it reaches Postgres. NATS is told of, but not needed."""
    try:
        await gateway.log.pool.fetchval("SELECT 1")
        postgres = "ok"
    except LOST as error:
        postgres = type(error).__name__
    checks = {"postgres": postgres, "nats": "ok" if gateway.bus.is_connected else "away"}
    healthy = postgres == "ok"
    return answer(Health(status="ok" if healthy else "unavailable", checks=checks), status=200 if healthy else 503)
