"""What holds of every cadence, whichever it is and wherever one begins to look."""

from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise, takewhile
from time import perf_counter

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.domain.almanac import Meant
from tests.domain.expressions import anything, cadences, five, minute

from daybook.domain.cadence import Cadence, InvalidCadence, check, slots, zone
from daybook.domain.cron import read

SECOND = timedelta(seconds=1)
instants = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
# Few days, so that changes of the clocks are among them.
near_changes = st.sampled_from(["2025-03-30", "2025-10-26", "2011-12-30", "2018-04-01"]).map(lambda day: datetime.fromisoformat(day).replace(tzinfo=UTC))
moments = instants | st.builds(lambda day, seconds: day + seconds * SECOND, near_changes, st.integers(-100_000, 200_000))


def some(cadence: Cadence, after: datetime, count: int = 40) -> list[datetime]:
    return list(islice(slots(cadence, after), count))


def refused(cadence: Cadence, after: datetime) -> InvalidCadence | None:
    try:
        check(cadence, after)
    except InvalidCadence as error:
        return error
    return None


@given(cadences, moments)
@settings(max_examples=150, deadline=None)
def test_slots_rise_are_whole_and_come_after(cadence: Cadence, after: datetime) -> None:
    found = some(cadence, after)
    assert all(earlier < later for earlier, later in pairwise([after, *found]))
    assert all(slot.tzinfo is UTC and slot.microsecond == 0 for slot in found)
    assert (refused(cadence, after) is None) == bool(found)


@given(cadences, moments, st.data())
@settings(max_examples=150, deadline=None)
def test_a_walk_may_be_split_anywhere(cadence: Cadence, after: datetime, data: st.DataObject) -> None:
    """Who looks again from any slot, or from any instant, finds what the one long walk finds."""
    found = some(cadence, after)
    assume(found)
    number = data.draw(st.integers(0, len(found) - 1))
    assert some(cadence, found[number], len(found) - number - 1) == found[number + 1 :]
    within = int((found[-1] - after) / SECOND)
    split = after + data.draw(st.integers(0, within)) * SECOND
    later = [slot for slot in found if slot > split]
    assert some(cadence, split, len(later)) == later


@given(cadences, moments)
@settings(max_examples=150, deadline=None)
def test_the_rules_only_add_and_take_away_where_clocks_change(cadence: Cadence, after: datetime) -> None:
    """By every rule, a slot that another rule has not is near a change."""
    until = after + timedelta(days=30)
    mine, others = (
        set(islice(takewhile(lambda slot: slot <= until, slots(each, after)), 2000))
        for each in (cadence, Cadence(cron=cadence.cron, timezone=cadence.timezone, dst_gap="skip", dst_fold="twice", seconds=cadence.seconds))
    )
    assume(len(mine) < 2000 and len(others) < 2000)
    place = zone(cadence.timezone)
    for slot in mine ^ others:
        assert (slot - timedelta(days=1)).astimezone(place).utcoffset() != slot.astimezone(place).utcoffset()


@given(five, minute, st.dates(date(1900, 1, 1), date(2100, 1, 1)))
@settings(max_examples=300, deadline=None)
def test_an_expression_means_what_the_almanac_reads_in_it(cron: str, second: str, first: date) -> None:
    expression, meant = read(f"{second} {cron}", True), Meant(f"{second} {cron}", seconds=True)
    days = [first + timedelta(days=number) for number in range(800)]
    assert list(expression.days.between(first, days[-1])) == [day for day in days if meant.on(day)]
    assert {hour // timedelta(hours=1) for hour in expression.hours} == meant.hours
    assert {minute // timedelta(minutes=1) for minute in expression.minutes} == meant.minutes
    assert {second // timedelta(seconds=1) for second in expression.seconds} == meant.seconds


@given(anything, st.booleans())
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_cadence_or_invalid_and_soon(cron: str, seconds: bool) -> None:
    began = perf_counter()
    error = refused(Cadence(cron=cron, seconds=seconds), datetime(2026, 11, 23, tzinfo=UTC))
    assert perf_counter() - began < 1
    assert error is None or (error.field == "cron" and str(error))


@given(st.text(max_size=40))
@settings(deadline=None)
def test_any_text_is_a_zone_or_invalid(timezone: str) -> None:
    error = refused(Cadence(cron="0 0 * * *", timezone=timezone), datetime(2026, 11, 23, tzinfo=UTC))
    assert error is None or error.field == "timezone"
