"""When a schedule is due: the instants that a cron expression means in a time zone, and what is no cadence at all.

A slot is an instant in UTC. Local time and UTC differ by an offset that is constant between two changes of the clocks, so
slots are found stretch by stretch: within one, a wall clock runs evenly, and the expression (`cron.py`: five fields, or six
with the seconds first; either day field when both are restricted) names times on it. What a change of the clocks does is our
own rule, and the same on every machine:

- An expression whose hours are all 24 goes by elapsed time: `*/15 * * * *` is due every 15 minutes, whatever clocks do.
- Of any other, times that do not exist (clocks go forward) are due at the first instant after the gap (`next`), once for
  all of them, or not at all (`skip`); times that come twice (clocks go back) are due the first time (`once`) or both times
  (`twice`).

Zones are those of the package tzdata, never the machine's own. Nothing is due before the year 1's second day or on the
calendar's last, and what is not due within nine years of the slot before is not due any more.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from .cron import BadExpression, Expression, read

Gap: TypeAlias = Literal["next", "skip"]
Fold: TypeAlias = Literal["once", "twice"]

_SECOND: Final = timedelta(seconds=1)
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_NONE: Final = timedelta(0)
_LONGEST_CHANGE: Final = timedelta(days=2)
_FIRST: Final = datetime(1, 1, 2, tzinfo=UTC)
_LAST: Final = datetime(9999, 12, 31, tzinfo=UTC)
"""Between these, local time is on the calendar in every zone."""
_SEARCHED: Final = timedelta(days=9 * 366)
"""29 February may be eight years away."""
_WALLS_NAMED: Final = 3


class InvalidCadence(ValueError):
    """This is not a cadence; `field` is what is wrong with it: `cron` or `timezone`."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Cadence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A cron expression in a zone: five fields, or six with the seconds first when `seconds` are asked for."""

    cron: str
    timezone: str = "UTC"
    dst_gap: Gap = "next"
    dst_fold: Fold = "once"
    seconds: bool = False


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """At this instant clocks go forward (`gap`) or back (`fold`), and this is what becomes of the cadence's times."""

    at: datetime
    kind: Literal["gap", "fold"]
    text: str


class _Stretch(NamedTuple):
    """The time from `begin` to `end`, in which local time is UTC plus `offset`; up to `changed`, it was UTC plus `before`."""

    begin: datetime
    end: datetime
    offset: timedelta
    before: timedelta
    changed: datetime


def check(cadence: Cadence, after: datetime) -> None:
    """Raises `InvalidCadence` for what cannot be kept: what cannot be read, and what is never due after that instant."""
    if next(slots(cadence, after), None) is None:
        raise InvalidCadence("cron", f"{cadence.cron!r} is not due once in the nine years after {after:%Y-%m-%d}")


def slots(cadence: Cadence, after: datetime) -> Iterator[datetime]:
    """The slots after an instant, in order, each once. It ends where the calendar does, or after nine years without one.
    Raises `InvalidCadence` when the first is asked for."""
    expression = _expression(cadence)
    last = after = _on_calendar(after)
    for stretch in _stretches(zone(cadence.timezone), after):
        if stretch.begin - last > _SEARCHED:
            return
        for slot in _within(cadence, expression, stretch, after):
            if slot > last:
                last = slot
                yield slot


def notes(cadence: Cadence, after: datetime, until: datetime) -> list[Note]:
    """Every change of the clocks after an instant and until another that makes a difference to the cadence."""
    expression = _expression(cadence)
    after, until = _on_calendar(after), _on_calendar(until)
    found: list[Note] = []
    if _elapses(expression):
        return found
    for stretch in _stretches(zone(cadence.timezone), after):
        if stretch.begin > until:
            break
        if stretch.begin == stretch.changed > after and (note := _note(cadence, expression, stretch)):
            found.append(note)
    return found


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """A zone of the package tzdata. Raises `InvalidCadence`."""
    if name not in _names():
        raise InvalidCadence("timezone", f"{name!r} is not the name of an IANA time zone")
    from importlib import resources  # the command line, which never needs it, starts sooner without

    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    from importlib import resources

    return frozenset(resources.files("tzdata").joinpath("zones").read_text(encoding="ascii").split())


def _expression(cadence: Cadence) -> Expression:
    try:
        return read(cadence.cron, cadence.seconds)
    except BadExpression as error:
        raise InvalidCadence("cron", str(error)) from None


def _elapses(expression: Expression) -> bool:
    return len(expression.hours) == 24


def _on_calendar(instant: datetime) -> datetime:
    try:
        return min(max(instant.astimezone(UTC), _FIRST), _LAST)
    except OverflowError:
        return _FIRST if instant.year == 1 else _LAST


def _within(cadence: Cadence, expression: Expression, stretch: _Stretch, after: datetime) -> Iterator[datetime]:
    """The slots of a stretch after an instant; one that stands for missing times and is a slot by itself comes twice."""
    begin, shift = stretch.begin, stretch.offset - stretch.before
    if not _elapses(expression):
        if shift > _NONE and cadence.dst_gap == "next" and begin == stretch.changed > after and any(_missing(expression, stretch)):
            yield begin
        if shift < _NONE and cadence.dst_fold == "once":
            begin = max(begin, stretch.changed - shift)
    yield from _instants(expression, stretch.offset, max(begin, after.replace(microsecond=0) + _SECOND), stretch.end)


