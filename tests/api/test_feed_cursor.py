"""The places of the feed: short texts that only we make, each of one namespace."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daybook.log.envelope import LANES, START, Cursor
from daybook_api.feed import cursor as feed_cursor

POSITIONS = st.one_of(st.just(0), st.integers(0, 2**20), st.integers(0, 2**63 - 1))
CURSORS = st.lists(POSITIONS, max_size=LANES).map(lambda given: (*given, *(0,) * (LANES - len(given))))
SOME: Cursor = (7, 0, 300, *(0,) * (LANES - 3))


@given(CURSORS)
def test_what_is_spelled_is_read_again_and_nowhere_else(cursor: Cursor) -> None:
    text = feed_cursor.spell(cursor, "default")
    assert feed_cursor.parse(text, "default") == cursor
    assert feed_cursor.parse(text, "other") is None
    assert len(text) <= 800


def test_a_young_log_has_short_places() -> None:
    assert len(feed_cursor.spell(START, "default")) == 7
    assert len(feed_cursor.spell(SOME, "default")) <= 14
    assert len(feed_cursor.spell((2**34,) * 8 + (0,) * 56, "default")) <= 64


@given(CURSORS, CURSORS)
def test_two_places_are_two_texts(one: Cursor, other: Cursor) -> None:
    assert (one == other) == (feed_cursor.spell(one, "default") == feed_cursor.spell(other, "default"))


@given(st.text(max_size=40) | st.from_regex(feed_cursor.PATTERN, fullmatch=True))
def test_any_other_text_is_none(text: str) -> None:
    assert feed_cursor.parse(text, "default") is None


@pytest.mark.parametrize("at", range(len(feed_cursor.spell(SOME, "default"))))
def test_a_place_with_a_letter_wrong_is_none(at: int) -> None:
    text = feed_cursor.spell(SOME, "default")
    for letter in "AZaz09-_=+/ ä":
        if letter != text[at]:
            assert feed_cursor.parse(text[:at] + letter + text[at + 1 :], "default") is None
    assert feed_cursor.parse(text[:at], "default") is None


@pytest.mark.parametrize("body", [b"\x02\x07", b"\x01\x80", b"\x01\x07\x00", b"\x01\x87\x00", b"\x01" + b"\xff" * 9 + b"\x01", b"\x01" + b"\x01" * 65, b""])
def test_bodies_that_nobody_would_write_are_none(body: bytes) -> None:
    """Well signed, and of another version, cut, longer than need be, too large, of too many lanes, or empty."""
    spelled = urlsafe_b64encode(feed_cursor._tag(body, "default") + body).decode().rstrip("=")
    assert feed_cursor.parse(spelled, "default") is None
    assert urlsafe_b64decode(feed_cursor.spell(SOME, "default") + "==")[4:] == b"\x01\x07\x00\xac\x02"
