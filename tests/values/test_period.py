"""Periods: read as people write them, resolved in the workspace's calendar and zone, cut without gap or overlap."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_core.errors import InvalidValue
from crm_core.values import (
    UNITS,
    Bounds,
    GregorianCalendar,
    Period,
    Unit,
    around,
    buckets,
    from_micros,
    local_midnight,
    to_micros,
)

CALENDAR = GregorianCalendar()
NOW = datetime(2026, 11, 5, 12, tzinfo=UTC)  # a Thursday
TEHRAN = ZoneInfo("Asia/Tehran")
ZONES = [
    ZoneInfo(name) for name in ("Asia/Tehran", "America/Sao_Paulo", "Europe/Berlin", "America/St_Johns", "Pacific/Apia")
]

names = st.builds(CALENDAR.name_of, st.sampled_from(UNITS), st.dates(date(1000, 1, 1), date(9000, 1, 1)))
numbers = st.integers(1, 999_999)
texts = st.one_of(
    names,
    st.builds("{}..{}".format, names, names),
    st.builds("since {}".format, names),
    st.builds("until {}".format, names),
    st.builds("last {} {}s".format, numbers, st.sampled_from(UNITS)),
    st.builds("{} {}".format, st.sampled_from(["this", "last"]), st.sampled_from(UNITS[1:])),
    st.sampled_from(["today", "yesterday", "all time"]),
)
PERSIAN = str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")


def local_days(text: str, zone: tzinfo = UTC, now: datetime = NOW) -> tuple[str | None, str | None]:
    """The first day and the first day after, as the zone shows them."""
    bounds = Period.parse(text).resolve(CALENDAR, zone, now)
    start, end = (None if at is None else at.astimezone(zone).date().isoformat() for at in (bounds.start, bounds.end))
    return start, end


@given(texts)
def test_the_canonical_text_reads_back_as_the_same_period(text: str) -> None:
    period = Period.parse(text)
    assert (Period.parse(str(period)), str(Period.parse(str(period)))) == (period, str(period))


@given(texts)
def test_case_space_and_digits_do_not_matter(text: str) -> None:
    typed = "\u200f " + text.upper().translate(PERSIAN).replace(" ", "  ").replace("..", " .. ")
    assert Period.parse(typed) == Period.parse(text)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2017", "2017-01-01", "2018-01-01"),
        ("2017-Q2", "2017-04-01", "2017-07-01"),
        ("2026-11", "2026-11-01", "2026-12-01"),
        ("2017-W05", "2017-01-30", "2017-02-06"),
        ("2020-02-29", "2020-02-29", "2020-03-01"),
        ("2017-01-01..2017-03-31", "2017-01-01", "2017-04-01"),
        ("2026-01..2026-03", "2026-01-01", "2026-04-01"),
        ("2016-Q4..2017-01-15", "2016-10-01", "2017-01-16"),
        ("today", "2026-11-05", "2026-11-06"),
        ("yesterday", "2026-11-04", "2026-11-05"),
        ("this week", "2026-11-02", "2026-11-09"),
        ("last week", "2026-10-26", "2026-11-02"),
        ("this month", "2026-11-01", "2026-12-01"),
        ("last month", "2026-10-01", "2026-11-01"),
        ("this quarter", "2026-10-01", "2027-01-01"),
        ("last quarter", "2026-07-01", "2026-10-01"),
        ("this year", "2026-01-01", "2027-01-01"),
        ("last year", "2025-01-01", "2026-01-01"),
        ("last 1 day", "2026-11-05", "2026-11-06"),
        ("last 90 days", "2026-08-08", "2026-11-06"),
        ("last 2 weeks", "2026-10-19", "2026-11-02"),
        ("last 3 months", "2026-08-01", "2026-11-01"),
        ("last 4 quarters", "2025-10-01", "2026-10-01"),
        ("last 2 years", "2024-01-01", "2026-01-01"),
        ("since 2017-01-01", "2017-01-01", None),
        ("since 2017-Q2", "2017-04-01", None),
        ("until 2017-03-31", None, "2017-04-01"),
        ("until 2017", None, "2018-01-01"),
        ("all time", None, None),
    ],
)
def test_a_period_stands_for_these_days(text: str, start: str | None, end: str | None) -> None:
    assert local_days(text) == (start, end)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("2017-q2", "2017-Q2"),
        ("today", "2026-11-05"),
        ("this week", "2026-W45"),
        ("last quarter", "2026-Q3"),
        ("last 90 days", "last 90 days"),
        ("2026-01..2026-03", "2026-01..2026-03"),
        ("since 2017-w05", "since 2017-W05"),
        ("all time", "all time"),
    ],
)
def test_bounds_are_named_for_people(text: str, name: str) -> None:
    assert Period.parse(text).resolve(CALENDAR, UTC, NOW).name == name


def test_today_is_the_zones_today() -> None:
    late = datetime(2026, 11, 5, 22, tzinfo=UTC)
    assert (local_days("today", UTC, late)[0], local_days("today", TEHRAN, late)[0]) == ("2026-11-05", "2026-11-06")


def test_bounds_are_utc_instants_of_local_midnights() -> None:
    bounds = Period.parse("2026-11").resolve(CALENDAR, TEHRAN, NOW)
    assert (bounds.start, bounds.end) == (
        datetime(2026, 10, 31, 20, 30, tzinfo=UTC),
        datetime(2026, 11, 30, 20, 30, tzinfo=UTC),
    )
    assert (bounds.start_micros, bounds.end_micros) == (1_793_478_600_000_000, 1_796_070_600_000_000)


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [
        ("2022-03-22", "Asia/Tehran", 23),
        ("2018-11-04", "America/Sao_Paulo", 23),
        ("2018-02-17", "America/Sao_Paulo", 25),
        ("2026-03-29", "Europe/Berlin", 23),
        ("2026-10-25", "Europe/Berlin", 25),
    ],
)
def test_a_day_is_as_long_as_the_clocks_make_it(day: str, zone: str, hours: int) -> None:
    bounds = Period.parse(day).resolve(CALENDAR, ZoneInfo(zone), NOW)
    assert bounds.start is not None
    assert bounds.end is not None
    assert bounds.end - bounds.start == timedelta(hours=hours)


def test_the_end_is_outside() -> None:
    bounds = Period.parse("2026-11").resolve(CALENDAR, UTC, NOW)
    start, end = 1_793_491_200_000_000, 1_796_083_200_000_000
    assert [bounds.contains(m) for m in (start - 1, start, end - 1, end)] == [False, True, True, False]


def test_open_ends_contain_everything_beyond() -> None:
    at = to_micros(datetime(2017, 1, 1, tzinfo=UTC))
    found = {
        text: [Period.parse(text).resolve(CALENDAR, UTC, NOW).contains(m) for m in (at - 1, at)]
        for text in ("since 2017", "until 2016", "all time")
    }
    assert found == {"since 2017": [False, True], "until 2016": [True, False], "all time": [True, True]}


def test_all_time_is_open() -> None:
    bounds = Period.all_time().resolve(CALENDAR, UTC, NOW)
    assert (bounds.start_micros, bounds.end_micros, bounds.name) == (None, None, "all time")


@pytest.mark.parametrize(
    "text",
    [
        *("", "soon", "17", "2017-5", "2017-Q5", "2017/03", "12.03.2021", "2017-0²"),
        *("2017..", "..2017", "since", "since last month", "next month"),
        *("last days", "last 0 days", "last -1 days", "last 9999999 days", "this 3 months"),
    ],
)
def test_what_is_not_a_period_is_answered_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"is not a period\. Write a year.*2017-Q2.*last 90 days.*since 2017-01-01"):
        Period.parse(text)


@pytest.mark.parametrize("text", ["2017-13", "2017-02-30", "2021-W53", "2017-01..2017-02-30", "since 0000"])
def test_a_day_the_calendar_lacks_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidValue, match="does not exist in the Gregorian calendar"):
        Period.parse(text).resolve(CALENDAR, UTC, NOW)


def test_a_range_that_runs_backwards_is_turned_round_in_words() -> None:
    with pytest.raises(InvalidValue, match=r"Write the earlier end first: 2026-01\.\.2026-03\."):
        Period.parse("2026-03..2026-01").resolve(CALENDAR, UTC, NOW)


@pytest.mark.parametrize("text", ["9999", "last 99999 years", "last 999999 days"])
def test_periods_beyond_the_calendar_are_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidValue, match="outside the years 1 to 9999"):
        Period.parse(text).resolve(CALENDAR, UTC, NOW)


def test_a_naive_now_is_refused() -> None:
    with pytest.raises(InvalidValue, match="no time zone"):
        Period.parse("today").resolve(CALENDAR, UTC, NOW.replace(tzinfo=None))


def test_bounds_that_end_before_they_start_are_refused() -> None:
    with pytest.raises(InvalidValue, match="ends before it starts"):
        Bounds(NOW, NOW - timedelta(seconds=1), "backwards")


@given(
    st.lists(st.integers(-(2**49), 2**51), min_size=2, max_size=2).map(sorted),
    st.sampled_from(UNITS),
    st.sampled_from(ZONES),
)
def test_buckets_partition_the_bounds(ends: list[int], unit: Unit, zone: ZoneInfo) -> None:
    start, end = (from_micros(m) for m in ends)
    end = min(end, start + timedelta(days=400))
    cut = buckets(Bounds(start, end, "any"), unit, CALENDAR, zone)
    edges = [start, *(b.end for b in cut)]
    assert [b.start for b in cut] == edges[:-1]
    assert edges[-1] == end
    assert all(b.start < b.end for b in cut if b.start and b.end)
    assert len({b.name for b in cut}) == len(cut)


def test_buckets_have_the_names_of_whole_units_and_clipped_ends() -> None:
    bounds = Period.parse("2017-01-15..2017-03-10").resolve(CALENDAR, TEHRAN, NOW)
    cut = buckets(bounds, "month", CALENDAR, TEHRAN)
    assert [b.name for b in cut] == ["2017-01", "2017-02", "2017-03"]
    assert [cut[0].start, cut[1].start, cut[-1].end] == [
        bounds.start,
        local_midnight(date(2017, 2, 1), TEHRAN),
        bounds.end,
    ]


def test_a_day_the_zone_skipped_has_no_bucket() -> None:
    apia = ZoneInfo("Pacific/Apia")
    bounds = Period.parse("2011-12-29..2012-01-01").resolve(CALENDAR, apia, NOW)
    assert [b.name for b in buckets(bounds, "day", CALENDAR, apia)] == ["2011-12-29", "2011-12-31", "2012-01-01"]


def test_open_bounds_have_no_buckets() -> None:
    with pytest.raises(InvalidValue, match="is open"):
        buckets(Period.all_time().resolve(CALENDAR, UTC, NOW), "month", CALENDAR, UTC)


def test_before_and_after_meet_at_the_days_midnight() -> None:
    before, after = around(date(2017, 8, 31), calendar=CALENDAR, zone=TEHRAN)
    middle = local_midnight(date(2017, 8, 31), TEHRAN)
    assert (before.start, before.end, after.start, after.end) == (
        local_midnight(date(2017, 2, 28), TEHRAN),
        middle,
        middle,
        local_midnight(date(2018, 2, 28), TEHRAN),
    )
    assert (before.name, after.name) == ("6 months before 2017-08-31", "6 months from 2017-08-31")


def test_a_comparison_needs_a_month() -> None:
    with pytest.raises(InvalidValue, match="at least 1 month"):
        around(date(2017, 8, 31), 0, calendar=CALENDAR, zone=UTC)


class ThirteenMonths(GregorianCalendar):
    """A stand-in for a plugin's calendar: years of 13 months of 28 days and a last day that belongs to month 13."""

    def parse(self, text: str) -> tuple[date, date] | None:
        """Know the thirteenth month besides the Gregorian names."""
        if text == "1404-13":
            return date(1404, 12, 2), date(1405, 1, 1)
        return super().parse(text)


def test_another_calendars_names_are_its_own() -> None:
    bounds = Period.parse("۱۴۰۴-۱۳").resolve(ThirteenMonths(), UTC, NOW)
    assert (bounds.start, bounds.end) == (datetime(1404, 12, 2, tzinfo=UTC), datetime(1405, 1, 1, tzinfo=UTC))
