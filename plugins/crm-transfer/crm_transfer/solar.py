"""Dates of the Persian solar (Jalali) calendar, as the cells of a file write them, and back.

A form that begins with `jalali` stands wherever a form of dates does: alone it reads the usual ways of writing them,
`jalali %d/%m/%Y` reads that one.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from crm_core.values import text_key
from crm_transfer.errors import BadCell, MappingError

YEARS: Final = range(1200, 1500)
"""The years that a business has to do with: 1821 to 2121."""
_NAME: Final = "jalali"
_MONTHS: Final = (
    "فروردین حمل farvardin",
    "اردیبهشت ثور ordibehesht",
    "خرداد جوزا khordad",
    "تیر سرطان tir",
    "مرداد امرداد اسد mordad",
    "شهریور سنبله shahrivar",
    "مهر میزان mehr",
    "آبان عقرب aban",
    "آذر قوس azar",
    "دی جدی dey",
    "بهمن دلو bahman",
    "اسفند حوت esfand",
)
"""What the months are called in Iran, in Afghanistan, and in Latin letters."""
_NUMBERS: Final = {text_key(name): at for at, names in enumerate(_MONTHS, 1) for name in names.split()}
_MONTH: Final = rf"(?P<B>{'|'.join(sorted(_NUMBERS, key=len, reverse=True))})"
_CODES: Final = {
    "Y": r"(?P<Y>\d{4})",
    "y": r"(?P<y>\d\d)",
    "m": r"(?P<m>\d{1,2})",
    "d": r"(?P<d>\d{1,2})",
    "B": _MONTH,
    "H": r"(?P<H>\d{1,2})",
    "M": r"(?P<M>\d\d)",
    "S": r"(?P<S>\d\d)",
}
_CLOCK: Final = rf"(?:[ t,،-]*(?:ساعت)? ?{_CODES['H']}:{_CODES['M']}(?::{_CODES['S']})?)?"
_WEEKDAY: Final = r"(?:(?:(?:یک|دو|سه|چهار|پنج)? ?شنبه|جمعه)[ ,،]*)?"
_USUAL: Final = tuple(
    re.compile(day + _CLOCK, re.ASCII)
    for day in (
        rf"{_CODES['Y']}(?P<mark>[-/.]){_CODES['m']}(?P=mark){_CODES['d']}",
        rf"{_WEEKDAY}{_CODES['d']}[ -]*{_MONTH}(?: ?ماه)?[ ,،-]*{_CODES['Y']}",
    )
)
_PIVOT: Final = 30
"""Two digits below it are a year from 1400 on, others one from 1300 on."""


def names_month(text: str) -> bool:
    """Say whether a text has the name of a month of this calendar in it."""
    return re.search(_MONTH, text_key(text)) is not None


def is_solar(form: str) -> bool:
    """Say whether a form of dates is one of the Persian solar calendar."""
    return form == _NAME or form.startswith(f"{_NAME} ")


def solar_reader(form: str) -> Callable[[str], dt.datetime | dt.date | None]:
    """Return a function that reads dates of a form: a day where there is no time of day, None what is not of the form.

    It raises `BadCell` for a day that never is.

    >>> solar_reader("jalali")("۱۲ مرداد ۱۴۰۲"), solar_reader("jalali %d/%m/%y %H:%M")("30/12/03 14:05")
    (datetime.date(2023, 8, 3), datetime.datetime(2025, 3, 20, 14, 5))

    Raises:
        MappingError: the form has a code that dates of this calendar do not have, or no day, month and year.
    """
    forms = _USUAL if form == _NAME else (_compiled(form),)
    gregorian = _calendar()

    def read(text: str) -> dt.datetime | dt.date | None:
        plain = text_key(text)
        found = next((match for each in forms if (match := each.fullmatch(plain))), None)
        if found is None:
            return None
        parts = {code: part for code, part in found.groupdict().items() if part is not None}
        day = _day(parts, gregorian)
        if "H" not in parts:
            return day
        try:
            clock = dt.time(int(parts["H"]), int(parts.get("M", 0)), int(parts.get("S", 0)))
        except ValueError as error:
            raise BadCell("date", "is no time of a day; correct it") from error
        return dt.datetime.combine(day, clock)

    return read


def solar_text(when: dt.date, form: str) -> str:
    """Write a day or time in a form: by `jalali` alone as 1402/05/12, with the time of day where it has one.

    >>> solar_text(dt.date(2021, 3, 20), "jalali"), solar_text(dt.date(2023, 8, 3), "jalali %d %B %Y")
    ('1399/12/30', '12 مرداد 1402')
    """
    timed = isinstance(when, dt.datetime) and when.time() != dt.time()
    codes = form.removeprefix(_NAME).strip() or ("%Y/%m/%d %H:%M:%S" if timed else "%Y/%m/%d")
    found = _calendar().to_jalali(when.year, when.month, when.day)
    told = {
        "Y": f"{found.year:04}",
        "y": f"{found.year % 100:02}",
        "m": f"{found.month:02}",
        "d": f"{found.day:02}",
        "B": _MONTHS[found.month - 1].split()[0],
    }
    return re.sub("%(.)", lambda code: told[code[1]] if code[1] in told else when.strftime(code[0]), codes)


def _compiled(form: str) -> re.Pattern[str]:
    """Return the pattern of a form; numbers with nothing between them have two digits each, or nothing parted them."""
    pieces = re.split("%(.)", form.removeprefix(_NAME).strip())
    codes = pieces[1::2]
    unknown = next((code for code in codes if code not in _CODES), "")
    twice = len(set(codes)) < len(codes)
    if unknown or twice or not ({"Y", "y"} & {*codes} and {"m", "B"} & {*codes} and "d" in codes):
        why = f"%{unknown} is no code of it" if unknown else "it needs one day, one month and one year"
        raise MappingError(
            f"{form!r} is no form of Persian solar dates: {why}",
            hint='dates = "jalali" reads 1402/05/12 and 12 مرداد 1402; others are told with %Y %y %m %B %d %H %M %S: '
            '"jalali %d/%m/%Y"',
        )
    made = re.escape(text_key(pieces[0]))
    for at in range(1, len(pieces), 2):
        alone = (at == 1 or pieces[at - 1]) and (at + 2 >= len(pieces) or pieces[at + 1])
        literal = pieces[at + 1]
        made += _CODES[pieces[at]] if alone else _CODES[pieces[at]].replace("{1,2}", "{2}")
        made += re.escape(re.sub(r"\s+", " ", literal.lower()))
    return re.compile(made, re.ASCII)


def _day(parts: Mapping[str, str], gregorian: Any) -> dt.date:
    year = int(parts["Y"]) if "Y" in parts else _century(int(parts["y"]))
    month = int(parts["m"]) if "m" in parts else _NUMBERS[parts["B"]]
    if year not in YEARS:
        raise BadCell("date", f"is of the year {year}, no Persian solar year of our time; correct it, or the form")
    if not 1 <= month <= 12:
        raise BadCell("date", f"is no day of the Persian solar calendar, which has no month {month}; correct it")
    last, day = gregorian.days_in_month(month, year), int(parts["d"])
    if not 1 <= day <= last:
        name = _MONTHS[month - 1].split()[0]
        raise BadCell(
            "date", f"is no day of the Persian solar calendar: month {month} ({name}) of {year} has {last}; correct it"
        )
    found: dt.date = gregorian(year, month, day).to_gregorian()
    return found


def _century(year: int) -> int:
    return year + (1400 if year < _PIVOT else 1300)


def _calendar() -> Any:
    """Return the calendar of persiantools, which knows the leap years; only who has such dates waits for its import."""
    from persiantools.jdatetime import JalaliDate

    return JalaliDate
