"""What a status says about trying again."""

from datetime import UTC, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as some

from daybook import clock
from daybook_runner.executors.statuses import is_retryable, retry_after_seconds


def test_what_may_fare_better_later() -> None:
    assert [status for status in range(300, 600) if is_retryable(status)] == [408, 409, 425, 429, *range(500, 600)]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("-1", 0.0),
        ("0.25", 0.25),
        ("1e9", 86_400.0),
        ("inf", None),
        ("", None),
        ("tomorrow", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
        ("Fri, 99 Dec 2099 23:59:59 GMT", None),
    ],
)
def test_how_long_to_wait(value: str, seconds: float | None) -> None:
    assert retry_after_seconds(429, value) == seconds


def test_a_date_counts_from_now_in_each_of_its_three_forms() -> None:
    until = (clock.now() + timedelta(hours=1)).astimezone(UTC)
    forms = (format_datetime(until, usegmt=True), until.strftime("%A, %d-%b-%y %H:%M:%S GMT"), until.strftime("%a %b %d %H:%M:%S %Y"))
    for form in forms:
        seconds = retry_after_seconds(503, form)
        assert seconds is not None, form
        assert 3590 < seconds <= 3600, form


def test_nobody_waits_for_what_would_be_refused_again() -> None:
    assert retry_after_seconds(404, "5") is None
    assert retry_after_seconds(301, "5") is None
    assert retry_after_seconds(429, None) is None


@given(some.text() | some.datetimes().map(str) | some.dates().map(lambda day: f"{day:%a, %d %b %Y} 00:00:00 GMT"))
def test_no_header_does_more_than_say_nothing(value: str) -> None:
    seconds = retry_after_seconds(429, value)
    assert seconds is None or 0 <= seconds <= 86_400