def _missing(expression: Expression, stretch: _Stretch) -> Iterator[datetime]:
    """The times that a change skips, as the instants at which they would have been."""
    return _instants(expression, stretch.before, stretch.changed, stretch.changed + (stretch.offset - stretch.before))


def _repeated(expression: Expression, stretch: _Stretch) -> Iterator[datetime]:
    """The times that a change brings again, as the instants of the second time."""
    return _instants(expression, stretch.offset, stretch.changed, stretch.changed + (stretch.before - stretch.offset))


def _instants(expression: Expression, offset: timedelta, begin: datetime, end: datetime) -> Iterator[datetime]:
    """Where a wall clock at this offset shows what the expression says, from `begin` to before `end`."""
    if begin >= end:
        return
    for day in expression.days.between((begin + offset).date(), (end + offset).date()):
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC) - offset
        for hour in expression.hours:
            at_hour = midnight + hour
            if at_hour + _HOUR <= begin:
                continue
            if at_hour >= end:
                return
            for minute in expression.minutes:
                at_minute = at_hour + minute
                if at_minute + _MINUTE <= begin:
                    continue
                for second in expression.seconds:
                    instant = at_minute + second
                    if instant >= end:
                        return
                    if instant >= begin:
                        yield instant


def _stretches(place: ZoneInfo, after: datetime) -> Iterator[_Stretch]:
    """From the one in which `after` is, in pieces of a year at most. It looks back a little: what is there may come twice."""
    year = (after - min(_LONGEST_CHANGE, after - _FIRST)).year
    begin = changed = max(datetime(year, 1, 1, tzinfo=UTC), _FIRST)
    offset = before = _offset(place, begin)
    while begin < _LAST:
        for at in _changes(place, year):
            if at > after:
                yield _Stretch(begin, at, offset, before, changed)
            begin, changed, before, offset = at, at, offset, _offset(place, at)
        year += 1
        end = min(datetime(year, 1, 1, tzinfo=UTC), _LAST) if year <= date.max.year else _LAST
        if end > after:
            yield _Stretch(begin, end, offset, before, changed)
        begin = end


@lru_cache(maxsize=8192)
def _changes(place: ZoneInfo, year: int) -> tuple[datetime, ...]:
    """The instants of a year at which the offset is another than a second before. None is less than a day from another that
    takes it back."""
    found = []
    probe = max(datetime(year, 1, 1, tzinfo=UTC), _FIRST)
    end = min(datetime(year + 1, 1, 1, tzinfo=UTC), _LAST) if year < date.max.year else _LAST
    probe -= _SECOND if year > 1 else _NONE
    while probe < end - _SECOND:
        later = min(probe + _DAY, end - _SECOND)
        if (offset := _offset(place, probe)) != _offset(place, later):
            low, high = probe, later
            while high - low > _SECOND:
                middle = low + (high - low) // (2 * _SECOND) * _SECOND
                low, high = (middle, high) if _offset(place, middle) == offset else (low, middle)
            found.append(high)
            later = high
        probe = later
    return tuple(found)


def _offset(place: ZoneInfo, instant: datetime) -> timedelta:
    offset = instant.astimezone(place).utcoffset()
    assert offset is not None
    return offset


def _note(cadence: Cadence, expression: Expression, stretch: _Stretch) -> Note | None:
    forward = stretch.offset > stretch.before
    show = "%H:%M:%S" if cadence.seconds else "%H:%M"
    old, new = stretch.changed + stretch.before, stretch.changed + stretch.offset
    if forward:
        walls = [instant + stretch.before for instant in _missing(expression, stretch)]
    else:
        walls = [instant + stretch.offset for instant in _repeated(expression, stretch)]
    if not walls:
        return None
    with_date = f"%Y-%m-%d {show}" if old.date() != new.date() else show
    many = len(walls) > 1
    if len(walls) <= _WALLS_NAMED:
        times = " and ".join(f"{wall:{with_date}}" for wall in walls)
    else:
        times = f"{len(walls)} times from {walls[0]:{with_date}} to {walls[-1]:{with_date}}"
    text = f"On {old:%Y-%m-%d} clocks go {'forward' if forward else 'back'} from {old:{with_date}} to {new:{with_date}} in {cadence.timezone}: {times}"
    if forward:
        text += " do not exist, and " if many else " does not exist, and "
        left_out, moved = ("are left out", f"are due once, at {new:{with_date}}") if many else ("is left out", f"is due at {new:{with_date}}")
        text += moved if cadence.dst_gap == "next" else left_out
        if cadence.dst_gap == "next" and any(_instants(expression, stretch.offset, stretch.changed, stretch.changed + _SECOND)):
            text += ", as that time is by itself"
    else:
        text += " come twice, and are due " if many else " comes twice, and is due "
        text += "the first time only" if cadence.dst_fold == "once" else "both times"
    return Note(at=stretch.changed, kind="gap" if forward else "fold", text=text)
