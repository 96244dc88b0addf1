"""The Gregorian calendar: units begin, follow each other and are named as ISO 8601 says."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_core.errors import InvalidValue
from crm_core.values import UNITS, Calendar, GregorianCalendar, Unit

CALENDAR: Calendar = GregorianCalendar()
days = st.dates(date(2, 1, 1), date(9990, 1, 1))
units = st.sampled_from(UNITS)


@given(units, days)
def test_a_units_name_reads_back_as_its_days(unit: Unit, day: date) -> None:
    first = CALENDAR.start_of(unit, day)
    after = CALENDAR.add(unit, first, 1)
    assert CALENDAR.parse(CALENDAR.name_of(unit, day)) == (first, after)
    assert first <= day < after


@given(units, days)
def test_units_follow_each_other_without_gap(unit: Unit, day: date) -> None:
    after = CALENDAR.add(unit, CALENDAR.start_of(unit, day), 1)
    assert CALENDAR.start_of(unit, after) == after
    assert CALENDAR.start_of(unit, after - timedelta(days=1)) == CALENDAR.start_of(unit, day)


@given(units, days, st.integers(-50, 50))
def test_starts_move_there_and_back(unit: Unit, day: date, n: int) -> None:
    first = CALENDAR.start_of(unit, day.replace(year=day.year % 9000 + 100))
    assert CALENDAR.add(unit, CALENDAR.add(unit, first, n), -n) == first


@pytest.mark.parametrize(
    ("unit", "day", "n", "expected"),
    [
        ("month", date(2017, 8, 31), -6, date(2017, 2, 28)),
        ("month", date(2016, 1, 31), 1, date(2016, 2, 29)),
        ("month", date(2016, 11, 30), 3, date(2017, 2, 28)),
        ("quarter", date(2017, 5, 31), 2, date(2017, 11, 30)),
        ("year", date(2016, 2, 29), 1, date(2017, 2, 28)),
        ("year", date(2016, 2, 29), 4, date(2020, 2, 29)),
        ("month", date(2016, 12, 31), 0, date(2016, 12, 31)),
    ],
)
def test_ends_clamp(unit: Unit, day: date, n: int, expected: date) -> None:
    assert CALENDAR.add(unit, day, n) == expected


@pytest.mark.parametrize(
    ("unit", "name"),
    [("day", "2021-01-03"), ("week", "2020-W53"), ("month", "2021-01"), ("quarter", "2021-Q1"), ("year", "2021")],
)
def test_names_are_those_of_iso_8601(unit: Unit, name: str) -> None:
    assert CALENDAR.name_of(unit, date(2021, 1, 3)) == name


@pytest.mark.parametrize(
    "text",
    ["", "2017-13", "2017-00", "2017-02-29", "2017-Q5", "2021-W53", "2017-W00", "0000", "17", "2017-1", "۲۰۱۷", "May"],
)
def test_what_the_calendar_lacks_is_none(text: str) -> None:
    assert CALENDAR.parse(text) is None


@pytest.mark.parametrize(("unit", "n"), [("day", 10**12), ("week", -(10**6)), ("month", 10**6), ("year", -9999)])
def test_days_outside_the_years_1_to_9999_are_refused(unit: Unit, n: int) -> None:
    with pytest.raises(InvalidValue, match="outside the years 1 to 9999"):
        CALENDAR.add(unit, date(2017, 1, 1), n)
