"""Writes XLSX sheets row by row: rejected rows as text, exported records with real numbers, days and moments."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from crm_core.extend import ExportColumn, Exporter
from crm_transfer.cells import guarded, join_tags
from crm_transfer.errors import FileFault

_UNFIT: Final = re.compile(r"[\x00-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
"""What XML cannot hold, the carriage return that it would turn into another line end, and what looks like an escape."""
_TITLE: Final = re.compile(r"[\[\]:*?/\\\x00-\x1f]")
_PHONE: Final = re.compile(r"[+-][0-9 ()./-]*", re.ASCII)
_ERROR: Final = re.compile(r"#(?:N/A|DIV/0!|NAME\?|[A-Z_]{3,14}!)")
_DIGITS: Final = 15
_ROWS, _LONGEST = 1_048_576, 32_767


def write_sheet(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str) -> None:
    """Write rows of text to the only sheet of a new file; errors of a spreadsheet stay errors."""
    with _sheet(path, title, errors=True) as (append, text):
        append([text(name) for name in columns])
        for row in rows:
            append([text(cell) if cell else None for cell in row])


def write_xlsx_export(path: Path | None, columns: Sequence[ExportColumn], rows: Iterable[Sequence[Any]]) -> int:
    """Write records to the only sheet of a new file; moments are those of the workspace's clock.

    A text that a spreadsheet would run as a formula, once it is saved as CSV or edited, gets an apostrophe in front;
    one that is only a plus or minus and digits, a phone number, does no harm and stays as it is.
    """
    assert path is not None, "a spreadsheet is written to a file"
    count = 0
    with _sheet(path, "Records") as (append, text):
        append([text(column.name) for column in columns])
        for row in rows:
            append([_cell(value, text) for value in row])
            count += 1
            if count >= _ROWS:
                raise FileFault(
                    f"a sheet holds {_ROWS:,} rows, and there are more records",
                    hint="filter them with --where, or write --format csv or parquet",
                )
    return count


XLSX_EXPORT: Final = Exporter(
    name="xlsx",
    suffixes=(".xlsx",),
    write=write_xlsx_export,
    typed=True,
    binary=True,
    help="A sheet of a spreadsheet, with real numbers and dates.",
)


@contextmanager
def _sheet(
    path: Path, title: str, *, errors: bool = False
) -> Iterator[tuple[Callable[[list[Any]], None], Callable[[str], Any]]]:
    """Give a function that appends a row, and one that makes a cell of text, which is never taken for a formula."""
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell

    book = Workbook(write_only=True)
    sheet = book.create_sheet(_TITLE.sub(" ", title)[:31].strip("' ") or "Rows")
    sheet.freeze_panes = "A2"

    def text(value: str) -> Any:
        if len(value) > _LONGEST:
            raise FileFault(
                f"a cell has {len(value):,} characters, and a spreadsheet allows {_LONGEST:,}",
                hint="leave the column out with --columns, or write --format csv or jsonl",
            )
        cell = WriteOnlyCell(sheet, value=_UNFIT.sub(_escaped, value))
        cell.data_type = "e" if errors and _ERROR.fullmatch(value) else "s"  # whatever else it looks like
        return cell

    try:
        yield sheet.append, text
    finally:
        sheet.close()
    book.save(path)


def _escaped(match: re.Match[str]) -> str:
    return f"_x{ord(match[0]):04X}_"


def _cell(value: Any, text: Callable[[str], Any]) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, Decimal)):
        exact = len(Decimal(value).normalize().as_tuple().digits) <= _DIGITS
        return value if exact else text(f"{value:f}" if isinstance(value, Decimal) else str(value))
    if isinstance(value, dt.datetime):
        return _moment(value, text)
    if isinstance(value, dt.date):
        return value if value.year >= 1901 else text(value.isoformat())
    shown = join_tags(value, ", ") if isinstance(value, tuple) else str(value)
    return text(shown if _PHONE.fullmatch(shown) else guarded(shown)) if shown else None


def _moment(value: dt.datetime, text: Callable[[str], Any]) -> Any:
    """Return a moment by the clock of its zone; one that the clock shows twice, or no spreadsheet knows, as text."""
    naive = value.replace(tzinfo=None)
    twice = value.replace(fold=0).utcoffset() != value.replace(fold=1).utcoffset()
    return text(value.isoformat()) if twice or value.year < 1901 else naive
