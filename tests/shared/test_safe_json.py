"""JSON that Postgres, browsers and other languages can hold."""

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from daybook.safe_json import safe_bytes, safe_text, safe_value

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
