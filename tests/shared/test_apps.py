"""How a Python function becomes an app: its id, its schema, its version, and what is refused where it is written."""

import dataclasses
import inspect
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Annotated, Any, Literal, TypedDict

import jsonschema_rs
import msgspec
import pytest

from daybook.apps import App, Retry
from daybook.context import Context
from daybook.domain.events import Policy
from daybook.manifest import Definition, PythonFunction, is_app_id


class Box(msgspec.Struct, kw_only=True):
    """Where to cut."""

    left: int = 0
    width: Annotated[int, msgspec.Meta(gt=0)]


class ResizeIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    url: str
    box: Box | None = None
    mode: Literal["fit", "fill"] = "fit"


class Tree(msgspec.Struct, kw_only=True):
    name: str
    children: list["Tree"] = []


@dataclasses.dataclass
class Order:
    number: int
    lines: list[str] = dataclasses.field(default_factory=list)


class Options(TypedDict):
    depth: int


def defined(function: Callable[..., Any], **options: Any) -> Definition:
    app = App("tests")
    app.task(name="it", **options)(function)
    return app.definitions["tests.it"]


def bound(definition: Definition, value: Any) -> dict[str, Any]:
    assert isinstance(definition.run, PythonFunction)
    return definition.run.bind(value, "the context")


async def test_the_function_stays_what_it_was() -> None:
    app = App("images")

    @app.task(timeout="5m", retry=Retry(max_attempts=5), queue="slow", priority=1, delivery="at_most_once")
    async def resize(input: ResizeIn, ctx: Context) -> str:  # noqa: A002
        """Resize an image."""
        await ctx.progress(1, total=1)
        return input.url

    ctx = Context.for_test()
    assert await resize(ResizeIn(url="u"), ctx) == "u"
    assert ctx.said[0].type == "progress"
    definition = app.definitions["images.resize"]
    assert definition.doc == "Resize an image."
    assert (definition.queue, definition.priority) == ("slow", 1)
    assert definition.policy == Policy(max_attempts=5, timeout_seconds=300.0, delivery="at_most_once")
    published = definition.published("runner:run_1")
    assert (published.app, published.app_kind, published.version) == ("images.resize", "python", definition.version)
    assert (published.actor, published.input_schema) == ("runner:run_1", definition.input_schema)


def test_a_bare_decorator_will_do() -> None:
    app = App("tests")

    @app.task
    def count(text: str) -> int:
        return len(text)

    assert count("four") == 4
    assert list(app.definitions) == ["tests.count"]


@pytest.mark.parametrize(
    ("function", "given", "arguments"),
    [
        (lambda: None, {}, {}),
        (lambda ctx: None, {}, {"ctx": "the context"}),
        (lambda url, width=800: None, {"url": "u"}, {"url": "u", "width": 800}),
        (lambda url, width=800, ctx=None: None, {"url": "u", "width": 1}, {"url": "u", "width": 1, "ctx": "the context"}),
        (lambda wanted, ctx: None, {"url": "u"}, {"wanted": ResizeIn(url="u"), "ctx": "the context"}),
        (lambda order: None, {"number": 1}, {"order": Order(1, [])}),
        (lambda options: None, {"depth": 3}, {"options": {"depth": 3}}),
        (lambda prices: None, {"tea": 2}, {"prices": {"tea": 2.0}}),
        (lambda at, lengths: None, {"at": "2030-01-01T00:00:00Z", "lengths": {"1": 2}}, None),
        (lambda maybe=None: None, {"maybe": {"url": "u"}}, {"maybe": ResizeIn(url="u")}),
    ],
)
def test_how_an_input_becomes_arguments(function: Callable[..., Any], given: dict[str, Any], arguments: dict[str, Any] | None) -> None:
    types: dict[str, Any] = {
        "ctx": Context | None,
        "url": str,
        "width": int,
        "wanted": ResizeIn,
        "order": Order,
        "options": Options,
        "prices": dict[str, float],
        "at": datetime,
        "lengths": dict[int, int],
        "maybe": ResizeIn | None,
    }
    names = inspect.signature(function).parameters
    function.__annotations__ = {name: types[name] for name in names}
    got = bound(defined(function), given)
    if arguments is None:
        assert got["at"].year == 2030
        assert got["lengths"] == {1: 2}
    else:
        assert got == arguments


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"url": 1},
        {"url": "u", "width": "800"},
        {"url": "u", "width": True},
        {"url": "u", "with": 800},
        {"url": "u", "width": 0},
        [],
        "u",
        None,
    ],
)
def test_the_schema_refuses_what_the_conversion_refuses(given: Any) -> None:
    def resize(url: str, width: Annotated[int, msgspec.Meta(ge=1)] = 800) -> None: ...

    definition = defined(resize)
    assert definition.input_schema["additionalProperties"] is False
    assert not jsonschema_rs.is_valid(definition.input_schema, given)
    with pytest.raises(msgspec.ValidationError):
        bound(definition, given)


