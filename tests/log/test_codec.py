"""What goes in comes out; what cannot be read is said to be so; what was erased cannot be guessed; a position is spelled one way."""

from hashlib import sha256

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.log.samples import DUE, SUBMITTED

from daybook.log import codec
from daybook.log.envelope import LANES, START, Position, Unreadable, covers, joined
from daybook.projections.projector import has_passed

cursors = st.lists(st.integers(0, 3), min_size=LANES, max_size=LANES).map(tuple)


def test_an_event_comes_out_as_it_went_in() -> None:
    assert codec.decode("task.submitted.v1", codec.encode(SUBMITTED)) == SUBMITTED


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("task.made_up.v1", codec.encode(DUE)),
        ("task.due.v1", b"{"),
        ("task.due.v1", b"[]"),
        ("task.due.v1", codec.encode(SUBMITTED)),
        ("task.submitted.v1", b'{"kind":"task.submitted.v1"}'),
        ("task.started.v1", b'{"kind":"task.started.v1","attempt":"one","runner":"r"}'),
        ("task.due.v1", b"\xff"),
        ("task.due.v1", b'{"kind":"task.due.v1","reason":"\xff"}'),
        ("task.due.v1", rb'{"kind":"task.due.v1","reason":"\ud800"}'),
        ("app.published.v1", b'{"kind":"app.published.v1","app":"a","app_kind":"http","version":"1","input_schema":' + b'{"a":' * 5000 + b"1" + b"}" * 5001),
    ],
)
def test_what_cannot_be_read_is_said_to_be_so(kind: str, data: bytes) -> None:
    read = codec.decode(kind, data)
    assert isinstance(read, Unreadable)
    assert read.kind == kind


def test_what_a_later_release_adds_is_passed_over() -> None:
    assert codec.decode("task.due.v1", b'{"kind":"task.due.v1","added":{"later":[1]}}') == codec.decode("task.due.v1", b'{"kind":"task.due.v1"}')


@given(st.binary(max_size=100))
@example(b"x" * codec.INLINE_LIMIT_BYTES)
@example(b"x" * (codec.INLINE_LIMIT_BYTES + 1))
def test_a_payload_is_sealed_with_salt(content: bytes) -> None:
    sealed, again = codec.seal(content), codec.seal(content)
    assert sealed.content.digest != again.content.digest
    assert sealed.content.size_bytes == len(content)
    if sealed.blob is None:
        assert codec.unseal(sealed.content, sealed.payload) == content
        assert sealed.content.digest == sha256(sealed.payload).hexdigest()
    else:
        assert len(content) > codec.INLINE_LIMIT_BYTES
        assert (sealed.blob, codec.unseal(sealed.content, sealed.payload)) == (content, None)
        assert sealed.content.digest == sha256(sealed.payload + content).hexdigest()
    assert codec.unseal(sealed.content, None) is None


@given(st.builds(Position, st.integers(0, LANES - 1), st.integers(0, 10**18 - 1)))
def test_a_position_is_read_back(position: Position) -> None:
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize("text", ["", ":", "1", "1:", ":1", "64:1", "-1:1", "1:-1", "1:1:1", "a:b", "\u0661:1", "1:" + "9" * 19, "1 :1", "0x1:1", "1:1e3"])
def test_anything_else_is_no_position(text: str) -> None:
    assert Position.parse(text) is None


@given(cursors, cursors)
def test_what_two_have_read_together_covers_both(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    both = joined(one, other)
    assert covers(both, one)
    assert covers(both, other)
    assert covers(one, other) == (both == one)
    assert covers(one, START)


def test_a_read_model_has_passed_what_its_cursor_has() -> None:
    cursor = (5, *START[1:])
    assert has_passed(cursor, [])
    assert has_passed(cursor, [Position(0, 5), Position(0, 4)])
    assert not has_passed(cursor, [Position(0, 5), Position(1, 1)])
    assert not has_passed(cursor, [Position(0, 6)])
