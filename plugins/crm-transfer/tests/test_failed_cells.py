"""Formulas that failed or were never calculated: refused where the mapping reads them, and told."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from openpyxl import Workbook

from crm_core import CRM
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.suggest import suggest

MAPPING = """
[file]
system = "h"
[[record]]
type = "customer"
key = "No"
[record.fields]
name = "Name"
city = { column = "City", null_if = ["#N/A"] }
"""
WORKSPACE = '[crm]\ncurrency = "EUR"\n[storage]\nurl = "memory:"\n'


def book_of(path: Path, rows: list[list[Any]]) -> Path:
    book = Workbook()
    sheet = book.worksheets[0]
    for row in rows:
        sheet.append(row)
    for number in (2, 3):
        sheet.cell(number, 5).number_format = "yyyy-mm-dd"
    book.save(path)
    return path


def test_cells_without_a_value_cost_a_row_only_where_the_mapping_reads_them(tmp_path: Path) -> None:
    rows: list[list[Any]] = [
        ["No", "Name", "City", "Helper", "Day"],
        ["1", "Ada", "#N/A", "#REF!", -3],
        ["2", "#VALUE!", "Rome", "=A1", 60],
        ["#NAME?", "Eve", "Bonn", None, None],
        ["4", "Mia", "#REF!", "x", dt.date(2026, 1, 1)],
        ["5", "Zoe", "Oslo", "#DIV/0!", None],
        ["6", "=B2", "Oslo", None, None],
    ]
    path = book_of(tmp_path / "h.xlsx", rows)
    with CRM.open("memory:") as crm:
        report = import_file(crm, path, parse_mapping(MAPPING))
        assert [
            (3, "Name", "#VALUE!", "spreadsheet_error"),
            (4, "No", "#NAME?", "spreadsheet_error"),
            (5, "City", "#REF!", "spreadsheet_error"),
            (7, "Name", "=B2", "formula"),
        ] == [(error.row, error.column, error.value, error.rule) for error in report.errors]
        assert [("Ada", None), ("Zoe", "Oslo")] == sorted((each.name, each.city) for each in crm.customers.iterate())
        rejects = report.files[0].rejects_file
        assert rejects is not None
        assert 4 == import_file(crm, Path(rejects), parse_mapping(MAPPING)).counts.rejected


def test_a_suggestion_looks_past_cells_without_a_value_and_tells_them(tmp_path: Path) -> None:
    rows: list[list[Any]] = [["No", "Name", "Region", "Employees", "Helper", "Gross"]]
    rows += [[f"c{n}", f"Name {n}", "#N/A" if n == 3 else "North", n or "#DIV/0!", "#REF!", "=D1"] for n in range(5)]
    (tmp_path / "crm.toml").write_text(WORKSPACE, encoding="utf-8")
    with CRM.open(tmp_path) as crm:
        found = suggest(crm, "customers", book_of(tmp_path / "h.xlsx", rows))
    assert (5, 5) == (found.seen, found.total)
    assert 'region = { column = "Region", null_if = ["#N/A"] }' in found.toml
    assert 'fields.employees = "Employees"' in found.toml
    assert [
        'column "Employees": 1 row will be rejected, since the cell shows #DIV/0!: a formula failed there; if it means '
        'that nothing is known, say so: null_if = ["#DIV/0!"]',
        'column "Helper": it is left out, since its cell shows #REF!: a formula failed there',
        'column "Gross": it is left out, since its cell is a formula that was never calculated, so it has no value; '
        "open the file in a spreadsheet program and save it there: that calculates it",
    ] == [question for question in found.questions if "formula" in question]


def test_words_for_failure_in_other_languages_are_no_values_either(tmp_path: Path) -> None:
    words = ("#BEZUG!", "#VALEUR!", "#¡REF!", "#ЗНАЧ!", "Err:508")
    lines = ["No,Name,City", *(f"{at},{word},Rome" for at, word in enumerate(words)), "8,Err: 5,Rome", "9,#1 Taxi,Rome"]
    (tmp_path / "f.csv").write_text("\n".join(lines), encoding="utf-8")
    with CRM.open("memory:") as crm:
        report = import_file(crm, tmp_path / "f.csv", parse_mapping(MAPPING))
        assert list(words) == [error.value for error in report.errors]
        assert {"spreadsheet_error"} == {error.rule for error in report.errors}
        assert ["#1 Taxi", "Err: 5"] == sorted(str(each.name) for each in crm.customers.iterate())
