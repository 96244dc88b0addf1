"""Time: exact microseconds, aware datetimes only, and days that begin where the zone says."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_core.errors import InvalidValue
from crm_core.values import FixedClock, SystemClock, from_micros, local_midnight, to_micros

ZONES = [
    ZoneInfo(name)
    for name in (
        "Asia/Tehran",
        "America/Sao_Paulo",
        "Europe/Berlin",
        "America/Havana",
        "America/St_Johns",
        "Pacific/Apia",
    )
]


def naive(year: int, month: int, day: int) -> datetime:
    """A midnight without a zone, said so on purpose."""
    return datetime(year, month, day, tzinfo=UTC).replace(tzinfo=None)


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_round_trip(at: datetime) -> None:
    assert from_micros(to_micros(at)) == at


@given(st.datetimes(naive(2, 1, 1), naive(9998, 1, 1), timezones=st.sampled_from(ZONES)))
def test_microseconds_do_not_depend_on_the_zone_shown(at: datetime) -> None:
    assert to_micros(at) == to_micros(at.astimezone(UTC))


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"no time zone.*datetime\(2026, 11, 5, tzinfo"):
        to_micros(naive(2026, 11, 5))


def test_nanoseconds_are_noticed() -> None:
    with pytest.raises(InvalidValue, match="nanoseconds"):
        from_micros(1_700_000_000_000_000_000)


def test_a_fixed_clock_stands_still_in_utc() -> None:
    clock = FixedClock(datetime(2026, 11, 5, 3, 30, tzinfo=timezone(timedelta(hours=3, minutes=30))))
    assert [clock.now(), clock.now()] == [datetime(2026, 11, 5, tzinfo=UTC)] * 2
    assert clock.now().tzinfo is UTC


def test_a_fixed_clock_needs_a_zone() -> None:
    with pytest.raises(InvalidValue, match="no time zone"):
        FixedClock(naive(2026, 11, 5))


def test_the_system_clock_is_in_utc() -> None:
    assert SystemClock().now().utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("day", "zone", "begins"),
    [
        (date(2026, 11, 5), "Asia/Tehran", "2026-11-04T20:30:00+00:00"),
        (date(2022, 3, 22), "Asia/Tehran", "2022-03-21T20:30:00+00:00"),  # 00:00 to 01:00 skipped
        (date(2018, 11, 4), "America/Sao_Paulo", "2018-11-04T03:00:00+00:00"),  # 00:00 to 01:00 skipped
        (date(2018, 2, 18), "America/Sao_Paulo", "2018-02-18T03:00:00+00:00"),  # 23:00 came twice the evening before
        (date(2026, 3, 29), "Europe/Berlin", "2026-03-28T23:00:00+00:00"),
        (date(2026, 10, 26), "Europe/Berlin", "2026-10-25T23:00:00+00:00"),
        (date(2025, 11, 2), "America/Havana", "2025-11-02T04:00:00+00:00"),  # midnight comes twice: the first
        (date(2011, 12, 30), "Pacific/Apia", "2011-12-30T10:00:00+00:00"),  # the whole day skipped
        (date(2011, 12, 31), "Pacific/Apia", "2011-12-30T10:00:00+00:00"),
        (date(1919, 3, 31), "America/Toronto", "1919-03-31T04:30:00+00:00"),  # 23:30 to 00:30 skipped
    ],
)
def test_a_local_day_begins_at(day: date, zone: str, begins: str) -> None:
    assert local_midnight(day, ZoneInfo(zone)).isoformat() == begins


@given(st.dates(date(1900, 1, 1), date(2100, 1, 1)), st.sampled_from(ZONES))
def test_a_local_day_begins_at_its_first_instant(day: date, zone: ZoneInfo) -> None:
    begins = local_midnight(day, zone)
    midnight = naive(day.year, day.month, day.day)
    just_before = begins - timedelta(microseconds=1)
    assert begins.astimezone(zone).replace(tzinfo=None) >= midnight
    assert just_before.astimezone(zone).replace(tzinfo=None) < midnight


def test_days_at_the_edge_of_the_calendar_are_refused_in_words() -> None:
    with pytest.raises(InvalidValue, match="outside the years 1 to 9999"):
        local_midnight(date.min, ZoneInfo("Asia/Tehran"))
