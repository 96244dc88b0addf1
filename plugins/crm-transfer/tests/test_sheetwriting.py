"""The sheets we write: what other programs read in them, byte for byte the same, and never too large to open."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from openpyxl import load_workbook

from crm_core.extend import ExportColumn
from crm_transfer.errors import FileFault
from crm_transfer.formats import sheetwriting, xlsxwriting
from crm_transfer.formats.xlsx import open_xlsx, write_xlsx
from crm_transfer.formats.xlsxwriting import write_xlsx_export

COLUMNS: Final = ("name", "count", "price", "day", "moment", "yes", "tags", "nothing")
ROWS: Final[list[list[Any]]] = [
    ["سارا", 7, Decimal("12.50"), dt.date(2026, 11, 30), dt.datetime(2026, 11, 30, 10, 5, 7, tzinfo=dt.UTC), True,
     ("a", "b,c"), None],
    ["Արամ & <Söhne>", -1, Decimal("-0.001"), dt.date(1901, 1, 1), dt.datetime(1999, 12, 31, 23, 59, 59, tzinfo=dt.UTC),
     False, (), None],
    ["  two\nlines ", 0, Decimal("1E+3"), dt.date(9999, 12, 31), dt.datetime(2026, 1, 1, tzinfo=dt.UTC), True,
     ("Иван",), None],
]  # fmt: skip


def written(folder: Path, rows: list[list[Any]], columns: tuple[str, ...] = COLUMNS) -> Path:
    path = folder / "out.xlsx"
    assert len(rows) == write_xlsx_export(path, [ExportColumn(name) for name in columns], rows)
    return path


@pytest.mark.skipif(shutil.which("soffice") is None, reason="NOT RUN: LibreOffice is not installed")
def test_libreoffice_opens_what_we_write_and_shows_what_was_meant(tmp_path: Path) -> None:
    path = written(tmp_path, ROWS)
    command = ["soffice", f"-env:UserInstallation=file://{tmp_path / 'profile'}", "--headless", "--convert-to"]
    form = "csv:Text - txt - csv (StarCalc):44,34,76,1,,1033,false,true,false"
    subprocess.run([*command, form, "--outdir", tmp_path, path], check=True, capture_output=True, timeout=120)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.reader(file))
    assert [
        [*COLUMNS],
        ["سارا", "7", "12.5", "2026-11-30", "2026-11-30 10:05:07", "TRUE", 'a, "b,c"', ""],
        ["Արամ & <Söhne>", "-1", "-0.001", "1901-01-01", "1999-12-31 23:59:59", "FALSE", "", ""],
        ["  two\nlines ", "0", "1000", "9999-12-31", "2026-01-01 00:00:00", "TRUE", "Иван", ""],
    ] == found


def test_another_library_reads_the_types_and_the_first_row_stays_in_view(tmp_path: Path) -> None:
    sheet = load_workbook(written(tmp_path, ROWS)).active
    assert sheet is not None
    assert ("Records", "A2") == (sheet.title, sheet.freeze_panes)
    found = [[cell.value for cell in row] for row in sheet.iter_rows()]
    assert [*COLUMNS[:7], "nothing"] == found[0]
    expected = [
        [
            name, count, float(price), dt.datetime(day.year, day.month, day.day), moment.replace(tzinfo=None), yes,  # noqa: DTZ001
        ]
        for name, count, price, day, moment, yes, _, _ in ROWS
    ]  # fmt: skip
    assert expected == [row[:6] for row in found[1:]]


def test_our_own_reader_reads_it_back(tmp_path: Path) -> None:
    found = [list(row.cells) for row in open_xlsx(written(tmp_path, ROWS), {}).rows]
    assert ["سارا", "7", "12.50", "2026-11-30", "2026-11-30 10:05:07", "true", 'a, "b,c"', ""] == found[0]
    assert ["  two\nlines ", "0", "1000"] == found[2][:3]


@given(st.text(st.characters(blacklist_categories=()), max_size=60))
@example("\r")
@example(" ")
@example("\0")
@example(" \0")
@example("_x000D_")
@example("\ud800")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_comes_back_whatever_xml_thinks_of_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.xlsx"
    write_xlsx(path, ["a", "b"], [["x", text]], {})
    source = open_xlsx(path, {})
    (row,) = source.rows
    shown = text.replace("\0", "")
    assert dict(zip(source.columns, row.cells, strict=True)) == {"a": "x", "b": shown}
    sheet = load_workbook(path).active  # it is XML that others accept
    assert sheet is not None
    assert "x" == sheet["A2"].value


def test_the_same_rows_are_the_same_file(tmp_path: Path) -> None:
    digests = {hashlib.sha256(written(tmp_path, ROWS).read_bytes()).hexdigest() for _ in range(2)}
    assert 1 == len(digests)


def test_a_sheet_that_no_spreadsheet_opens_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [ExportColumn("a")]
    monkeypatch.setattr(xlsxwriting, "_ROWS", 3)
    assert 2 == write_xlsx_export(tmp_path / "fits.xlsx", columns, [["x"]] * 2)
    with pytest.raises(FileFault, match="a sheet holds 3 rows"):
        write_xlsx_export(tmp_path / "rows.xlsx", columns, [["x"]] * 3)
    with pytest.raises(FileFault, match=r"32,768 characters, and a spreadsheet allows 32,767"):
        write_xlsx_export(tmp_path / "long.xlsx", columns, [["x" * 32_768]])
    monkeypatch.undo()
    monkeypatch.setattr(sheetwriting, "_FULL", 1 << 20)
    with pytest.raises(FileFault, match=r"grows beyond 1 MB in row"):
        write_xlsx_export(tmp_path / "large.xlsx", columns, [["x" * 30_000]] * 2 + [["y" * 30_000]] * 100)
