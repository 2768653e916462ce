"""Durations as people write them."""

from datetime import timedelta

import pytest

from daybook.durations import parse_duration


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("45s", timedelta(seconds=45)),
        ("10m", timedelta(minutes=10)),
        ("1h30m", timedelta(minutes=90)),
        ("1h 30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("2w3d", timedelta(days=17)),
        ("250ms", timedelta(milliseconds=250)),
        ("90", timedelta(seconds=90)),
        (" 5s ", timedelta(seconds=5)),
        (0, timedelta(0)),
        (2.5, timedelta(seconds=2.5)),
        (timedelta(hours=2), timedelta(hours=2)),
    ],
)
def test_it_reads(written: str | float | timedelta, meant: timedelta) -> None:
    assert parse_duration(written) == meant


@pytest.mark.parametrize(
    "written",
    [
        *("", " ", "m", "30m1h", "10 minutes", "10M", "-5s", "1h30", "\u0661\u0660s", "inf", "9" * 100, "200000d"),
        *(-1, True, float("nan"), float("inf"), 10**400, timedelta(days=-1), timedelta(days=40_000)),
    ],
)
def test_it_refuses(written: str | float | timedelta) -> None:
    with pytest.raises(ValueError, match=r"duration|century"):
        parse_duration(written)
