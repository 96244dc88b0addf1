"""What the cells of a column look like, decided from all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Final

import attrs

from crm_core.values import ascii_digits, phone_key, strip_marks, text_key
from crm_transfer.cells import without_guard
from crm_transfer.failed import is_failed
from crm_transfer.guess.dates import forms_of, impossible_days, is_date, is_iso, solar_dates
from crm_transfer.guess.numbers import PERCENTS, is_number, numbers
from crm_transfer.guess.words import (
    CODES,
    FALSE,
    NO_DATES,
    NOTHING,
    NOTHING_IN_TEXTS,
    TRUE,
    called,
    is_called,
    names_key,
    names_phone,
    plain,
)

_SHORT: Final = 100
_EMAIL: Final = re.compile(r"[^@\s:;,<>()]+@[^@\s:;,<>()]+\.[^@\s:;,<>()]+")
_PHONE: Final = re.compile(r"'?(?:\+|00|[0(](?=[0-9]*[ ()./-]))[0-9 ()./-]{6,}")
_FIXED: Final = 9
"""From so many digits on, numbers that all have the same length are hardly quantities."""
_CLOCK: Final = re.compile(r"(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?")
_HOURS: Final = re.compile(r"[ T].*[1-9]")
"""A spreadsheet writes midnight behind its days."""
_MINUS: Final = {"-": re.compile(r"([0-9].*[0-9]|[0-9])[-\u2212]"), "(": re.compile(r"\(([^()]*[0-9][^()]*)\)")}
_FIRST_DIGIT: Final = re.compile(r"(?=[0-9])")
_CUT: Final = re.compile(r"[0-9]+[.,][0-9]+E\+[0-9]+", re.ASCII)
_FEW: Final = 3
_MARKS: Final = (",", ";", "|", "\n", "/")
_MOSTLY: Final = 10
"""Of so many different cells, one may be odd before a column is no column of dates or numbers at all."""
_RARE: Final = 100
"""One cell of so many may be wrong in a column of quantities, prices or days that is still read as such."""
_MEASURES: Final = ("amount", "price", "margin", "duration", "opened_at", "closed_at", "sold_at", "birth_date")
"""Where a column is called like one of these, one cell that is none is odd whatever the others are."""


@attrs.frozen(kw_only=True, slots=False)
class Seen:
    """What the rows seen say of a column: what its cells look like, and how sure that is.

    `forms` are the forms that read all of its dates: with more than one, it stays open which day is meant. `nulls` are
    texts that mean that nothing is known: they count as empty, as `failed` do, the cells in which a formula failed.
    `beside` are the signs of a currency, or of percents, that stand at its numbers, `minus` is what makes them less
    than zero where it does not stand in front: "-" behind, or "(". Of addresses a cell may have several, up to `parts`,
    `parted_by` a mark. `note` is a remark, `doubt` one that a person has to settle, `ambiguity` what keeps a guess from
    being sure.
    """

    name: str
    kind: str
    values: tuple[str, ...]
    empty: int
    forms: tuple[str, ...] = ()
    decimal: str = ""
    thousands: str = ""
    doubt: str = ""
    ambiguity: str = ""
    note: str = ""
    nulls: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    digits: int = 0
    minus: str = ""
    parted_by: str = ""
    parts: int = 1
    failed: tuple[str, ...] = ()

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
        return all(len(value) <= _SHORT and strip_marks(value).isprintable() for value in self.distinct)

    @property
    def tells_apart(self) -> int:
        """How many rows the column tells apart; 0 where its cells are not fit for a key."""
        return len(self.distinct) if self.is_short else 0

    @property
    def is_timed(self) -> bool:
        """Whether its dates have a time of day."""
        return any(":" in value and _HOURS.search(value) for value in self.distinct)

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
    >>> look_at("Сумма", ["12", "нет"]).nulls
    ('нет',)
    """
    given = tuple(without_guard(cell.strip()) for cell in cells if cell.strip())
    failed = tuple(value for value in given if value[0] in "#E" and _has_failed(value))
    values = tuple(value for value in given if not _has_failed(value)) if failed else given
    seen = _typed(Seen(name=name, kind="text", values=values, empty=len(cells) - len(values), failed=failed))
    if seen.kind != "text":
        return seen
    return _without_nothing(seen) or _denied(seen) or _several(seen) or _text(seen)


def _has_failed(value: str) -> bool:
    """Say whether a formula failed there, but for one that found nothing: that is no fault of the sheet."""
    return is_failed(value) and text_key(value) not in NOTHING_IN_TEXTS


