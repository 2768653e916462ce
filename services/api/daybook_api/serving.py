"""The entry point of `daybook serve api`."""

import asyncio
import sys
from types import FrameType

import structlog
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from daybook import settings, telemetry
from daybook.lifecycle import settle_memory

from .auth import is_loopback
from .watching import sse
from .wiring import Api

log = structlog.get_logger()


class Server(uvicorn.Server):
    """Ends the streams when asked to stop: uvicorn waits for open responses, and a watched task may take a day."""

    def __init__(self, config: uvicorn.Config, api: Api) -> None:
        super().__init__(config)
        self._api = api

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._api.gateway.hub.close()
        # Not by the base class: it would raise the signal again afterwards, and the process would be gone before it has handed over.
        self.should_exit = True


class Protocol(HttpToolsProtocol):
    """Lets a response hang up on a client that reads nothing, which ASGI has no word for."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {sse.TRANSPORT: self.transport}  # type: ignore[dict-item]


def configuration(api: Api, host: str, port: int) -> uvicorn.Config:
    """How the API is served."""
    return uvicorn.Config(
        api.app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=75,
        lifespan="off",
        http=Protocol,
        ws="none",
        proxy_headers=False,
        server_header=False,
    )


def serve(host: str, port: int) -> int:
    """Run the API until SIGINT or SIGTERM; returns the exit status."""
    configured = settings.load()
    telemetry.configure(configured.log_level, "api")
    if configured.open_access and not is_loopback(host):
        print(f"without tokens (DAYBOOK_OPEN_ACCESS) the API serves only this machine, and {host} is not a loopback address", file=sys.stderr)  # noqa: T201
        return 2

    async def run() -> None:
        api = await Api.open(configured)
        settle_memory()
        try:
            await Server(configuration(api, host, port), api).serve()
        finally:
            await asyncio.shield(api.stop())

    uvloop.run(run())
    return 0
