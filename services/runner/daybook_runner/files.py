"""Apps without code: a `.toml` or `.json` file becomes a definition.

The file's name is the app's id unless it says `app = "…"`. Where it gives no `input_schema`, the variables of its
templates are the input, all of them required texts. It refuses keys it does not know, templates that use what the
schema does not declare, and secrets that are written out.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias, assert_never

import msgspec

from daybook.domain.events import AppKind
from daybook.durations import parse_duration
from daybook.manifest import ChatApp, CommandApp, Definition, HttpApp, NatsApp

from .references import is_reference
from .subjects import check_subject
from .templates import BadTemplate, holes, sole_variable

AppWithoutCode: TypeAlias = ChatApp | HttpApp | NatsApp | CommandApp


class LoadError(Exception):
    """An app cannot be loaded; the message names the place and the reason, for whoever wrote it."""


def read_app_file(path: Path) -> Definition:
    """The app that a file describes. Raises LoadError."""
    try:
        content = path.read_bytes()
        form: type[AppWithoutCode] = AppWithoutCode  # type: ignore[assignment]
        decode = msgspec.toml.decode if path.suffix == ".toml" else msgspec.json.decode
        file: AppWithoutCode = decode(content, type=form)
        return _defined(file, path.stem)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise LoadError(f"{path}: {error}") from error


def _defined(file: AppWithoutCode, stem: str) -> Definition:
    templates = dict(_templates(file))
    schema = file.input_schema
    if schema is None:
        schema = _derived_schema(templates)
    declared = schema.get("properties", {})
    for key, template in templates.items():
        variables, references = holes(template)
        if references and not key.startswith("headers."):
            raise BadTemplate(f"{key}: {{{{{references[0]}}}}} may only stand in a header")
        for variable in variables:
            if variable not in declared:
                raise BadTemplate(f"{key}: {{{{{variable}}}}} is not among the properties of input_schema")
    return Definition(
        app=file.app or stem,
        kind=_checked_kind(file),
        run=file,
        doc=file.doc,
        input_schema=schema,
        queue=file.queue,
        priority=file.priority,
        policy=file.policy(),
    )


def _checked_kind(file: AppWithoutCode) -> AppKind:
    match file:
        case ChatApp():
            if file.api_key and not is_reference(file.api_key):
                raise ValueError("api_key: write env:NAME, and put the key into that environment variable")
            return "chat"
        case HttpApp():
            if file.body is not None and file.json is not None:
                raise ValueError("body and json cannot both be sent")
            return "http"
        case NatsApp():
            check_subject(file.subject, file.allow)
            return "nats"
        case CommandApp():
            _check_command(file)
            return "command"
        case _:
            assert_never(file)


def _check_command(file: CommandApp) -> None:
    if not file.argv or not file.argv[0]:
        raise ValueError("argv: name the program")
    if "{{" in file.argv[0]:
        raise ValueError("argv: the program is written out, and never part of the input")
    parse_duration(file.grace)


def _templates(file: AppWithoutCode) -> Iterator[tuple[str, str]]:
    """Every template of the file, by the key it stands under."""
    if isinstance(file, ChatApp):
        yield "system", file.system
        yield "prompt", file.prompt
        return
    if isinstance(file, CommandApp):
        yield from _texts("argv", list(file.argv))
        return
    if isinstance(file, HttpApp):
        yield "url", file.url
        yield "body", file.body or ""
    else:
        yield "subject", file.subject
    for name, value in file.headers.items():
        # A whole reference is a setting, not a template.
        yield f"headers.{name}", "" if is_reference(value) else value
    yield from _texts("json", file.json)


def _texts(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(f"{key}.{name}", item)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts(f"{key}.{number}", item)


def _derived_schema(templates: dict[str, str]) -> dict[str, Any]:
    names = dict.fromkeys(name for template in templates.values() for name in holes(template)[0])
    properties: dict[str, Any] = {name: {"type": "string"} for name in names}
    if whole := sole_variable(templates.get("url", "")):
        properties[whole]["format"] = "uri"
    return {"type": "object", "properties": properties, "required": list(names), "additionalProperties": False}
