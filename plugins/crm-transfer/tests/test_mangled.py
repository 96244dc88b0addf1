"""What a spreadsheet program does to cells that nobody edited is told apart, and not taken for an edit."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_core import CRM, Customer, User
from crm_core.cli.main import main
from crm_transfer.exporting import export_records, exporter_for
from crm_transfer.mangled import mangling
from crm_transfer.report import ImportReport
from crm_transfer.update import update_file

OWN = """
[crm]
currency = "EUR"
[storage]
url = "{url}"
[fields.customer.part]
type = "text"
[fields.customer.size]
type = "decimal"
scale = 3
"""


@pytest.mark.parametrize(
    ("known", "cell"),
    [
        ("سارا", "????"),
        ("Zoë Պետրոսյան", "Zoë ?????????"),
        ("Zoë Պետրոսյան", "Zoe ?????????"),
        ("Иван, Ω", "????, ?"),
        ("party 🎉!", "party ??!"),
        ("سارا", "\ufffd" * 4),
        ("two\nسطر", "two\n???"),
    ],
)
def test_lost_letters_are_known(known: str, cell: str) -> None:
    assert "letters were lost" == mangling(cell, known)


@pytest.mark.parametrize(
    ("known", "cell"),
    [("Иван Э", "Ð˜Ð²Ð°Ð½ Ð\xad"), ("Ё и Н", "Ð\uf181 Ð¸ Ð\uf19d"), ("＝wide", "'ï¼\uf19dwide"), ("=é", "'=Ã©")],
)
def test_bytes_that_windows_1252_lacks_are_known_as_libreoffice_writes_them(known: str, cell: str) -> None:
    assert "read in another encoding" == mangling(cell, known)


@pytest.mark.parametrize("known", ["سارا", "Zoë", "Պետրոսյան", "Иван"])
def test_a_file_read_in_another_encoding_is_known(known: str) -> None:
    cell = known.encode().decode("latin-1")
    assert "read in another encoding" == mangling(cell, known)


@pytest.mark.parametrize(
    ("known", "cell"),
    [
        ("1e5", "1,00E+05"), ("1e5", "1.00E+05"), ("1E5", "100000"), ("12345e7", "1,23E+11"), ("1.10", "1.1"),
        ("1,000", "1000"), ("0.50", "0,5"), ("2e-3", "2,00E-03"),
    ],
)  # fmt: skip
def test_texts_that_became_numbers_are_known(known: str, cell: str) -> None:
    assert "taken for a number" == mangling(cell, known)
    assert "" == mangling(cell, known, is_text=False)


@pytest.mark.parametrize(
    ("known", "cell"),
    [
        ("3-4", "03-Apr"), ("3-4", "04-Mar"), ("3-4", "3. Apr"), ("3-4", "2026-04-03"), ("3-4", "03.04.2026"),
        ("3-4", "04. Mär"), ("3/4", "3/4/2026"), ("3.4", "03. Apr"), ("MARCH1", "01-Mar"), ("SEPT2", "2-Sep"),
        ("12-2023", "Dez 23"), ("DEC-1", "1-Dec"), ("1/2/2024", "01/02/2024"), ("1-2-24", "2024-02-01"),
        ("1/2/2024", "01.02.2024"), ("3-4", "2026-04-03 00:00:00"), ("۳-۴", "03-Apr"), ("10-11", "10-нояб"),
    ],
)  # fmt: skip
def test_texts_that_became_dates_are_known(known: str, cell: str) -> None:
    assert "taken for a date" == mangling(cell, known)


def test_times_and_yes_are_known() -> None:
    assert "taken for a time" == mangling("01:30:00", "1:30")
    assert ["taken for yes or no"] * 2 == [mangling("TRUE", "true"), mangling("WAHR", "true")]


@pytest.mark.parametrize(
    ("known", "cell"),
    [
        ("Ada", "Bob"), ("سارا", "سارا?"), ("سارا", "Sara"), ("سارا", "???"), ("what?", "what??"), ("3-4", "3-5"),
        ("3-4", "03-May"), ("3-4", "4-3"), ("3-4", "05-Apr"), ("30-40", "2026-04-03"), ("1e5", "1e6"), ("1e5", ""),
        ("12", "13"), ("1.10", "1.2"), ("1:30", "01:31:00"), ("true", "FALSE"), ("12.5", "125"), ("", "????"),
        ("12345e7", "1,24E+11"), ("Zoë", "Zoe"), ("May", "01-May"), ("1/2/2024", "2/1/2024"), ("A-4", "04-Apr"),
    ],
)  # fmt: skip
def test_what_a_person_typed_is_an_edit(known: str, cell: str) -> None:
    assert "" == mangling(cell, known)


@given(
    st.text(st.characters(blacklist_categories=("Cs",)), max_size=30), st.sampled_from(["cp1252", "cp1256", "ascii"])
)
def test_whatever_an_encoding_loses_is_known(text: str, encoding: str) -> None:
    saved = text.encode(encoding, "replace").decode(encoding)
    if saved != text:
        assert "" != mangling(saved, text)


@given(st.text(max_size=20), st.text(max_size=20), st.booleans())
def test_any_two_texts_have_an_answer(one: str, other: str, is_text: bool) -> None:
    assert isinstance(mangling(one, other, is_text=is_text), str)
    assert "letters were lost" != mangling(one, one)


# There and back


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[CRM]:
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "crm.toml").write_text(OWN.format(url="sqlite:///crm.db"), encoding="utf-8")
    with CRM.open(tmp_path / "ws") as opened:
        sara = opened.users.add(User(name="سارا احمدی"))
        ada = Customer(name="Զոյա", city="Zürich", owner_id=sara.id, tags=("دوست", "b"))
        opened.customers.add(ada.with_fields(part="3-4", size=Decimal("3.400")))
        yield opened


def edited(crm: CRM, path: Path, encoding: str = "utf-8", **cells: str) -> Path:
    export_records(crm, "customers", exporter=exporter_for(crm, None, path), path=path, force=True)
    with path.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    row |= {name.replace("__", "."): cell for name, cell in cells.items()}
    with path.open("w", encoding=encoding, errors="replace", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    return path


def suspects(report: ImportReport) -> dict[str, tuple[str, str, str]]:
    diff = report.files[0].diff
    assert diff is not None
    return {one.field: (one.now, one.file, one.how) for one in diff.suspects}


@pytest.mark.database("sqlite")
def test_a_file_saved_as_ansi_changes_nothing_and_is_told(crm: CRM, tmp_path: Path) -> None:
    report = update_file(crm, "customers", edited(crm, tmp_path / "c.csv", "ascii"))
    assert (0, 0, 1, 0) == (*report.counts.to_json().values(),)[1:]
    found = suspects(report)
    assert {"name", "city", "tags", "owner_id"} == found.keys()
    assert ("Զոյա", "????", "letters were lost") == found["name"]
    assert "?" not in "".join(one.name or "" for one in crm.customers.iterate())


@pytest.mark.database("sqlite")
def test_texts_made_dates_and_numbers_are_kept_unless_asked(crm: CRM, tmp_path: Path) -> None:
    path = edited(crm, tmp_path / "c.csv", fields__part="03-Apr", fields__size="03. Apr", city="Basel")
    report = update_file(crm, "customers", path, dry_run=True)
    assert {"fields.part", "fields.size"} == suspects(report).keys()
    assert [("fields.part", 1), ("fields.size", 1)] == sorted(report.files[0].diff.suspected.items())  # type: ignore[union-attr]
    asked: Any = {"part": "overwrite"}
    assert 1 == update_file(crm, "customers", path, policies=asked).counts.updated
    (ada,) = crm.customers.iterate()
    assert ("Basel", "03-Apr", Decimal("3.400")) == (ada.city, ada.fields["part"], ada.fields["size"])


@pytest.mark.database("sqlite")
def test_the_command_tells_them_apart_from_edits(crm: CRM, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = edited(crm, tmp_path / "c.csv", fields__part="1,00E+05", name="????", city="Basel")
    assert 0 == main(["-w", str(tmp_path / "ws"), "import", "customers", str(path), "--update", "--dry-run"])
    said = capsys.readouterr().out
    assert "city: 'Zürich' → 'Basel'" in said
    assert "changed by the spreadsheet program? c.csv, row 2, Զոյա: name: 'Զոյա' became '????'" in said
    assert "name (1)" in said
    assert "fields.part: '3-4' → '1,00E+05'" in said  # no date: somebody typed it
    assert "--conflict FIELD=overwrite" in said
