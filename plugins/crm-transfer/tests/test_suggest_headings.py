"""Headings of several lines, of groups, in two scripts and with units, as ERP programs and pivot tables write them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook

from crm_core import CRM
from crm_core.settings import write_settings
from crm_transfer.guess.header import find_header
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.suggest import Suggestion, suggest

Rows = list[list[Any]]


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[CRM]:
    write_settings(tmp_path / "ws", storage_url="memory:", currency="EUR")
    with CRM.open(tmp_path / "ws") as opened:
        yield opened


def book(folder: Path, rows: Rows, *merged: str) -> Path:
    made = Workbook()
    sheet = made.worksheets[0]
    for row in rows:
        sheet.append(row)
    for cells in merged:
        sheet.merge_cells(cells)
    made.save(folder / "book.xlsx")
    return folder / "book.xlsx"


def bring(crm: CRM, path: Path) -> tuple[Suggestion, dict[str, int]]:
    found = suggest(crm, "customers", path)
    mapping = parse_mapping(found.toml)
    dry, done = import_file(crm, path, mapping, dry_run=True), import_file(crm, path, mapping)
    assert ([], dry.counts) == (done.errors, done.counts)
    assert 0 == import_file(crm, path, mapping).counts.created
    return found, {name: counts.created for name, counts in done.types.items()}


def names(rows: Rows) -> tuple[int, tuple[str, ...]]:
    found = find_header([(number, [str(cell or "") for cell in row]) for number, row in enumerate(rows, 1)])
    assert found is not None
    return found.row, found.columns or found.names


def test_names_that_come_again_get_those_of_their_groups() -> None:
    rows: Rows = [["Sales report"], ["Customer", "", "2025"], ["", "", "Q1", "", "Q2"]]
    rows += [["No", "Name", "Units", "Revenue", "Units", "Revenue"], ["1", "Ann", "1", "10", "2", "20"]]
    rows += [["2", "Bob", "3", "30", "4", "40"]]
    told = ("No", "Name", "2025 Q1 Units", "2025 Q1 Revenue", "2025 Q2 Units", "2025 Q2 Revenue")
    assert (4, told) == names(rows)


def test_years_get_the_name_of_what_they_are_the_years_of() -> None:
    rows: Rows = [["Kunde", "", "Umsatz"], ["Nr.", "Name", "2024\n(EUR)", "2025\n(EUR)", "Rabatt\n(%)"]]
    rows += [["K-1", "Weiß", "5", "6", "1"], ["K-2", "Groß", "7", "8", "2"]]
    assert (2, ("Nr.", "Name", "Umsatz 2024 (EUR)", "Umsatz 2025 (EUR)", "Rabatt (%)")) == names(rows)


def test_groups_that_stand_above_each_of_their_columns_are_no_names() -> None:
    rows: Rows = [["Customer", "Customer", "Contact", "Contact"], ["No", "Name", "Phone", "E-mail"]]
    rows += [["1", "Ann", "+49 30 1234567", "a@x.example"], ["2", "Bob", "+49 30 7654321", "b@x.example"]]
    assert (2, ("No", "Name", "Phone", "E-mail")) == names(rows)
    twice: Rows = [["No", "Name", "Phone", "Phone"], ["1", "Ann", "Home", "Work"], ["2", "Bob", "Home", "Work"]]
    assert (1, ("No", "Name", "Phone", "Phone (2)")) == names(twice)


def test_merged_cells_across_and_down_name_the_columns_of_a_book(crm: CRM, tmp_path: Path) -> None:
    rows: Rows = [["Kundenliste"], ["Nr.", "Name", "Kontakt", None, "Umsatz\n(EUR)"]]
    rows += [[None, None, "Telefon", "E-Mail", None], ["K-1", "Weiß AG", "0221 123456", "a@x.example", 100]]
    rows += [["K-2", "Groß KG", "0228 765432", "b@x.example", 50], ["Gesamt", None, None, None, 150]]
    path = book(tmp_path, rows, "A1:E1", "A2:A3", "B2:B3", "C2:D2", "E2:E3")
    found, made = bring(crm, path)
    assert ({"customer": 2, "contact_point": 4}, ("Nr.",)) == (made, found.key.columns)
    assert {"Kontakt Telefon", "Kontakt E-Mail", "Umsatz (EUR)"} <= {guess.column for guess in found.columns}
    assert {"Weiß AG", "Groß KG"} == {customer.name for customer in crm.customers.iterate()}


@pytest.mark.parametrize(
    "total",
    [
        "Gesamtergebnis",
        "Grand Total",
        "Total général",
        "Total general",
        "Общий итог",
        "Genel Toplam",
        "Suma końcowa",
        "Totale complessivo",
        "جمع کل",
        "المجموع الكلي",
        "Ընդամենը",
    ],
)
def test_the_last_row_of_a_pivot_table_is_no_customer(crm: CRM, tmp_path: Path, total: str) -> None:
    rows: Rows = [["Name", "2024", "2025"], ["Weiß", 1, 2], ["Groß", 3, 4], [total, 4, 6]]
    _, made = bring(crm, book(tmp_path, rows))
    assert {"customer": 2} == made


def test_a_heading_in_two_languages_is_known_where_both_say_the_same(crm: CRM, tmp_path: Path) -> None:
    rows: Rows = [["Customer No.\nكد مشتري", "Name\nنام", "Phone\nتلفن", "City / شهر", "Company تلفن"]]
    rows += [["C-1", "Ali", "+98 912 123 4567", "Tehran", "x"], ["C-2", "Sara", "+98 912 123 4568", "Shiraz", "y"]]
    found, made = bring(crm, book(tmp_path, rows))
    targets = {guess.column: guess.target for guess in found.columns}
    assert ("Customer No. كد مشتري",) == found.key.columns
    assert ("customer.name", "customer.city") == (targets["Name نام"], targets["City / شهر"])
    assert {"customer": 2, "contact_point": 2} == made
