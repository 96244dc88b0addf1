"""Habits of people who keep sheets: two rows of headings, brackets for less than nothing, days as numbers, totals."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM, Money
from crm_core.settings import write_settings
from crm_transfer.errors import FileFault
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.report import ImportReport
from crm_transfer.suggest import Suggestion, suggest


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[CRM]:
    write_settings(tmp_path / "ws", storage_url="memory:", currency="EUR", zone="UTC")
    with CRM.open(tmp_path / "ws") as opened:
        yield opened


def bring(crm: CRM, folder: Path, kind: str, text: str) -> tuple[Suggestion, ImportReport]:
    """Suggest a mapping for a sheet and import the sheet by it, without an edit."""
    path = folder / "sheet.csv"
    path.write_text(text, encoding="utf-8")
    found = suggest(crm, kind, path)
    return found, import_file(crm, path, parse_mapping(found.toml))


def own(crm: CRM, field: str) -> list[Any]:
    return [one.fields.get(field) for one in sorted(crm.customers.iterate(), key=lambda one: one.id)]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (("1.234,50 €", "(350,00 €)", "99,90 €"), ("1234.50", "-350.00", "99.90")),
        (("1234.50 EUR", "(350.00 EUR)", "99.90 EUR"), ("1234.50", "-350.00", "99.90")),
        (("€ 1.234,50", "(€ 350,00)", "€ 99,90"), ("1234.50", "-350.00", "99.90")),
    ],
)
def test_amounts_in_brackets_with_their_currency_are_less_than_nothing(
    crm: CRM, tmp_path: Path, cells: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    rows = "".join(f"K{at};Ada {at};{cell}\n" for at, cell in enumerate(cells))
    _, report = bring(crm, tmp_path, "customers", f"Kundennr.;Name;Umsatz\n{rows}")
    assert (3, 0) == (report.counts.created, report.counts.rejected)
    assert [Money(Decimal(amount), "EUR") for amount in expected] == own(crm, "umsatz")


def test_sales_in_brackets_are_refunds(crm: CRM, tmp_path: Path) -> None:
    text = 'Order No,Customer,Amount\nA1,Ann,"1,234.50"\nA2,Bob,(200.00)\n'
    found, report = bring(crm, tmp_path, "sales", text)
    assert (2, 0) == (report.counts.created, report.counts.rejected), found.toml
    assert [("refund", Decimal("200.00")), ("sale", Decimal("1234.50"))] == sorted(
        (sale.kind, sale.amount.amount) for sale in crm.sales.iterate()
    )


def test_days_as_a_spreadsheet_numbers_them_are_days_and_that_is_asked(crm: CRM, tmp_path: Path) -> None:
    found, report = bring(crm, tmp_path, "customers", "No,Name,Birthday\nC1,Ann,29221\nC2,Bob,36525\n")
    assert 2 == report.counts.created, found.toml
    assert ["1980-01-01", "1999-12-31"] == sorted(str(one.birth_date) for one in crm.customers.iterate())
    assert any("29221 is taken for 1980-01-01" in question for question in found.questions)


def test_a_column_called_like_a_date_that_has_numbers_is_asked_about(crm: CRM, tmp_path: Path) -> None:
    found, _ = bring(
        crm, tmp_path, "sales", "Order No,Customer,Amount,Order Date\nA1,Ann,5.00,45293.5\nA2,Bob,6.00,1\n"
    )
    assert any('"Order Date": it is called like sold_at' in question for question in found.questions)


def test_numbers_that_a_spreadsheet_cut_are_asked_about_and_nothing_is_keyed_by_them(crm: CRM, tmp_path: Path) -> None:
    found, report = bring(crm, tmp_path, "customers", "Customer ID,Name\n1.23E+12,Ann\n1.24E+12,Bob\n")
    assert any("a spreadsheet cut its numbers" in question for question in found.questions)
    assert (0, 2) == (report.counts.created, report.counts.rejected)


def test_totals_are_left_out_though_a_row_above_could_not_be_read(crm: CRM, tmp_path: Path) -> None:
    text = "No,Name,Balance\nC1,Ann,5\nNo,Name,Balance\nC2,Bob,6\nTotal,,11\n"
    _, report = bring(crm, tmp_path, "customers", text)
    assert ({"totals": 1}, 2) == (report.files[0].skipped, crm.customers.count())
    assert [(3, "header")] == [(error.row, error.rule) for error in report.errors]


@pytest.mark.parametrize(
    "text",
    [
        "No,Name,Contact,,Since\n,,Phone,E-mail,\n1,Ann,+49 176 1234567,a@x.org,2024-01-05\n"
        "2,Bob,,b@x.org,2024-02-05\n",
        "List,,,,\nNo,Name,Contact,,Since\n,,Phone,E-mail,\n1,Ann,+49 176 1234567,a@x.org,2024-01-05\n"
        "2,Bob,,b@x.org,2024-02-05\n",
    ],
    ids=["alone", "below a title"],
)
def test_a_header_of_two_rows_is_put_together(crm: CRM, tmp_path: Path, text: str) -> None:
    found, report = bring(crm, tmp_path, "customers", text)
    assert [] == report.errors, found.toml
    assert ["Ann", "Bob"] == sorted(str(one.name) for one in crm.customers.iterate())
    assert {"a@x.org", "b@x.org", "+49 176 1234567"} == {point.value for point in crm.contact_points.iterate()}
    assert {"Contact Phone", "Contact E-mail"} <= {guess.column for guess in found.columns}


def test_amounts_whose_heading_names_the_currency_are_money(crm: CRM, tmp_path: Path) -> None:
    _, report = bring(
        crm, tmp_path, "customers", "کد مشتری,نام مشتری,مبلغ (تومان)\n۱۰۱,سارا,۱٬۲۵۰٬۰۰۰\n۱۰۲,علی,۸۵۰٬۰۰۰\n"
    )
    assert (2, 0) == (report.counts.created, report.counts.rejected)
    assert [Money(12_500_000, "IRR"), Money(8_500_000, "IRR")] == own(crm, "mblgh_tvman")


def test_koi8_is_told_from_windows_1251_in_small_letters_and_in_capitals(crm: CRM, tmp_path: Path) -> None:
    text = "Код,Имя,Город\n1,Иван Петров,Москва\n2,Ольга Сидорова,Тверь\n"
    for encoding, written in (("koi8-r", text), ("windows-1251", text), ("windows-1251", text.upper())):
        (tmp_path / "e.csv").write_bytes(written.encode(encoding))
        assert encoding == suggest(crm, "customers", tmp_path / "e.csv").file["encoding"]


def test_a_file_of_utf8_with_another_fault_is_not_taken_for_another_encoding(crm: CRM, tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text('\ufeff"Name " ;City\n"Zoë";Köln\n', encoding="utf-8")
    with pytest.raises(FileFault, match="a quote stands inside a name of the header line"):
        suggest(crm, "customers", tmp_path / "q.csv")


def test_the_closing_day_of_an_open_deal_is_the_expected_one(crm: CRM, tmp_path: Path) -> None:
    rows = ["Id,Name,StageName,Amount,CloseDate,CreatedDate", "1,Big,Closed Won,100,2024-02-01,2023-12-01"]
    rows += ["2,Small,Closed Lost,10,2024-03-01,2023-12-02", "3,New,Prospecting,,2024-12-01,2024-01-02"]
    found, report = bring(crm, tmp_path, "deals", "\n".join(rows))
    assert [] == report.errors
    told = {deal.title: (deal.closed_at, deal.expected_close_on) for deal in crm.deals.iterate()}
    assert {
        "Big": (dt.date(2024, 2, 1), None),
        "Small": (dt.date(2024, 3, 1), None),
        "New": (None, dt.date(2024, 12, 1)),
    } == told
    assert (
        'column "CloseDate": of 1 deal in open stages it is taken for the day on which they are expected to close'
    ) in found.questions


def test_a_column_says_which_customers_are_organisations(crm: CRM, tmp_path: Path) -> None:
    rows = ["id,name,is_company,city", "r1,Azure Interior,True,Wavre", "r2,Brandon Freeman,False,Wavre"]
    bring(crm, tmp_path, "customers", "\n".join(rows))
    assert {"Azure Interior": "organisation", "Brandon Freeman": "person"} == {
        each.name: each.kind for each in crm.customers.iterate()
    }
