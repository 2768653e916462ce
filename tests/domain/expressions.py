"""Cron expressions by chance: such as people write, and such as nobody should."""

from hypothesis import strategies as st

from daybook.domain.cadence import Cadence

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia", "America/Havana", "Antarctica/Casey")


def field(low: int, high: int, *special: st.SearchStrategy[str], names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    value = st.integers(low, high).map(str)
    if names:
        value |= st.sampled_from(names)
    span = value | st.builds("{}-{}".format, value, value)
    stepped = st.builds("{}/{}".format, span | st.just("*"), st.integers(1, high - low))
    return st.just("*") | st.lists(st.one_of(span, stepped, *special), min_size=1, max_size=3).map(",".join)


weekday = st.integers(0, 7).map(str) | st.sampled_from(WEEKDAYS)
minute, hour, month = field(0, 59), field(0, 23), field(1, 12, names=MONTHS)
day_of_month = field(1, 31, st.just("L")) | st.just("?")
day_of_week = field(0, 7, st.builds("{}#{}".format, weekday, st.integers(1, 5)), weekday.map("{}L".format), weekday.map("L{}".format), names=WEEKDAYS)

five = st.tuples(minute, hour, day_of_month, month, day_of_week).map(" ".join)
zones = st.sampled_from(ZONES)
rules = {"timezone": zones, "dst_gap": st.sampled_from(("next", "skip")), "dst_fold": st.sampled_from(("once", "twice"))}
cadences = st.builds(Cadence, cron=five | st.sampled_from(("@daily", "@hourly", "@yearly", "30 2 * * *", "*/10 0-3 * * *")), **rules) | st.builds(
    Cadence, cron=st.tuples(minute, five).map(" ".join), seconds=st.just(True), **rules
)

pieces = st.sampled_from((*"0123456789*/,-#?LWRH @\t\u0661\u00a0", *MONTHS, *WEEKDAYS, "@daily", "1-99999", "*/", "59"))
nearly = st.lists(pieces, max_size=8).map("".join)
anything = st.text(max_size=300) | nearly | st.lists(nearly, min_size=5, max_size=6).map(" ".join)
