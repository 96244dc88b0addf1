"""What the cells of a column look like, decided from all of them."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Final

import attrs

from crm_core.values import ascii_digits
from crm_transfer.cells import without_guard
from crm_transfer.guess.words import FALSE, PHONE, TRUE, plain

_SHORT: Final = 100
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d.*)?")
_DATE: Final = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}(?: \d{1,2}:\d\d(?::\d\d)?)?|(?:19|20)\d{6}")
_DATES: Final = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%m.%d.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d",
                 "%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%Y%m%d")  # fmt: skip
_TIMES: Final = ("", " %H:%M", " %H:%M:%S")
_SOLAR: Final = re.compile(r"1[34]\d\d[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12]\d|3[01])")
_NUMBER: Final = re.compile(r"[+-]?[0-9][0-9.,٫٬\u00a0\u2009\u202f ]*", re.ASCII)
_LEADING_ZERO: Final = re.compile(r"0[0-9]+$", re.ASCII)
_SPACED: Final = re.compile(r"[+-]?[0-9]{1,3}(?: [0-9]{3})+(?:[.,][0-9]*)?", re.ASCII)
_EMAIL: Final = re.compile(r"[^@\s:;,<>()]+@[^@\s:;,<>()]+\.[^@\s:;,<>()]+")
_PHONE: Final = re.compile(r"'?[+0(][0-9 ()./-]{6,}")
_LOCAL_PHONE: Final = re.compile(r"'?[+(]?[0-9][0-9 ()./-]{5,}")
_LIMIT: Final = 2**63


@attrs.frozen(kw_only=True, slots=False)
class Seen:
    """What the rows seen say of a column: what its cells look like, and how sure that is.

    `forms` are the forms that read all of its dates: with more than one, it stays open which day is meant.
    """

    name: str
    kind: str
    values: tuple[str, ...]
    empty: int
    forms: tuple[str, ...] = ()
    decimal: str = ""
    thousands: str = ""
    doubt: str = ""

    @property
    def format(self) -> str:
        """The form of dates, empty for ISO 8601."""
        return self.forms[0] if self.forms else ""

    @cached_property
    def distinct(self) -> tuple[str, ...]:
        """The different values, in the order in which they come."""
        return tuple(dict.fromkeys(self.values))

    @property
    def is_key(self) -> bool:
        """Whether every row has a value of its own."""
        return self.is_short and bool(self.values) and not self.empty and len(self.distinct) == len(self.values)

    @cached_property
    def is_short(self) -> bool:
        """Whether the cells are fit for a key: one line each, and not long."""
        return all(len(value) <= _SHORT and value.isprintable() for value in self.distinct)

    @property
    def tells_apart(self) -> int:
        """How many rows the column tells apart; 0 where its cells are not fit for a key."""
        return len(self.distinct) if self.is_short else 0

    @property
    def is_timed(self) -> bool:
        """Whether its dates have a time of day."""
        return any(":" in value for value in self.distinct[:100])

    @property
    def longest(self) -> int:
        """How long its longest cell is."""
        return max(map(len, self.distinct), default=0)


def look_at(name: str, cells: Sequence[str]) -> Seen:
    """Say what the cells of a column look like.

    >>> look_at("Joined", ["31/12/2024", "", "01/02/2025"]).format
    '%d/%m/%Y'
    >>> look_at("Total", ["1.234,50", "12,00"]).decimal
    ','
    >>> look_at("Joined", ["03/04/2024"]).forms
    ('%d/%m/%Y', '%m/%d/%Y')
    """
    values = tuple(without_guard(cell.strip()) for cell in cells if cell.strip())
    seen = Seen(name=name, kind="text", values=values, empty=len(cells) - len(values))
    latin = [ascii_digits(value) for value in seen.distinct]
    if not values:
        return attrs.evolve(seen, kind="empty")
    if all(plain(value) in TRUE | FALSE for value in latin):
        return attrs.evolve(seen, kind="boolean")
    if all(_SOLAR.match(value) for value in latin):
        return attrs.evolve(seen, kind="solar")
    if all(_ISO.fullmatch(value) and _is_day(value) for value in latin):
        return attrs.evolve(seen, kind="date")
    if all(_EMAIL.fullmatch(value) for value in seen.distinct):
        return attrs.evolve(seen, kind="email")
    called_phone = any(word in plain(name) for word in PHONE)
    if all((_LOCAL_PHONE if called_phone else _PHONE).fullmatch(value) for value in latin) and not (
        not called_phone and all(_DATE.fullmatch(value) for value in latin)
    ):
        return attrs.evolve(seen, kind="phone")
    return _dates(seen, latin) or _numbers(seen) or seen


def with_one_form(columns: Sequence[Seen]) -> list[Seen]:
    """Let columns whose dates may be read in two ways follow one that leaves no doubt."""
    proven = [
        seen.forms[0].replace("/", "").replace(".", "").replace("-", "")[:4] for seen in columns if len(seen.forms) == 1
    ]
    found = []
    for seen in columns:
        if len(seen.forms) < 2:
            found.append(seen)
            continue
        same_order = [f for f in seen.forms if f.replace("/", "").replace(".", "").replace("-", "")[:4] in proven]
        if len(same_order) == 1:
            doubt = "both day and month may come first; read as the other dates of the file"
            found.append(attrs.evolve(seen, forms=tuple(same_order), doubt=doubt))
        else:
            example = next(iter(seen.distinct))
            doubt = f"{example} may be {' or '.join(seen.forms[:2])}: no value is above 12"
            found.append(attrs.evolve(seen, doubt=doubt))
    return found


def _is_day(value: str) -> bool:
    try:
        dt.datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _dates(seen: Seen, latin: Sequence[str]) -> Seen | None:
    if not all(_DATE.fullmatch(value) for value in latin):
        return None
    times = [time for time in _TIMES if time.count(":") == latin[0].count(":")]
    fitting = [day + time for day in _DATES for time in times if all(_is_date(value, day + time) for value in latin)]
    return attrs.evolve(seen, kind="date", forms=tuple(fitting)) if fitting else None


def _is_date(value: str, form: str) -> bool:
    try:
        dt.datetime.strptime(value, form)  # noqa: DTZ007 - only whether it can be read
    except ValueError:
        return False
    return True


def _numbers(seen: Seen) -> Seen | None:
    values = seen.distinct
    if not all(_NUMBER.fullmatch(ascii_digits(value)) for value in values):
        return None
    spaced = [value for value in values if " " in value]
    if any(_LEADING_ZERO.match(ascii_digits(value)) for value in values) or not all(
        _SPACED.fullmatch(ascii_digits(value)) for value in spaced
    ):
        return None
    latin = [value for value in values if "٫" not in value and "٬" not in value]
    commas, points = any("," in value for value in latin), any("." in value for value in latin)
    last_comma = any(re.search(r",\d{1,2}$|,\d{4,}$", value) for value in latin) or any(
        "." in value and value.rfind(",") > value.rfind(".") for value in latin
    )
    decimal, thousands, doubt = "", "", ""
    if commas and last_comma:
        decimal, thousands = ",", "." if points else ""
    elif commas:
        decimal, thousands = ".", ","
        doubt = "" if points else f"{next(v for v in latin if ',' in v)} may also have a decimal comma"
    elif any(value.count(".") > 1 for value in latin):
        decimal, thousands = ",", "."
    if spaced and thousands:  # two ways of grouping in one column: nobody knows which is meant
        return None
    thousands = " " if spaced else thousands
    whole = not any((decimal or ".") in value for value in latin) and len(latin) == len(values)
    if whole and any(abs(int(re.sub(r"\D", "", ascii_digits(value)) or 0)) >= _LIMIT for value in values):
        return None
    return attrs.evolve(seen, kind="integer" if whole else "decimal", decimal=decimal, thousands=thousands, doubt=doubt)
