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
from crm_core.values import Money, ascii_digits, email_key, exponent, phone_key, strip_marks
from crm_transfer.errors import BadCell
from crm_transfer.failed import failure_of
from crm_transfer.serial import is_serial, read_serial, serial_text
from crm_transfer.solar import YEARS, is_solar, solar_reader, solar_text

_PLAIN: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?", re.ASCII)
_SCIENTIFIC: Final = re.compile(r"[+-]?[0-9.,]+[eE][+-]?[0-9]+", re.ASCII)
_ISO_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:$|[ Tt])", re.ASCII)
_MIDNIGHT: Final = re.compile(r"24:00(?::00(?:\.0+)?)?", re.ASCII)
_SERIAL: Final = re.compile(r"[2-5][0-9]{4}(?:[.,][0-9]+)?", re.ASCII)
_YEAR: Final = re.compile(r"(?<![0-9])[0-9]{4}(?![0-9])", re.ASCII)
_NO_BREAK: Final = re.compile("[+\u2212-]?[0-9]{1,3}(?:[\u00a0\u2009\u202f][0-9]{3})+(?![0-9\u00a0\u2009\u202f])")
"""Spaces that never part two numbers: before groups of three digits they part thousands, declared or not."""
_BLANKS: Final = str.maketrans("\u00a0\u2009\u202f\u2212", "   -")
_UNKNOWN: Final = frozenset({"-", "--", "–", "—", "?", "n/a", "na", "none", "null", "nil", "unknown", "#n/a"})
_LIMIT: Final = 2**63 - 1
_DIGITS: Final = 18
"""So many digits fit 64 bits whatever they are."""
_CACHED: Final = 20_000
_SHORT: Final = 40
_NEUTRALISED: Final = tuple("=+-@\t\r\n＝＋－＠")
"""What a spreadsheet takes for the start of a formula, fullwidth forms and white space that it drops included."""
_QUOTABLE: Final = re.compile(r'[,;"\r\n]')
_PHONES: Final = frozenset({"phone", "whatsapp", "viber"})

Number = Callable[[str], Decimal]
When = dt.datetime | dt.date


