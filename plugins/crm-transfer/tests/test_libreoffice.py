"""A real spreadsheet program opens what was exported and saves it in other forms: nobody's edit may come back."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from crm_core import CRM, Customer
from crm_transfer.exporting import export_records, exporter_for
from crm_transfer.formats.xlsx import open_xlsx
from crm_transfer.update import update_file

pytestmark = pytest.mark.skipif(shutil.which("soffice") is None, reason="NOT RUN: LibreOffice is not installed")

OWN = """
[crm]
currency = "EUR"
zone = "Asia/Tehran"
[storage]
url = "memory:"
[fields.customer.note]
type = "text"
[fields.customer.size]
type = "decimal"
scale = 3
[fields.customer.born]
type = "day"
"""
NAMES = (
    "=cmd|'/c calc'!A1",
    "-5 GmbH",
    "Köln 001",
    "علی رضایی‌نژاد",
    "two\nlines",
    "😀 emoji",
    "Անի",
    "＝fullwidth",
    "'quoted",
)
NOTES = ("1e5", "3-4", "0123", "TRUE", "12345678901234567890", "½", "+98 912 345 6789", "", "10:30")
BORN = (dt.date(1980, 2, 3), dt.date(2024, 2, 29), dt.date(1900, 3, 1), None)


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[CRM]:
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "crm.toml").write_text(OWN, encoding="utf-8")
    with CRM.open(tmp_path / "ws") as opened:
        for at, (name, note) in enumerate(zip(NAMES, NOTES, strict=True)):
            fields = {"note": note or None, "size": Decimal(at) / 8, "born": BORN[at % len(BORN)]}
            opened.customers.add(Customer(name=name, first_contact_at=dt.date(2024, 12, at + 1), fields=fields))
        yield opened


def test_days_before_march_1900_are_those_that_were_typed(tmp_path: Path) -> None:
    days = ["1815-12-10", "1899-12-30", "1900-01-01", "1900-02-28", "1900-03-01", "2024-02-29"]
    (tmp_path / "d.csv").write_text("\n".join(["Born", *days]), encoding="utf-8")
    saved = saved_as(tmp_path / "d.csv", "xlsx", tmp_path)
    assert [[day] for day in days] == [list(row.cells) for row in open_xlsx(saved, {}).rows]


def saved_as(path: Path, form: str, profile: Path) -> Path:
    """Open a file in LibreOffice and save it in another form, beside it in a folder of its own."""
    folder = path.parent / f"{path.suffix[1:]}-as-{form.partition(':')[0]}"
    command = ["soffice", f"-env:UserInstallation=file://{profile}", "--headless", "--convert-to", form]
    subprocess.run([*command, "--outdir", str(folder), str(path)], check=True, capture_output=True, timeout=300)
    return next(folder.iterdir())


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("xlsx", "xlsx"),
        ("xlsx", "csv:Text - txt - csv (StarCalc):44,34,76"),
        ("csv", "xlsx"),
        ("csv", "csv:Text - txt - csv (StarCalc):44,34,76"),
    ],
    ids=["xlsx, xlsx", "xlsx, csv", "csv, xlsx", "csv, csv"],
)
def test_what_was_only_opened_and_saved_changes_nothing(crm: CRM, tmp_path: Path, first: str, last: str) -> None:
    path = tmp_path / f"out.{first}"
    export_records(crm, "customers", exporter=exporter_for(crm, None, path), path=path)
    between = saved_as(path, "ods", tmp_path / "profile")
    report = update_file(crm, "customers", saved_as(between, last, tmp_path / "profile"))
    assert (0, 0, len(NAMES)) == (report.counts.updated, report.counts.rejected, report.counts.unchanged), [
        *report.errors,
        *(report.files[0].diff.changes if report.files[0].diff else ()),
    ]
