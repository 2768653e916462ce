"""Subjects and messages: what users call things never becomes a subject unchecked, and nonsense wakes nobody."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daybook import ids
from daybook.bus import subjects
from daybook.bus.messages import CancelAttempt, decode_bell, decode_control, encode_bell, encode_control

TOKEN = re.compile(r"[A-Za-z0-9_-]+")
NAMES = st.text() | st.sampled_from(["ann", "x-ann", "a.b", "a*", ">", "a b", "A", "ann\n", "ann\r\nPUB x 0", "ä", "", "x" * 33])


@given(NAMES, NAMES)
def test_an_owner_is_one_token_and_nobody_elses(one: str, other: str) -> None:
    assert TOKEN.fullmatch(subjects.owner_token(one))
    assert (subjects.owner_token(one) == subjects.owner_token(other)) == (one == other)


@given(NAMES)
def test_an_app_is_one_token(name: str) -> None:
    assert TOKEN.fullmatch(subjects.app_token(name))


def test_a_digest_cannot_be_forged_by_a_name() -> None:
    token = subjects.owner_token("ann@example.org")
    assert token.startswith("x-")
    assert subjects.owner_token(token) != token


@pytest.mark.parametrize("name", ["", "a.b", "*", ">", "A", "a b", "x" * 33, "a\n", "ä"])
def test_what_is_no_name_makes_no_subject(name: str) -> None:
    assert not subjects.is_name(name)
    with pytest.raises(ValueError, match="cannot be part of a subject"):
        subjects.work(name)
    with pytest.raises(ValueError, match="cannot be part of a subject"):
        subjects.control(name)
    with pytest.raises(ValueError, match="cannot be part of a subject"):
        subjects.live(name, "ann", "hello", "tsk_1")
    with pytest.raises(ValueError, match="cannot be part of a subject"):
        subjects.api(name, "ann", "tasks.get")
    with pytest.raises(ValueError, match="cannot be part of a subject"):
        subjects.fact_prefix(name, "ann", "hello", "tsk_1")


def test_harmless_names_stay_readable() -> None:
    assert subjects.fact_prefix("default", "ann", "images.resize", "tsk_1") == "daybook.default.ann.fact.images-resize.tsk_1"
    assert subjects.live("default", "ann", "images.resize", "tsk_1") == "daybook.default.ann.live.images-resize.tsk_1"
    assert (subjects.work("slow"), subjects.control("run_1")) == ("daybook.work.slow", "daybook.control.run_1")
    assert subjects.api("default", "ann", "tasks.run_now") == "daybook.default.ann.api.tasks.run_now"
    assert subjects.asker("daybook.default.ann.api.tasks.run_now") == ("default", "ann")
    assert subjects.api_of_all("tasks.get") == "daybook.*.*.api.tasks.get"


def test_replies_are_for_inboxes() -> None:
    assert all(map(subjects.is_inbox, ("_INBOX.x.1", "_INBOX_ann.x", "_R_.x")))
    assert not any(map(subjects.is_inbox, ("daybook.default.ann.fact.t.tsk_1.success", "$JS.API.STREAM.PURGE.X", "orders", "")))


@given(st.lists(st.uuids(), max_size=40))
def test_a_bell_says_which_tasks(tasks: list[UUID]) -> None:
    assert decode_bell(encode_bell(tasks)) == tasks


@given(st.binary() | st.sampled_from([b"{}", b"[1]", b'["x"]', b"null", b'{"do":"dance"}', b'{"do":"cancel"}']))
def test_nonsense_wakes_nobody(data: bytes) -> None:
    assert decode_bell(data) == []
    assert decode_control(data) is None


def test_a_wish_to_cancel_names_the_task() -> None:
    word = CancelAttempt(task=ids.new_id())
    assert decode_control(encode_control(word)) == word