def _typed(seen: Seen) -> Seen:
    """Say what kind all values are of."""
    latin = [ascii_digits(value) for value in seen.distinct]
    if not latin:
        return attrs.evolve(seen, kind="empty")
    if all(plain(value) in TRUE | FALSE for value in latin):
        return attrs.evolve(seen, kind="boolean")
    if solar := solar_dates(latin):
        return attrs.evolve(seen, kind="date", forms=(solar.form,), doubt=solar.doubt, ambiguity=solar.ambiguity)
    if all(map(is_iso, latin)):
        return attrs.evolve(seen, kind="date")
    if all(_EMAIL.fullmatch(value) for value in seen.distinct):
        return attrs.evolve(seen, kind="email")
    if all(_CLOCK.fullmatch(value) for value in latin):
        return attrs.evolve(seen, kind="time")
    if _are_phones(seen.name, latin):
        return attrs.evolve(seen, kind="phone")
    forms = forms_of(latin)
    if forms:
        return attrs.evolve(seen, kind="date", forms=forms)
    return _number(seen)


def _are_phones(name: str, latin: Sequence[str]) -> bool:
    if names_phone(name):
        return all(phone_key(value) is not None for value in latin)
    if is_called(name, CODES) or names_key(name):
        return False
    return all(_PHONE.fullmatch(value) for value in latin) and not all(map(is_date, latin))


def _number(seen: Seen) -> Seen:
    found = numbers(seen.distinct)
    if found is None:
        return seen
    if found.whole and (note := _is_code(seen)):
        return attrs.evolve(seen, note=note)
    points = (found.decimal or ".", "٫")
    return attrs.evolve(
        seen,
        kind="integer" if found.whole else "decimal",
        decimal=found.decimal,
        thousands=found.thousands,
        doubt=found.doubt,
        beside=found.beside,
        digits=max((len(v.rpartition(p)[2]) for v in found.bare for p in points if p in v), default=0),
    )


def _is_code(seen: Seen) -> str:
    """Say why whole numbers are none that anybody calculates with; empty where they may be."""
    if is_called(seen.name, CODES):
        return "a number nobody calculates with stays text"
    lengths = {len(value) for value in seen.distinct}
    is_bare = all(value.isdecimal() for value in seen.distinct)
    is_fixed = is_bare and len(lengths) == 1 and min(lengths) >= _FIXED and len(seen.distinct) > _FEW
    if is_fixed and not any(called(seen.name, field) is not None for field in ("amount", "price", "margin")):
        return f"all of them have {min(lengths)} digits, as codes have: they stay text"
    return ""


def _without_nothing(seen: Seen) -> Seen | None:
    """Look again without the cells that say that nothing is known; None where that makes no difference."""
    shy = frozenset(mark for mark in NOTHING if plain(mark) not in TRUE | FALSE)
    for known in (shy, NOTHING, NOTHING | NO_DATES):
        dropped = _dropped(seen, known)
        if dropped is None:
            continue
        found = _typed(dropped)
        if found.kind in ("text", "empty") and not found.note:
            continue
        if known is shy or (found.kind != "boolean" and (known is NOTHING or found.kind == "date")):
            return found
    return None


def _dropped(seen: Seen, marks: frozenset[str]) -> Seen | None:
    nothing = tuple(value for value in seen.distinct if text_key(value) in marks)
    if not nothing:
        return None
    rest = tuple(value for value in seen.values if value not in nothing)
    return attrs.evolve(seen, values=rest, empty=seen.empty + len(seen.values) - len(rest), nulls=nothing)


def _denied(seen: Seen) -> Seen | None:
    """Take a column for numbers whose minus stands behind them, or is a pair of brackets; None where it is not."""
    rest = _dropped(seen, NOTHING) or seen
    for minus, form in _MINUS.items():
        if not any(map(form.fullmatch, rest.distinct)):
            continue
        turned = tuple(form.sub(lambda found: _FIRST_DIGIT.sub("-", found[1], count=1), v) for v in rest.values)
        found = _number(attrs.evolve(rest, values=turned))
        if found.kind in ("integer", "decimal") and PERCENTS.isdisjoint(found.beside):
            return attrs.evolve(found, values=rest.values, minus=minus)
    return None


def _several(seen: Seen) -> Seen | None:
    """Take a column for phone numbers or e-mail addresses whose cells may have a few; None where it is not."""
    rest = _dropped(seen, NOTHING) or seen
    for mark in _MARKS:
        parted = [[part.strip() for part in value.split(mark) if part.strip()] for value in rest.distinct]
        most = max((len(parts) for parts in parted), default=0)
        if not 1 < most <= _FEW:
            continue
        alone = _typed(attrs.evolve(rest, values=tuple(part for parts in parted for part in parts)))
        if alone.kind == "email" or (alone.kind == "phone" and names_phone(seen.name)):
            return attrs.evolve(rest, kind=alone.kind, parted_by=mark, parts=most)
    return None


