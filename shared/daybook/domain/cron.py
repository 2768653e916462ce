"""What a cron expression says: on which days, and at which times of the day. Nothing here knows of zones or clocks.

Five fields, minute hour day-of-month month day-of-week, or six with the seconds first. A field is a list of terms, any of
which may match: `*`, a number or a name (`mon`, `jan`), a range (`9-17`, and around the end: `fri-mon`, `22-6`), each with a
step (`*/15`, `22-6/2`, `5/10` from 5 on). Day of month also knows `L`, the last day; day of week knows `5#2`, the second
Friday, and `L5` or `5L`, the last. `?` stands for `*` in a day field. `7` is Sunday, as `0` is.

When both day fields are restricted, a day that either of them names is meant, as in every cron. A day field is unrestricted
when it is `*`, `?` or `*/1` (or a list with one of them in it), and restricted otherwise.

Refused: what is random or differs from machine to machine (`R`, `H`), `W`, `L-1`, years, `@reboot`; always with a sentence
that says where.
"""

from calendar import monthrange
from collections.abc import Iterator
from datetime import date, timedelta
from functools import lru_cache
from re import IGNORECASE
from re import compile as pattern
from typing import Final, NamedTuple

LONGEST: Final = 256
ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_STRANGE: Final = pattern(r"[^0-9A-Za-z*/,\-#?@ \t]")
_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY, _SECOND = range(6)
_NAMES: Final = ("minute", "hour", "day of month", "month", "day of week", "second")
_EVERY: Final = (range(60), range(24), range(1, 32), range(1, 13), range(7), range(60))
_UNRESTRICTED: Final = frozenset({"*", "*/1", "?"})
_LAST: Final = -1
_VALUE: Final = "[0-9]{1,6}|[a-z]{3}"
_SPAN: Final = rf"(?P<span>\*|(?:{_VALUE})(?:-(?:{_VALUE}))?)"
_STEPPED: Final = pattern(rf"{_SPAN}(?:/(?P<step>[0-9]{{1,6}}))?", IGNORECASE)
_NTH: Final = pattern(rf"(?P<span>(?:{_VALUE})(?:-(?:{_VALUE}))?)#(?P<which>[1-5])", IGNORECASE)
_LAST_WEEKDAY: Final = pattern(rf"(?P<weekday>{_VALUE})L|L(?P<before>{_VALUE})", IGNORECASE)
_WORDS: Final = {
    _MONTH: ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    _WEEKDAY: ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}
_REFUSED: Final = (
    (pattern(r"[RH](/.*)?", IGNORECASE), "{term!r} would be another time on every machine; write the number itself"),
    (pattern(r"[0-9]+W|L?W[0-9]*", IGNORECASE), "{term!r}: the nearest working day (W) is not known here"),
    (pattern(r"L-.*", IGNORECASE), "{term!r}: days counted from the end of the month are not known here, only L, its last day"),
    (pattern(r".*\?.*"), "`?` stands alone, and only for a day"),
)


class BadExpression(ValueError):
    """This says nothing that could be kept, and the text is why."""


