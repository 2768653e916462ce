"""How values are written in a request: what Python has and JSON or a query does not, in the words of the API.

It refuses what could be written but would say something else: a time without an offset, a number that JSON cannot hold.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

if TYPE_CHECKING:
    from daybook.manifest import Retry

Duration: TypeAlias = str | float | timedelta
"""`"10m"`, a number of seconds, or a timedelta."""
Moment: TypeAlias = str | datetime
"""An aware datetime, or RFC 3339 text with an offset."""


def encode(value: Any) -> bytes:
    """The value as JSON. Raises ValueError for a number that JSON cannot hold (NaN, infinity)."""
    body = msgspec.json.encode(value)
    if b"null" in body:
        # msgspec writes NaN and infinity as null, which would change the input in silence. The slow check runs only
        # where one could hide.
        json.dumps(msgspec.to_builtins(value), allow_nan=False)
    return body


def spell_moment(moment: Moment | None) -> str | None:
    """The instant with its offset. Raises ValueError when it has none."""
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise ValueError(f"{moment.isoformat()} has no UTC offset: nobody could tell which instant it is")
        return moment.isoformat()
    return moment


def spell_duration(duration: Duration | None) -> str | float | None:
    """The duration as text or in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def spell_either(moment: Moment | Duration | None) -> str | float | None:
    """An instant with its offset, or a duration as text or in seconds; which of them, is told apart by the API."""
    return spell_moment(moment) if isinstance(moment, datetime) else spell_duration(moment)


def spell_retry(retry: "Retry | Mapping[str, Any] | None") -> Mapping[str, Any] | None:
    """A Retry stands for all of its fields, a mapping for those that it has; the others are as the app has them."""
    if retry is None:
        return None
    given = retry if isinstance(retry, Mapping) else msgspec.structs.asdict(retry)
    return {name: spell_duration(value) if isinstance(value, timedelta) else value for name, value in given.items()}


def spell_on_finish(url: str | None) -> Mapping[str, str] | None:
    """Whom a task is to tell of its end, by a URL alone."""
    return None if url is None else {"url": url}


def spell_bound(bound: Moment | Duration | None) -> str | None:
    """An instant, or how long ago one was."""
    if isinstance(bound, timedelta):
        bound = bound.total_seconds()
    if isinstance(bound, int | float):
        return f"{bound:g}s"
    return spell_moment(bound)


def spell_labels(label: str | Mapping[str, str] | None) -> Sequence[str]:
    """Each label as `name:value`."""
    if label is None:
        return ()
    return (label,) if isinstance(label, str) else [f"{name}:{value}" for name, value in label.items()]
