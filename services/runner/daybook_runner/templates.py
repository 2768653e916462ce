"""Texts with holes: `{{name}}` is replaced by the input's field of that name, once; what is put in is never read as a
template again.

There are no expressions, filters or loops, on purpose: an input comes from anybody. A text goes in as it is, any other
value as its JSON. In a URL every value is percent-encoded, so that it stays within its part of the path or query.
`{{env:NAME}}` is a setting of the runner (`references.py`), and allowed only where `loading.py` says so.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from daybook.safe_json import safe_bytes

from .references import is_reference, resolve

_HOLE: Final = re.compile(r"\{\{([^{}]*)\}\}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class BadTemplate(ValueError):
    """A hole that names neither a variable nor a setting."""


class MissingVariable(Exception):
    """The input has no value for a variable."""


def holes(text: str) -> tuple[list[str], list[str]]:
    """The variables and the references (`env:NAME`) in a template, each once, in order. Raises BadTemplate for any
    other hole."""
    inside = list(dict.fromkeys(hole.strip() for hole in _HOLE.findall(text)))
    for hole in inside:
        if not _NAME.fullmatch(hole) and not is_reference(hole):
            raise BadTemplate(f"{{{{{hole}}}}} is not a variable: write {{{{name}}}}, with letters, digits and '_'")
    return [hole for hole in inside if _NAME.fullmatch(hole)], [hole for hole in inside if is_reference(hole)]


def sole_variable(template: str) -> str | None:
    """The variable's name, if the template is nothing but one."""
    match = _HOLE.fullmatch(template.strip())
    name = match.group(1).strip() if match else ""
    return name if _NAME.fullmatch(name) else None


def render(template: str, values: Mapping[str, Any]) -> str:
    """The template, filled. Raises MissingVariable, or MissingSetting for a reference to nothing."""
    return _filled(template, values, str)


def render_url(template: str, values: Mapping[str, Any]) -> str:
    """The template, filled with percent-encoded values; if it is nothing but one variable, that value as it is. Raises
    as `render` does, and ValueError for a value that would be a step in the path (`.` or `..`)."""
    if sole_variable(template):
        return render(template, values)
    path, mark, query = template.partition("?")
    return _filled(path, values, _path_part) + mark + _filled(query, values, _encoded)


def render_json(template: Any, values: Mapping[str, Any]) -> Any:
    """A JSON value with every text in it filled; a text that is nothing but one variable becomes that variable's value,
    of whatever type."""
    if isinstance(template, str):
        name = sole_variable(template)
        return _value(name, values) if name else render(template, values)
    if isinstance(template, dict):
        return {key: render_json(item, values) for key, item in template.items()}
    if isinstance(template, list):
        return [render_json(item, values) for item in template]
    return template


def _filled(template: str, values: Mapping[str, Any], written: Callable[[str], str]) -> str:
    def fill(match: re.Match[str]) -> str:
        hole = match.group(1).strip()
        if is_reference(hole):
            return resolve(hole)
        value = _value(hole, values)
        return written(value if isinstance(value, str) else safe_bytes(value).decode())

    return _HOLE.sub(fill, template)


def _value(name: str, values: Mapping[str, Any]) -> Any:
    if name not in values:
        raise MissingVariable(f"the input has no {name!r}")
    return values[name]


def _path_part(value: str) -> str:
    if value in (".", ".."):
        # Dots cannot be encoded: %2e%2e is a step up as well (WHATWG URL, 4.4).
        raise ValueError(f"{value!r} cannot be a part of a URL's path")
    return _encoded(value)


def _encoded(value: str) -> str:
    return quote(value, safe="", errors="replace")
