"""Writes XLSX sheets row by row: rejected rows as text, exported records with real numbers, days and moments."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from crm_core.extend import ExportColumn, Exporter
from crm_transfer.cells import guarded, join_tags
from crm_transfer.errors import FileFault
from crm_transfer.formats.sheetwriting import (
    SheetWriter,
    day_cell,
    error_cell,
    moment_cell,
    number_cell,
    text_cell,
    yes_no_cell,
)

_PHONE: Final = re.compile(r"[+-][0-9 ()./-]*", re.ASCII)
_ERROR: Final = re.compile(r"#(?:N/A|DIV/0!|NAME\?|[A-Z_]{3,14}!)")
_DIGITS: Final = 15
_FIRST_YEAR: Final = 1901
_ROWS: Final = 1_048_576


def write_sheet(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str) -> None:
    """Write rows of text to the only sheet of a new file; errors of a spreadsheet stay errors."""
    with SheetWriter(path, title) as sheet:
        sheet.append(map(text_cell, columns))
        for row in rows:
            sheet.append(_as_it_was(cell) if cell else None for cell in row)


def write_xlsx_export(path: Path | None, columns: Sequence[ExportColumn], rows: Iterable[Sequence[Any]]) -> int:
    """Write records to the only sheet of a new file; moments are those of the workspace's clock.

    A text that a spreadsheet would run as a formula, once it is saved as CSV or edited, gets an apostrophe in front;
    one that is only a plus or minus and digits, a phone number, does no harm and stays as it is.
    """
    assert path is not None, "a spreadsheet is written to a file"
    count = 0
    with SheetWriter(path, "Records") as sheet:
        sheet.append(text_cell(column.name) for column in columns)
        for row in rows:
            sheet.append(map(_cell, row))
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


def _as_it_was(cell: str) -> str:
    return error_cell(cell) if _ERROR.fullmatch(cell) else text_cell(cell)


def _cell(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return yes_no_cell(value)
    if isinstance(value, (int, Decimal)):
        exact = len(Decimal(value).normalize().as_tuple().digits) <= _DIGITS
        return number_cell(value) if exact else text_cell(f"{value:f}" if isinstance(value, Decimal) else str(value))
    if isinstance(value, dt.datetime):
        return _moment(value)
    if isinstance(value, dt.date):
        return day_cell(value) if value.year >= _FIRST_YEAR else text_cell(value.isoformat())
    shown = join_tags(value, ", ") if isinstance(value, tuple) else str(value)
    return text_cell(shown if _PHONE.fullmatch(shown) else guarded(shown)) if shown else None


def _moment(value: dt.datetime) -> str:
    """Return a moment by the clock of its zone; one that the clock shows twice, or no spreadsheet knows, as text."""
    twice = value.replace(fold=0).utcoffset() != value.replace(fold=1).utcoffset()
    if twice or value.year < _FIRST_YEAR:
        return text_cell(value.isoformat())
    return moment_cell(value.replace(tzinfo=None))
