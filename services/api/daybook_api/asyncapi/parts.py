"""The pieces of the document: channels, operations and messages, and the schemas of structs."""

from collections.abc import Iterable, Iterator
from inspect import cleandoc
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import inspect

JSON: Final = "application/json"
NAME: Final = "^[a-z0-9_-]{1,32}$"
NAMESPACE: Final = {"description": "The namespace: 1 to 32 of `a-z 0-9 _ -`.", "default": "default"}
OWNER: Final = {"description": "The owner; one whose name is not 1 to 32 of `a-z 0-9 _ -` is `x-` and 24 digits of its SHA-256.", "examples": ["ann"]}
APP: Final = {"description": "The app's id with `-` for the dots.", "examples": ["hello-greet"]}


class Part(NamedTuple):
    """Some channels, with all that belongs to them."""

    channels: dict[str, Any]
    operations: dict[str, Any]
    messages: dict[str, Any]


def merged(tables: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """All in one. Raises ValueError where two mean different things by one name."""
    whole: dict[str, Any] = {}
    for table in tables:
        for name, value in table.items():
            if whole.setdefault(name, value) != value:
                raise ValueError(f"there are two of {name}")
    return whole


def channel(address: str | None, title: str, description: str, messages: Iterable[str], **parameters: dict[str, Any]) -> dict[str, Any]:
    """A subject, and the messages that are seen on it."""
    described: dict[str, Any] = {"address": address, "title": title, "description": description}
    described["messages"] = {name: {"$ref": f"#/components/messages/{name}"} for name in messages}
    return described | ({"parameters": parameters} if parameters else {})


def operation(action: str, channel_name: str, summary: str, messages: Iterable[str]) -> dict[str, Any]:
    """What Daybook does on a channel: `send` or `receive`."""
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel_name}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{channel_name}/messages/{name}"} for name in messages],
    }


def object_of(properties: dict[str, Any], required: Iterable[str] = (), **more: Any) -> dict[str, Any]:
    """The schema of a JSON object."""
    return {"type": "object", "properties": properties, "required": sorted(required), **more}


def ref(model: type) -> dict[str, str]:
    """The schema of a struct."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def schemas(models: Iterable[type]) -> dict[str, Any]:
    """The schemas of these structs and of all that they are made of, by name."""
    models = tuple(models)
    _, components = msgspec.json.schema_components(models, ref_template="#/components/schemas/{name}")
    for component in components.values():
        if "description" in component:
            component["description"] = cleandoc(component["description"])
    for struct, field in _moments(inspect.multi_type_info(models)):
        _date(components[struct]["properties"][field])
    return components


def _moments(kinds: Iterable[inspect.Type]) -> Iterator[tuple[str, str]]:
    """The struct and the name of each field that holds timestamps, which msgspec calls strings where they may lack an offset.
    Ours never do."""
    for kind in kinds:
        if isinstance(kind, inspect.StructType):
            for field in kind.fields:
                parts = tuple(_parts(field.type))
                if any(isinstance(part, inspect.DateTimeType) for part in parts):
                    yield kind.cls.__name__, field.encode_name
                yield from _moments(parts)


def _parts(kind: inspect.Type) -> Iterator[inspect.Type]:
    match kind:
        case inspect.UnionType():
            for each in kind.types:
                yield from _parts(each)
        case inspect.VarTupleType() | inspect.ListType():
            yield from _parts(kind.item_type)
        case _:
            yield kind


def _date(schema: dict[str, Any]) -> None:
    for part in (schema, *schema.get("anyOf", ())):
        if part.get("type") == "string":
            part["format"] = "date-time"
        elif "items" in part:
            _date(part["items"])
