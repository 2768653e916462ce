"""Which apps the runner that was just started serves: its lease in the database says so.

The catalogue tells every app that was ever published here, and nobody may serve most of them any more: a task for such
an app would wait for ever.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from daybook.log.connections import Connection, connect

_BEFORE = "SELECT coalesce(array_agg(id), '{}') FROM daybook.runner"
_SINCE = "SELECT apps FROM daybook.runner WHERE id <> ALL ($1) AND until > clock_timestamp() ORDER BY started_at DESC LIMIT 1"


class NewRunner:
    """An async context, to be entered before the runner is started."""

    def __init__(self, owner_url: str) -> None:
        self._owner_url = owner_url

    async def __aenter__(self) -> Self:
        self._connection: Connection = await connect(self._owner_url, None)
        self._before: list[str] = await self._connection.fetchval(_BEFORE)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._connection.close()

    async def find_apps(self) -> frozenset[str] | None:
        """The ids of its apps; None while it is not there yet."""
        apps: list[str] | None = await self._connection.fetchval(_SINCE, self._before)
        return None if apps is None else frozenset(apps)
