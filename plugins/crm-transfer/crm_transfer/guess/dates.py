"""In which forms the dates of a column can be read."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Final

import attrs

from crm_transfer.cells import When
from crm_transfer.errors import BadCell
from crm_transfer.solar import YEARS, names_month, solar_reader

_SOLAR_YEAR: Final = re.compile(r"(?<![0-9])1[34][0-9]{2}(?![0-9])")
_SOLAR_FORMS: Final = (
    "jalali",
    *(f"jalali %d{mark}%m{mark}%Y{time}" for mark in "/-." for time in ("", " %H:%M", " %H:%M:%S")),
)
_31: Final = re.compile(r"(?<![0-9:])31(?![0-9:])")
"""Months of a lunar calendar have 30 days at most."""
_DISTANT: Final = dt.date(2041, 3, 21)
"""From 1420 on a solar date is far off, and a lunar one of our days."""
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d.*)?")
_TIME: Final = r"(?:,? \d{1,2}:\d\d(?::\d\d)?(?: ?[AaPp][Mm])?)?"
_DATE: Final = re.compile(
    r"(?:\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{1,2}[ -][A-Za-z]{3,9}[ -]\d{2,4}|[A-Za-z]{3,9} \d{1,2},? \d{4})"
    rf"{_TIME}"
    r"|(?:19|20)\d{6}"
)
_DATES: Final = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%m.%d.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d",
                 "%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d-%m-%y", "%m-%d-%y", "%Y%m%d", "%Y-%m-%d", "%d %b %Y",
                 "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%b %d %Y", "%d %B %Y", "%B %d, %Y", "%B %d %Y")  # fmt: skip
_TIMES: Final = {0: ("",), 1: (" %H:%M", ", %H:%M"), 2: (" %H:%M:%S", ", %H:%M:%S")}
_HALF_DAYS: Final = {1: (" %I:%M %p", ", %I:%M %p", " %I:%M%p"), 2: (" %I:%M:%S %p", ", %I:%M:%S %p")}


def is_iso(value: str) -> bool:
    """Say whether a text is a day or time of ISO 8601."""
    if not _ISO.fullmatch(value):
        return False
    try:
        return dt.datetime.fromisoformat(value).year not in YEARS
    except ValueError:
        return False


def forms_of(values: Sequence[str]) -> tuple[str, ...]:
    """Return the forms, as for `strptime`, that read all values: none when they are no dates.

    >>> forms_of(["31/12/2024 2:30 PM"]), forms_of(["03.04.2024"])
    (('%d/%m/%Y %I:%M %p',), ('%d.%m.%Y', '%m.%d.%Y'))
    """
    if not all(_DATE.fullmatch(value) for value in values):
        return ()
    half = values[0].rstrip()[-1:] in ("m", "M")
    times = (_HALF_DAYS if half else _TIMES).get(values[0].count(":"), ())
    return tuple(day + time for day in _DATES for time in times if all(_is_date(v, day + time) for v in values))


@attrs.frozen
class Solar:
    """The form of dates of the Persian solar calendar, what a person has to decide, what is not quite certain."""

    form: str
    doubt: str = ""
    ambiguity: str = ""


def solar_dates(values: Sequence[str]) -> Solar | None:
    """Say how dates of the Persian solar calendar are written, None when not all values are some.

    >>> solar_dates(["1402/05/31", "1402-7-1"]), solar_dates(["1402/07/31"]), solar_dates(["2023/05/31"])
    (Solar(form='jalali', doubt='', ambiguity=''), None, None)
    """
    if not all(map(_SOLAR_YEAR.search, values)):
        return None
    for form in _SOLAR_FORMS:
        days = _all_read(values, form)
        if days is None:
            continue
        example = values[0]
        if form != "jalali" and not any(int(value[:2].strip("/-.")) > 12 for value in values):
            return Solar(form, f"{example}: the day is taken to come first; no value is above 12")
        if any(_31.search(value) or names_month(value) for value in values):
            return Solar(form)
        if max(days) >= _DISTANT:
            return Solar(form, f"{example} is taken for a Persian solar date far in the future; is it a lunar one?")
        return Solar(form, ambiguity="Persian solar dates sooner than lunar ones, though no day 31 proves it")
    return None


def impossible_days(values: Sequence[str]) -> tuple[str, list[str]]:
    """Return the form of dates of the Persian solar calendar and those of them that never are; the form may be empty.

    >>> impossible_days(["1402/05/31", "1402/06/12", "1402/07/31"])
    ('jalali', ['1402/07/31'])
    """
    if not all(map(_SOLAR_YEAR.search, values)):
        return "", []
    for form in _SOLAR_FORMS:
        wrong = [value for value in values if _all_read([value], form) is None]
        shaped = all(_is_shaped(value, form) for value in wrong)
        if wrong and shaped and len(wrong) * 2 < len(values):
            return form, wrong
    return "", []


def _is_shaped(value: str, form: str) -> bool:
    """Say whether a text is written in a form, be it a day or not."""
    try:
        return solar_reader(form)(value) is not None
    except BadCell:
        return True


def _all_read(values: Sequence[str], form: str) -> list[dt.date] | None:
    read, days = solar_reader(form), list[dt.date]()
    for value in values:
        try:
            found: When | None = read(value)
        except BadCell:
            return None
        if found is None:
            return None
        days.append(found.date() if isinstance(found, dt.datetime) else found)
    return days


def is_date(value: str) -> bool:
    """Say whether a text alone may be a date."""
    return is_iso(value) or bool(forms_of([value])) or solar_dates([value]) is not None


def _is_date(value: str, form: str) -> bool:
    try:
        return dt.datetime.strptime(value, form).year not in YEARS  # noqa: DTZ007 - only whether it can be read
    except ValueError:
        return False
