"""Questions to the API that was just started: is it ready, does it know this token, which apps can it run.

Asked the way any client would, over HTTP, so that what the banner says is what a user will meet. Refuses to submit or
change anything.
"""

from __future__ import annotations

import asyncio
import http.client
from typing import Any

import msgspec

_TIMEOUT_SECONDS = 5.0


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """An app of the catalogue, as far as an example needs it."""

    app: str
    input_schema: dict[str, Any]


class _Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    items: list[Served]


class Api(msgspec.Struct, frozen=True, kw_only=True):
    """Where the API listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The address for clients on this machine."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    async def is_ready(self) -> bool:
        """Whether /readyz says so; a server that is not there yet is not ready."""
        status, _ = await self._get("/readyz")
        return status == http.client.OK

    async def refuses(self, token: str) -> bool:
        """Whether the token is unknown there, for instance since it belongs to another database."""
        status, _ = await self._get("/v1/apps", token)
        return status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN)

    async def catalogue(self, token: str) -> list[Served]:
        """The apps that were published, whether anybody serves them or not."""
        status, body = await self._get("/v1/apps", token)
        return msgspec.json.decode(body, type=_Catalogue).items if status == http.client.OK else []

    async def _get(self, path: str, token: str | None = None) -> tuple[int | None, bytes]:
        return await asyncio.to_thread(self._get_now, path, token)

    def _get_now(self, path: str, token: str | None) -> tuple[int | None, bytes]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return None, b""
        finally:
            connection.close()


def reachable(host: str, port: int) -> Api:
    """The API of a server that was told to listen on `host`, as seen from this machine."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  Read here, not listened on.
    return Api(host=everywhere.get(host, host), port=port)
