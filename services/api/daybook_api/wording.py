"""A cadence in words, for people: "At 09:30, Monday through Friday, in Europe/Berlin".

The words are cron-descriptor's, English and with the 24-hour clock, whatever the machine's locale. They are made from what the
expression means and not from how it is spelled: `*/45`, which is minutes 0 and 45, is not "every 45 minutes", and two
spellings of the same have the same words. Where the library's words would be wrong, the expression itself is shown. Nothing
is refused here: what is no cadence, `daybook.domain.cadence.check` has refused.
"""

from collections.abc import Collection
from datetime import timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Final

from cron_descriptor import FormatError, Options, get_description

from daybook.domain.cadence import Cadence
from daybook.domain.cron import Days, read

_SECOND: Final = timedelta(seconds=1)
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_LISTED: Final = 6
"""So many values are said one by one, before a step is."""


def words(cadence: Cadence) -> str:
    """Of a cadence that `check` accepts. They end with the zone."""
    expression = read(cadence.cron, cadence.seconds)
    days = _days(expression.days)
    said = None
    if days is not None:
        of_day, of_week = days
        fields = [
            _field([second // _SECOND for second in expression.seconds], range(60), cyclic=True),
            _field([minute // _MINUTE for minute in expression.minutes], range(60), cyclic=True),
            _field([hour // _HOUR for hour in expression.hours], range(24), cyclic=True),
            of_day,
            _field(expression.days.months, range(1, 13), cyclic=True),
            of_week,
        ]
        said = _described(" ".join(fields[1:] if fields[0] == "0" else fields))
    return f"{said or cadence.cron.strip()}, in {cadence.timezone}"


@lru_cache(maxsize=1024)
def _described(expression: str) -> str | None:
    """Remembered, since the library reads its translations anew each time: a millisecond."""
    try:
        said: str = get_description(expression, Options(use_24hour_time_format=True, locale_code="en_US"))
    except FormatError:
        return None
    return said


def _days(days: Days) -> tuple[str, str] | None:
    """Both day fields; None for a mixture that the library words as something else."""
    every_day, every_weekday = len(days.days) == 31, len(days.weekdays) == 7
    if (every_day and every_weekday) or (days.either and (every_day or every_weekday)):
        return "*", "*"
    if (days.month_ends and days.days and not every_day) or (days.nth and not every_weekday and (days.either or days.weekdays or len(days.nth) > 1)):
        return None
    of_day = "L" if days.month_ends and not every_day else _field(days.days, range(1, 32), cyclic=False)
    if days.nth and not every_weekday:
        ((weekday, which),) = days.nth
        return of_day, f"{weekday}L" if which < 0 else f"{weekday}#{which}"
    return of_day, _field(days.weekdays, range(7), cyclic=True)


def _field(values: Collection[int], every: range, *, cyclic: bool) -> str:
    """A field that means these values. `cyclic` are those that begin again evenly, which the days of a month do not."""
    found = sorted(values)
    if len(found) == len(every):
        return "*"
    steps = {later - earlier for earlier, later in pairwise(found)}
    step = steps.pop() if len(steps) == 1 else 0
    around = found[0] - found[-1] + len(every)
    if cyclic and step > 1 and around == step and (found[0] == every[0] or len(found) > _LISTED):
        return f"*/{step}" if found[0] == every[0] else f"{found[0]}/{step}"
    if step == 1 and len(found) > 2:
        return f"{found[0]}-{found[-1]}"
    if cyclic and around == 1 and len(found) > 2 and (begin := _after_the_only_gap(found)) is not None:
        return f"{begin}-{found[found.index(begin) - 1]}"
    if step > 1 and len(found) > _LISTED:
        return f"{found[0]}-{found[-1]}/{step}"
    return ",".join(str(value) for value in found)


def _after_the_only_gap(found: list[int]) -> int | None:
    begins = [later for earlier, later in pairwise(found) if later - earlier > 1]
    return begins[0] if len(begins) == 1 else None
