"""Lists that come in pages: no more of them than were asked for."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from daybook.client import Client
    from daybook.client.requests import Request


class _Page(msgspec.Struct, frozen=True, kw_only=True):
    items: list[msgspec.Raw]
    next_cursor: str | None = None


def pages_of(client: "Client", request: "Request", limit: int) -> Iterator[bytes]:
    """The bodies of as many pages as hold `limit` items; the last one asks only for what is missing."""
    from daybook.client import requests

    while True:
        body = client.request(request).body
        yield body
        page = msgspec.json.decode(body, type=_Page)
        limit -= len(page.items)
        if page.next_cursor is None or limit <= 0:
            return
        request = requests.next_page(request, page.next_cursor, limit=limit)
