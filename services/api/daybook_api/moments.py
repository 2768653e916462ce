"""Instants as requests tell them: a timestamp with an offset, or a duration away from now. What is said in a body is
answered with a pointer to it."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import msgspec

from daybook.durations import parse_duration

from .problems import Problem, Spot

_TIMESTAMP: Final[msgspec.json.Decoder[datetime]] = msgspec.json.Decoder(Annotated[datetime, msgspec.Meta(tz=True)])


def parse_moment(text: str) -> datetime | timedelta:
    """The timestamp, in UTC, or the duration that the text is. Raises ValueError for what is neither, and OverflowError
    for a timestamp that in UTC is beyond the calendar."""
    try:
        said = _TIMESTAMP.decode(msgspec.json.encode(text))
    except msgspec.DecodeError:
        return parse_duration(text)
    return said.astimezone(UTC)


def in_utc(instant: datetime, pointer: str) -> datetime:
    """Raises a problem that points at it for an instant that in UTC is beyond the calendar."""
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise _refused(pointer, "is beyond the calendar") from None


def moment_ahead(said: str | float, now: datetime, pointer: str) -> datetime:
    """A time, or a while from now. Raises a problem that points at it."""
    moment = _moment(said, pointer)
    return moment if isinstance(moment, datetime) else now + moment


def moment_back(said: str | float, now: datetime, pointer: str) -> datetime:
    """A time, or a while back from now. Raises a problem that points at it."""
    moment = _moment(said, pointer)
    return moment if isinstance(moment, datetime) else now - moment


def _moment(said: str | float, pointer: str) -> datetime | timedelta:
    try:
        return parse_moment(said) if isinstance(said, str) else parse_duration(said)
    except OverflowError:
        raise _refused(pointer, "is beyond the calendar") from None
    except ValueError:
        raise _refused(pointer, "is a timestamp with an offset, or a duration such as 24h") from None


def _refused(pointer: str, why: str) -> Problem:
    return Problem("invalid-body", f"{pointer.removeprefix('/')} {why}.", errors=[Spot(pointer=pointer, message=why)])
