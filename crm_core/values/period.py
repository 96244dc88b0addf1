"""Periods as people name them ("2026-11", "2017-Q2", "last 90 days"), and the instants they stand for.

A period stays symbolic until a calendar, a time zone and a "now" resolve it; apart so that every metric, segment and
filter cuts time in the same places.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, tzinfo
from typing import Self, cast

from attrs import field, frozen

from crm_core.errors import InvalidValue
from crm_core.values.calendar import Calendar, Unit
from crm_core.values.clock import local_midnight, to_micros
from crm_core.values.keys import ascii_digits, strip_marks

__all__ = ["Bounds", "Period", "around", "buckets"]


@frozen
class Bounds:
    """A half-open stretch of time, [start, end), with the name to show for it; None is open."""

    start: datetime | None
    end: datetime | None
    name: str

    def __attrs_post_init__(self) -> None:
        if self.start is not None and self.end is not None and self.end < self.start:
            raise InvalidValue(f"The period {self.name!r} ends before it starts. Swap its two ends.")

    @property
    def start_micros(self) -> int | None:
        """The start in microseconds since 1970 UTC."""
        return None if self.start is None else to_micros(self.start)

    @property
    def end_micros(self) -> int | None:
        """The end, itself outside, in microseconds since 1970 UTC."""
        return None if self.end is None else to_micros(self.end)

    def contains(self, micros: int) -> bool:
        """Whether an instant, in microseconds since 1970 UTC, lies within."""
        start, end = self.start_micros, self.end_micros
        return (start is None or start <= micros) and (end is None or micros < end)


def _canonical(text: str) -> str:
    form, match = _read(text)
    return form.canonical(match)


@frozen
class Period:
    """A period by name, such as `Period.parse("2026-11")`; equal when the canonical texts are.

    The forms: a day, week, month, quarter or year by the calendar's name; two of those with `..` between, both
    included; `today`, `yesterday`; `this month`, `last quarter` (whole units); `last 90 days`, which ends with today;
    `last 3 months`, the three whole months before this one (weeks, quarters and years alike); `since 2017-01-01`;
    `until 2017-03-31`, that day included; `all time`.
    """

    text: str = field(converter=_canonical)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a period; InvalidValue lists the accepted forms.

        A name that the shape allows but the calendar lacks (2017-02-30) is refused by `resolve`: a plugin's calendar
        may have it.

        >>> str(Period.parse("۲۰۱۷-q2")), str(Period.parse(" Last  1 MONTHS"))
        ('2017-Q2', 'last 1 month')
        """
        return cls(text)

    @classmethod
    def all_time(cls) -> Self:
        """Make the period without start and end."""
        return cls("all time")

    def __str__(self) -> str:
        return self.text

    def resolve(self, calendar: Calendar, zone: tzinfo, now: datetime) -> Bounds:
        """Give the instants this period stands for.

        The calendar says where units begin and what they are called, the zone where days begin, and `now`, an aware
        datetime, what `today` and `last` count from. The bounds are in UTC, named by the calendar where the period is
        one unit, else by the text. Raises InvalidValue for a name the calendar lacks and a range that runs backwards.

        >>> from datetime import UTC
        >>> from crm_core.values.calendar import GregorianCalendar
        >>> bounds = Period.parse("last month").resolve(GregorianCalendar(), UTC, datetime(2026, 11, 5, tzinfo=UTC))
        >>> bounds.name, bounds.start.isoformat(), bounds.end.isoformat()
        ('2026-10', '2026-10-01T00:00:00+00:00', '2026-11-01T00:00:00+00:00')
        """
        to_micros(now)  # refuses a naive now before a zone silently reads it as the machine's local time
        today = now.astimezone(zone).date()
        form, match = _read(self.text)
        first, after, name = form.days(match, calendar, today)
        return Bounds(
            None if first is None else local_midnight(first, zone),
            None if after is None else local_midnight(after, zone),
            name or self.text,
        )


def buckets(bounds: Bounds, unit: Unit, calendar: Calendar, zone: tzinfo) -> list[Bounds]:
    """Cut bounds into the calendar's units, in order, without gap or overlap.

    Each bucket has the whole unit's name; the first and last are clipped to the bounds. Raises InvalidValue for bounds
    with an open end.
    """
    if bounds.start is None or bounds.end is None:
        raise InvalidValue(
            f"The period {bounds.name!r} is open, so it has no number of {unit}s. "
            "Name both ends, such as 2017-01..2017-12."
        )
    cut: list[Bounds] = []
    first = calendar.start_of(unit, bounds.start.astimezone(zone).date())
    start = bounds.start
    while start < bounds.end:
        after = calendar.add(unit, first, 1)
        end = min(bounds.end, local_midnight(after, zone))
        if start < end:  # a zone that crossed the date line has skipped a whole day
            cut.append(Bounds(start, end, calendar.name_of(unit, first)))
            start = end
        first = after
    return cut


