"""What an HTTP status says about trying again, for every executor that speaks HTTP: whether it makes sense (RFC 9110,
15.5 and 15.6), and how long the other side asked to be left alone (`Retry-After`, RFC 9110, 10.2.3).

It decides nothing else: whether and when an attempt is repeated is the task's policy.
"""

import math
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from daybook import clock

_PASSING: Final = frozenset({408, 409, 425, 429})
_LONGEST_SECONDS: Final = 86_400.0


def is_retryable(status: int) -> bool:
    """Whether the same request may fare better later: all of 5xx, and of 4xx Request Timeout, Conflict, Too Early, and
    Too Many Requests. A redirect, which is not followed, leads to the same place next time."""
    return status >= 500 or status in _PASSING


def retry_after_seconds(status: int, value: str | None) -> float | None:
    """The header's value in seconds from now, at most a day, of an answer that may fare better later; None where it
    says nothing that can be understood."""
    if value is None or not is_retryable(status):
        return None
    seconds = _number(value)
    if seconds is None:
        seconds = _until(value)
    return None if seconds is None else min(max(seconds, 0.0), _LONGEST_SECONDS)


def _number(text: str) -> float | None:
    # Only whole seconds are in the standard; some providers send fractions.
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _until(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text.strip())
        # A date that says -0000 comes back without a zone; in HTTP every date is UTC.
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (aware - clock.now()).total_seconds()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
