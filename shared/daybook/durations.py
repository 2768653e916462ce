"""Durations as people write them: `45s`, `10m`, `1h30m`, or a number of seconds.

It refuses what is negative, not finite, longer than a century, or written in any other way; years and months are no
durations, since nobody knows how long they are.
"""

import math
import re
from datetime import timedelta
from typing import Final

LONGEST: Final = timedelta(days=36_525)
"""A century: more is a mistake, and would soon leave the calendar."""

_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_PARTS: Final = re.compile("".join(rf"(?:(?P<{name}>\d+(?:\.\d+)?){name}\s*)?" for name in ("w", "d", "h", "m", "s", "ms")), re.ASCII)
_UNITS: Final = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}


def parse_duration(value: str | float | timedelta) -> timedelta:
    """The duration that `value` means: units in falling order (`w d h m s ms`), or a number of seconds. Raises
    ValueError otherwise."""
    if isinstance(value, timedelta):
        duration = value
    elif isinstance(value, str):
        duration = _parse(value)
    elif isinstance(value, bool) or (isinstance(value, float) and math.isnan(value)):
        raise _unreadable(value)
    else:
        duration = _seconds(value)
    if not timedelta(0) <= duration <= LONGEST:
        raise ValueError(f"a duration lies between 0 and a century, which {value!r} does not")
    return duration


def _parse(text: str) -> timedelta:
    text = text.strip()
    if len(text) > 64:
        raise _unreadable(text[:64] + "…")
    if _NUMBER.fullmatch(text):
        return _seconds(float(text))
    match = _PARTS.fullmatch(text)
    if match is None or not text:
        raise _unreadable(text)
    parts = [(float(number), _UNITS[unit]) for unit, number in match.groupdict().items() if number is not None]
    return sum((_seconds(number * unit.total_seconds()) for number, unit in parts), timedelta(0))


def _seconds(number: float) -> timedelta:
    # timedelta raises OverflowError far beyond a century; the caller's bound gives the better message.
    return timedelta(seconds=max(-1.0, min(number, LONGEST.total_seconds() + 1)))


def _unreadable(value: object) -> ValueError:
    return ValueError(f"{value!r} is not a duration: write 45s, 10m, 1h30m, or a number of seconds")
