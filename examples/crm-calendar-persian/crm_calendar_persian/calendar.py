"""The months, quarters and years of the Persian solar calendar, over the conversions of persiantools."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

from attrs import frozen
from persiantools.jdatetime import JalaliDate

from crm_core.errors import InvalidValue
from crm_core.values import Unit

_Jalali: Any = JalaliDate
"""persiantools ships few types."""
_FROM_SATURDAY = 5
"""`date.weekday()` of the day on which a Persian week begins."""
_MIDDLE = 3
"""Days from the first to the middle day of a week, which says what year the week belongs to."""


@frozen
class PersianCalendar:
    """Months of 31 days in spring and summer, of 30 after; the year begins with spring."""

    name: str = "Persian"

    def start_of(self, unit: Unit, day: date) -> date:
        """Give the first day of the unit that holds a day.

        >>> PersianCalendar().start_of("month", date(2025, 11, 5)).isoformat()
        '2025-10-23'
        """
        if unit == "day":
            return day
        if unit == "week":
            return _shift(day, -((day.weekday() - _FROM_SATURDAY) % 7))
        year, month, _ = _fields(day)
        first = {"month": month, "quarter": month - (month - 1) % 3, "year": 1}[unit]
        return _day(year, first, 1)

    def add(self, unit: Unit, day: date, n: int) -> date:
        """Give the day that lies n units later; 31 Shahrivar and a month is 30 Mehr.

        >>> PersianCalendar().add("month", date(2025, 9, 22), 1).isoformat()
        '2025-10-22'
        """
        if unit in ("day", "week"):
            return _shift(day, n * (7 if unit == "week" else 1))
        year, month, number = _fields(day)
        years, index = divmod(month - 1 + n * {"month": 1, "quarter": 3, "year": 12}[unit], 12)
        if not 1 <= year + years <= 9377:
            raise _outside(day)
        return _day(year + years, index + 1, min(number, _Jalali.days_in_month(index + 1, year + years)))

    def name_of(self, unit: Unit, day: date) -> str:
        """Give the name of the unit that holds a day.

        >>> [PersianCalendar().name_of(unit, date(2025, 11, 5)) for unit in ("year", "quarter", "month", "week", "day")]
        ['1404', '1404-Q3', '1404-08', '1404-W33', '1404-08-14']
        """
        year, month, number = _fields(day)
        match unit:
            case "day":
                return f"{year:04d}-{month:02d}-{number:02d}"
            case "week":
                first = self.start_of("week", day)
                year = _fields(_shift(first, _MIDDLE))[0]
                return f"{year:04d}-W{(first - self._first_week(year)).days // 7 + 1:02d}"
            case "month":
                return f"{year:04d}-{month:02d}"
            case "quarter":
                return f"{year:04d}-Q{(month + 2) // 3}"
            case "year":
                return f"{year:04d}"

    def parse(self, text: str) -> tuple[date, date] | None:
        """Give the first day of the unit with this name and the first day after it, or None.

        >>> [day.isoformat() for day in PersianCalendar().parse("1404-08")]
        ['2025-10-23', '2025-11-22']
        >>> PersianCalendar().parse("1404-13") is None
        True
        """
        match = _NAME.fullmatch(text)
        if match is None:
            return None
        try:
            unit, first = self._first_day(match)
            # A week 53 of a year that has 52 is the first one of the next, and called so.
            return (first, self.add(unit, first, 1)) if self.name_of(unit, first) == text else None
        except ValueError:  # a month 13, 30 Esfand of a common year, a day before the year 1
            return None

    def _first_day(self, match: re.Match[str]) -> tuple[Unit, date]:
        year = int(match["year"])
        if match["week"]:
            return "week", _shift(self._first_week(year), 7 * (int(match["week"]) - 1))
        if match["quarter"]:
            return "quarter", _day(year, 3 * int(match["quarter"]) - 2, 1)
        if match["day"]:
            return "day", _day(year, int(match["month"]), int(match["day"]))
        if match["month"]:
            return "month", _day(year, int(match["month"]), 1)
        return "year", _day(year, 1, 1)

    def _first_week(self, year: int) -> date:
        """Give the Saturday of the week whose Tuesday is the first of its year."""
        return self.start_of("week", _shift(_day(year, 1, 1), _MIDDLE))


_NAME = re.compile(
    r"(?P<year>[0-9]{4})(?:-W(?P<week>[0-9]{2})|-Q(?P<quarter>[1-4])|-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2}))?)?"
)


def _fields(day: date) -> tuple[int, int, int]:
    try:
        found = _Jalali.to_jalali(day.year, day.month, day.day)
    except ValueError:
        raise _outside(day) from None
    return found.year, found.month, found.day


def _day(year: int, month: int, day: int) -> date:
    found: date = _Jalali(year, month, day).to_gregorian()
    return found


def _shift(day: date, days: int) -> date:
    try:
        return day + timedelta(days=days)
    except OverflowError:
        raise _outside(day) from None


def _outside(day: date) -> InvalidValue:
    return InvalidValue(f"{day} leads outside the Persian years 1 to 9377. Choose a period within them.")
