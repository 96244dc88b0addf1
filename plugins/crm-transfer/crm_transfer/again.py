"""Rows of a reject file that nobody corrected: known by a mark, and refused again where taking them would do harm.

Only rows of rules that no row passes as it stands: a second row of a key would overwrite the first, a row that was
filled up or joined would come in as nobody wrote it. Where the CRM may have changed meanwhile (references, vetoes) a
row is simply tried again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import attrs

from crm_core.extend import BadRow, Source, SourceRow
from crm_transfer.errors import BadCell
from crm_transfer.report import ERROR_COLUMNS

_ROW, _COLUMN, _RULE, _MESSAGE = ERROR_COLUMNS
_HARMFUL: Final = frozenset({"duplicate", "columns", "header", "quotes", "nul", "json"})
_MARK: Final = re.compile(r"\s*\[as rejected: ([0-9a-f]{12})\]\s*")
_BEFORE: Final = "not corrected yet: "
_AFTER: Final = f"; change a cell, or empty {_RULE} to take the row as it is"
_NUMBER: Final = re.compile(r"\+?(-?)0*([0-9]+)(?:\.([0-9]*?)0*)?", re.ASCII)


def marked(columns: Sequence[str], row: Sequence[str]) -> list[str]:
    """Return a row of a reject file, with the mark at the end of its message if it may not come back as it is."""
    cells = list(row)
    at = columns.index(_MESSAGE)
    cells[at] = _MARK.sub("", cells[at])
    if cells[columns.index(_RULE)] in _HARMFUL:
        cells[at] += f" [as rejected: {_digest(columns, cells)}]"
    return cells


def remarked(columns: Sequence[str], row: Sequence[str], names: Sequence[str], cells: Sequence[str]) -> list[str]:
    """Return `cells`, what a file keeps of a rejected row with more columns, with the mark of what it keeps."""
    return list(cells) if uncorrected(columns, row) is None else marked(names, cells)


def checked(source: Source) -> Source:
    """Return a source whose rows that came back as they were rejected are bad rows; of another file the source."""
    if not {_RULE, _MESSAGE} <= set(source.columns):
        return source
    return attrs.evolve(source, rows=_checked(source.columns, source.rows))


def uncorrected(columns: Sequence[str], cells: Sequence[str]) -> BadCell | None:
    """Return why a row is refused again; None when its cells changed, or its rule or message was emptied."""
    told: Mapping[str, str] = dict(zip(columns, cells, strict=True))
    rule, message = told.get(_RULE, "").strip(), told.get(_MESSAGE, "")
    mark = _MARK.search(message)
    if mark is None or rule not in _HARMFUL or mark[1] != _digest(columns, cells):
        return None
    first = message[: mark.start()].removeprefix(_BEFORE).removesuffix(_AFTER)
    return BadCell(rule, f"{_BEFORE}{first}{_AFTER}", column=told.get(_COLUMN, ""))


def _checked(columns: Sequence[str], rows: Iterable[SourceRow | BadRow]) -> Iterator[SourceRow | BadRow]:
    for row in rows:
        bad = uncorrected(columns, row.cells) if len(row.cells) == len(columns) else None
        yield row if bad is None else BadRow(row.number, row.cells, bad.rule, bad.message, bad.column, "")


def _digest(columns: Sequence[str], cells: Sequence[str]) -> str:
    """Return what tells a row from a corrected one, whatever the order of the columns and with empty ones left out."""
    own = sorted((n, _spelt(c)) for n, c in zip(columns, cells, strict=True) if n not in ERROR_COLUMNS)
    text = "\x1f".join(f"{name}\x1e{cell}" for name, cell in own if cell)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def _spelt(cell: str) -> str:
    r"""Return a cell without what a spreadsheet changes by itself: white space, zeros around a number.

    >>> _spelt("007.50"), _spelt(" a  b\r\n")
    ('7.5', 'a b')
    """
    text = " ".join(cell.split())
    number = _NUMBER.fullmatch(text)
    if number is None:
        return text
    return number[1] + number[2] + (f".{number[3]}" if number[3] else "")
