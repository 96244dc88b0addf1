"""Calendars: how local days group into weeks, months, quarters and years, and what those are called.

Apart from the periods because a plugin may bring another calendar, whose months and years are not these.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Literal, Protocol

from attrs import frozen

from crm_core.errors import InvalidValue

__all__ = ["UNITS", "Calendar", "GregorianCalendar", "Unit"]

Unit = Literal["day", "week", "month", "quarter", "year"]
UNITS: tuple[Unit, ...] = ("day", "week", "month", "quarter", "year")


class Calendar(Protocol):
    """What a calendar must know; days are passed as the proleptic Gregorian `date` whatever the calendar.

    `add(unit, start_of(unit, day), 1)` must be the start of the next unit.
    """

    @property
    def name(self) -> str:
        """The calendar's name in messages, such as `Gregorian`."""

    def start_of(self, unit: Unit, day: date) -> date:
        """Give the first day of the unit that holds a day."""

    def add(self, unit: Unit, day: date, n: int) -> date:
        """Give the day that lies n units later (earlier when negative); the end of a shorter month or year clamps."""

    def name_of(self, unit: Unit, day: date) -> str:
        """Name the unit that holds a day: `2026-11-05`, `2026-W45`, `2026-11`, `2026-Q4`, `2026`."""

    def parse(self, text: str) -> tuple[date, date] | None:
        """Give the first day of the unit with this name and the first day after it; None when no unit is called so."""


@frozen
class GregorianCalendar:
    """The calendar of ISO 8601; weeks begin on Monday and belong to the year of their Thursday."""

    name: str = "Gregorian"

    def start_of(self, unit: Unit, day: date) -> date:
        """Give the first day of the unit that holds a day.

        >>> GregorianCalendar().start_of("quarter", date(2017, 6, 30)).isoformat()
        '2017-04-01'
        """
        match unit:
            case "day":
                return day
            case "week":
                return _shift(day, -day.weekday())
            case "month":
                return day.replace(day=1)
            case "quarter":
                return day.replace(month=day.month - (day.month - 1) % 3, day=1)
            case "year":
                return day.replace(month=1, day=1)

    def add(self, unit: Unit, day: date, n: int) -> date:
        """Give the day that lies n units later; 31 January plus a month is the last of February.

        >>> GregorianCalendar().add("month", date(2016, 1, 31), 1).isoformat()
        '2016-02-29'
        """
        match unit:
            case "day":
                return _shift(day, n)
            case "week":
                return _shift(day, 7 * n)
            case "month":
                return _add_months(day, n)
            case "quarter":
                return _add_months(day, 3 * n)
            case "year":
                return _add_months(day, 12 * n)

    def name_of(self, unit: Unit, day: date) -> str:
        """Give the name of the unit that holds a day.

        >>> GregorianCalendar().name_of("week", date(2017, 1, 1))
        '2016-W52'
        """
        match unit:
            case "day":
                return day.isoformat()
            case "week":
                year, week, _ = day.isocalendar()
                return f"{year:04d}-W{week:02d}"
            case "month":
                return f"{day.year:04d}-{day.month:02d}"
            case "quarter":
                return f"{day.year:04d}-Q{(day.month + 2) // 3}"
            case "year":
                return f"{day.year:04d}"

    def parse(self, text: str) -> tuple[date, date] | None:
        """Give the first day of the unit with this name and the first day after it, or None.

        >>> [day.isoformat() for day in GregorianCalendar().parse("2017-Q2")]
        ['2017-04-01', '2017-07-01']
        >>> GregorianCalendar().parse("2017-02-29") is None
        True
        """
        match = _NAME.fullmatch(text)
        if match is None:
            return None
        try:
            unit, first = _first_day(match)
        except ValueError:  # a month 13, a week 53 of a shorter year, 30 February
            return None
        return first, self.add(unit, first, 1)


_NAME = re.compile(
    r"(?P<year>[0-9]{4})(?:-W(?P<week>[0-9]{2})|-Q(?P<quarter>[1-4])|-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2}))?)?"
)


def _first_day(match: re.Match[str]) -> tuple[Unit, date]:
    year = int(match["year"])
    if match["week"]:
        return "week", date.fromisocalendar(year, int(match["week"]), 1)
    if match["quarter"]:
        return "quarter", date(year, 3 * int(match["quarter"]) - 2, 1)
    if match["day"]:
        return "day", date(year, int(match["month"]), int(match["day"]))
    if match["month"]:
        return "month", date(year, int(match["month"]), 1)
    return "year", date(year, 1, 1)


def _shift(day: date, days: int) -> date:
    try:
        return day + timedelta(days=days)
    except OverflowError:
        raise _out_of_range(day, days, "days") from None


def _add_months(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    try:
        first = date(year, month + 1, 1)
    except (ValueError, OverflowError):
        raise _out_of_range(day, months, "months") from None
    return first.replace(day=min(day.day, _days_in_month(first)))


def _days_in_month(first: date) -> int:
    if first.month == 12:
        return 31
    return (first.replace(month=first.month + 1) - first).days


def _out_of_range(day: date, n: int, unit: str) -> InvalidValue:
    return InvalidValue(f"{day} {n:+d} {unit} lies outside the years 1 to 9999. Choose a period within them.")
