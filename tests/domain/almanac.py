"""An almanac: when schedules are due, found the slow way, to hold the quick way against.

It walks over the minutes (or seconds) of UTC one after the other, asks the zone what a clock on the wall shows then, and asks
a matcher of its own whether the expression means that. It knows nothing of croniter, nor of how `daybook.domain.cadence` works.

`python -m tests.domain.almanac` walks all of it: every minute of ten years in every zone below. The test of the zones walks
the days around every change of the clocks, and a few others.
"""

import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib import resources
from itertools import pairwise, product, takewhile
from time import monotonic
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from daybook.domain.cadence import Cadence, slots

YEARS = 10
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

ZONES = {
    # The first of ten years. What is peculiar about a zone, where something is.
    "Africa/Cairo": 2018,  # daylight saving came back in 2023
    "Africa/Casablanca": 2019,  # an hour less during Ramadan: "negative" daylight saving
    "Africa/El_Aaiun": 2015,
    "Africa/Juba": 2016,
    "Africa/Lagos": 2020,
    "Africa/Windhoek": 2010,  # negative daylight saving, until 2017
    "America/Anchorage": 2020,
    "America/Argentina/San_Luis": 2005,
    "America/Asuncion": 2017,  # at midnight; for good in 2024
    "America/Caracas": 2007,  # half an hour, in 2007 and 2016
    "America/Chicago": 2020,
    "America/Havana": 2019,  # midnight comes twice
    "America/Los_Angeles": 2021,
    "America/Mexico_City": 2018,
    "America/New_York": 2020,
    "America/Nuuk": 2019,
    "America/Santiago": 2017,  # at 24:00
    "America/Sao_Paulo": 2010,  # at midnight, until 2019
    "America/Scoresbysund": 2019,
    "America/St_Johns": 2005,  # at one minute past midnight, until 2011
    "Antarctica/Casey": 2009,  # three hours, and back
    "Antarctica/Troll": 2019,  # two hours
    "Asia/Amman": 2016,
    "Asia/Beirut": 2018,  # at midnight
    "Asia/Gaza": 2019,  # by the moon; twice a year and more
    "Asia/Jerusalem": 2020,
    "Asia/Kathmandu": 2021,
    "Asia/Kolkata": 2020,
    "Asia/Pyongyang": 2012,
    "Asia/Shanghai": 2020,
    "Asia/Tehran": 2014,  # at midnight, on the days of another calendar
    "Asia/Tokyo": 2020,
    "Atlantic/Azores": 2019,
    "Australia/Adelaide": 2019,
    "Australia/Lord_Howe": 2019,  # half an hour
    "Australia/Sydney": 2020,
    "Etc/GMT+12": 2021,
    "Europe/Berlin": 2020,
    "Europe/Dublin": 2020,  # negative daylight saving, in the data
    "Europe/Istanbul": 2011,
    "Europe/London": 2020,
    "Europe/Moscow": 2008,
    "Europe/Volgograd": 2014,
    "Pacific/Apia": 2007,  # 30 December 2011 was left out
    "Pacific/Auckland": 2020,
    "Pacific/Chatham": 2019,  # at 02:45
    "Pacific/Easter": 2017,
    "Pacific/Fiji": 2012,
    "Pacific/Kiritimati": 2021,
    "Pacific/Norfolk": 2015,
    "Pacific/Tongatapu": 2012,
    "UTC": 2020,
}

EXPRESSIONS = (
    "*/15 * * * *",
    "7 * * * *",
    "30 2 * * *",
    "0 0 * * *",
    "*/20 0-3 * * *",
    "59 23 * * mon-fri",
    "15,45 1,2,3 * * sun",
    "5 22-4/3 * * fri-mon",
    "0 12 13 * 5",
    "0 9 L * ?",
    "30 2 * mar,oct,nov L0",
    "45 2 * * 7L",
    "0 1 29 2 *",
    "10 0 */10 4-10/3 *",
    "0 3 31 12,1 5#2",
    "0 0,9 30 12 *",
    "20/25 1-23/2 1,L * 1,wed#3",
)

Rule = tuple[Literal["next", "skip"], Literal["once", "twice"]]
RULES: tuple[Rule, ...] = tuple(product(("next", "skip"), ("once", "twice")))


