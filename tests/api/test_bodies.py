"""Bodies, taken alone: the scans that a good body pays for agree with taking it apart."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from daybook.safe_json import is_deeper
from daybook_api import bodies
from daybook_api.problems import Problem

TEXTS = some.text(alphabet='a"\\[]{},: \n', max_size=8)
VALUES = some.recursive(
    some.none() | some.integers() | TEXTS,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=40,
)
ANYTHING: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


def _depth(value: Any) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if children is None else 1 + max(map(_depth, children), default=0)


@given(VALUES, some.integers(0, 6))
def test_the_depth_is_told_by_the_brackets_outside_of_text(value: Any, depth: int) -> None:
    assert is_deeper(msgspec.json.encode(value), depth) == (_depth(value) > depth)


@given(some.lists(VALUES, max_size=8), some.integers(1, 9))
def test_an_array_is_split_into_its_items_and_bounded(items: list[Any], most: int) -> None:
    body = msgspec.json.encode(items)
    if len(items) > most:
        with pytest.raises(Problem) as refused:
            bodies.split_array(body, most)
        assert refused.value.code == "too-large"
    else:
        assert [msgspec.json.decode(item) for item in bodies.split_array(body, most)] == items


@given(VALUES)
def test_what_is_good_comes_through(value: Any) -> None:
    assert bodies.decode(ANYTHING, msgspec.json.encode(value)) == value


@given(VALUES)
def test_a_pointer_leads_to_the_fault(value: Any) -> None:
    whole = {"a/b~": [value, {"\0": 1} if isinstance(value, dict) else "\0"]}
    with pytest.raises(Problem) as refused:
        bodies.decode(ANYTHING, msgspec.json.encode(whole))
    (spot,) = refused.value.errors
    assert spot.pointer == ("/a~1b~0/1/\ufffd" if isinstance(value, dict) else "/a~1b~0/1")


@given(some.binary(max_size=40) | some.text(alphabet='{}[]",:0e-tnul\\ud8', max_size=40).map(str.encode))
def test_no_bytes_do_more_than_be_refused(body: bytes) -> None:
    for attempt in (lambda: bodies.decode(ANYTHING, body), lambda: bodies.split_array(body, 5), lambda: bodies.split_lines(body, 5)):
        try:
            attempt()
        except Problem as problem:
            refused = problem.status
        else:
            refused = 400
        assert refused in {400, 413, 422}
