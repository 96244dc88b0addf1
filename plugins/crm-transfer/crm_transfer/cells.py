"""Turns the text of one cell into a value: numbers, dates, money and addresses, with every doubt refused by name."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from crm_core.errors import InvalidValue
from crm_core.values import Money, ascii_digits, email_key, phone_key, strip_marks
from crm_transfer.errors import BadCell

_PLAIN: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?", re.ASCII)
_SCIENTIFIC: Final = re.compile(r"[+-]?[0-9.,]+[eE][+-]?[0-9]+", re.ASCII)
_ISO_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_PERSIAN_YEARS: Final = range(1200, 1500)
_LIMIT: Final = 2**63 - 1
_CACHED: Final = 20_000
_NEUTRALISED: Final = tuple("=+-@\t\r＝＋－＠")
"""What a spreadsheet takes for the start of a formula, fullwidth forms included."""
_QUOTABLE: Final = re.compile(r'[,;"\r\n]')
_PHONES: Final = frozenset({"phone", "whatsapp", "viber"})

Number = Callable[[str], Decimal]
When = dt.datetime | dt.date


def is_formula(text: str) -> bool:
    """Say whether a spreadsheet would run this text as a formula."""
    return text.startswith(_NEUTRALISED)


def without_guard(text: str) -> str:
    """Take away the apostrophe that an export put before a formula."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_NEUTRALISED) else text


def key_text(text: str) -> str:
    """Return a key as it is stored: invisible marks dropped, accents composed, so that one key has one spelling."""
    return text if text.isascii() else unicodedata.normalize("NFC", strip_marks(text)).strip()


def join_tags(tags: Sequence[str], separator: str) -> str:
    """Write tags into one cell; one that has a comma, a quote or white space at its ends is put in quotes.

    >>> join_tags(["vip", "a, b"], ", ")
    'vip, "a, b"'
    """
    return separator.join(_quoted(tag) if _QUOTABLE.search(tag) or tag != tag.strip() else tag for tag in tags)


def _quoted(tag: str) -> str:
    return '"' + tag.replace('"', '""') + '"'


def split_tags(text: str, separator: str = ",") -> tuple[str, ...]:
    """Read the tags of one cell, each once; what stands in quotes is one tag, as it is.

    >>> split_tags('vip, "a, b",vip')
    ('vip', 'a, b')
    """
    if '"' not in text:
        return tuple(dict.fromkeys(tag.strip() for tag in text.split(separator) if tag.strip()))
    part = re.escape(separator)
    pattern = re.compile(rf'\s*"((?:[^"]|"")*)"\s*(?:{part}|\Z)|(.*?)(?:{part}|\Z)', re.DOTALL)
    found: dict[str, None] = {}
    at = 0
    while at < len(text):
        match = pattern.match(text, at)
        assert match is not None, "the second form matches anything"
        tag = match[2].strip() if match[1] is None else match[1].replace('""', '"')
        if tag.strip():
            found[tag] = None
        at = match.end()
    return tuple(found)


def number_reader(decimal: str, thousands: str) -> Number:
    """Return a function that reads numbers whose separators are `decimal` and `thousands`; empty means not declared.

    The Arabic separators U+066B and U+066C need no declaration: they are never ambiguous.
    """
    point, group = re.escape(decimal or "."), re.escape(thousands)
    grouped = rf"[0-9]{{1,3}}(?:{group}[0-9]{{3}})+|" if thousands else ""
    declared = re.compile(rf"([+-]?)({grouped}[0-9]+)(?:{point}([0-9]+))?", re.ASCII)
    plain_first = decimal in ("", ".") and thousands != "."
    simple = _PLAIN.fullmatch

    def read(text: str) -> Decimal:
        if plain_first and simple(text):
            return Decimal(text)
        clean = text
        if not text.isascii():
            if "٫" in text or "٬" in text:
                return _arabic(text)
            clean = ascii_digits(strip_marks(text)).replace("\u2212", "-").replace("\xa0", " ").replace("\u202f", " ")
        match = declared.fullmatch(clean.strip())
        if match is None:
            raise _no_number(text, clean, decimal, thousands)
        whole = match[2].replace(thousands, "") if thousands else match[2]
        return Decimal(f"{match[1]}{whole}.{match[3] or 0}" if match[3] else match[1] + whole)

    return read


def _arabic(text: str) -> Decimal:
    clean = ascii_digits(strip_marks(text)).replace("\u2212", "-").strip()
    if not re.fullmatch(r"[+-]?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.[0-9]+)?", clean, re.ASCII):
        raise BadCell("number", "is not a number")
    return Decimal(clean.replace(",", ""))


