"""Ids: what is minted sorts, what is derived stays, and what is spelled can be read back and nothing else can."""

from itertools import pairwise
from typing import get_args
from uuid import RFC_4122, UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daybook.ids import Prefix, derive_id, new_id, new_salt, new_secret, parse, spell

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
PREFIXES: tuple[Prefix, ...] = get_args(Prefix)
SPELLED = "tsk_01n08xav4a5fm8m2v5vnf9h0cg"

prefixes = st.sampled_from(PREFIXES)
uuids = st.uuids() | st.integers(0, (1 << 128) - 1).map(lambda number: UUID(int=number))
bodies = st.text(ALPHABET, min_size=26, max_size=26)
parts = st.lists(st.text(st.characters(exclude_characters="\x1f", exclude_categories=["Cs"])), min_size=1)


def uuid7(milliseconds: int, chance: int) -> UUID:
    """A UUIDv7 of this instant, as RFC 9562 lays it out."""
    high, low = divmod(chance, 1 << 62)
    return UUID(int=milliseconds << 80 | 7 << 76 | high << 64 | 2 << 62 | low)


sevens = st.builds(uuid7, st.integers(0, (1 << 48) - 1), st.integers(0, (1 << 74) - 1))


@given(prefixes, uuids)
@example("tsk", UUID(int=0))
@example("tsk", UUID(int=(1 << 128) - 1))
def test_what_is_spelled_can_be_read_back(prefix: Prefix, value: UUID) -> None:
    text = spell(prefix, value)
    assert text[:4] == f"{prefix}_"
    assert len(text) == 30
    assert set(text[4:]) <= set(ALPHABET)
    assert parse(prefix, text) == value


@given(prefixes, bodies.map(lambda body: f"tsk_{body}") | st.text(max_size=32) | st.text(ALPHABET + "_ilouTSK", max_size=32))
@example("tsk", "tsk_7zzzzzzzzzzzzzzzzzzzzzzzzz")
@example("tsk", "tsk_80000000000000000000000000")
def test_only_what_is_spelled_can_be_read_back(prefix: Prefix, text: str) -> None:
    value = parse(prefix, text)
    assert value is None or spell(prefix, value) == text


@given(prefixes, uuids, st.data())
def test_a_spelling_with_one_character_changed_is_another_id_or_none(prefix: Prefix, value: UUID, data: st.DataObject) -> None:
    text = spell(prefix, value)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(exclude_characters=text[place]))
    assert parse(prefix, text[:place] + other + text[place + 1 :]) != value


@given(uuids, prefixes, prefixes)
def test_an_id_of_one_kind_is_none_of_another(value: UUID, prefix: Prefix, other: Prefix) -> None:
    assert parse(other, spell(prefix, value)) == (value if other == prefix else None)


def test_the_spelling_is_that_of_typeid() -> None:
    # From the valid cases of the TypeID specification.
    assert spell("tsk", UUID("00000000-0000-0000-0000-000000000001")) == "tsk_00000000000000000000000001"
    assert spell("tsk", UUID("00000000-0000-0000-0000-000000000020")) == "tsk_00000000000000000000000010"
    assert spell("tsk", UUID("ffffffff-ffff-ffff-ffff-ffffffffffff")) == "tsk_7zzzzzzzzzzzzzzzzzzzzzzzzz"
    assert spell("tsk", UUID("0110c853-1d09-52d8-d73e-1194e95b5f19")) == "tsk_0123456789abcdefghjkmnpqrs"
    assert spell("tsk", UUID("01890a5d-ac96-774b-bcce-b302099a8057")) == "tsk_01h455vb4pex5vsknk084sn02q"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tsk",
        "tsk_",
        "_01n08xav4a5fm8m2v5vnf9h0cg",
        "01n08xav4a5fm8m2v5vnf9h0cg",
        SPELLED[:-1],
        SPELLED + "0",
        SPELLED + "\n",
        " " + SPELLED,
        SPELLED.upper(),
        SPELLED.replace("_", "-"),
        SPELLED.replace("_", "__"),
        SPELLED.replace("n", "i"),
        SPELLED.replace("n", "l"),
        SPELLED.replace("n", "o"),
        SPELLED.replace("n", "u"),
        SPELLED.replace("01", "0\u0661"),
        SPELLED.replace("01", "81"),
        SPELLED.replace("01", "z1"),
        "tsk_018f2b6e-7a30-7c3e-8a2b-1b2c3d4e5f60",
    ],
)
def test_anything_else_is_no_id(text: str) -> None:
    assert parse("tsk", SPELLED) is not None
    assert parse("tsk", text) is None


@given(sevens, sevens)
def test_spellings_sort_as_the_ids_do(one: UUID, other: UUID) -> None:
    assert (spell("tsk", one) < spell("tsk", other)) == (one < other)


@given(sevens, sevens)
def test_what_was_minted_in_an_earlier_millisecond_sorts_first(one: UUID, other: UUID) -> None:
    if one.int >> 80 < other.int >> 80:
        assert spell("tsk", one) < spell("tsk", other)


def test_minted_ids_are_version_7_and_come_in_order() -> None:
    minted = [new_id() for _ in range(2000)]
    assert {(value.version, value.variant) for value in minted} == {(7, RFC_4122)}
    assert {type(value) for value in minted} == {UUID}
    assert all(before < after for before, after in pairwise(spell("tsk", value) for value in minted))


@pytest.mark.parametrize(
    ("given_parts", "derived"),
    [
        # Never change these: they are the names under which tasks, apps and slots are already written down.
        (("a",), "ca978112-ca1b-8dca-bac2-31b39a23dc4d"),
        (("a", "b"), "f04cdced-9736-869d-a610-3f08a4daaf8c"),
        (("b", "a"), "59bdf552-415c-8fa2-99b8-6e9244dd8778"),
        (("ab",), "fb8e20fc-2e4c-8f24-8c60-c39bd652f3c1"),
        (("",), "e3b0c442-98fc-8c14-9afb-f4c8996fb924"),
        (("key", "default", "ann", "grüße ☕"), "aa055799-d2ba-82ff-9b80-c6d0958b075b"),
        (("slot", "sch_1", "2026-03-14T12:00:00Z"), "e89aea48-118c-8fd8-ab10-f3943df6df5b"),
    ],
)
def test_a_derived_id_is_the_same_for_ever(given_parts: tuple[str, ...], derived: str) -> None:
    assert derive_id(*given_parts) == UUID(derived)


@given(parts)
def test_a_derived_id_is_a_proper_version_8(names: list[str]) -> None:
    value = derive_id(*names)
    assert (value.version, value.variant) == (8, RFC_4122)
    assert derive_id(*names) == value


@given(parts, parts)
def test_other_parts_make_another_id(some: list[str], others: list[str]) -> None:
    assert (derive_id(*some) == derive_id(*others)) == (some == others)


def test_secrets_and_salts_are_as_long_as_they_say_and_never_the_same() -> None:
    assert {len(new_secret()), len(new_secret(10))} == {32, 16}
    assert set(new_secret()) <= set(ALPHABET)
    assert len({new_secret() for _ in range(100)}) == 100
    assert {len(new_salt())} == {16}
    assert new_salt() != new_salt()
