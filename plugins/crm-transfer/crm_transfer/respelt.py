"""How a spreadsheet respells what it was given: dates in its own form, numbers with its own separators.

What a respelt file means is learnt from the cells whose value is known, since most of them were not touched.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar

import attrs

from crm_core.values import ascii_digits, strip_marks
from crm_transfer.cells import number_reader
from crm_transfer.errors import BadCell
from crm_transfer.serial import is_serial, read_serial
from crm_transfer.solar import is_solar, solar_reader

DAY_FORMS: Final = (
    "%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%y",
    "%d/%m/%y", "%m/%d/%y", "%d-%b-%y", "%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%B %d, %Y", "%b %d, %Y",
)  # fmt: skip
"""How spreadsheets write days."""
TIME_FORMS: Final = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p")
STYLES: Final = ((".", ""), (".", ","), (",", ""), (",", "."), (",", " "), (".", " "), (".", "'"), (",", "'"))
"""(decimal, thousands) of numbers."""
_YES: Final = "true yes y 1 wahr ja vrai oui verdadero sí vero sì истина да այո بله doğru"
_NO: Final = "false no n 0 falsch nein faux non falso ложь нет ոչ خیر yanlış"
YES_WORDS, NO_WORDS = frozenset(_YES.split(" ")), frozenset(_NO.split(" "))
_TIMED: Final = re.compile(r"(.*?[0-9])(?:[T ]+)([0-9]{1,2}:[0-9]{2}.*)")
_SHORTENED: Final = re.compile(r"([+-]?[0-9](?:[.,][0-9]+)?)[eE]\+?([0-9]{1,3})")

T = TypeVar("T", bound=Hashable)


def day_of(text: str, form: str) -> dt.datetime | None:
    """Read a day, and the time of day where there is one, by the form of its day; None when it is not of that form.

    >>> day_of("30/11/2026 14:05", "%d/%m/%Y")
    datetime.datetime(2026, 11, 30, 14, 5)
    """
    if is_solar(form) or is_serial(form):
        return _numbered_or_solar_day_of(text, form)
    match = _TIMED.fullmatch(text)
    spellings = [text] if match is None else [f"{match[1]} {match[2]}"]
    forms = [form] if match is None else [f"{form} {time}" for time in TIME_FORMS]
    for spelt in spellings:
        for each in forms:
            try:
                return dt.datetime.strptime(spelt, each)  # noqa: DTZ007 - the caller knows the zone
            except ValueError:
                continue
    return None


def _numbered_or_solar_day_of(text: str, form: str) -> dt.datetime | None:
    try:
        found = read_serial(text, form) if is_serial(form) else solar_reader(form)(text)
    except BadCell:
        return None
    return found if found is None or isinstance(found, dt.datetime) else dt.datetime.combine(found, dt.time())


def number_of(text: str, style: tuple[str, str]) -> Decimal | None:
    """Read a number whose separators are (decimal, thousands); None when it is not of that style."""
    try:
        return number_reader(*style)(text)
    except BadCell:
        return None


def is_shortened(text: str, digits: str) -> bool:
    """Say whether a cell is a long number as a spreadsheet cuts it, or digits without their leading zeros.

    >>> is_shortened("1.23457E+18", "1234567890123456789"), is_shortened("1234", "01234")
    (True, True)
    """
    plain = digits.removeprefix("+")
    if not plain.isdecimal() or not plain.isascii():
        return False
    if text == (plain.lstrip("0") or "0"):
        return text != digits
    match = _SHORTENED.fullmatch(text)
    if match is None or len(plain.lstrip("0")) != int(match[2]) + 1:
        return bool(_rounded(text, plain))
    shown = Decimal(match[1].replace(",", "."))
    exact = Decimal(plain).scaleb(-int(match[2]))
    places = len(match[1].replace(",", ".").partition(".")[2])
    return abs(shown.copy_abs() - exact) <= Decimal(1).scaleb(-places) / 2


def _rounded(text: str, plain: str) -> bool:
    """Say whether a number of more than 15 digits was filled up with zeros, as a spreadsheet keeps only 15."""
    return len(plain) == len(text) > 15 and text.isdecimal() and text[15:].strip("0") == "" and text[:14] == plain[:14]


@attrs.define
class Learnt:
    """What the cells say of the forms of a file: which ones read all of them, and which agree with what is known."""

    misread: Counter[Any] = attrs.field(factory=Counter)
    agreed: Counter[Any] = attrs.field(factory=Counter)
    cells: int = 0

    def look(self, forms: Sequence[Hashable], read: Callable[[Any], Any], value: Any) -> None:
        """Count for each form whether it reads a cell, and whether what it reads is the value known of it."""
        self.cells += 1
        for form in forms:
            found = read(form)
            if found is None:
                self.misread[form] += 1
            elif found == value:
                self.agreed[form] += 1

    def best(self, forms: Sequence[T]) -> list[T]:
        """Return the forms that agree most, of those that read most: the first one alone, or several equally good."""
        least = min(self.misread[form] for form in forms)
        reading = [form for form in forms if self.misread[form] == least]
        most = max(self.agreed[form] for form in reading)
        return [form for form in reading if self.agreed[form] == most]


def readings(text: str, forms: Sequence[T], read: Callable[[str, T], Any]) -> Mapping[Any, T]:
    """Return what a text can mean, each meaning with the first form that gives it."""
    clean = ascii_digits(strip_marks(text)).strip() if not text.isascii() else text.strip()
    found: dict[Any, T] = {}
    for form in forms:
        value = read(clean, form)
        if value is not None:
            found.setdefault(value, form)
    return found
