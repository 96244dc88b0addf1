"""Finds the rows of a sheet that are no records: those that sum up others, at the end or between groups, and notes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Final

import attrs

from crm_core.values import text_key
from crm_transfer.cells import number_reader
from crm_transfer.errors import BadCell
from crm_transfer.guess.numbers import is_number, numbers
from crm_transfer.guess.toml import texts
from crm_transfer.guess.words import TOTALS, is_sum, tokens
from crm_transfer.toml import quoted

_LAST: Final = 3
"""Among so many rows at the end of a sheet a word for a sum is enough."""
_PHRASE: Final = 3
_LISTED: Final = 5
_SHOWN: Final = 3
_ROUNDED: Final = Decimal("0.05")
"""What a sum may differ by, where its parts were rounded."""
_WILD: Final = "*?["
_DIGIT: Final = re.compile(r"\d")


@attrs.frozen
class Asides:
    """Rows that are no records, by their places; the rules that leave them out, as TOML; what is to be decided."""

    places: frozenset[int] = frozenset()
    lines: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()


class _Sheet:
    """The rows of a sheet, and which of their cells have something in them."""

    def __init__(self, names: Sequence[str], rows: Sequence[Sequence[str]], *, is_whole: bool) -> None:
        self.names, self.rows, self.is_whole = names, rows, is_whole
        self.filled = [[place for place, cell in enumerate(row) if cell.strip()] for row in rows]
        self.usual = sorted(map(len, self.filled))[len(rows) // 2] if rows else 0
        self.sparse = [at for at, filled in enumerate(self.filled) if 0 < len(filled) < self.usual]

    def text(self, at: int) -> str:
        """Return the first cell of a row that has something in it."""
        return self.rows[at][self.filled[at][0]].strip()


def find_asides(
    names: Sequence[str], rows: Sequence[Sequence[str]], numbers_of: Sequence[int], *, is_whole: bool
) -> Asides:
    """Find the rows that are no records; `numbers_of` are those of the rows, `is_whole` says that the last one is seen.

    A row sums up others where it has fewer cells than they, says so ("Subtotal North", "Итого"), and what stands beside
    it are their sums; at the end of the sheet either is enough. A note is a sentence in a column of numbers or
    codes.

    >>> found = find_asides(["No", "Name", "Sum"], [["1", "Ada", "5"], ["2", "Bob", "6"], ["Total", "", "11"]],
    ...                     [2, 3, 4], is_whole=True)
    >>> found.places
    frozenset({2})
    """
    sheet = _Sheet(names, rows, is_whole=is_whole)
    sums = _sums(sheet)
    notes = _notes(sheet, sums)
    places = sums | notes
    if not places or 2 * len(places) > len(rows):
        return Asides()
    lines = [*_rules(sheet, "totals", sums, places), *_rules(sheet, "notes", notes, places)]
    questions = [
        *_told(sheet, sums, numbers_of, "only sum up others"),
        *_told(sheet, notes, numbers_of, "are taken for notes"),
    ]
    return Asides(frozenset(places), tuple(lines), tuple(questions))


def _sums(sheet: _Sheet) -> set[int]:
    found: set[int] = set()
    end = len(sheet.rows) - _LAST if sheet.is_whole else len(sheet.rows)
    for at in sorted({*sheet.sparse, *range(max(end, 0), len(sheet.rows))}):
        if sheet.filled[at] and _is_sum(sheet, at, found, is_last=at >= end):
            found.add(at)
    return found


def _is_sum(sheet: _Sheet, at: int, sums: set[int], *, is_last: bool) -> bool:
    text, filled = sheet.text(at), sheet.filled[at]
    words = tokens(text)
    if is_sum(text) and is_last:
        return True
    is_sparse, ends = len(filled) < sheet.usual, at == len(sheet.rows) - 1 and is_last
    if not is_sparse or not all(is_number(sheet.rows[at][place].strip()) for place in filled[1:]):
        return False
    if is_number(text):  # a sum without a word, in the last row alone
        return ends and 2 * len(filled) <= sheet.usual and _adds_up(sheet, at, sums)
    if not says_sum(words):
        return False
    if len(filled) == 1:
        return is_last and sheet.usual > 2  # "Total: 19 customers"
    return is_sum(text) or _names_group(sheet, at, sums) or _adds_up(sheet, at, sums)


def says_sum(words: list[str]) -> bool:
    """Say whether a text begins or ends as a sum does: "Subtotal North", "North Total", "Итого по складу"."""
    phrases = [part for size in range(1, _PHRASE + 1) for part in (words[:size], words[-size:])]
    return any("".join(phrase) in TOTALS for phrase in phrases)


def _names_group(sheet: _Sheet, at: int, sums: set[int]) -> bool:
    """Say whether the text of a row names what the row above it belongs to."""
    above = next((other for other in range(at - 1, -1, -1) if other not in sums), None)
    text = text_key(sheet.text(at))
    cells = () if above is None else sheet.rows[above]
    return any(len(cell.strip()) > 1 and not is_number(cell.strip()) and text_key(cell) in text for cell in cells)


def _adds_up(sheet: _Sheet, at: int, sums: set[int]) -> bool:
    """Say whether a number of a row is the sum of those above it, of all or since the last sum."""
    since = max((other for other in sums if other < at), default=-1)
    above = [other for other in range(at) if other not in sums]
    for place in sheet.filled[at]:
        for summed in ([other for other in above if other > since], above):
            cells = [sheet.rows[other][place].strip() for other in summed if sheet.rows[other][place].strip()]
            values = _values([*cells, sheet.rows[at][place].strip()]) if len(cells) > 1 else []
            if values and abs(sum(values[:-1]) - values[-1]) <= _ROUNDED:
                return True
    return False


def _values(cells: Sequence[str]) -> list[Decimal]:
    """Return what numbers come to; none where they are not written alike."""
    found = None
    with suppress(BadCell):
        found = numbers(cells)
    if found is None:
        return []
    read = number_reader(found.decimal, found.thousands)
    return [read(value) for value in found.bare]


def _notes(sheet: _Sheet, sums: set[int]) -> set[int]:
    """Return the rows of one cell, a sentence, in a column of numbers or codes; all other rows have more."""
    alone = {at for at in sheet.sparse if len(sheet.filled[at]) == 1 and at not in sums}
    rest = [at for at in range(len(sheet.rows)) if at not in alone and at not in sums and sheet.filled[at]]
    if sheet.usual <= _PHRASE - 1 or len(alone) * 2 > len(rest):
        return set()
    notes = set()
    for at in alone:
        place = sheet.filled[at][0]
        is_coded = all(_DIGIT.search(sheet.rows[other][place]) for other in rest)
        if len(sheet.text(at).split()) >= _PHRASE and is_coded:
            notes.add(at)
    return notes if notes == alone else set()


def _rules(sheet: _Sheet, name: str, places: set[int], asides: set[int]) -> list[str]:
    """Write the rules that leave rows out: one for each column in which they say what they are."""
    lines: list[str] = []
    by_column: dict[int, list[int]] = {}
    for at in sorted(places):
        place = -1 if is_number(sheet.text(at)) else sheet.filled[at][0]
        by_column.setdefault(place, []).append(at)
    for count, (place, mine) in enumerate(by_column.items(), 1):
        asked = [f"{{ column = {quoted(sheet.names[place])}, {_says(sheet, mine)} }}"] if place >= 0 else []
        empty = _only_empty_here(sheet, mine, asides)
        asked += [f"{{ column = {quoted(column)}, given = false }}" for column in empty]
        when = asked[0] if len(asked) == 1 else f"[{', '.join(asked)}]"
        lines += ["", "[[rule]]", f"name = {quoted(name if count == 1 else f'{name} {count}')}", f"when = {when}"]
        lines.append("skip = true  # medium: " + ("notes" if name == "notes" else "they only sum up other rows"))
    return lines


def _says(sheet: _Sheet, places: Sequence[int]) -> str:
    said = list(dict.fromkeys(sheet.text(at) for at in places))
    if len(said) == 1:
        return f"is = {quoted(said[0])}"
    first, last = min(said), max(said)
    same = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    prefix = first[:same].rpartition(" ")[0]
    if len(said) > _LISTED and prefix and not set(_WILD) & set(prefix):
        return f"like = {quoted(prefix + ' *')}"
    return f"is = {texts(said)}"


def _only_empty_here(sheet: _Sheet, places: Sequence[int], asides: set[int]) -> list[str]:
    """Return the first column that has something in every record and nothing in these rows."""
    rest = [row for at, row in enumerate(sheet.rows) if at not in asides]
    for place, name in enumerate(sheet.names):
        if not any(sheet.rows[at][place].strip() for at in places) and all(row[place].strip() for row in rest):
            return [name]
    return []


def _told(sheet: _Sheet, places: set[int], numbers_of: Sequence[int], what: str) -> list[str]:
    if not places:
        return []
    listed = sorted(places)
    shown = ", ".join(f"row {numbers_of[at]} {sheet.text(at)[:40]!r}" for at in listed[:_SHOWN])
    more = " ..." if len(listed) > _SHOWN else ""
    return [f"{len(listed):,} of {len(sheet.rows):,} rows {what}, and a rule leaves them out: {shown}{more}"]
