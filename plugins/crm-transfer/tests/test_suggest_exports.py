"""What shops and offices export, imported by the mapping that is suggested, without an edit."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from crm_core import CRM
from crm_core.settings import write_settings
from crm_transfer.cells import number_reader
from crm_transfer.guess.numbers import numbers
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
    """Suggest a mapping for a file and import the file by it, without an edit."""
    path = folder / "sheet.csv"
    path.write_text(text, encoding="utf-8")
    found = suggest(crm, kind, path)
    return found, import_file(crm, path, parse_mapping(found.toml))


def amounts(crm: CRM) -> list[Decimal]:
    return sorted(sale.amount.amount for sale in crm.sales.iterate() if sale.amount is not None)


def own(crm: CRM, field: str) -> list[Any]:
    return [one.fields.get(field) for one in sorted(crm.customers.iterate(), key=lambda one: one.id)]


# Numbers


@given(st.lists(st.text("0123456789.,' -\u2212₹€", min_size=1, max_size=12), min_size=1, max_size=4))
def test_what_is_taken_for_numbers_can_be_read_as_such(values: list[str]) -> None:
    found = numbers(values)
    if found is not None:
        read = number_reader(found.decimal, found.thousands)
        assert len(values) == len([read(value) for value in found.bare])


def test_amounts_in_lakhs_and_crores(crm: CRM, tmp_path: Path) -> None:
    text = (
        'Invoice No,Date,Amount\nI/1,2024-01-05,"₹ 1,23,456.00"\n'
        'I/2,2024-01-06,"₹ 12,34,56,789.50"\nI/3,2024-01-07,₹ 99.90\n'
    )
    found, report = bring(crm, tmp_path, "sales", text)
    assert (3, 0) == (report.counts.created, report.counts.rejected), found.toml
    assert [Decimal("99.90"), Decimal(123456), Decimal("123456789.50")] == amounts(crm)


def test_whole_lakhs_leave_no_doubt_which_separator_they_have(crm: CRM, tmp_path: Path) -> None:
    found, _ = bring(crm, tmp_path, "customers", 'No,Name,Turnover\n1,Ann,"1,23,456"\n2,Bob,"4,56,789"\n')
    assert [123456, 456789] == own(crm, "turnover"), found.toml
    assert not [question for question in found.questions if "Turnover" in question]


def test_what_outlook_writes_for_no_birthday_is_nothing(crm: CRM, tmp_path: Path) -> None:
    text = "Kundennr,Name,Geburtstag\n1,Ann,0.0.00\n2,Bob,31.12.1990\n3,Cid,0.0.00\n"
    found, report = bring(crm, tmp_path, "customers", text)
    assert (3, 0) == (report.counts.created, report.counts.rejected), found.toml
    assert [None, "1990-12-31", None] == [
        one.birth_date and str(one.birth_date) for one in sorted(crm.customers.iterate(), key=lambda one: one.id)
    ]


def test_an_amount_with_its_sign_and_separators_is_no_code(crm: CRM, tmp_path: Path) -> None:
    rows = "".join(f'{at},Acc {at},"$1,00{at},000"\n' for at in range(5))
    found, report = bring(crm, tmp_path, "customers", f"ID,Name,Annual Revenue\n{rows}")
    assert (5, 0) == (report.counts.created, report.counts.rejected)
    assert Decimal(1_004_000) == own(crm, "annual_revenue")[4].amount, found.toml


# Rows that are no records


def test_sums_between_groups_are_no_sales(crm: CRM, tmp_path: Path) -> None:
    groups = "".join(
        "".join(f"{name[0]}{at},{name},2024-0{at}-15,{100 * at}.00\n" for at in range(1, 4))
        + f"{name} Total,,,600.00\n"
        for name in ("Alpha", "Beta")
    )
    text = f"Invoice,Customer,Date,Amount\n{groups}Grand Total,,,1200.00\n"
    found, report = bring(crm, tmp_path, "sales", text)
    assert [100, 100, 200, 200, 300, 300] == amounts(crm), found.toml
    assert {"totals": 3} == report.files[0].skipped
    assert "row 5 'Alpha Total', row 9 'Beta Total', row 10 'Grand Total'" in " ".join(found.questions)


def test_sums_that_name_their_group_leave_the_amounts_numbers(crm: CRM, tmp_path: Path) -> None:
    groups = "".join(
        "".join(
            f"С-{at}{one};{one + 1:02d}.01.2024;ООО «Ромашка {at}»;1 {100 * one:03d},50;Иванов\n" for one in range(1, 6)
        )
        + f"Итого по контрагенту ООО «Ромашка {at}»;;;7 000,50;\n"
        for at in range(1, 9)
    )
    text = f"Номер;Дата;Контрагент;Сумма, руб.;Менеджер\n{groups}Всего;;;56 004,00;\n"
    found, report = bring(crm, tmp_path, "sales", text)
    assert (40, 9) == (len(amounts(crm)), sum(report.files[0].skipped.values())), found.toml


def test_a_sum_without_a_word_at_the_end_is_no_sale(crm: CRM, tmp_path: Path) -> None:
    rows = "".join(f"Cust {at % 4},2024-01-{at:02d},{at}.50\n" for at in range(1, 9))
    _, report = bring(crm, tmp_path, "sales", f"Customer,Date,Amount\n{rows},,40.00\n")
    assert (8, {"totals": 1}) == (len(amounts(crm)), report.files[0].skipped)


def test_notes_below_and_between_rows_are_no_records(crm: CRM, tmp_path: Path) -> None:
    text = (
        "No,Name,City,Revenue\n1,Ada,Rome,10\n2,Bob,Paris,20\nNew customers below:,,,\n3,Cid,Oslo,30\n4,Di,Bern,40\n"
        "Total: 4 customers,,,\nPrepared by J. Smith on 2024-06-01,,,\n"
    )
    found, report = bring(crm, tmp_path, "customers", text)
    assert ({"totals": 1, "notes": 2}, 4) == (report.files[0].skipped, crm.customers.count()), found.toml
    assert [10, 20, 30, 40] == own(crm, "revenue")


@pytest.mark.parametrize(
    "text",
    [
        "Name,City,Revenue\nTotal Wein GmbH,,500\nAda,Rome,10\nBob,Paris,20\nCid,Oslo,30\n",
        "Name,Email,Phone\nAda Maria Lovelace,,\nBob,b@x.org,+49 30 123456\nCid,c@x.org,+49 30 123457\n"
        "Di,d@x.org,+49 30 123458\n",
        "No,Name,Amount\n1,Ann,5\n2,Bob,6\n3,,11\n",
        "Name,Amount\nAnn,5\nBob,6\n,12\n",
    ],
    ids=["a company called Total", "a name alone", "a number of its own", "two columns"],
)
def test_a_record_that_looks_like_a_sum_or_a_note_stays(crm: CRM, tmp_path: Path, text: str) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text(text, encoding="utf-8")
    assert "[[rule]]" not in suggest(crm, "customers", path).toml


def test_rows_that_cannot_be_read_are_told(crm: CRM, tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text("No,Name,City\n1,Ada,Rome\n2,Bob\n3,Cid,Oslo\n", encoding="utf-8")
    told = " ".join(suggest(crm, "customers", path).questions)
    assert "1 row will be rejected as they stand; the first is row 3: the row has 2 cells" in told


@pytest.mark.parametrize(("last", "told"), [("Grand Total,,11\n", True), ("Total Wein,Rome,11\n", False)])
def test_an_import_tells_a_last_row_that_calls_itself_a_sum(crm: CRM, tmp_path: Path, last: str, told: bool) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text(f"Name,City,Sum\nAda,Rome,5\nBob,Bern,6\n{last}", encoding="utf-8")
    mapping = parse_mapping(
        '[file]\nsystem = "x"\n[[record]]\ntype = "customer"\nkey = "Name"\nfields = {name = "Name"}\n'
    )
    for dry_run in (True, False):
        report = import_file(crm, path, mapping, dry_run=dry_run)
        assert 3 == report.counts.created
        assert told is any("row 4 says 'Grand Total', and is taken for a record" in n for n in report.files[0].notes)


# Days as spreadsheets number them


def test_numbered_days_with_a_fraction_are_moments_and_that_is_asked(crm: CRM, tmp_path: Path) -> None:
    text = "No,Name,Birth date,First contact\n1,Ann,29221,45292.5\n2,Bob,36525,45293\n"
    found, report = bring(crm, tmp_path, "customers", text)
    assert (2, 0) == (report.counts.created, report.counts.rejected), found.toml
    ann, bob = sorted(crm.customers.iterate(), key=lambda one: one.id)
    assert ("1980-01-01", "1999-12-31") == (str(ann.birth_date), str(bob.birth_date))
    assert ("2024-01-01 12:00:00+00:00", "2024-01-02") == (str(ann.first_contact_at), str(bob.first_contact_at)[:10])
    asked = " ".join(found.questions)
    assert "45292.5 is taken for 2024-01-01 12:00:00" in asked
    assert 'it is 2028-01-02 12:00:00: format = "spreadsheet 1904"' in asked


@pytest.mark.parametrize(
    ("form", "cell", "day"),
    [
        ("spreadsheet", "45292", "2024-01-01"),
        ("spreadsheet 1904", "43830", "2024-01-01"),
        ("spreadsheet", "59", "1900-02-28"),
    ],
)
def test_a_mapping_declares_numbered_days(crm: CRM, tmp_path: Path, form: str, cell: str, day: str) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text(f"No,Born\n1,{cell}\n2,60.x\n", encoding="utf-8")
    mapping = parse_mapping(
        f'[file]\nsystem = "x"\ndates = "{form}"\n[[record]]\ntype = "customer"\nkey = "No"\n'
        'fields = {name = "No", birth_date = "Born"}\n'
    )
    report = import_file(crm, path, mapping)
    assert [day] == [str(one.birth_date) for one in crm.customers.iterate()]
    assert ["is not the number of a day, such as 45292; correct it, or the form in the mapping"] == [
        error.message for error in report.errors
    ]


def test_real_dates_of_a_sheet_and_numbered_days_stand_in_one_column(crm: CRM, tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.worksheets[0]
    for row in (
        ("No", "Name", "Birth date"),
        (1, "Ann", 29221),
        (2, "Bob", dt.date(1999, 12, 31)),
        (3, "Cid", "29222"),
    ):
        sheet.append(row)
    book.save(tmp_path / "book.xlsx")
    mapping = parse_mapping(
        '[file]\nsystem = "x"\ndates = "spreadsheet"\n[[record]]\ntype = "customer"\nkey = "No"\n'
        'fields = {name = "Name", birth_date = "Birth date"}\n'
    )
    assert [] == import_file(crm, tmp_path / "book.xlsx", mapping).errors
    born = [str(one.birth_date) for one in sorted(crm.customers.iterate(), key=lambda one: one.id)]
    assert ["1980-01-01", "1999-12-31", "1980-01-02"] == born


# Orders that are no revenue


@pytest.mark.parametrize(
    ("text", "revenue"),
    [
        (
            "Order Number,Order Status,Order Date,Order Total Amount\n1,completed,2024-02-01,10.00\n"
            "2,cancelled,2024-02-02,20.00\n3,wc-refunded,2024-02-03,40.00\n4,processing,2024-02-04,80.00\n"
            "5,partially_refunded,2024-02-05,160.00\n",
            250,
        ),
        (
            "Rechnungsnr;Kunde;Datum;Betrag;Status\n1;Ann;31.01.2024;10,00;bezahlt\n2;Bob;01.02.2024;20,00;storniert\n",
            10,
        ),
        (
            "شماره سفارش,نام مشتری,تاریخ ثبت,مبلغ,وضعیت\n۱,علی,۱۴۰۲/۰۵/۳۱,۱۰,تکمیل شده\n۲,مریم,۱۴۰۲/۰۶/۰۱,۲۰,لغو شده\n",
            10,
        ),
        ("Order No,Date,Total,Cancelled at\n1,2024-01-05,10.00,\n2,2024-01-06,20.00,2024-01-07\n", 10),
    ],
    ids=["a shop", "German", "Persian", "a day of its own"],
)
def test_cancelled_orders_are_voided_and_that_is_asked(crm: CRM, tmp_path: Path, text: str, revenue: int) -> None:
    found, report = bring(crm, tmp_path, "sales", text)
    assert 0 == report.counts.rejected, found.toml
    sales = list(crm.sales.iterate())
    assert text.count("\n") - 1 == len(sales)
    assert revenue == sum(sale.amount.amount for sale in sales if sale.amount and sale.voided_at is None), found.toml
    assert all(str(sale.voided_at)[:10] >= str(sale.sold_at)[:10] for sale in sales if sale.voided_at)
    if "status" in text.lower() or "وضعیت" in text:
        assert any("are taken for voided on their own day" in question for question in found.questions)


def test_sales_without_a_column_of_customers_are_asked_about(crm: CRM, tmp_path: Path) -> None:
    found, _ = bring(crm, tmp_path, "sales", "Order No,Date,Total\n1,2024-01-05,10.00\n2,2024-01-06,20.00\n")
    assert "no column is taken for the customers of the sales: they have none" in found.questions


# Letters


@pytest.mark.parametrize(
    ("name", "encoding"), [("Müller & Söhne", "windows-1252"), ("Арам Акопян", "windows-1251"), ("حسن", "windows-1256")]
)
def test_letters_that_an_earlier_program_garbled_are_asked_about(
    crm: CRM, tmp_path: Path, name: str, encoding: str
) -> None:
    text = f"No,Name,Ort\n1,{name},Köln\n"
    assert not any("garbled" in question for question in bring(crm, tmp_path, "customers", text)[0].questions)
    garbled = f"No,Name\n1,{name.encode().decode(encoding)}\n"
    found, _ = bring(crm, tmp_path, "customers", garbled)
    assert any(f"took UTF-8 for {encoding}" in q and f"for {name!r}" in q for q in found.questions), found.questions


# Keys


def test_a_postal_code_is_the_last_to_be_a_key(crm: CRM, tmp_path: Path) -> None:
    text = "Name,Billing Zip,Total\n#1001,10115,5.00\n#1002,10117,6.00\n"
    found, _ = bring(crm, tmp_path, "sales", text)
    assert ("Name",) == found.key.columns
    assert ("Billing Zip",) == found.key.others