class Field(NamedTuple):
    names: tuple[str, ...]
    low: int
    high: int

    def value(self, text: str) -> int:
        return self.low + self.names.index(text.lower()) if text.lower() in self.names else int(text)

    def values(self, text: str) -> set[int]:
        found = set()
        for term in text.split(","):
            span, _, step = term.partition("/")
            low, dash, high = span.partition("-")
            if span in "*?":
                begin, end = self.low, self.high
            else:
                begin = self.value(low)
                end = self.value(high) if dash else self.high if step else begin
            count = self.high - self.low + 1
            length = (end - begin) % count if end - begin != count else count - 1
            found |= {(begin + passed - self.low) % count + self.low for passed in range(0, length + 1, int(step or 1))}
        return found


SECONDS = MINUTES = Field((), 0, 59)
HOURS = Field((), 0, 23)
DAYS = Field((), 1, 31)
MONTHS = Field(("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1, 12)
WEEKDAYS = Field(("sun", "mon", "tue", "wed", "thu", "fri", "sat"), 0, 6)


class Meant:
    """An expression, as the almanac reads it."""

    def __init__(self, text: str, *, seconds: bool = False) -> None:
        *first, minute, hour, self.day, month, self.weekday = text.split()
        self.seconds = SECONDS.values(first[0]) if seconds else {0}
        self.minutes, self.hours, self.months = MINUTES.values(minute), HOURS.values(hour), MONTHS.values(month)
        self.elapses = len(self.hours) == 24

    def on(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        whichever = not any(term in {"*", "?", "*/1"} for field in (self.day, self.weekday) for term in field.split(","))
        of_month = any(self._is_day(term, day) for term in self.day.split(","))
        of_week = any(self._is_weekday(term, day) for term in self.weekday.split(","))
        return (of_month or of_week) if whichever else (of_month and of_week)

    def at(self, seconds: int) -> bool:
        return seconds % 60 in self.seconds and seconds // 60 % 60 in self.minutes and seconds // 3600 in self.hours

    @staticmethod
    def _is_day(term: str, day: date) -> bool:
        return (day + DAY).month != day.month if term == "L" else day.day in DAYS.values(term)

    @staticmethod
    def _is_weekday(term: str, day: date) -> bool:
        weekday = day.isoweekday() % 7
        if "L" in term:
            return weekday == WEEKDAYS.value(term.replace("L", "")) % 7 and (day + 7 * DAY).month != day.month
        span, _, which = term.partition("#")
        return weekday in WEEKDAYS.values(span) and (not which or (day.day - 1) // 7 + 1 == int(which))


class Found(NamedTuple):
    """The instants of one expression: at which the wall shows it for the first time, shows it again, and after which it was left out."""

    first: list[datetime]
    again: list[datetime]
    left_out: list[datetime]

    def by(self, rule: Rule, *, elapses: bool) -> list[datetime]:
        gap, fold = rule
        instants = set(self.first)
        if elapses or fold == "twice":
            instants.update(self.again)
        if gap == "next" and not elapses:
            instants.update(self.left_out)
        return sorted(instants)


@cache
def read(expressions: tuple[str, ...], seconds: bool) -> tuple[Meant, ...]:
    return tuple(Meant(expression, seconds=seconds) for expression in expressions)


@cache
def due(expressions: tuple[str, ...], seconds: bool, day: date) -> list[list[int]]:
    """For each minute of a day, or each second: which of the expressions mean it."""
    return of_a_day(expressions, seconds, tuple(number for number, each in enumerate(read(expressions, seconds)) if each.on(day)))


@cache
def of_a_day(expressions: tuple[str, ...], seconds: bool, numbers: tuple[int, ...]) -> list[list[int]]:
    meant = read(expressions, seconds)
    return [[number for number in numbers if meant[number].at(at)] for at in range(0, 86400, 1 if seconds else 60)]


def walk(name: str, expressions: tuple[str, ...], begin: datetime, end: datetime, *, seconds: bool = False) -> list[Found]:
    """What is due from `begin` to before `end`, for each expression."""
    place, step = zone(name), SECOND if seconds else MINUTE
    found = [Found([], [], []) for _ in expressions]
    instant = begin - 6 * HOUR  # no clock is ever put back by more, in the years that are walked
    # Times of one zone are compared and subtracted as the wall shows them, whatever the offset.
    latest = previous = (instant - step).astimezone(place)
    table: list[list[int]] = []
    day = None
    while instant < end:
        wall = instant.astimezone(place)
        if wall - previous > step and instant >= begin:
            missing = previous + step
            while missing < wall:
                of_minute = missing.hour * 60 + missing.minute
                for number in due(expressions, seconds, missing.date())[of_minute * 60 + missing.second if seconds else of_minute]:
                    found[number].left_out.append(instant)
                missing += step
        previous = wall
        if wall.day != day:
            day, table = wall.day, due(expressions, seconds, wall.date())
        comes_again = wall <= latest
        if not comes_again:
            latest = wall
        if instant >= begin:
            of_minute = wall.hour * 60 + wall.minute
            for number in table[of_minute * 60 + wall.second if seconds else of_minute]:
                (found[number].again if comes_again else found[number].first).append(instant)
        instant += step
    return found


def compared(name: str, expressions: tuple[str, ...], begin: datetime, end: datetime, *, seconds: bool = False) -> tuple[int, list[str]]:
    """How many slots were compared by all four rules, and where the almanac and the cadence differ."""
    meant, found = read(expressions, seconds), walk(name, expressions, begin, end, seconds=seconds)
    count, differences = 0, []
    for expression, each, instants in zip(expressions, meant, found, strict=True):
        # What goes by elapsed time is the same by all rules: the two that differ in both stand for them.
        for rule in (RULES[0], RULES[-1]) if each.elapses else RULES:
            cadence = Cadence(cron=expression, timezone=name, dst_gap=rule[0], dst_fold=rule[1], seconds=seconds)
            wanted = instants.by(rule, elapses=each.elapses)
            got = list(takewhile(lambda slot: slot < end, slots(cadence, begin - SECOND)))
            count += len(wanted)
            differences += [f"{expression} in {name}, {rule}: {'missing' if slot in wanted else 'wrong'} {slot}" for slot in sorted(set(wanted) ^ set(got))]
            if len(got) != len(set(got)) or got != sorted(got):
                differences.append(f"{expression} in {name}, {rule}: out of order between {begin} and {end}")
    return count, differences


@cache
def zone(name: str) -> ZoneInfo:
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


@cache
def changes(name: str) -> tuple[datetime, ...]:
    """The hours of the ten years in which clocks change."""
    days = [datetime(ZONES[name], 1, 1, tzinfo=UTC)]
    while days[-1].year < ZONES[name] + YEARS:
        days.append(days[-1] + DAY)
    restless = [day for day, following in pairwise(days) if offset(name, day) != offset(name, following)]
    return tuple(at for day in restless for at in (day + number * HOUR for number in range(1, 25)) if offset(name, at) != offset(name, at - HOUR))


def offset(name: str, instant: datetime) -> timedelta | None:
    return instant.astimezone(zone(name)).utcoffset()


def walked_through(name: str) -> tuple[int, list[str]]:
    """All ten years of a zone."""
    count, differences = 0, []
    for year in range(ZONES[name], ZONES[name] + YEARS):
        more, found = compared(name, EXPRESSIONS, datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC))
        count += more
        differences += found
    return count, differences


def main() -> int:
    began, slots_compared, differences = monotonic(), 0, 0
    with ProcessPoolExecutor() as processes:
        running = {processes.submit(walked_through, name): name for name in ZONES}
        for number, done in enumerate(as_completed(running), start=1):
            count, found = done.result()
            slots_compared += count
            differences += len(found)
            name = running[done]
            print(
                f"{number:3} of {len(ZONES)}  {name:32} from {ZONES[name]}  {count:9,} slots  {len(found)} differences  {monotonic() - began:4.0f} s",
                flush=True,
            )
            for difference in found[:10]:
                print(f"     {difference}", flush=True)
    verdict = "the same" if not differences else f"{differences:,} differences"
    walked = f"{len(ZONES)} zones x {YEARS} years x {len(EXPRESSIONS)} expressions by all rules"
    print(f"{walked}: {slots_compared:,} slots compared, {verdict}, in {monotonic() - began:.0f} s")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
