"""In which forms the dates of a column can be read."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Final

SOLAR: Final = re.compile(r"1[34]\d\d[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12]\d|3[01])(?: .*)?")
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
        dt.datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


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


def is_date(value: str) -> bool:
    """Say whether a text alone may be a date."""
    return is_iso(value) or bool(forms_of([value]))


def _is_date(value: str, form: str) -> bool:
    try:
        dt.datetime.strptime(value, form)  # noqa: DTZ007 - only whether it can be read
    except ValueError:
        return False
    return True
