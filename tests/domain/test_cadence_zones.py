"""In fifty zones, slots are where the almanac finds them: around every change of the clocks in ten years, and on days between."""

from calendar import isleap
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from tests.domain.almanac import DAY, EXPRESSIONS, HOUR, YEARS, ZONES, changes, compared

EXPRESSIONS_IN_SECONDS = ("*/20 * * * * *", "30,59 59 1,23 * * *", "0 30 2 * * *", "7/11 */29 0-2 L,*/2 * sun-tue")


@pytest.mark.parametrize("name", ZONES)
def test_slots_are_those_of_the_almanac(name: str) -> None:
    slots = 0
    for begin, end in windows(name):
        count, differences = compared(name, EXPRESSIONS, begin, end)
        assert differences == []
        slots += count
    assert slots > 1000


@pytest.mark.parametrize("name", ["Africa/Casablanca", "America/Asuncion", "America/Havana", "America/St_Johns", "Australia/Lord_Howe", "Europe/Berlin"])
def test_to_the_second(name: str) -> None:
    for change in changes(name)[:3]:
        count, differences = compared(name, EXPRESSIONS_IN_SECONDS, change - 2 * HOUR, change + 2 * HOUR, seconds=True)
        assert differences == []
        assert count > 0


def test_the_table_is_as_large_as_promised() -> None:
    assert len(ZONES) >= 40
    assert YEARS >= 10
    moved = [name for name in ZONES if changes(name)]
    assert len(moved) >= 40, "most zones of the table change their clocks in their ten years"


def windows(name: str) -> Iterator[tuple[datetime, datetime]]:
    """The days around every change, the 29th of February, the turn of the year, and a day in May."""
    wanted = {change.replace(hour=0) + number * DAY for change in changes(name) for number in range(-3, 4)}
    for year in range(ZONES[name], ZONES[name] + YEARS):
        first = datetime(year, 1, 1, tzinfo=UTC)
        wanted |= {first + number * DAY for number in (-1, 0, 123)}
        if isleap(year):
            wanted.add(first + 59 * DAY)
    days = sorted(wanted)
    begin = days[0]
    for day, following in zip(days, [*days[1:], None], strict=True):
        if following != day + DAY:
            yield begin, day + DAY
            begin = following or day
