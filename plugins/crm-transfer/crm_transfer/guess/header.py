"""Finds the row that names the columns, below titles and blank lines."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Final

import attrs

from crm_core.values import ascii_digits, phone_key, text_key
from crm_transfer.aligned import ONE, TWO, guess_spaces, with_tabs
from crm_transfer.cells import key_text
from crm_transfer.form import examine, open_text
from crm_transfer.guess.dates import is_date
from crm_transfer.guess.numbers import is_number
from crm_transfer.guess.words import BUYER, is_any_field, tokens
from crm_transfer.layout import separator_line
from crm_transfer.refusals import DELIMITERS

_SAMPLE: Final = 60
_LONGEST: Final = 100
_WIDE: Final = Fraction(3, 5)
"""How much of the usual width a header has at least: titles have a cell or two."""
_DATA: Final = Fraction(3, 10)
"""How much of a header may look like data."""
_YEAR: Final = re.compile(r"(?:19|20)\d\d")
"""Columns are called 2023 and 2024, too."""
_PERIOD: Final = re.compile(r"(?:19|20)\d\d\b|Q[1-4]\b", re.IGNORECASE)
"""How a name begins that says of a figure only when: a year or a quarter."""
_BELOW: Final = 10
_LEVELS: Final = 2
"""How many rows of groups may stand above the names."""
_LAST: Final = 3
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")

Row = tuple[int, Sequence[str]]


@attrs.frozen
class HeaderGuess:
    """The number of the row that names the columns (0 where none does), how sure that is, why, and the names.

    `columns` are names of its columns that differ, where two are called the same or nothing names them.
    """

    row: int
    confidence: str
    why: str
    names: tuple[str, ...]
    columns: tuple[str, ...] = ()


def guess_header(importer: str, path: Path, options: Mapping[str, Any]) -> HeaderGuess | None:
    """Guess which row of a file names its columns; None where it is the first one, or nothing looks like one.

    Raises:
        FileFault: the file as a whole cannot be read.
    """
    if importer == "xlsx":
        from crm_transfer.formats.xlsx import first_rows

        return find_header(first_rows(path, options, _SAMPLE))
    if importer != "csv":
        return None
    rows = _text_rows(path, options)
    return find_header(rows, first=rows[0][0]) if rows else None


def find_header(rows: Sequence[Row], *, first: int = 1) -> HeaderGuess | None:
    """Find the header among the first rows of a file; None where it is the one numbered `first`, or there is none.

    >>> find_header([(1, ["Customers of 2026"]), (3, ["Name", "City"]), (4, ["Ada", "Rome"])]).row
    3
    """
    given = [(number, cells) for number, cells in rows if any(cell.strip() for cell in cells)]
    widths = sorted((_width(cells) for _, cells in given), reverse=True)
    if len(widths) < 2 or widths[1] < 2:
        return None
    usual = widths[1]
    fit = [at for at, (_, cells) in enumerate(given[:-1]) if _may_be_header(cells, usual)]
    fit = fit or _most_known(given, usual)
    if not fit:
        return _nameless(given[0][1]) if any(map(_is_data, given[0][1])) else None
    at = fit[0]
    for other in fit[1:]:
        above, below = given[at][1], given[other][1]
        is_narrow = _width(above) < _WIDE * usual and _known(below) >= _known(above)
        is_named = _known(below) > 2 * max(_known(above), 1) and 2 * _known(below) >= _width(below)
        if other - at <= _LAST and (is_narrow or is_named):
            at = other  # a row of groups of columns stands above
    if _is_of_groups(given, at):
        at += 1
    parted = _of_two_rows(given, at)
    if parted is not None:
        return parted
    number, cells = given[at]
    columns = _told_apart(_named_by_title(given, at))
    if columns == tuple(map(_one_line, cells)):
        columns = ()
    if number == first and not columns:
        return None
    return attrs.evolve(_told(given, at, first), columns=columns)


def _is_of_groups(given: Sequence[Row], at: int) -> bool:
    """Say whether a row says of each column, again and again, to which group it belongs; the names stand below."""
    upper, lower = given[at][1], given[at + 1][1]
    named = [cell for cell in map(_one_line, lower) if cell]
    if at + 2 >= len(given) or len(set(map(key_text, named))) < len(named) or any(map(_is_data, named)):
        return False
    alike = sum(bool(one.strip()) and one == other for one, other in pairwise(upper))
    is_above = _is_above_data(lower, [below for _, below in given[at + 2 : at + 2 + _BELOW]])
    return 3 * alike >= _width(upper) and _width(lower) >= _width(upper) and is_above and _known(lower) > 1


def _with_groups(given: Sequence[Row], at: int) -> list[str]:
    """Return the names of a header; those that say nothing alone get what stands in the row of groups above them.

    A name that comes again is such a one, and a year: "Q1 Units", "Revenue 2025".
    """
    names = [_one_line(cell) for cell in given[at][1]]
    lines = [cells for number, cells in given[:at] if len({*map(_one_line, cells)} - {""}) > 1]
    for upper in reversed(lines[-_LEVELS:]):
        again = Counter(map(key_text, names))
        groups = _spread(upper, len(names))
        vague = [again[key_text(name)] > 1 or bool(_PERIOD.match(ascii_digits(name))) for name in names]
        names = [
            f"{group} {name}" if name and group and is_vague else name
            for name, group, is_vague in zip(names, groups, vague, strict=True)
        ]
    return names


def _named_by_title(given: Sequence[Row], at: int) -> list[str]:
    """Return the names of a header; a first column without one is what a title says: "Sales by Customer Detail"."""
    names = _with_groups(given, at)
    titles = (tokens(cell) for _, cells in given[:at] for cell in cells)
    buyer = next((word for words in titles for word in words if word in BUYER), "")
    if names and not names[0] and buyer:
        names[0] = buyer.capitalize()
    return names


def _spread(upper: Sequence[str], width: int) -> list[str]:
    """Return the group of each column: that of a cell goes on to the right until the next one begins."""
    groups, group = list[str](), ""
    for cell in [*upper[:width], *[""] * (width - len(upper))]:
        group = _one_line(cell) or group
        groups.append(group)
    return groups


def _one_line(cell: str) -> str:
    return " ".join(cell.split())


def _of_two_rows(given: Sequence[Row], at: int) -> HeaderGuess | None:
    """Put a header of two rows together, whose upper cells are merged over several columns; None where it is of one.

    The lower row has names where the upper one has gaps, and beside them where its cells stretch; nothing else.
    """
    (_, upper), (number, lower) = given[at], given[at + 1]
    width = max(len(upper), len(lower))
    above, below = ([*map(_one_line, row), *[""] * (width - len(row))] for row in (upper, lower))
    gaps = [place for place in range(1, width) if not above[place] and below[place]]
    apart = any(below[place] and above[place] and place + 1 not in gaps for place in range(width))
    if not gaps or apart or at + 2 >= len(given) or any(map(_is_data, filter(None, below))):
        return None
    names, group = list[str](), ""
    for top, name in zip(above, below, strict=True):
        group = top or (group if name else "")
        names.append(" ".join(filter(None, (group, name))))
    if not all(names):
        return None
    columns = _told_apart(names)
    why = f"rows {given[at][0]} and {number} name {len(columns)} columns together"
    return HeaderGuess(number, "medium", why, columns, columns)


def _most_known(given: Sequence[Row], usual: int) -> list[int]:
    """Return the first wide row if more of its cells are names of columns than of any other: the rest may be months."""
    first = next(at for at, (_, cells) in enumerate(given) if _width(cells) >= _WIDE * usual)
    known = _known(given[first][1])
    return [first] if known > max((_known(cells) for _, cells in given[first + 1 :]), default=0) else []


def _nameless(cells: Sequence[str]) -> HeaderGuess:
    columns = tuple(f"column {at}" for at in range(1, len(cells) + 1))
    return HeaderGuess(0, "low", "no row looks like the names of the columns", columns, columns)


def _told_apart(cells: Sequence[str]) -> tuple[str, ...]:
    """Return the names of columns with numbers behind those that come again."""
    names = [_one_line(cell) or f"column {at}" for at, cell in enumerate(cells, 1)]
    seen: set[str] = set()
    found: list[str] = []
    for name in names:
        other, number = name, 1
        while key_text(other) in seen:
            number += 1
            other = f"{name} ({number})"
        seen.add(key_text(other))
        found.append(other)
    return tuple(found)


def _told(given: Sequence[Row], at: int, first: int) -> HeaderGuess:
    number, cells = given[at]
    names = tuple(cell.strip() for cell in cells if cell.strip())
    known, typed = _known(cells), _is_above_data(cells, [below for _, below in given[at + 1 : at + 1 + _BELOW]])
    above = number - first
    what = (
        f"{above} row{'s' if above > 1 else ''} above, {'with titles' if at else 'blank'}" if above else "the first row"
    )
    if 2 * known >= len(names) or (known > 1 and typed):
        return HeaderGuess(number, "high", f"it names {len(names)} columns; {what}", names)
    if known or typed:
        return HeaderGuess(number, "medium", f"its cells look like names of columns; {what}", names)
    return HeaderGuess(number, "low", f"the first row as wide as those below; {what}", names)


def _width(cells: Sequence[str]) -> int:
    return sum(bool(cell.strip()) for cell in cells)


def _may_be_header(cells: Sequence[str], usual: int) -> bool:
    given = [cell.strip() for cell in cells if cell.strip()]
    if len(given) < 2 or any(len(cell) > _LONGEST for cell in given):
        return False
    data = sum(_is_data(cell) and not _YEAR.fullmatch(cell) for cell in given)
    if data > _DATA * len(given) or 2 * len(set(map(text_key, given))) < len(given):
        return False
    known = _known(cells)
    return len(given) >= _WIDE * usual or (known > 1 and 2 * known >= len(given))


def _known(cells: Sequence[str]) -> int:
    return sum(is_any_field(cell) for cell in cells if cell.strip())


def _is_data(cell: str) -> bool:
    plain = ascii_digits(cell.strip())
    return bool(_EMAIL.fullmatch(plain)) or is_date(plain) or is_number(plain) or phone_key(plain) is not None


def _is_above_data(cells: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Say whether a column has numbers, dates or addresses below a cell that is none."""
    return any(
        cell.strip()
        and not _is_data(cell)
        and any(len(row) > at and row[at].strip() and _is_data(row[at]) for row in below)
        for at, cell in enumerate(cells)
    )