def _text(seen: Seen) -> Seen:
    """Return a column of texts; one whose cells are nearly all dates or numbers is not taken for text silently."""
    seen = _dropped(seen, NOTHING_IN_TEXTS) or seen
    if not seen.values:
        return attrs.evolve(seen, kind="empty")
    if seen.note:
        return seen
    cut = next(filter(_CUT.fullmatch, seen.distinct), "")
    if cut:
        doubt = f"{cut}: a spreadsheet cut its numbers; format the column as text there and export it again"
        return attrs.evolve(seen, doubt=doubt)
    form, never = impossible_days([ascii_digits(value) for value in seen.distinct])
    if form:
        told = _listed([value for value in seen.distinct if ascii_digits(value) in never])
        doubt = (
            f"Persian solar dates, but no days of that calendar: {told}: kept as text; correct them, then map the "
            f'column to a date and declare dates = "{form}" in [file]'
        )
        return attrs.evolve(seen, doubt=doubt)
    what, odd = _nearly(seen)
    if not odd:
        return seen
    shown = _listed(odd)
    measured = _without_odd(seen, odd) if what in ("dates", "numbers") else None
    if measured is not None:
        rows = len(seen.values) - len(measured.values)
        told = "1 row has none of its" if rows == 1 else f"{rows:,} rows have none of its"
        doubt = f"{told} {what}, and will be rejected: {shown}; correct them, or say null_if"
        return attrs.evolve(measured, doubt="; ".join(filter(None, (doubt, measured.doubt))))
    doubt = f"nearly all cells are {what}, but not {shown}: kept as text; correct them, or say null_if, to change that"
    return attrs.evolve(seen, doubt=doubt)


def _without_odd(seen: Seen, odd: Sequence[str]) -> Seen | None:
    """Look again without very few odd cells, where a column is called a quantity, a price or a day; else None.

    As a text it would be of no use, and a sheet of a hundred thousand order lines has a few cells that are wrong.
    """
    names = (*_MEASURES, "quantity")
    rest = tuple(value for value in seen.values if value not in set(odd))
    is_measure = any(called(seen.name, field, kind) is not None for field in names for kind in ("", "sale", "product"))
    if not is_measure or _RARE * (len(seen.values) - len(rest)) > len(seen.values):
        return None
    found = _typed(attrs.evolve(seen, values=rest))
    return found if found.kind in ("date", "integer", "decimal") else None


def _listed(odd: Sequence[str]) -> str:
    return ", ".join(repr(value[:40]) for value in odd[:_FEW]) + (" ..." if len(odd) > _FEW else "")


def _nearly(seen: Seen) -> tuple[str, list[str]]:
    """Return what all cells but a few are, and those few."""
    if len(seen.distinct) < _FEW or is_called(seen.name, CODES):
        return "", []
    allowed = max(len(seen.distinct) // _MOSTLY, any(called(seen.name, field) is not None for field in _MEASURES))
    tests: list[tuple[str, Callable[[str], bool]]] = [
        ("e-mail addresses", lambda value: bool(_EMAIL.fullmatch(value))),
        ("dates", is_date),
        ("numbers", is_number),
    ]
    if names_phone(seen.name):
        tests = [("phone numbers", lambda value: phone_key(value) is not None)]
    for what, test in tests:
        odd = [value for value in seen.distinct if not test(ascii_digits(value))]
        if 0 < len(odd) <= allowed:
            rest = tuple(value for value in seen.values if value not in set(odd))
            kind = _typed(attrs.evolve(seen, values=rest)).kind
            return (what, odd) if kind not in ("text", "empty") else ("", [])
    return "", []


def with_one_form(columns: Sequence[Seen]) -> list[Seen]:
    """Let columns whose dates may be read in two ways follow one that leaves no doubt."""
    proven = {_order(seen.forms[0]) for seen in columns if len(seen.forms) == 1}
    found = []
    for seen in columns:
        if len(seen.forms) < 2:
            found.append(seen)
            continue
        same_order = [form for form in seen.forms if _order(form) in proven]
        if len(same_order) == 1:
            doubt = "both day and month may come first; read as the other dates of the file"
            found.append(attrs.evolve(seen, forms=tuple(same_order), doubt=doubt))
        elif _order(seen.forms[0]) == _order(seen.forms[1]):  # Dec 1, 2024: a short and a whole name of a month
            found.append(seen)
        else:
            example = next(iter(seen.distinct))
            doubt = f"{example} may be {' or '.join(seen.forms[:2])}: no value is above 12"
            found.append(attrs.evolve(seen, doubt=doubt))
    return found


def _order(form: str) -> str:
    return re.sub(r"[^%a-zA-Z]", "", form).replace("%b", "%B")[:4]
