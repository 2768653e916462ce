"""What `daybook up` says when everything is up. Refuses to promise what was not seen to work."""

from __future__ import annotations

import shlex
from pathlib import Path

_NO_APP = "APP"


def banner(*, url: str, token: str, app: str | None, places: dict[str, str | Path], command: str = "daybook") -> str:
    """The text, with commands that can be copied as they are when an app is known."""
    name = app or _NO_APP
    body = f'{{"app": "{name}", "input": {{}}}}'
    curl = [
        f"curl -sS {url}/v1/tasks",
        f"-H {shlex.quote(f'Authorization: Bearer {token}')}",
        f"-H 'Content-Type: application/json' -d {shlex.quote(body)}",
    ]
    lines = [
        "",
        f"Daybook is up at {url}",
        "",
        f"  token      {token}",
        *(f"  {what:<10} {where}" for what, where in places.items()),
        "",
        "Submit a task:" if app else "No app is served yet: start again with MODULE:APP or a folder of apps. Then:",
        "",
        f"  {command} run {name} --watch",
        f"  {curl[0]} \\\n    {curl[1]} \\\n    {curl[2]}",
        "",
        "Ctrl-C stops everything; the data stays.",
        "",
    ]
    return "\n".join(lines)