def _text_rows(path: Path, options: Mapping[str, Any]) -> list[Row]:
    """Return the first rows of delimited text, parted by the delimiter that most of them have alike."""
    form = examine(path, options)
    with open_text(path, form) as lines:
        sample = list(islice(lines, _SAMPLE))
    separated = bool(sample) and separator_line(sample[0])
    declared = {"tab": "\t"}.get(str(options.get("delimiter")), str(options.get("delimiter") or ""))
    aligned = declared if declared in (ONE, TWO) else "" if declared else guess_spaces(sample)
    if aligned and (declared or not any(_regular(_parsed(sample, delimiter))[0] for delimiter in DELIMITERS)):
        sample, declared = list(with_tabs(sample, aligned)), "\t"
    parsed = [_parsed(sample, delimiter) for delimiter in ([declared] if declared else DELIMITERS)]
    rows = max(parsed, key=_regular)
    return rows[1:] if separated else rows


def _parsed(sample: Sequence[str], delimiter: str) -> list[Row]:
    rows: list[Row] = []
    reader = csv.reader(sample, delimiter=delimiter)
    number = 1
    with suppress(csv.Error):
        for cells in reader:
            rows.append((number, cells))
            number = reader.line_num + 1
    return rows


def _regular(rows: Sequence[Row]) -> tuple[int, int]:
    """Return how many rows have the width that most have, where that is more than one, and that width."""
    widths = Counter(len(cells) for _, cells in rows if len(cells) > 1)
    if not widths:
        return 0, 0
    width, count = max(widths.items(), key=lambda each: (each[1], each[0]))
    return count, width
