"""The only place that reads the wall clock; everything else is told what time it is.

Services that decide when something is due use the database's clock instead (see `log` and the scheduler): many machines, one clock.
"""

from datetime import UTC, datetime, timedelta


def now() -> datetime:
    """The current instant, aware, in UTC."""
    return datetime.now(UTC)


def after(seconds: float) -> datetime:
    """The instant that many seconds from now."""
    return now() + timedelta(seconds=seconds)
