"""A specification that is not true must say so, and say what is true instead."""

from datetime import timedelta

import pytest

from daybook.domain.commands import Cancel, MarkDue
from daybook.domain.events import Content, TaskCancelled, TaskCancelRequested, TaskSubmitted, TaskSucceeded
from daybook.domain.refusals import AlreadyDone, NotAllowed, NotFound
from daybook.domain.status import Status
from daybook.testing import NOON, given

CONTENT = Content(digest="aa" * 32, size_bytes=2)
SUBMITTED = TaskSubmitted(owner="ann", app="hello", app_version="v1", input=CONTENT)
CANCEL = Cancel(actor="ann")
CANCELLED = TaskCancelled(actor="ann")


def test_true_sentences_pass() -> None:
    given(SUBMITTED).when(CANCEL).then(CANCELLED)
    given(SUBMITTED, CANCELLED).when(CANCEL).nothing()
    given().when(CANCEL).refused(NotFound)
    given().when(CANCEL).refused(NotFound())


def test_another_event_of_the_same_kind_is_not_the_event() -> None:
    with pytest.raises(AssertionError, match=r"(?s)given.*TaskSubmitted.*when Cancel.*then .*'bob'.*but .*'ann'"):
        given(SUBMITTED).when(CANCEL).then(TaskCancelled(actor="bob"))


def test_another_kind_of_event_is_not_the_event() -> None:
    with pytest.raises(AssertionError, match="then TaskCancelRequested"):
        given(SUBMITTED).when(CANCEL).then(TaskCancelRequested(actor="ann"))


def test_a_refusal_is_not_an_event_and_an_event_is_not_a_refusal() -> None:
    with pytest.raises(AssertionError, match="given nothing\n"):
        given().when(CANCEL).then(CANCELLED)
    with pytest.raises(AssertionError, match="then NotFound\n"):
        given(SUBMITTED).when(CANCEL).refused(NotFound)
    with pytest.raises(AssertionError, match="then AlreadyDone\n"):
        given(SUBMITTED).when(CANCEL).nothing()


def test_another_refusal_is_not_the_refusal() -> None:
    story = given(SUBMITTED).when(MarkDue(actor="scheduler"))
    story.refused(NotAllowed(status=Status.QUEUED, wanted="mark due"))
    for other in (AlreadyDone, NotFound(), NotAllowed(status=Status.QUEUED, wanted="start")):
        with pytest.raises(AssertionError):
            story.refused(other)


def test_a_story_goes_on_with_what_followed_and_without_what_did_not() -> None:
    cancelled = given(SUBMITTED).when(CANCEL).then(CANCELLED)
    assert cancelled.events == (SUBMITTED, CANCELLED)
    assert cancelled.when(CANCEL).nothing() == cancelled


def test_a_story_happens_when_it_says() -> None:
    tomorrow = NOON + timedelta(days=1)
    assert given().now == NOON
    assert given(SUBMITTED, now=tomorrow) == given(SUBMITTED).at(tomorrow)
    assert given(SUBMITTED).at(tomorrow).when(CANCEL).then(CANCELLED).now == tomorrow


def test_a_story_that_cannot_have_happened_is_not_a_story() -> None:
    with pytest.raises(ValueError, match="TaskSucceeded cannot follow status queued"):
        given(SUBMITTED, TaskSucceeded(attempt=1, result=CONTENT)).when(CANCEL)
