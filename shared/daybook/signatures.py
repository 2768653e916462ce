"""From a Python function's signature to its input: which type the input is converted to, and which JSON Schema says so.

It refuses signatures that an input could not fill: arguments without annotations, positional-only and starred ones,
generators, and types without a JSON form.
"""

import copy
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints, is_typeddict

import msgspec

from .context import Context
from .manifest import PythonFunction


class Signature(NamedTuple):
    """What a function's signature and docstring say."""

    run: PythonFunction
    input_schema: dict[str, Any]
    doc: str


def read_signature(function: Callable[..., Any], app: str) -> Signature:
    """Read a function that is to become `app`. Raises TypeError, naming the app and the argument, for one that
    cannot."""
    inner = inspect.unwrap(function)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise TypeError(f"{app}: a generator cannot be run as a task; return the result, and say the parts with ctx.chunk")
    parameters = _parameters(function, app)
    takes_context = [name for name, parameter in parameters.items() if _is_context(parameter.annotation)]
    if len(takes_context) > 1:
        raise TypeError(f"{app}: only one argument can be the context, not {' and '.join(takes_context)}")
    inputs = [parameter for name, parameter in parameters.items() if name not in takes_context]
    whole = inputs[0].name if len(inputs) == 1 and _is_object(inputs[0].annotation) else None
    input_type = inputs[0].annotation if whole else _fields(function.__name__, inputs, app)
    run = PythonFunction(
        function=function,
        input_type=input_type,
        whole=whole,
        context=takes_context[0] if takes_context else None,
        is_async=inspect.iscoroutinefunction(inner),
    )
    return Signature(run=run, input_schema=_schema(input_type, app), doc=inspect.getdoc(function) or "")


def _parameters(function: Callable[..., Any], app: str) -> dict[str, inspect.Parameter]:
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TypeError(f"{app}: its annotations cannot be read: {error}; define what they name in the function's module") from error
    parameters = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"{app}: {parameter} cannot be filled from the fields of an input")
        if name not in hints:
            hint = "ctx: Context" if name in ("ctx", "context") else f"{name}: str"
            raise TypeError(f"{app}: the argument {name!r} needs an annotation, such as `{hint}`")
        parameters[name] = parameter.replace(annotation=hints[name])
    return parameters


def _is_context(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, UnionType):
        return any(_is_context(part) for part in get_args(annotation))
    return isinstance(annotation, type) and issubclass(annotation, Context)


def _is_object(annotation: Any) -> bool:
    """Whether every value of the type is a JSON object."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _is_object(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return all(_is_object(part) for part in get_args(annotation) if part is not NoneType) and NoneType not in get_args(annotation)
    plain = origin or annotation
    if is_typeddict(plain):
        return True
    if not isinstance(plain, type):
        return False
    if issubclass(plain, msgspec.Struct):
        return not plain.__struct_config__.array_like
    return issubclass(plain, Mapping) or dataclasses.is_dataclass(plain)


def _fields(name: str, parameters: list[inspect.Parameter], app: str) -> type[msgspec.Struct]:
    """A struct with one field for each argument."""
    fields = [(each.name, *_field(each)) for each in parameters]
    try:
        return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{app}: {error}") from error


def _field(parameter: inspect.Parameter) -> tuple[Any, Any]:
    """The field's type and default."""
    default = parameter.default
    if default is parameter.empty:
        return parameter.annotation, msgspec.NODEFAULT
    if isinstance(default, list | dict | set) and default:
        # A function shares such a default between its calls; attempts must not. A factory says nothing to the schema,
        # so the annotation does.
        shown = msgspec.Meta(extra_json_schema={"default": msgspec.to_builtins(default, str_keys=True)})
        return Annotated[parameter.annotation, shown], msgspec.field(default_factory=lambda: copy.deepcopy(default))
    return parameter.annotation, default


def _schema(input_type: Any, app: str) -> dict[str, Any]:
    try:
        msgspec.json.Decoder(input_type)  # knows what no input could be told apart by, such as two untagged structs
        schema = msgspec.json.schema(input_type)
    except TypeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise TypeError(f"{app}: its input cannot be JSON: {reason}") from error
    return _opened(schema)


def _opened(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its outermost reference resolved, so that forms and help can read its properties at the top."""
    reference = schema.get("$ref", "")
    definitions = dict(schema.get("$defs", {}))
    if not reference.startswith("#/$defs/"):
        return schema
    name = reference.removeprefix("#/$defs/")
    opened = dict(definitions[name])
    if not _refers(opened, reference) and not any(_refers(other, reference) for key, other in definitions.items() if key != name):
        del definitions[name]
    return opened | {"$defs": definitions} if definitions else opened


def _refers(schema: Any, reference: str) -> bool:
    if isinstance(schema, dict):
        return schema.get("$ref") == reference or any(_refers(part, reference) for part in schema.values())
    return isinstance(schema, list) and any(_refers(part, reference) for part in schema)
