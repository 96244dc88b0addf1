from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_calendar_persian.calendar import PersianCalendar
from crm_core import CRM, Period, Sale
from crm_core.errors import InvalidValue
from crm_core.settings import write_settings
from crm_core.testing import PluginContract
from crm_core.values import UNITS, FixedClock, buckets

CALENDAR = PersianCalendar()
days = st.dates(date(623, 1, 1), date(3000, 1, 1))
units = st.sampled_from(UNITS)


class TestThePlugin(PluginContract):
    package = "crm_calendar_persian"


@pytest.mark.parametrize(
    ("gregorian", "persian"),
    [
        (date(2025, 3, 20), "1403-12-30"),  # a leap year ends
        (date(2025, 3, 21), "1404-01-01"),
        (date(2025, 9, 22), "1404-06-31"),
        (date(2025, 9, 23), "1404-07-01"),
        (date(2026, 3, 20), "1404-12-29"),  # a common year ends
        (date(1979, 2, 11), "1357-11-22"),
    ],
)
def test_days_have_the_names_of_the_official_calendar(gregorian: date, persian: str) -> None:
    assert persian == CALENDAR.name_of("day", gregorian)
    assert (gregorian, gregorian + timedelta(days=1)) == CALENDAR.parse(persian)


@pytest.mark.parametrize("name", ["1404-13", "1404-00", "1404-12-30", "1404-07-31", "1404-Q5", "1404-W54", "0000"])
def test_what_the_calendar_lacks_has_no_days(name: str) -> None:
    assert None is CALENDAR.parse(name)


def test_a_leap_year_has_a_thirtieth_of_esfand() -> None:
    assert (date(2025, 3, 20), date(2025, 3, 21)) == CALENDAR.parse("1403-12-30")


@given(units, days)
def test_a_day_lies_in_its_unit_and_the_name_leads_back(unit: Any, day: date) -> None:
    first = CALENDAR.start_of(unit, day)
    after = CALENDAR.add(unit, first, 1)
    assert first <= day < after
    assert first == CALENDAR.start_of(unit, first)
    assert after == CALENDAR.start_of(unit, after)
    assert (first, after) == CALENDAR.parse(CALENDAR.name_of(unit, day))


@given(days)
def test_a_week_begins_on_saturday(day: date) -> None:
    assert "Saturday" == CALENDAR.start_of("week", day).strftime("%A")


def test_the_end_of_a_longer_month_clamps() -> None:
    last_of_summer = date(2025, 9, 22)
    assert "1404-07-30" == CALENDAR.name_of("day", CALENDAR.add("month", last_of_summer, 1))
    assert "1404-12-29" == CALENDAR.name_of("day", CALENDAR.add("month", last_of_summer, 6))


def test_a_day_before_the_first_year_is_refused_in_words() -> None:
    with pytest.raises(InvalidValue, match="outside the Persian years"):
        CALENDAR.start_of("month", date(500, 1, 1))


def test_a_workspace_counts_in_persian_months(tmp_path: Path) -> None:
    write_settings(tmp_path, storage_url="memory:", currency="IRR", zone="Asia/Tehran", calendar="persian")
    now = FixedClock(datetime(2025, 11, 5, 12, tzinfo=UTC))
    with CRM.open(tmp_path, clock=now) as crm:
        crm.sales.add(Sale(sold_at=date(2025, 10, 22)))  # the last of Mehr
        crm.sales.add(Sale(sold_at=date(2025, 10, 23)))  # the first of Aban
        bounds = Period.parse("this month").resolve(crm.calendar, crm.zone, now.now())
        assert "1404-08" == bounds.name
        sold = [sale.sold_at for sale in crm.sales.find(f"sold_at >= {bounds.start:%Y-%m-%dT%H:%M:%S}+00:00")]
        assert [date(2025, 10, 23)] == sold
        year = Period.parse("۱۴۰۴").resolve(crm.calendar, crm.zone, now.now())
        names = [bucket.name for bucket in buckets(year, "month", crm.calendar, crm.zone)]
        assert [f"1404-{month:02d}" for month in range(1, 13)] == names