def around(day: date, months: int = 6, *, calendar: Calendar, zone: tzinfo) -> tuple[Bounds, Bounds]:
    """Give the months before a day and the months from it on, for a before/after comparison.

    Months are the calendar's and ends clamp: 6 months before 31 August begin on the last of February.
    """
    if months < 1:
        raise InvalidValue(f"A comparison needs at least 1 month on each side, found {months}.")
    middle = local_midnight(day, zone)
    span = f"{months} month{'' if months == 1 else 's'}"
    name = calendar.name_of("day", day)
    return (
        Bounds(local_midnight(calendar.add("month", day, -months), zone), middle, f"{span} before {name}"),
        Bounds(middle, local_midnight(calendar.add("month", day, months), zone), f"{span} from {name}"),
    )


# First day, first day after, and the name unless the period's own text is the name.
_Days = tuple[date | None, date | None, str | None]


@frozen
class _Form:
    """One way to write a period: its pattern, its canonical text, the days it stands for."""

    pattern: re.Pattern[str]
    canonical: Callable[[re.Match[str]], str]
    days: Callable[[re.Match[str], Calendar, date], _Days]


def _read(text: str) -> tuple[_Form, re.Match[str]]:
    plain = " ".join(ascii_digits(strip_marks(text)).casefold().split())
    for form in _FORMS:
        if match := form.pattern.fullmatch(plain):
            return form, match
    raise InvalidValue(f"{text!r} is not a period. {_ACCEPTED}")


def _named(name: str, calendar: Calendar) -> tuple[date, date]:
    days = calendar.parse(name.upper())
    if days is None:
        raise InvalidValue(
            f"{name.upper()!r} does not exist in the {calendar.name} calendar. Check the month, week or day in it."
        )
    return days


def _days_of_span(match: re.Match[str], calendar: Calendar, today: date) -> _Days:
    first, after = _named(match["first"], calendar)
    if match["last"]:
        start_of_last, after = _named(match["last"], calendar)
        if start_of_last < first:
            raise InvalidValue(
                f"The period {match[0]!r} ends before it starts. Write the earlier end first: "
                f"{match['last'].upper()}..{match['first'].upper()}."
            )
    return first, after, None


def _days_of_since(match: re.Match[str], calendar: Calendar, today: date) -> _Days:
    return _named(match["name"], calendar)[0], None, None


def _days_of_until(match: re.Match[str], calendar: Calendar, today: date) -> _Days:
    return None, _named(match["name"], calendar)[1], None


def _days_of_word(match: re.Match[str], calendar: Calendar, today: date) -> _Days:
    return _whole_unit("day", 0 if match[0] == "today" else -1, calendar, today)


def _days_of_unit(match: re.Match[str], calendar: Calendar, today: date) -> _Days:
    return _whole_unit(cast(Unit, match["unit"]), 0 if match["which"] == "this" else -1, calendar, today)


def _whole_unit(unit: Unit, offset: int, calendar: Calendar, today: date) -> _Days:
    first = calendar.add(unit, calendar.start_of(unit, today), offset)
    return first, calendar.add(unit, first, 1), calendar.name_of(unit, first)


def _days_of_last(match: re.Match[str], calendar: Calendar, today: date) -> _Days:
    unit, n = cast(Unit, match["unit"]), int(match["n"])
    # Days end with today, because people say "the last 90 days" of what they see now; larger units are whole ones,
    # because a month that has only begun would spoil the comparison.
    after = calendar.add("day", today, 1) if unit == "day" else calendar.start_of(unit, today)
    return calendar.add(unit, after, -n), after, None


def _days_of_all(match: re.Match[str], calendar: Calendar, today: date) -> _Days:
    return None, None, None


# Shapes only, wide enough for calendars with 13 months or months of 32 days; the calendar has the last word.
_NAME = r"[0-9]{4}(?:-w[0-9]{2}|-q[1-4]|-[01][0-9](?:-[0-3][0-9])?)?"

_FORMS = (
    _Form(
        re.compile(rf"(?P<first>{_NAME})(?: ?\.\. ?(?P<last>{_NAME}))?"),
        lambda match: match["first"].upper() + (f"..{match['last'].upper()}" if match["last"] else ""),
        _days_of_span,
    ),
    _Form(re.compile(r"today|yesterday"), lambda match: match[0], _days_of_word),
    _Form(re.compile(r"(?P<which>this|last) (?P<unit>week|month|quarter|year)"), lambda match: match[0], _days_of_unit),
    _Form(
        re.compile(r"last (?P<n>0*[1-9][0-9]{0,5}) (?P<unit>day|week|month|quarter|year)s?"),
        lambda match: f"last {int(match['n'])} {match['unit']}{'' if int(match['n']) == 1 else 's'}",
        _days_of_last,
    ),
    _Form(re.compile(rf"since (?P<name>{_NAME})"), lambda match: f"since {match['name'].upper()}", _days_of_since),
    _Form(re.compile(rf"until (?P<name>{_NAME})"), lambda match: f"until {match['name'].upper()}", _days_of_until),
    _Form(re.compile(r"all time"), lambda match: match[0], _days_of_all),
)

_ACCEPTED = (
    "Write a year, quarter, month, week or day (2017, 2017-Q2, 2017-03, 2017-W05, 2017-03-01), a range of them "
    "(2017-01..2017-03), today, yesterday, this or last week, month, quarter or year (last quarter), last N days, "
    "weeks, months, quarters or years (last 90 days), since 2017-01-01, until 2017-03-31, or all time."
)
