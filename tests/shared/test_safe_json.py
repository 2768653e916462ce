"""JSON that Postgres, browsers and other languages can hold."""

import json
import math
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from daybook.safe_json import is_deeper, safe_bytes, safe_text, safe_value, text_of

ANYTHING = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(some.characters(codec=None)),
    lambda inner: some.lists(inner) | some.dictionaries(some.text(some.characters(codec=None)), inner),
)


@given(ANYTHING)
def test_whatever_it_is_the_json_is_safe(value: Any) -> None:
    encoded = safe_bytes(value)
    text = json.dumps(json.loads(encoded.decode("utf-8"), parse_constant=pytest.fail), ensure_ascii=False)
    assert "\\u0000" not in text.replace("\\\\", "")
    text.encode("utf-8")


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        ("a\x00b", '"a\ufffdb"'),
        ("\ud800", '"\ufffd"'),
        ("\\u0000 written out", '"\\\\u0000 written out"'),
        ({"a\x00": [1, "\udfff"]}, '{"a\ufffd":[1,"\ufffd"]}'),
        ([math.nan, math.inf, 1.5], "[null,null,1.5]"),
        (None, "null"),
    ],
)
def test_what_becomes_of_it(value: Any, becomes: str) -> None:
    assert safe_bytes(value).decode() == becomes


def test_what_has_no_json_form_is_refused_as_a_result_and_shown_as_a_value() -> None:
    with pytest.raises(TypeError, match="object"):
        safe_bytes(object())
    assert "object object" in safe_value({"it": object()})["it"]


def test_safe_text_leaves_good_text_alone() -> None:
    assert safe_text("käse 🧀 \n\t") == "käse 🧀 \n\t"


def test_structs_become_objects() -> None:
    class Point(msgspec.Struct):
        x: int
        name: str

    assert safe_bytes(Point(1, "\x00")) == '{"x":1,"name":"\ufffd"}'.encode()


class Hostile(BaseException):
    """What nobody expects to be raised."""


class Spiteful:
    """An object whose every word is an error."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __str__(self) -> str:
        raise self._error

    __repr__ = __str__


class Liar(str):
    """Text whose methods are not to be trusted."""

    def __getitem__(self, _: Any) -> Any:
        raise Hostile

    encode = replace = translate = __iter__ = __len__ = __getitem__  # type: ignore[assignment]


class Meta(type):
    """Classes without a name."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise Hostile


class Nameless(Exception, metaclass=Meta):
    """An error of such a class."""


def endless(kind: str) -> Any:
    """A value that contains itself, once or (which doubles with every level) twice."""
    listed: list[Any] = []
    named: dict[str, Any] = {}
    match kind:
        case "list":
            listed.append(listed)
        case "twice":
            listed += [listed, listed]
        case "dict":
            named["self"] = named
        case "both":
            listed.append({"it": (listed, listed)})
    return listed or named


def nested(levels: int) -> Any:
    """A list in a list in a list."""
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


SHOWN: dict[str, Any] = {
    "an object without words": Spiteful(ValueError("no")),
    "an object that ends the process": Spiteful(SystemExit(3)),
    "an object with an error of its own kind": Spiteful(Hostile()),
    "an object with a nameless error": Spiteful(Nameless()),
    "untrustworthy text": Liar("a\x00"),
    "in a list": [Spiteful(Hostile()), Liar("\ud800"), b"\xff", 10**5000, math.nan],
    "keys": {Spiteful(Hostile()): 1, (1, 2): 2, None: 3, b"\xff": 4, True: 5, 10**5000: 6, Liar("k"): 7},
    "a long key": {"k" * 1_000_000: 1},
    "itself": endless("list"),
    "itself twice": endless("twice"),
    "itself by name": endless("dict"),
    "itself both ways": endless("both"),
    "depth": nested(100_000),
    "an enormous integer": 10**5000,
    "a negative one": -(10**5000),
    "a generator": (each for each in [1]),
    "a set": {1, "a"},
    "types": [int, object, Nameless],
    "complex": 1j,
}


@pytest.mark.parametrize("name", SHOWN)
def test_anything_at_all_can_be_shown(name: str) -> None:
    encoded = msgspec.json.encode(safe_value(SHOWN[name]))
    json.loads(encoded.decode("utf-8"), parse_constant=pytest.fail)
    assert len(encoded) < 3_000_000
    text_of(SHOWN[name]).encode("utf-8")


@pytest.mark.parametrize("name", SHOWN)
def test_a_result_is_what_was_returned_or_is_refused_by_an_error_that_is_known(name: str) -> None:
    try:
        encoded = safe_bytes(SHOWN[name])
    except (TypeError, ValueError, RecursionError):
        return
    json.loads(encoded.decode("utf-8"), parse_constant=pytest.fail)


def test_what_is_shown_is_told_as_far_as_it_can_be() -> None:
    assert safe_value({"it": [Spiteful(KeyError()), 10**5000]}) == {"it": ["(Spiteful, cannot be shown: KeyError)", "(an integer of 16610 bits)"]}
    assert safe_value({(1, 2): Liar("a\x00")}) == {"(1, 2)": "a\ufffd"}
    assert safe_value(endless("list")) == [[[[[[[["…"]]]]]]]]
    assert text_of(Spiteful(SystemExit())) == "(cannot be shown: SystemExit)"
    assert text_of(Nameless("\x00" * 5), 3) == "\ufffd" * 3


def test_values_of_subclasses_are_what_they_are() -> None:
    class Markup(str):
        __slots__ = ()

    class Metres(float):
        pass

    class Count(int):
        pass

    assert safe_bytes([Markup("<b>"), Metres(1.5), Count(3), Markup("\x00\ud800")]) == '["<b>",1.5,3,"\ufffd\ufffd"]'.encode()


def test_an_object_is_refused_beside_unsafe_text_too() -> None:
    for text in ("\x00", "\ud800"):
        with pytest.raises(TypeError):
            safe_bytes([text, object()])


@pytest.mark.parametrize(("value", "levels"), [(nested(3), 3), ([[], [[]], '[[[["[['], 3), ({"a": {'\\"[[[[': [1]}}, 3), ("[[[[", 0), ({"[" * 300: []}, 2)])
def test_levels_are_counted_outside_of_text(value: Any, levels: int) -> None:
    encoded = json.dumps(value).encode()
    assert is_deeper(encoded, levels - 1)
    assert not is_deeper(encoded, levels)


@given(some.text(some.characters(codec=None) | some.sampled_from("?\x00\ud800\udfff\ufffd")))
def test_each_unsafe_character_is_replaced_and_no_other(text: str) -> None:
    assert safe_text(text) == "".join("\ufffd" if each == "\x00" or "\ud800" <= each <= "\udfff" else each for each in text)


def test_a_hundred_megabytes_of_surrogates_hold_nobody_up_for_long() -> None:
    began = time.monotonic()
    assert len(safe_text("a?\ud800" * 5_000_000)) == 15_000_000
    assert len(safe_value({"a": "\ud800" * 30_000_000})["a"]) < 300_000
    assert time.monotonic() - began < 5
