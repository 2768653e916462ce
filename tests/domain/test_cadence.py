"""What expressions mean, said by example, and what is no cadence. Zones in bulk are in `test_cadence_zones.py`."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from time import perf_counter

import pytest

from daybook.domain import cadence as cadence_module
from daybook.domain import cron as cron_module
from daybook.domain.cadence import Cadence, Fold, Gap, InvalidCadence, Note, check, notes, slots, zone
from daybook.domain.cron import ALIASES, read

NOVEMBER = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)  # a Monday


def due(cron: str, timezone: str = "UTC", *, count: int = 3, after: datetime = NOVEMBER, seconds: bool = False) -> list[str]:
    cadence = Cadence(cron=cron, timezone=timezone, seconds=seconds)
    check(cadence, after)
    shown = "%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M"
    return [f"{slot.astimezone(zone(timezone)):{shown}}" for slot in islice(slots(cadence, after), count)]


def refusal(cron: str, *, timezone: str = "UTC", seconds: bool = False) -> str:
    with pytest.raises(InvalidCadence) as refused:
        check(Cadence(cron=cron, timezone=timezone, seconds=seconds), NOVEMBER)
    assert refused.value.field == ("cron" if timezone == "UTC" else "timezone")
    return str(refused.value)


class TestMeaning:
    @pytest.mark.parametrize(
        ("cron", "wanted"),
        [
            ("30 9 * * mon-fri", ["2026-11-24 09:30", "2026-11-25 09:30", "2026-11-26 09:30"]),
            ("0 0 * * 7", ["2026-11-29 00:00", "2026-12-06 00:00", "2026-12-13 00:00"]),
            ("0 0 * * fri-mon", ["2026-11-27 00:00", "2026-11-28 00:00", "2026-11-29 00:00"]),
            ("0 22-6/3 * * *", ["2026-11-23 22:00", "2026-11-24 01:00", "2026-11-24 04:00"]),
            ("5-5 0 * * *", ["2026-11-24 00:05", "2026-11-25 00:05", "2026-11-26 00:05"]),
            ("50/4 12 * * *", ["2026-11-23 12:50", "2026-11-23 12:54", "2026-11-23 12:58"]),
            ("59/15 12 * * *", ["2026-11-23 12:59", "2026-11-24 12:59", "2026-11-25 12:59"]),
            ("0 0 1 jul-7 *", ["2027-07-01 00:00", "2028-07-01 00:00", "2029-07-01 00:00"]),
            ("0 0 * * 0-7", ["2026-11-24 00:00", "2026-11-25 00:00", "2026-11-26 00:00"]),
            ("0 0 * * sun-07", ["2026-11-24 00:00", "2026-11-25 00:00", "2026-11-26 00:00"]),
            ("0 0 * * 7-0", ["2026-11-29 00:00", "2026-12-06 00:00", "2026-12-13 00:00"]),
            ("0 0 L * *", ["2026-11-30 00:00", "2026-12-31 00:00", "2027-01-31 00:00"]),
            ("0 0 1,l * *", ["2026-11-30 00:00", "2026-12-01 00:00", "2026-12-31 00:00"]),
            ("0 0 * * L5", ["2026-11-27 00:00", "2026-12-25 00:00", "2027-01-29 00:00"]),
            ("0 0 * * 5#2", ["2026-12-11 00:00", "2027-01-08 00:00", "2027-02-12 00:00"]),
            ("0 0 * * wed,fri#2", ["2026-11-25 00:00", "2026-12-02 00:00", "2026-12-09 00:00"]),
            ("0 0 29 2 *", ["2028-02-29 00:00", "2032-02-29 00:00", "2036-02-29 00:00"]),
            ("0 0 29 2 1#5", ["2028-02-29 00:00", "2032-02-29 00:00", "2036-02-29 00:00"]),
            ("0 0 ? JAN,jun ?", ["2027-01-01 00:00", "2027-01-02 00:00", "2027-01-03 00:00"]),
        ],
    )
    def test_an_expression(self, cron: str, wanted: list[str]) -> None:
        assert due(cron) == wanted

    def test_either_day_field_is_enough_when_both_are_restricted(self) -> None:
        assert due("0 0 13 * 5", count=5) == ["2026-11-27 00:00", "2026-12-04 00:00", "2026-12-11 00:00", "2026-12-13 00:00", "2026-12-18 00:00"]
        assert due("0 0 13 * 5#2") == ["2026-12-11 00:00", "2026-12-13 00:00", "2027-01-08 00:00"], "also beside #"
        assert due("0 0 */2 * 0") == ["2026-11-25 00:00", "2026-11-27 00:00", "2026-11-29 00:00"], "also where one is a step"

    @pytest.mark.parametrize("anything", ["*", "?", "*/1", "1,*"])
    def test_a_star_restricts_nothing(self, anything: str) -> None:
        assert due(f"0 0 {anything} * 5") == due("0 0 * * fri")

    def test_the_last_friday_has_six_spellings(self) -> None:
        assert len({read(f"0 0 * * {last}", False) for last in ("5L", "L5", "l5", "friL", "FRIl", "Lfri")}) == 1

    @pytest.mark.parametrize("alias", ALIASES)
    def test_an_alias_is_its_expression_with_seconds_or_without(self, alias: str) -> None:
        assert read(f" {alias.upper()} ", False) == read(ALIASES[alias], False) == read(alias, True)

    def test_seconds_come_first_when_asked_for(self) -> None:
        assert due("15,45 0 13 * * *", seconds=True) == ["2026-11-23 13:00:15", "2026-11-23 13:00:45", "2026-11-24 13:00:15"]


class TestClocks:
    """30 March 2025 has no 02:30 in Berlin, and 26 October 2025 has it twice."""

    def slots(self, day: str, gap: Gap, fold: Fold, cron: str = "30 2 * * *") -> list[str]:
        begin = datetime.fromisoformat(day).replace(tzinfo=zone("Europe/Berlin"))
        cadence = Cadence(cron=cron, timezone="Europe/Berlin", dst_gap=gap, dst_fold=fold)
        found = slots(cadence, begin - timedelta(seconds=1))
        return [f"{slot:%H:%M}" for slot in islice(found, 10) if slot.astimezone(zone("Europe/Berlin")).date() == begin.date()]

    def test_a_time_that_does_not_exist(self) -> None:
        assert self.slots("2025-03-30", "next", "once") == ["01:00"], "the first instant after the gap"
        assert self.slots("2025-03-30", "skip", "once") == []
        assert self.slots("2025-03-30", "next", "once", "*/20 2 * * *") == ["01:00"], "once for all of them"
        assert self.slots("2025-03-30", "next", "once", "0 2,3 * * *") == ["01:00"], "once, also where it is a slot by itself"

    def test_a_time_that_comes_twice(self) -> None:
        assert self.slots("2025-10-26", "next", "once") == ["00:30"]
        assert self.slots("2025-10-26", "next", "twice") == ["00:30", "01:30"]

    def test_what_is_due_every_hour_goes_by_elapsed_time(self) -> None:
        for gap, fold in (("next", "once"), ("skip", "twice")):
            assert self.slots("2025-03-30", gap, fold, "0 * * * *")[:4] == ["23:00", "00:00", "01:00", "02:00"]  # type: ignore[arg-type]
            assert self.slots("2025-10-26", gap, fold, "0 0-23 * * *")[:4] == ["22:00", "23:00", "00:00", "01:00"]  # type: ignore[arg-type]

    def test_apia_left_out_a_day(self) -> None:
        after = datetime(2011, 12, 29, tzinfo=UTC)
        assert due("0 9 * * *", "Pacific/Apia", after=after) == ["2011-12-29 09:00", "2011-12-31 00:00", "2011-12-31 09:00"]
        skipping = Cadence(cron="0 9 30 12 *", timezone="Pacific/Apia", dst_gap="skip")
        assert next(slots(skipping, after)).year == 2012

    def test_zones_are_those_of_the_package(self) -> None:
        assert zone("Europe/Berlin") is zone("Europe/Berlin")
        for wrong in ("Mars/Base", "", "europe/berlin", "../../etc/passwd", "Europe", "localtime", "Europe/Berlin\x00"):
            assert "time zone" in refusal("0 0 * * *", timezone=wrong)


class TestNotes:
    YEAR = (datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC))

    def of(self, cron: str, timezone: str = "Europe/Berlin", gap: Gap = "next", fold: Fold = "once") -> list[Note]:
        return notes(Cadence(cron=cron, timezone=timezone, dst_gap=gap, dst_fold=fold), *self.YEAR)

    def test_they_say_what_becomes_of_a_time(self) -> None:
        forward, back = self.of("30 2 * * *")
        assert (forward.kind, forward.at) == ("gap", datetime(2027, 3, 28, 1, tzinfo=UTC))
        assert forward.text == "On 2027-03-28 clocks go forward from 02:00 to 03:00 in Europe/Berlin: 02:30 does not exist, and is due at 03:00"
        assert (back.kind, back.at) == ("fold", datetime(2027, 10, 31, 1, tzinfo=UTC))
        assert back.text == "On 2027-10-31 clocks go back from 03:00 to 02:00 in Europe/Berlin: 02:30 comes twice, and is due the first time only"

    def test_by_the_other_rules(self) -> None:
        forward, back = self.of("0,30 2 * * *", gap="skip", fold="twice")
        assert forward.text.endswith("02:00 and 02:30 do not exist, and are left out")
        assert back.text.endswith("02:00 and 02:30 come twice, and are due both times")

    def test_many_times_are_counted(self) -> None:
        assert self.of("*/5 2,3 * * *")[0].text.endswith("12 times from 02:00 to 02:55 do not exist, and are due once, at 03:00, as that time is by itself")

    def test_other_days_are_named(self) -> None:
        apia = notes(Cadence(cron="0 9 * * *", timezone="Pacific/Apia"), datetime(2011, 12, 1, tzinfo=UTC), datetime(2012, 1, 1, tzinfo=UTC))
        (said,) = (note.text for note in apia)
        assert said.startswith("On 2011-12-30 clocks go forward from 2011-12-30 00:00 to 2011-12-31 00:00 in Pacific/Apia: ")
        assert said.endswith("2011-12-30 09:00 does not exist, and is due at 2011-12-31 00:00")

    def test_what_makes_no_difference_is_not_noted(self) -> None:
        assert self.of("30 9 * * *") == self.of("*/15 * * * *") == self.of("30 2 * * *", "Asia/Kolkata") == []
        assert [note.kind for note in self.of("30 2 * 3 *")] == ["gap"]

    def test_they_are_of_the_time_asked_for(self) -> None:
        cadence, change = Cadence(cron="30 2 * * *", timezone="Europe/Berlin"), datetime(2027, 3, 28, 1, tzinfo=UTC)
        assert len(notes(cadence, change - timedelta(seconds=1), change)) == 1
        assert notes(cadence, change, change + timedelta(days=100)) == []


class TestRefusals:
    @pytest.mark.parametrize(
        ("cron", "why"),
        [
            ("", "five fields"),
            ("* * * *", "has 4"),
            ("0 0 9 * * *", "must be asked for"),
            ("0 0 9 * * * 2027", "years are not known"),
            ("61 * * * *", "the minute field cannot be read: 61 is not from 0 to 59"),
            ("0 24 * * *", "the hour field cannot be read: 24 is not from 0 to 23"),
            ("0 0 0 * *", "the day of month field cannot be read: 0 is not from 1 to 31"),
            ("0 0 1 13 *", "the month field"),
            ("0 0 * * 8", "the day of week field cannot be read: 8 is not from 0 to 7"),
            ("0 0 * mon *", "'mon' is no month"),
            ("0 0 * * jan", "'jan' is no day of week"),
            ("*/0 * * * *", "a step is from 1 to 60"),
            ("*/90 * * * *", "a step is from 1 to 60"),
            ("1-99999 * * * *", "99999 is not from 0 to 59"),
            ("-1 * * * *", "'-1' is no term"),
            ("1,,2 * * * *", "a term is missing"),
            ("R * * * *", "another time on every machine"),
            ("H/15 * * * *", "another time on every machine"),
            ("0 0 15W * *", "(W) is not known"),
            ("0 0 LW * *", "(W) is not known"),
            ("0 0 L-1 * *", "only L, its last day"),
            ("0 0 * * L", "is no term"),
            ("0 0 * * 5#6", "is no term"),
            ("? 0 * * *", "only for a day"),
            ("0 0 1,? * *", "only for a day"),
            ("@reboot", "is no time; the names for times are @yearly"),
            ("\u0661 * * * *", "means nothing in a cron expression"),
            ("0\u00a00 * * *", "means nothing in a cron expression"),
            ("0 0 * * *\x00", "means nothing in a cron expression"),
            ("0," * 128 + "1 * * * *", "at most 256 characters"),
            ("0 0 30 2 *", "is not due once in the nine years after 2026-11-23"),
            ("0 0 31 2,4,6,9,11 *", "is not due once"),
            ("0 0 * 2 1#5", "is not due once"),
        ],
    )
    def test_it_is_said_what_is_wrong(self, cron: str, why: str) -> None:
        assert why in refusal(cron)

    def test_seconds_that_were_asked_for_must_be_there(self) -> None:
        assert "six fields: second minute hour" in refusal("0 9 * * *", seconds=True)
        assert "the second field" in refusal("60 0 9 * * *", seconds=True)


class TestBounds:
    @pytest.mark.parametrize("seconds", [False, True])
    @pytest.mark.parametrize("when", [datetime.min, datetime(1, 1, 3), datetime(9999, 12, 30, 23), datetime.max])  # noqa: DTZ001, DTZ901
    @pytest.mark.parametrize("timezone", ["UTC", "Pacific/Kiritimati", "Etc/GMT+12", "America/New_York"])
    def test_the_calendar_has_two_ends(self, when: datetime, timezone: str, seconds: bool) -> None:
        for hours in (-12, 0, 14):
            after = when.replace(tzinfo=zone("UTC")).replace(tzinfo=datetime.strptime(f"{hours:+03}00", "%z").tzinfo)
            found = list(islice(slots(Cadence(cron="0 * * * * *" if seconds else "0 * * * *", timezone=timezone, seconds=seconds), after), 100))
            assert all(slot.tzinfo is UTC for slot in found)
            notes(Cadence(cron="0 0 * * *", timezone=timezone), after, after)

    def test_it_ends_with_the_calendar(self) -> None:
        assert [slot.year for slot in slots(Cadence(cron="@yearly", timezone="Europe/Berlin"), datetime(9990, 6, 1, tzinfo=UTC))][-1] == 9998

    def test_it_ends_nine_years_after_the_last(self) -> None:
        fifth_tuesdays_of_february = slots(Cadence(cron="0 0 * 2 2#5"), NOVEMBER)
        assert [slot.year for slot in fifth_tuesdays_of_february] == [2028]

    def test_parts_of_a_second_are_passed(self) -> None:
        cadence = Cadence(cron="* * * * * *", seconds=True)
        for part in (0, 1, 999_999):
            assert next(slots(cadence, NOVEMBER.replace(microsecond=part))) == NOVEMBER + timedelta(seconds=1)

    @pytest.mark.parametrize("cron", ["0 0 30 2 *", "0 0 31 2,4 *", "0 0 * 2 1#5", "1-59/2," * 35 + "1 * * * *", "0 0 * * " + "mon-fri#1," * 20 + "x"])
    def test_yes_and_no_are_said_soon(self, cron: str) -> None:
        assert min(self.seconds_to_check(cron) for _ in range(3)) < 0.05, "the quickest: the others may have waited for the processor"

    def seconds_to_check(self, cron: str) -> float:
        for remembered in (read, cron_module._expanded, cadence_module._changes):
            remembered.cache_clear()
        began = perf_counter()
        with suppress(InvalidCadence):
            check(Cadence(cron=cron, timezone="Europe/Berlin"), NOVEMBER)
        return perf_counter() - began
