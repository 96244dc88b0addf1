"""What accounting programs and banks export: companies and persons in one list, days that are no keys, payers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crm_core import CRM
from crm_core.settings import write_settings
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.suggest import Suggestion, suggest

DEBTORS = (
    '"EXTF";700;16;"Debitoren/Kreditoren";5;20260131120000000;;"RE";"";"";1001;1;20260101;4;;;\n'
    "Konto;Name (Adressattyp Unternehmen);Name (Adressattyp natürl. Person);Vorname (Adressattyp natürl. Person);"
    "Name (Adressattyp keine Angabe);Adressattyp;Kurzbezeichnung;Ort;E-Mail\n"
    '10001;"Müller GmbH";"";"";"";"2";"Müller";"Dresden";"info@mueller.example"\n'
    '10002;"";"Weiß";"Jörg";"";"1";"Weiß";"Bonn";"jw@weiss.example"\n'
)
MIXED = (
    "Nr;Firma;Vorname;Nachname;E-Mail\n1;Müller GmbH;;;info@mueller.example\n"
    "2;Weiß AG;Jörg;Weiß;jw@weiss.example\n3;;Änne;Groß;ag@gross.example\n"
)
POSTINGS = (
    "Umsatz;Soll/Haben-Kennzeichen;Konto;Belegdatum;Belegfeld 1;Buchungstext\n"
    "1234,56;S;10001;0301;RE-1001;Müller\n99,00;S;10002;1501;RE-1002;Weiß\n25,00;S;10002;2001;RE-1003;Groß\n"
)
STATEMENT = (
    "Ամսաթիվ,Գործարքի համար,Վճարող/Ստացող,Գումար,Արժույթ,Նպատակ\n"
    '13/01/2026,TRX001,«Արարատ» ՍՊԸ,"1,250,000.00",AMD,Հաշիվ 15\n'
    '14/01/2026,TRX002,Արամ Պետրոսյան,"45,000.00",AMD,Վարձավճար\n'
)


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[CRM]:
    write_settings(tmp_path / "ws", storage_url="memory:", currency="EUR")
    with CRM.open(tmp_path / "ws") as opened:
        yield opened


def bring(crm: CRM, folder: Path, type_name: str, text: str, encoding: str = "utf-8") -> Suggestion:
    path = folder / "sheet.csv"
    path.write_bytes(text.encode(encoding))
    found = suggest(crm, type_name, path)
    mapping = parse_mapping(found.toml)
    assert [] == import_file(crm, path, mapping).errors
    again = import_file(crm, path, mapping).counts
    assert (0, 0) == (again.created, again.updated)
    return found


def test_a_person_of_a_list_of_debtors_has_the_last_name_that_is_a_person_s(crm: CRM, tmp_path: Path) -> None:
    bring(crm, tmp_path, "customers", DEBTORS, "windows-1252")
    kinds = {customer.name: customer.kind for customer in crm.customers.iterate()}
    assert {"Müller GmbH": "organisation", "Jörg Weiß": "person"} == kinds


def test_a_row_without_a_person_is_of_the_company_and_works_for_nobody(crm: CRM, tmp_path: Path) -> None:
    bring(crm, tmp_path, "customers", MIXED)
    kinds = {customer.name: customer.kind for customer in crm.customers.iterate()}
    persons = {name for name, kind in kinds.items() if kind == "person"}
    assert ({"Jörg Weiß", "Änne Groß"}, {"Müller GmbH", "Weiß AG"}) == (persons, {*kinds} - persons)
    assert 1 == crm.relations.count()


def test_a_day_that_cannot_be_read_is_no_key(crm: CRM, tmp_path: Path) -> None:
    found = bring(crm, tmp_path, "sales", POSTINGS)
    assert ("Belegfeld 1",) == found.key.columns
    assert "Belegdatum" not in found.key.others
    assert any('"Belegdatum"' in question for question in found.questions)


def test_who_paid_is_the_customer_of_a_payment(crm: CRM, tmp_path: Path) -> None:
    found = bring(crm, tmp_path, "sales", STATEMENT)
    assert ("Գործարքի համար",) == found.key.columns
    assert {"«Արարատ» ՍՊԸ", "Արամ Պետրոսյան"} == {customer.name for customer in crm.customers.iterate()}


GROUPS = (
    'Sales by Customer Detail,,,,\n"January 1 - January 31, 2026",,,,\n,,,,\n,Date,Transaction Type,Num,Amount\n'
    "Amy's Birds,,,,\n,01/13/2026,Invoice,1001,35.00\n,01/15/2026,Invoice,1021,375.00\n"
    "Total for Amy's Birds,,,,$410.00\nBill's Surf,,,,\n,01/14/2026,Invoice,1027,\"2,085.00\"\n"
    'Total for Bill\'s Surf,,,,"$2,085.00"\nTOTAL,,,,"$2,495.00"\n"Accrual basis  Friday, January 31",,,,\n'
)


def test_sales_below_the_name_of_their_customer_are_of_that_one(crm: CRM, tmp_path: Path) -> None:
    found = bring(crm, tmp_path, "sales", GROUPS)
    assert 'fill_down = ["Customer"]' in found.toml
    assert any('the rows stand in groups, such as "Amy\'s Birds"' in question for question in found.questions)
    customers = {customer.id: customer.name for customer in crm.customers.iterate()}
    sold = sorted((customers[sale.customer_id or 0], str(sale.amount)) for sale in crm.sales.iterate())
    assert [("Amy's Birds", "35.00 EUR"), ("Amy's Birds", "375.00 EUR"), ("Bill's Surf", "2,085.00 EUR")] == sold


@pytest.mark.parametrize(
    "text",
    [
        "Group,No,Sum\nA,1,5\n,2,6\nB,3,7\n,4,8\n",  # the first row of a group is a record as well
        "Remark,No,Sum\n,1,5\nlate,,\n,2,6\n",  # a remark below a record
        "Name,No,Sum\nAnn,,\nBob,,\n,1,5\n",
    ],
)
def test_a_first_column_that_is_empty_here_and_there_makes_no_groups(crm: CRM, tmp_path: Path, text: str) -> None:
    (tmp_path / "sheet.csv").write_text(text, encoding="utf-8")
    assert "fill_down" not in suggest(crm, "sales", tmp_path / "sheet.csv").toml
