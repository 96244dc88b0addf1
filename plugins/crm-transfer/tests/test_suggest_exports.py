"""What shops and offices export, imported by the mapping that is suggested, without an edit."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