def _no_number(text: str, clean: str, decimal: str, thousands: str) -> BadCell:
    if _SCIENTIFIC.fullmatch(clean):
        return BadCell("number", "is in scientific notation: a spreadsheet cut it; export the column as text")
    if "," in clean and not decimal and not thousands:
        return BadCell(
            "separator",
            'the comma may part thousands or decimals; declare decimal = "," or thousands = "," in [file]',
        )
    return BadCell("number", "is not a number")


def whole(value: Decimal) -> int:
    """Return a whole number that fits 64 bits."""
    if value != value.to_integral_value():
        raise BadCell("type", "is not a whole number")
    if abs(value) > _LIMIT:
        raise BadCell("range", "is beyond 64 bits")
    return int(value)


def money_of(value: Decimal, currency: str) -> Money:
    """Return an amount of money; one with more decimals than the currency has is refused."""
    try:
        return Money(value, currency)
    except InvalidValue as error:
        raise BadCell("money", f"is no amount: {error.message}") from error


def moment_reader(form: str, zone: ZoneInfo) -> Callable[[str], When]:
    """Return a function that reads days and times: `form` as in `strptime`, empty for ISO 8601; `zone` is where.

    A text with no time of day becomes a day.
    """
    timed = any(code in form for code in ("%H", "%I", "%X", "%c"))
    known: dict[str, When] = {}

    def read(text: str) -> When:
        found = known.get(text)
        if found is None:
            if len(known) >= _CACHED:
                known.clear()
            clean = text if text.isascii() else ascii_digits(strip_marks(text))
            found = known[text] = _formed(clean, form, timed, zone) if form else _iso(clean, zone)
        return found

    return read


def day_reader(form: str, zone: ZoneInfo) -> Callable[[str], dt.date]:
    """Return a function that reads days; a time of day is cut off."""
    read_moment = moment_reader(form, zone)

    def read(text: str) -> dt.date:
        found = read_moment(text)
        return found.astimezone(zone).date() if isinstance(found, dt.datetime) else found

    return read


def _iso(text: str, zone: ZoneInfo) -> When:
    if not _ISO_DAY.match(text):
        raise BadCell("date", 'is not written as 2026-11-30; declare the form, such as dates = "%d/%m/%Y", in [file]')
    try:
        if len(text) == 10:
            return _gregorian(dt.date.fromisoformat(text))
        return _placed(dt.datetime.fromisoformat(text), zone)
    except ValueError as error:
        raise _no_day(text, error) from error


def _formed(text: str, form: str, timed: bool, zone: ZoneInfo) -> When:
    try:
        found = dt.datetime.strptime(text, form)  # noqa: DTZ007 - placed in its zone below
    except ValueError as error:
        raise BadCell("date", f"is not a date of the form {form}") from error
    return _placed(found, zone) if timed else _gregorian(found.date())


def _gregorian(day: dt.date) -> dt.date:
    if day.year in _PERSIAN_YEARS:
        raise BadCell("date", "looks like a Persian solar (Jalali) date; convert the column to Gregorian dates first")
    return day


def _no_day(text: str, error: ValueError) -> BadCell:
    if int(text[:4]) in _PERSIAN_YEARS:
        return BadCell("date", "looks like a Persian solar (Jalali) date; convert the column to Gregorian dates first")
    return BadCell("date", f"is no date ({error})")


def _placed(naive: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    _gregorian(naive.date())
    if naive.tzinfo is not None:
        return naive
    aware = naive.replace(tzinfo=zone)
    if aware.astimezone(dt.UTC).astimezone(zone).replace(tzinfo=None) != naive:
        raise BadCell("time_gap", f"never was in {zone.key}: the clocks were put forward over it")
    return aware


def contact_key(kind: str, value: str) -> str:
    """Return the form under which an address matches: a phone number's digits, a folded e-mail address.

    Raises:
        BadCell: it is no single address of that kind.
    """
    if kind == "email":
        return _email(value)
    if kind in _PHONES:
        key = phone_key(value)
        if key is None:
            if _SCIENTIFIC.fullmatch(value.strip()):
                raise BadCell("phone", "is in scientific notation: a spreadsheet cut it; export the column as text")
            raise BadCell("phone", "is not one phone number")
        return key
    return email_key(value)


def _email(value: str) -> str:
    if "\r" in value or "\n" in value:
        raise BadCell("email", "has a line break in it")
    name, _, host = value.strip().rpartition("@")
    if not name or not host or any(c.isspace() or c in "<>,;" for c in value.strip()):
        raise BadCell("email", "is not one plain e-mail address")
    return email_key(value)
