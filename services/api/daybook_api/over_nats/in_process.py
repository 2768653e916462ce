"""HTTP without HTTP: a request is handed to the application within this process, and its answer handed back, whole.

What comes in by another door is so checked, carried out and answered by the very same routes. Who is asking is decided
at that door and vouched for beside the request, where nothing that comes over a socket can write. Streams are cut off
at their first word: nobody reads along here.
"""

from typing import Final, NamedTuple, cast

from litestar import Litestar
from litestar.types import HTTPReceiveMessage, HTTPScope, Message

from daybook.access import Principal

from ..requests import HttpRequest

_VOUCHED: Final = "daybook.principal"


class Asked(NamedTuple):
    """A request: the path as it is meant, the query as it is written."""

    method: str
    path: str
    query: bytes
    headers: dict[str, str]
    body: bytes


class Answered(NamedTuple):
    """An answer; the names of its headers are in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes


def vouched_for(request: HttpRequest) -> Principal | None:
    """Who is asking, if that was decided at another door. ASGI servers fill `extensions`, and their clients cannot."""
    found = (request.scope.get("extensions") or {}).get(_VOUCHED)
    return found if isinstance(found, Principal) else None


async def carry_out(app: Litestar, asked: Asked, who: Principal) -> Answered:
    """Ask the application in somebody's name. Its problems are answers too."""
    scope = {
        "type": "http",
        "asgi": {"spec_version": "2.3", "version": "3.0"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": "http",
        "path": asked.path,
        "raw_path": asked.path.encode(),
        "root_path": "",
        "query_string": asked.query,
        "headers": [(name.lower().encode("latin-1"), value.encode()) for name, value in asked.headers.items()],
        "client": None,
        "server": None,
        "state": {},
        "extensions": {_VOUCHED: who},
    }
    pending: list[HTTPReceiveMessage] = [{"type": "http.request", "body": asked.body, "more_body": False}]
    status, headers, parts = 500, {}, []

    async def receive() -> HTTPReceiveMessage:
        return pending.pop() if pending else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message["headers"]}
        elif message["type"] == "http.response.body":
            parts.append(message["body"])

    await app(cast("HTTPScope", scope), receive, send)
    return Answered(status, headers, b"".join(parts))
