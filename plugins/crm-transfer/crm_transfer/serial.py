"""Days and times as spreadsheets number them: 45292 is 1 January 2024, 45292.5 its noon.

The form of dates `spreadsheet` reads them, `spreadsheet 1904` those of files that count from 1904 (old Excel for Mac).
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Final, Literal

from crm_transfer.errors import BadCell

Epoch = Literal["excel", "1904", "calc"]
"""Where a spreadsheet begins to count days: Excel in 1900, with a 29 February that never was, or in 1904; LibreOffice
in 1900 without that day, and backwards as well."""
SERIAL: Final = "spreadsheet"
SERIAL_1904: Final = "spreadsheet 1904"
_NUMBER: Final = re.compile(r"[0-9]{1,7}(?:[.,][0-9]+)?", re.ASCII)
_DAY: Final = 86_400_000_000
_LAST: Final = 2_958_466


def is_serial(form: str) -> bool:
    """Say whether a form of dates is that of numbered days."""
    return form in (SERIAL, SERIAL_1904)


def read_serial(text: str, form: str) -> dt.datetime | dt.date | None:
    """Read a numbered day, and the time of day where it has a fraction; None what is no such number.

    >>> read_serial("45292", "spreadsheet"), read_serial("45292,75", "spreadsheet"), read_serial("2024", "jalali")
    (datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1, 18, 0), None)

    Raises:
        BadCell: it is no day that a spreadsheet knows.
    """
    if not is_serial(form) or not _NUMBER.fullmatch(text):
        return None
    moment = moment_of(float(text.replace(",", ".")), "1904" if form == SERIAL_1904 else "excel")
    return moment if moment.time() != dt.time() else moment.date()


def serial_text(when: dt.datetime | dt.date, form: str) -> str:
    """Write a day or a time by its number, to the second.

    >>> serial_text(dt.datetime(2024, 1, 1, 18), "spreadsheet"), serial_text(dt.date(1904, 1, 2), "spreadsheet 1904")
    ('45292.75', '1')
    """
    moment = when.replace(tzinfo=None) if isinstance(when, dt.datetime) else dt.datetime.combine(when, dt.time())
    start = dt.datetime(1904, 1, 1)  # noqa: DTZ001 - a cell has no zone
    if form == SERIAL:
        start = dt.datetime(1899, 12, 30 if moment >= dt.datetime(1900, 3, 1) else 31)  # noqa: DTZ001
    days, seconds = divmod((moment - start) // dt.timedelta(seconds=1), 86_400)
    return f"{days}" if not seconds else f"{days + seconds / 86_400:.10f}".rstrip("0")


def moment_of(serial: float, epoch: Epoch) -> dt.datetime:
    """Return the moment of a serial number (ECMA-376 part 1, 18.17.4), whose 29 February 1900 never was.

    >>> moment_of(2, "excel").date(), moment_of(2, "calc").date()
    (datetime.date(1900, 1, 2), datetime.date(1900, 1, 1))

    Raises:
        BadCell: it is no day that a spreadsheet knows.
    """
    if not (serial >= 0 or epoch == "calc") or serial >= _LAST:
        raise BadCell("date", "is no day that a spreadsheet knows; write the day as text there, as 1899-12-31")
    if epoch == "1904":
        start = dt.datetime(1904, 1, 1)  # noqa: DTZ001 - a cell has no zone
    elif serial >= 61 or epoch == "calc":
        start = dt.datetime(1899, 12, 30)  # noqa: DTZ001
    elif serial >= 60:
        raise BadCell("date", "is 29 February 1900, a day that only spreadsheets know; correct it")
    else:
        start = dt.datetime(1899, 12, 31)  # noqa: DTZ001
    try:
        return start + dt.timedelta(microseconds=micros_of(serial))
    except OverflowError:
        raise BadCell(
            "date", "is no day that a spreadsheet knows; write the day as text there, as 1899-12-31"
        ) from None


def micros_of(serial: float) -> int:
    """Return the microseconds of a number of days; one off a whole second is noise of the fraction."""
    found = round(serial * _DAY)
    off = (found + 1) % 1_000_000
    return found + 1 - off if off <= 2 else found
