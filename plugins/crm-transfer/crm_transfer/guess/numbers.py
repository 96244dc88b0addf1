"""How the numbers of a column are written: their separators, and the currency or percent sign beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import attrs

from crm_core.values import ascii_digits
from crm_transfer.cells import number_reader
from crm_transfer.currencies import currencies_of
from crm_transfer.errors import BadCell

_NUMBER: Final = re.compile(r"[+\u2212-]?[0-9][0-9.,٫٬'\u2019\u00a0\u2009\u202f ]*", re.ASCII)
_LEADING_ZERO: Final = re.compile(r"0[0-9]+$", re.ASCII)
_APART: Final = " '\u2019"
"""What parts thousands and never decimals."""
_APART_FORMS: Final = {
    mark: re.compile(rf"[+\u2212-]?[0-9]{{1,3}}(?:{mark}[0-9]{{3}})+(?:[.,][0-9]*)?", re.ASCII) for mark in _APART
}
_BESIDE: Final = re.compile(
    r"([^\d\s+\-.,'\u2212\u2019()]{1,7}\.?)?\s*([+\u2212-]?\d[^a-zA-Z%٪]*?)\s*([^\d\s,'()]{1,7}\.?)?"
)
PERCENTS: Final = frozenset("%٪")
_LIMIT: Final = 2**63
_SHORT: Final = 60


@attrs.frozen(kw_only=True)
class Numbers:
    """What a column of numbers looks like; `beside` are the signs or words that stand at its numbers, as written."""

    whole: bool
    decimal: str = ""
    thousands: str = ""
    doubt: str = ""
    beside: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()


def numbers(values: Sequence[str]) -> Numbers | None:
    """Say how numbers are written, None when not all values are numbers of one way of writing.

    >>> numbers(["1'234.50", "7"]).thousands
    "'"
    >>> numbers(["1.234,50 €", "12 €"]).beside
    ('€',)
    """
    return _plain(values) or _with_signs(values)


def is_number(value: str) -> bool:
    """Say whether a text alone may be a number, with or without a sign of its currency."""
    return numbers([value]) is not None


def _plain(values: Sequence[str]) -> Numbers | None:
    digits = [ascii_digits(value) for value in values]
    if not all(_NUMBER.fullmatch(value) for value in digits) or any(_LEADING_ZERO.match(value) for value in digits):
        return None
    marks = [mark for mark in _APART if any(mark in value for value in digits)]
    if len(marks) > 1 or not all(_APART_FORMS[mark].fullmatch(v) for mark in marks for v in digits if mark in v):
        return None
    latin = [value for value in values if "٫" not in value and "٬" not in value]
    decimal, thousands, doubt = _separators(latin)
    if marks and thousands:  # two ways of grouping in one column: nobody knows which is meant
        if not doubt:
            return None
        decimal, thousands, doubt = ",", "", ""  # 12 500,250: what parts thousands is the space
    thousands = marks[0] if marks else thousands
    whole = not any((decimal or ".") in value for value in latin) and not any("٫" in value for value in values)
    if whole and any(abs(int(re.sub(r"\D", "", value) or 0)) >= _LIMIT for value in digits):
        return None
    if not _can_be_read(values, decimal, thousands):
        return None
    return Numbers(whole=whole, decimal=decimal, thousands=thousands, doubt=doubt, bare=tuple(values))


def _can_be_read(values: Sequence[str], decimal: str, thousands: str) -> bool:
    """Say whether an import reads all of them by these separators: 0.0.00 looks like a number, and is none."""
    read = number_reader(decimal, thousands)
    try:
        for value in values:
            read(value)
    except BadCell:
        return False
    return True


def _separators(latin: Sequence[str]) -> tuple[str, str, str]:
    """Return the separators of decimals and thousands as commas and points stand, and what is doubtful of them."""
    commas, points = any("," in value for value in latin), any("." in value for value in latin)
    last_comma = any(re.search(r",\d{1,2}$|,\d{4,}$", value) for value in latin) or any(
        "." in value and value.rfind(",") > value.rfind(".") for value in latin
    )
    if commas and last_comma:
        return ",", "." if points else "", ""
    if commas:
        is_sure = points or any(value.count(",") > 1 for value in latin)
        return ".", ",", "" if is_sure else f"{next(v for v in latin if ',' in v)} may also have a decimal comma"
    if any(value.count(".") > 1 for value in latin):
        return ",", ".", ""
    return "", "", ""


def _with_signs(values: Sequence[str]) -> Numbers | None:
    bare: list[str] = []
    signs: dict[str, None] = {}
    for value in values:
        found = _BESIDE.fullmatch(ascii_digits(value)) if len(value) <= _SHORT else None
        if found is None or (found[1] and found[3]):
            return None
        sign = found[1] or found[3] or ""
        if sign:
            signs[sign] = None
        bare.append(found[2])
    meant = {("%",) if sign in PERCENTS else currencies_of(sign) for sign in signs}
    if len(meant) != 1 or meant == {None}:
        return None
    seen = _plain(bare)
    return None if seen is None else attrs.evolve(seen, beside=tuple(signs))