class Days(NamedTuple):
    """Which days are meant. Weekdays count from Sunday, 0; `nth` are (weekday, which one of the month, or -1: the last)."""

    days: frozenset[int]
    month_ends: bool
    months: frozenset[int]
    weekdays: frozenset[int]
    nth: frozenset[tuple[int, int]]
    either: bool

    def between(self, first: date, last: date) -> Iterator[date]:
        """The days meant from `first` to `last`, both included."""
        year, month = first.year, first.month
        while (year, month) <= (last.year, last.month):
            if month in self.months:
                for day in self._of(year, month):
                    if first <= (found := date(year, month, day)) <= last:
                        yield found
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)

    def _of(self, year: int, month: int) -> Iterator[int]:
        first, length = monthrange(year, month)
        for day in range(1, length + 1):
            weekday = (first + day) % 7
            by_day = day in self.days or (self.month_ends and day == length)
            by_weekday = weekday in self.weekdays or (weekday, (day + 6) // 7) in self.nth or (day > length - 7 and (weekday, _LAST) in self.nth)
            if (by_day or by_weekday) if self.either else (by_day and by_weekday):
                yield day


class Expression(NamedTuple):
    """What an expression means on a wall clock. Times of day are hours, minutes and seconds to be added up, each ascending."""

    days: Days
    hours: tuple[timedelta, ...]
    minutes: tuple[timedelta, ...]
    seconds: tuple[timedelta, ...]


@lru_cache(maxsize=1024)
def read(text: str, seconds: bool) -> Expression:
    """Raises `BadExpression`. Of no text does this take long: its length is bounded, and each term is."""
    fields = _fields(text, seconds)
    terms = [_field(position, field) for position, field in enumerate(fields)]
    numbers = [frozenset(number for number, nth in found if nth == 0) for found in terms]
    days = Days(
        days=numbers[_DAY] - {_LAST},
        month_ends=_LAST in numbers[_DAY],
        months=numbers[_MONTH],
        weekdays=numbers[_WEEKDAY],
        nth=frozenset(found for found in terms[_WEEKDAY] if found[1] != 0),
        either=_UNRESTRICTED.isdisjoint(fields[_DAY].split(",")) and _UNRESTRICTED.isdisjoint(fields[_WEEKDAY].split(",")),
    )
    return Expression(
        days,
        hours=tuple(timedelta(hours=number) for number in sorted(numbers[_HOUR])),
        minutes=tuple(timedelta(minutes=number) for number in sorted(numbers[_MINUTE])),
        seconds=tuple(timedelta(seconds=number) for number in sorted(numbers[_SECOND])),
    )


def _fields(text: str, seconds: bool) -> list[str]:
    """The six fields in the order of `_NAMES`, so that the seconds come last."""
    if len(text) > LONGEST:
        raise BadExpression(f"a cron expression has at most {LONGEST} characters, and this one has {len(text)}")
    if strange := _STRANGE.search(text):
        raise BadExpression(f"{strange[0]!r} means nothing in a cron expression")
    text = text.strip()
    if text.startswith("@"):
        if text.lower() not in ALIASES:
            raise BadExpression(f"{text!r} is no time; the names for times are {', '.join(ALIASES)}")
        return [*ALIASES[text.lower()].split(), "0"]
    fields = text.split()
    if len(fields) == (6 if seconds else 5):
        return [*fields[1:], fields[0]] if seconds else [*fields, "0"]
    wanted = "six fields: second minute hour day month weekday" if seconds else "five fields: minute hour day month weekday"
    hint = ""
    if len(fields) == 6:
        hint = "; a seconds field must be asked for with `seconds`"
    elif len(fields) == 7:
        hint = "; years are not known here"
    raise BadExpression(f"a cron expression has {wanted}, and {text!r} has {len(fields)}{hint}")


def _field(position: int, field: str) -> set[tuple[int, int]]:
    """What a field matches: each a number and 0, or a weekday and which one of the month."""
    if field == "?" and position in {_DAY, _WEEKDAY}:
        field = "*"
    found: set[tuple[int, int]] = set()
    for term in field.split(","):
        try:
            found |= _term(position, term)
        except BadExpression as error:
            raise BadExpression(f"the {_NAMES[position]} field cannot be read: {error}") from None
    return found


def _term(position: int, term: str) -> set[tuple[int, int]]:
    for refused, why in _REFUSED:
        if refused.fullmatch(term):
            raise BadExpression(why.format(term=term))
    if position == _DAY and term.upper() == "L":
        return {(_LAST, 0)}
    if position == _WEEKDAY and (last := _LAST_WEEKDAY.fullmatch(term)):
        return {(weekday, _LAST) for weekday, _ in _span(position, last["weekday"] or last["before"])}
    if position == _WEEKDAY and (nth := _NTH.fullmatch(term)):
        return {(weekday, int(nth["which"])) for weekday, _ in _span(position, nth["span"])}
    if not (parts := _STEPPED.fullmatch(term)):
        raise BadExpression(f"{term!r} is no term; there are *, 5, 1-5, each with a step as in */15, and lists of these" if term else "a term is missing")
    if parts["step"] and not 0 < int(parts["step"]) <= len(_EVERY[position]):
        raise BadExpression(f"{term!r} steps by {parts['step']}, and a step is from 1 to {len(_EVERY[position])}")
    return _span(position, parts["span"], parts["step"])


def _span(position: int, span: str, step: str | None = None) -> set[tuple[int, int]]:
    """`*`, a value or a range, with or without a step."""
    low, dash, high = span.partition("-")
    for bound in (low, high) if dash else (low,):
        _check_value(position, bound)
    if not dash:
        return {(value, 0) for value in _expanded(position, f"{span}/{step}" if step else span)}
    (begin,), (end,) = _expanded(position, low), _expanded(position, high)
    from_sunday_to_sunday = position == _WEEKDAY and high.lstrip("0") == "7" and low.lstrip("0") != "7"
    if begin == end and not from_sunday_to_sunday:
        # For croniter a range from a value to itself is every value.
        return {(begin, 0)}
    values = _expanded(position, span)
    # Where a stepped range goes around the end, croniter loses count: the steps are taken here.
    at = values.index(begin)
    return {(value, 0) for value in (values[at:] + values[:at])[:: int(step or 1)]}


def _check_value(position: int, text: str) -> None:
    if text.isdigit():
        first, last = _EVERY[position][0], 7 if position == _WEEKDAY else _EVERY[position][-1]
        # Of day and month croniter takes 0 for 1.
        if not first <= int(text) <= last:
            raise BadExpression(f"{text} is not from {first} to {last}")
    elif text != "*" and text.lower() not in _WORDS.get(position, ()):
        raise BadExpression(f"{text!r} is no {_NAMES[position]}")


@lru_cache(maxsize=2048)
def _expanded(position: int, term: str) -> tuple[int, ...]:
    """What croniter makes of one term, ascending; in a field by itself, so that no other field changes its meaning."""
    from croniter import croniter

    fields = ["*"] * 6
    fields[position] = term
    try:
        values = croniter.expand(" ".join(fields))[0][position]
    except ValueError:
        raise BadExpression(f"{term!r} means nothing") from None
    return tuple(_EVERY[position]) if values == ["*"] else tuple(sorted(values))
