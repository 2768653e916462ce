"""What `daybook up` says when everything is up. Refuses to promise what was not seen to work."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import msgspec

from daybook_local.probe import Served

_SAMPLES: dict[str, Any] = {"string": "text", "integer": 1, "number": 1.5, "boolean": True, "array": [], "null": None}


def banner(*, url: str, token: str, link: str, served: Served | None, places: dict[str, str | Path], command: str = "daybook") -> str:
    """The text, with commands that can be copied as they are when there is an app to run. `link` logs a browser in, once."""
    # A command that must be told where the API is does not find the database by itself, and a link is made there.
    another = "" if command.startswith("DAYBOOK_") else f"; another: {command} login"
    lines = ["", f"Daybook is up at {url}", "", f"  page        {link}", f"              (good once, for 15 minutes{another})", f"  token       {token}"]
    lines += [f"  {what:<11} {where}" for what, where in places.items()]
    lines += ["", *_how_to_submit(url, token, served, command), "", "Ctrl-C stops everything; the data stays.", ""]
    return "\n".join(lines)


def example_input(schema: dict[str, Any]) -> dict[str, Any]:
    """Values for what the schema requires. Only plain schemas are understood; for others it is a form to fill in."""
    properties = schema.get("properties", {})
    return {name: _sample(properties.get(name, {})) for name in schema.get("required", ())}


def _sample(schema: dict[str, Any]) -> Any:
    for given in ("examples", "enum"):
        if schema.get(given):
            return schema[given][0]
    return schema.get("default", _SAMPLES.get(str(schema.get("type")), {}))


def _how_to_submit(url: str, token: str, served: Served | None, command: str) -> list[str]:
    if served is None:
        return ["No app is served. Stop this and start it again with MODULE:APP or a folder of apps."]
    given = example_input(served.input_schema)
    words = [f"{name}={value}" if isinstance(value, str) else f"{name}:={_json(value)}" for name, value in given.items()]
    body = _json({"app": served.app, "input": given})
    return [
        "Submit a task:",
        "",
        f"  {command} run {shlex.join([served.app, *words])} --watch",
        "",
        f"  curl -sS {url}/v1/tasks -H {shlex.quote(f'Authorization: Bearer {token}')} \\",
        f"    -H 'Content-Type: application/json' -d {shlex.quote(body)}",
    ]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