def guarded(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would run as a formula.

    A text that begins with apostrophes before such a one gets one more, so that taking one away gives the text back.
    """
    return f"'{text}" if text.lstrip("'").startswith(_NEUTRALISED) else text


def without_guard(text: str) -> str:
    """Take away the apostrophe that an export put before a formula.

    >>> [without_guard(guarded(text)) for text in ("=1+1", "'=1+1", "'tis", "+98 912 345 67 89")]
    ['=1+1', "'=1+1", "'tis", '+98 912 345 67 89']
    """
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(_NEUTRALISED) else text


def key_text(text: str) -> str:
    """Return a key as it is stored: invisible marks dropped, accents composed, so that one key has one spelling."""
    return text if text.isascii() else unicodedata.normalize("NFC", strip_marks(text)).strip()


def key_of(cell: str) -> str:
    """Return the key that a cell gives: trimmed, without the apostrophe of an export, as it is stored."""
    text = cell.strip()
    return key_text(without_guard(text) if text[:1] == "'" else text)


class _Keys(dict[str, str]):
    """The keys of cells that were asked for; a cell that was not, or is long, is read."""

    def __missing__(self, cell: str) -> str:
        key = key_of(cell)
        if len(cell) <= _SHORT:
            if len(self) >= _CACHED:
                self.clear()
            self[cell] = key
        return key


def keys_of_column() -> Callable[[str], str]:
    """Return `key_of` for a column whose cells repeat: it remembers them."""
    return _Keys().__getitem__


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

    The Arabic separators U+066B and U+066C need no declaration: they are never ambiguous. Commas may also part lakhs
    and crores, as in India: 12,34,567.

    >>> number_reader(".", ",")("1,23,45,678.50")
    Decimal('12345678.50')
    """
    point, group = re.escape(decimal or "."), re.escape(thousands)
    grouped = rf"[0-9]{{1,3}}(?:{group}[0-9]{{3}})+|" if thousands else ""
    if thousands == ",":
        grouped += r"[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}|"
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
            clean = ascii_digits(strip_marks(text))
            if thousands != " ":
                clean = _NO_BREAK.sub(lambda found: "".join(found[0].split()), clean)
            clean = clean.translate(_BLANKS)
        match = declared.fullmatch(clean.strip())
        if match is None:
            raise _no_number(text, clean, decimal, thousands)
        whole = match[2].replace(thousands, "") if thousands else match[2]
        return Decimal(f"{match[1]}{whole}.{match[3] or 0}" if match[3] else match[1] + whole)

    return read


def _arabic(text: str) -> Decimal:
    clean = ascii_digits(strip_marks(text)).replace("\u2212", "-").strip()
    if not re.fullmatch(r"[+-]?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.[0-9]+)?", clean, re.ASCII):
        raise BadCell("number", "is not a number; write it with digits, ٬ between thousands and ٫ before decimals")
    return Decimal(clean.replace(",", ""))


def _no_number(text: str, clean: str, decimal: str, thousands: str) -> BadCell:
    """Return the refusal of a text that is no number, with the way out that fits what it looks like."""
    bare = clean.strip()
    if _SCIENTIFIC.fullmatch(bare):
        return BadCell("number", "is in scientific notation: a spreadsheet cut it; export the column as text")
    if "," in bare and not decimal and not thousands and not bare.strip("+-.,0123456789"):
        return BadCell(
            "separator",
            'the comma may part thousands or decimals; declare decimal = "," or thousands = "," in [file]',
        )
    if (failure := failure_of(bare, "number")) is not None:
        return failure
    if bare.casefold() in _UNKNOWN:
        return BadCell("number", f"is not a number; {_null_if(bare)}")
    means = next((way for looks, way in _WAYS if looks(bare)), "write it with digits")
    if "separators" in means:
        told = f"decimal = {decimal or '.'!r}" + (f", thousands = {thousands!r}" if thousands else "")
        return BadCell("separator", f"does not fit the separators ({told}); {means}")
    return BadCell("number", f"is not a number; {means}")


_WAYS: Final[tuple[tuple[Callable[[str], bool], str], ...]] = (
    (lambda text: text.startswith("(") and text.endswith(")"), "if brackets mean less than zero, write a minus sign"),
    (lambda text: text.endswith("-"), "if the minus sign at the end means less than zero, put it in front"),
    (lambda text: text.endswith(("%", "٪")), "write the number that the field wants, without a percent sign"),
    (
        lambda text: bool(text) and not text.strip("+-.,' 0123456789"),
        "correct it, or declare the separators decimal = and thousands = in [file]",
    ),
)


def _null_if(text: str) -> str:
    return f'if it means that nothing is known, say so in [file]: null_if = ["{text}"]'


def whole(value: Decimal) -> int:
    """Return a whole number that fits 64 bits."""
    if value != value.to_integral_value():
        raise BadCell("type", "is not a whole number; round it, or map the column to a field of decimals")
    if abs(value) > _LIMIT:
        raise BadCell("range", "is beyond 64 bits; if it is a number nobody calculates with, map it to a field of text")
    return int(value)


def money_of(value: Decimal, currency: str) -> Money:
    """Return an amount of money; one with more decimals than the currency has is refused."""
    try:
        return Money(value, currency)
    except InvalidValue as error:
        digits = exponent(currency)
        if value.adjusted() + digits >= _DIGITS:
            raise BadCell("range", "is beyond 64 bits; correct it") from error
        raise BadCell("money", f"is finer than the {digits} decimals of {currency}; round it") from error


def moment_reader(form: str, zone: ZoneInfo) -> Callable[[str], When]:
    """Return a function that reads days and times: `form` as in `strptime`, empty for ISO 8601; `zone` is where.

    A form that begins with `jalali` reads those of the Persian solar calendar, `spreadsheet` numbered days. A text
    without a time of the day becomes a day.
    """
    timed = is_timed(form)
    solar = solar_reader(form) if is_solar(form) else None
    known: dict[str, When] = {}

    def read(text: str) -> When:
        found = known.get(text)
        if found is None:
            if len(known) >= _CACHED:
                known.clear()
            clean = text if text.isascii() else ascii_digits(strip_marks(text))
            if solar is not None:
                found = _of_solar(solar(clean), clean, form, zone)
            elif is_serial(form):
                found = _of_serial(clean, form, zone)
            else:
                found = _formed(clean, form, timed, zone) if form else _iso(clean, zone)
            known[text] = found
        return found

    return read


def day_reader(form: str, zone: ZoneInfo) -> Callable[[str], dt.date]:
    """Return a function that reads days; a time of day is cut off."""
    read_moment = moment_reader(form, zone)

    def read(text: str) -> dt.date:
        found = read_moment(text)
        return found.astimezone(zone).date() if isinstance(found, dt.datetime) else found

    return read


def is_timed(form: str) -> bool:
    """Say whether dates of a form may have a time of day."""
    return form == "jalali" or is_serial(form) or any(code in form for code in ("%H", "%I", "%X", "%c"))


def written(when: When, form: str) -> str:
    """Write a day or a time in a form, so that it is read again."""
    if is_serial(form):
        return serial_text(when, form)
    return solar_text(when, form) if is_solar(form) else when.strftime(form)


def _iso(text: str, zone: ZoneInfo) -> When:
    if not _ISO_DAY.match(text):
        raise _no_date(text, 'is not written as 2026-11-30; declare the form, such as dates = "%d/%m/%Y", in [file]')
    try:
        if len(text) == 10:
            return _gregorian(dt.date.fromisoformat(text))
        if _MIDNIGHT.fullmatch(text, 11):
            return _placed(dt.datetime.fromisoformat(text[:10]) + dt.timedelta(days=1), zone)
        return _placed(dt.datetime.fromisoformat(text), zone)
    except (ValueError, OverflowError) as error:
        raise _no_date(text, "is no day of the calendar, or no time of a day; correct it") from error


def _formed(text: str, form: str, timed: bool, zone: ZoneInfo) -> When:
    try:
        found = dt.datetime.strptime(text, form)  # noqa: DTZ007 - placed in its zone below
    except ValueError as error:
        raise _no_date(text, f"is not a date of the form {form}; correct it, or the form in the mapping") from error
    return _placed(found, zone) if timed else _gregorian(found.date())


def _of_solar(found: When | None, text: str, form: str, zone: ZoneInfo) -> When:
    if found is None:
        named = (
            "a Persian solar date such as 1402/05/12 or 12 مرداد 1402"
            if form == "jalali"
            else f"a date of the form {form}"
        )
        raise _no_date(text, f"is not {named}; correct it, or the form in the mapping", solar=True)
    return _placed(found, zone) if isinstance(found, dt.datetime) else found


def _of_serial(text: str, form: str, zone: ZoneInfo) -> When:
    found = read_serial(text, form)
    if found is None:
        raise BadCell("date", "is not the number of a day, such as 45292; correct it, or the form in the mapping")
    return _placed(found, zone) if isinstance(found, dt.datetime) else found


def _gregorian(day: dt.date) -> dt.date:
    if day.year in YEARS:
        raise BadCell("date", _JALALI)
    if day.year < YEARS.start:
        raise BadCell("date", f"is of the year {day.year}; correct it, or say that it means nothing: null_if in [file]")
    return day


_JALALI: Final = 'looks like a Persian solar (Jalali) date; declare that it is one: dates = "jalali" in [file]'


def _no_date(text: str, otherwise: str, *, solar: bool = False) -> BadCell:
    """Return the refusal of a text that is no date, with the way out that fits what it looks like."""
    years = {int(year) for year in _YEAR.findall(text)}
    if not solar and not years.isdisjoint(YEARS):
        return BadCell("date", _JALALI)
    if _SERIAL.fullmatch(text):
        return BadCell(
            "date",
            "looks like a spreadsheet's number of a day; format the column as dates and export again, or declare it: "
            'dates = "spreadsheet" in [file]',
        )
    if (failure := failure_of(text, "date")) is not None:
        return failure
    if text.casefold() in _UNKNOWN:
        return BadCell("date", f"is no date; {_null_if(text)}")
    return BadCell("date", otherwise)


def _placed(naive: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    _gregorian(naive.date())
    if naive.tzinfo is not None:
        return naive
    aware = naive.replace(tzinfo=zone)
    if aware.astimezone(dt.UTC).astimezone(zone).replace(tzinfo=None) != naive:
        message = f"never was in {zone.key}: the clocks were put forward over it; correct it, or declare its zone"
        raise BadCell("time_gap", message)
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
            raise _no_phone(value)
        return key
    return email_key(value)


def _no_phone(value: str) -> BadCell:
    if _SCIENTIFIC.fullmatch(value.strip()):
        return BadCell("phone", "is in scientific notation: a spreadsheet cut it; export the column as text")
    if value.strip().casefold() in _UNKNOWN:
        return BadCell("phone", f"is not one phone number; {_null_if(value.strip())}")
    return BadCell(
        "phone",
        "is not one phone number; write one with its digits, an extension as x12; "
        "a second one needs a column and a [[record]] of its own",
    )


def _email(value: str) -> str:
    if "\r" in value or "\n" in value:
        raise BadCell("email", "has a line break in it; write one address, as name@example.org")
    plain = value.strip()
    name, _, host = plain.rpartition("@")
    if not name or not host or "@" in name or any(c.isspace() or c < " " or c in "<>,;:\x7f" for c in plain):
        inner = _ADDRESS.findall(plain)
        way = "a second one needs a column and a [[record]] of its own"
        if len(inner) < 2:
            way = f"write only {inner[0]}" if plain.count("@") == len(inner) == 1 else "write one, as name@example.org"
        if plain.casefold() in _UNKNOWN:
            way = _null_if(plain)
        raise BadCell("email", f"is not one plain e-mail address; {way}")
    return email_key(value)


_ADDRESS: Final = re.compile(r"[^\s<>,;:@/\"]{1,64}@[^\s<>,;:@/\"]{1,255}")
