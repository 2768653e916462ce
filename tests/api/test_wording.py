"""A cadence in words: right ones, or the expression itself."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from tests.domain.expressions import cadences

from daybook.domain.cadence import Cadence, InvalidCadence, check
from daybook.domain.cron import ALIASES
from daybook_api.wording import words


@pytest.mark.parametrize(
    ("cron", "wanted"),
    [
        ("30 9 * * mon-fri", "At 09:30, Monday through Friday"),
        ("30 21 * * 1,2,3,4,5", "At 21:30, Monday through Friday"),
        ("0 9,17 * * *", "At 09:00 and 17:00"),
        ("*/15 * * * *", "Every 15 minutes"),
        ("*/10 22-6 * * *", "Every 10 minutes, between 22:00 and 06:59"),
        ("@daily", "At 00:00"),
        ("@hourly", "Every hour"),
        ("0 0 L * *", "At 00:00, on the last day of the month"),
        ("0 0 * * L5", "At 00:00, on the last Friday of the month"),
        ("0 0 * * friL", "At 00:00, on the last Friday of the month"),
        ("0 0 * * 5#2", "At 00:00, on the second Friday of the month"),
        ("0 0 * * fri-mon", "At 00:00, Friday through Monday"),
        ("0 0 * nov-feb ?", "At 00:00, November through February"),
        ("0 0 13 * 5", "At 00:00, on day 13 of the month, or on Friday"),
    ],
)
def test_an_expression_in_words(cron: str, wanted: str) -> None:
    assert words(Cadence(cron=cron, timezone="Europe/Berlin")) == f"{wanted}, in Europe/Berlin"


@pytest.mark.parametrize(
    ("cron", "same"),
    [
        ("*/45 * * * *", "0,45 * * * *"),  # not "every 45 minutes"
        ("*/60 * * * *", "0 * * * *"),
        ("5-5 0 * * *", "5 0 * * *"),
        ("0 0 1-31 * 1", "0 0 * * *"),  # any day of the month, or a Monday
        ("0 0 * * 0-7", "0 0 * * *"),
        ("0 0 */10 * *", "0 0 1,11,21,31 * *"),
        *ALIASES.items(),
    ],
)
def test_the_words_are_those_of_the_meaning(cron: str, same: str) -> None:
    assert words(Cadence(cron=cron)) == words(Cadence(cron=same)) != f"{cron}, in UTC"


def test_seconds_are_said_when_there_are_any() -> None:
    assert words(Cadence(cron="*/10 * * * * *", seconds=True)) == "Every 10 seconds, in UTC"
    assert words(Cadence(cron="0 30 9 * * *", seconds=True)) == words(Cadence(cron="30 9 * * *"))
    assert words(Cadence(cron="@daily", seconds=True)) == "At 00:00, in UTC"


@pytest.mark.parametrize("cron", ["0 0 * * 1,5L", "0 0 * * mon-fri#2", "0 0 1,L * *", "0 0 13 * 5#2", "0 0 * * fri#2,mon#1"])
def test_what_the_library_would_say_wrongly_is_shown_as_it_is(cron: str) -> None:
    assert words(Cadence(cron=f" {cron} ")) == f"{cron}, in UTC"


@given(cadences)
@settings(max_examples=300, deadline=None)
def test_every_cadence_has_words(cadence: Cadence) -> None:
    try:
        check(cadence, datetime(2026, 11, 23, tzinfo=UTC))
    except InvalidCadence:
        return
    said = words(cadence)
    assert said.endswith(f", in {cadence.timezone}")
    assert "  " not in said
    assert "error" not in said.lower()