def test_a_schema_stands_alone() -> None:
    def crop(input: ResizeIn) -> None: ...  # noqa: A002

    schema = defined(crop).input_schema
    assert schema["properties"]["url"] == {"type": "string"}
    assert list(schema["$defs"]) == ["Box"]
    assert jsonschema_rs.is_valid(schema, {"url": "u", "box": {"width": 2}})
    assert not jsonschema_rs.is_valid(schema, {"url": "u", "box": {"width": 0}})


def test_a_schema_may_refer_to_itself() -> None:
    def plant(tree: Tree) -> None: ...

    schema = defined(plant).input_schema
    assert schema["properties"]["name"] == {"type": "string"}
    assert jsonschema_rs.is_valid(schema, {"name": "oak", "children": [{"name": "twig"}]})
    assert not jsonschema_rs.is_valid(schema, {"name": "oak", "children": [{"name": 1}]})


def test_a_default_that_can_change_is_not_shared_between_attempts() -> None:
    def tag(tags: list[str] = ["new"]) -> None: ...  # noqa: B006

    definition = defined(tag)
    bound(definition, {})["tags"].append("changed")
    assert bound(definition, {}) == {"tags": ["new"]}
    assert definition.input_schema["properties"]["tags"]["default"] == ["new"]


def test_async_is_seen_through_a_decorator() -> None:
    def traced(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return inner

    @traced
    async def wait(seconds: float) -> None: ...

    run = defined(wait).run
    assert isinstance(run, PythonFunction)
    assert run.is_async


def untyped(url, width: int = 3): ...  # type: ignore[no-untyped-def]
def untyped_context(ctx): ...  # type: ignore[no-untyped-def]
def starred(*urls: str) -> None: ...
def named(**options: str) -> None: ...
def positional(url: str, /) -> None: ...
def two_contexts(a: Context, b: Context) -> None: ...
def unknown(it: object, other: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821
def no_json(it: App) -> None: ...
def ambiguous(it: Box | ResizeIn) -> None: ...
def generator() -> Any:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (untyped, "'url' needs an annotation"),
        (untyped_context, "such as `ctx: Context`"),
        (starred, r"\*urls: str cannot be filled"),
        (named, "cannot be filled"),
        (positional, "cannot be filled"),
        (two_contexts, "a and b"),
        (unknown, "'Nowhere' is not defined"),
        (no_json, "App.* is not supported"),
        (ambiguous, "must be tagged"),
        (generator, "generator"),
        (async_generator, "generator"),
    ],
)
def test_what_could_not_be_run_is_refused_where_it_is_written(function: Callable[..., Any], says: str) -> None:
    with pytest.raises(TypeError, match=rf"tests\.it: .*{says}"):
        defined(function)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"process": True}, "at the top of its module"),
        ({"timeout": "soon"}, "'soon' is not a duration"),
        ({"timeout": 0}, "a timeout of 0"),
        ({"queue_ttl": "0s"}, "a queue_ttl of 0"),
        ({"deadline": 0}, "a deadline of 0"),
        ({"deadline": "soon"}, "'soon' is not a duration"),
        ({"priority": 0}, "priority lies between 1 and 5"),
        ({"queue": "a b"}, "queue's name"),
        ({"delivery": "twice"}, "at_least_once or at_most_once"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        defined(lambda: None, **options)


def test_an_id_can_be_taken_once() -> None:
    app = App("tests")
    app.task(name="it")(lambda: None)
    with pytest.raises(ValueError, match=r"tests\.it is defined twice"):
        app.task(name="it")(lambda: None)


@pytest.mark.parametrize("text", ["a", "images.resize", "A-b_c.1", "a" * 128])
def test_good_ids(text: str) -> None:
    assert is_app_id(text)


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a b", "a/b", "ä", "a\n", "a>", "*", "a" * 129])
def test_bad_ids(text: str) -> None:
    assert not is_app_id(text)
    with pytest.raises(ValueError, match="cannot be an app's id"):
        App(text).task(name=text)(lambda: None)


def test_the_version_follows_the_manifest_and_nothing_else() -> None:
    def one(url: str) -> None:
        """One."""

    def other(url: str, width: int = 1) -> None:
        """One."""

    other.__qualname__ = one.__qualname__
    same = defined(one).version
    assert len(same) == 16
    assert defined(one).version == same
    assert defined(one, timeout=timedelta(minutes=5)).version != same
    assert defined(one, timeout="5m").version == defined(one, timeout=300).version
    assert defined(one, queue="slow").version != same
    assert defined(other).version != same
    other.__qualname__ = "renamed"
    assert defined(other).version != defined(one).version


def test_a_manifest_can_be_written_down() -> None:
    definition = defined(lambda: None)
    assert msgspec.json.decode(msgspec.json.encode(definition.published()))["kind"] == "app.published.v1"
