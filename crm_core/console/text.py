"""How values look to a person: widths on a terminal, right-to-left text kept in its cell, money, times and shares."""

from __future__ import annotations

import unicodedata
from datetime import date, datetime, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crm_core.values import Money

_FIRST_STRONG_ISOLATE, _POP_ISOLATE = "\u2068", "\u2069"
_BIDI_CONTROLS = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
_RIGHT_TO_LEFT = frozenset({"R", "AL", "RLE", "RLO"})
MISSING = "–"
"""What stands where a value is unknown."""


def width(text: str) -> int:
    """Count the terminal cells that a text takes: wide characters two, marks that combine none.

    >>> width("Ada"), width("سارا"), width("日本"), width("e\u0301")
    (3, 4, 4, 1)
    """
    return len(text) if text.isascii() else sum(map(_cells, text))


def clip(text: str, cells: int) -> str:
    """Cut a text to so many cells, with an ellipsis where something is missing.

    >>> clip("Licence for a year", 8), clip("سارا احمدی", 5), clip("short", 8)
    ('Licence…', 'سارا…', 'short')
    """
    if width(text) <= cells:
        return text
    kept, used = [], 0
    for character in text:
        used += _cells(character)
        if used > cells - 1:
            break
        kept.append(character)
    return "".join(kept).rstrip() + "…"


def pad(text: str, cells: int, *, right: bool = False) -> str:
    """Fill a text with spaces to so many cells; `right` puts the text to the right."""
    space = " " * (cells - width(text))
    return space + text if right else text + space


def clean(text: str) -> str:
    r"""Return the text on one line, control characters made visible, so that data cannot steer a terminal.

    >>> clean("two\nlines \x1b[31m")
    'two lines ␛[31m'
    """
    if text.isprintable():
        return text
    flat = " ".join(text.translate(_BIDI_CONTROLS).split("\n"))
    return "".join(_visible(character) for character in flat)


def isolate(text: str) -> str:
    """Wrap right-to-left text so that it does not reorder the cells beside it; other text stays as it is."""
    if text.isascii() or not any(unicodedata.bidirectional(c) in _RIGHT_TO_LEFT for c in text):
        return text
    return _FIRST_STRONG_ISOLATE + text.translate(_BIDI_CONTROLS) + _POP_ISOLATE


def money(value: Money | None) -> str:
    """Write an amount with its currency, `1,200.00 EUR`; unknown is a dash."""
    return MISSING if value is None else str(value)


def moment(value: datetime | date | None, zone: tzinfo, *, seconds: bool = False) -> str:
    """Write an instant in local time to the minute, or a day; unknown is a dash."""
    if value is None:
        return MISSING
    if isinstance(value, datetime):
        return value.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")
    return value.isoformat()


def share(value: Fraction | Decimal | float, *, digits: int = 1) -> str:
    """Write a ratio as a percentage, `63.2 %`."""
    return f"{float(value) * 100:.{digits}f} %"


def duration(seconds: float) -> str:
    """Write a time span as `m:ss` or `h:mm:ss`.

    >>> duration(75), duration(3700)
    ('1:15', '1:01:40')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def size(octets: int) -> str:
    """Write a number of bytes for a person.

    >>> size(900), size(7_400_000)
    ('900 bytes', '7.4 MB')
    """
    if octets < 1000:
        return f"{octets} bytes"
    power = min((len(str(octets)) - 1) // 3, 4)
    return f"{octets / 1000**power:.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def plural(count: int, noun: str, many: str = "") -> str:
    """Count things in words.

    >>> plural(1, "deal"), plural(2400, "deal"), plural(0, "reply", "replies")
    ('1 deal', '2,400 deals', '0 replies')
    """
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def cell(value: Any, zone: tzinfo) -> str:
    """Write any field's value for a table's cell."""
    if value is None or value == ():
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, date):
        return moment(value, zone)
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value))
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value)


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _visible(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return " " if character in "\t\r" else chr(0x2400 + code)
    if character.isprintable() or unicodedata.category(character) == "Cf":
        return character
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"
