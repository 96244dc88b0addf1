"""Rows of a reject file that nobody corrected are refused again where taking them would do harm, in every format."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest

from crm_core import CRM, Customer
from crm_transfer.again import marked, uncorrected
from crm_transfer.exporting import export_records, exporter_for
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.opening import built_in_mapping
from crm_transfer.report import ERROR_COLUMNS, ImportReport
from crm_transfer.update import update_file

MAPPING = """
[file]
system = "t"
[[record]]
type = "customer"
key = "id"
[record.fields]
name = "name"
city = "city"
first_contact_at = "since"
"""
HEAD = "id,name,city,since\n"
GOOD = "a10,Ani,Yerevan,2020-01-01\n"
WRONG = 'a10,dup,,2020-01-02\na23,short\na5,سارا,تهران,"1,12"\n'


def bring(crm: CRM, path: Path) -> ImportReport:
    report = import_file(crm, path, parse_mapping(MAPPING))
    found = report.counts
    assert found.read == found.created + found.updated + found.unchanged + found.rejected
    return report


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    found = report.counts
    return found.created, found.updated, found.unchanged, found.rejected


def rejects(report: ImportReport) -> Path:
    assert report.files[0].rejects_file is not None
    return Path(report.files[0].rejects_file)


def edit(path: Path, change: Callable[[list[dict[str, str]]], None]) -> None:
    """Change rows of a reject file as a person does: the messages stay where they are."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def names(crm: CRM) -> dict[str, str | None]:
    return {each.name: each.city for each in crm.customers.iterate()}


@pytest.fixture
def first(tmp_path: Path) -> Path:
    path = tmp_path / "v.csv"
    path.write_text(HEAD + GOOD + WRONG, encoding="utf-8")
    return path


def test_only_corrected_rows_of_a_reject_file_are_taken(first: Path) -> None:
    with CRM.open("memory:") as crm:
        path = rejects(bring(crm, first))
        edit(path, lambda rows: rows[2].update(since="2020-01-12"))
        report = bring(crm, path)
        assert (1, 0, 0, 2) == counts(report)
        assert {"Ani": "Yerevan", "سارا": "تهران"} == names(crm)
        assert [(2, "id", "duplicate"), (3, "", "columns")] == [(e.row, e.column, e.rule) for e in report.errors]
        told = report.errors[0].message
        assert told.startswith("not corrected yet: rows 2 and 3 have the same key; only row 2 is taken: ")
        assert told.endswith("; change a cell, or empty error_rule to take the row as it is")


def test_a_row_that_comes_back_once_more_says_it_once(first: Path) -> None:
    with CRM.open("memory:") as crm:
        path = rejects(bring(crm, first))
        second = bring(crm, path)
        third = bring(crm, rejects(second))
        assert (0, 0, 0, 3) == counts(second) == counts(third)
        assert [each.message for each in second.errors] == [each.message for each in third.errors]
        assert {"Ani": "Yerevan"} == names(crm)


def test_rows_that_are_no_rows_are_not_taken_as_they_were_written_back(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    bad = ['a7,"Bob" Lee,,', HEAD.strip(), "a8,B\0b,,", "a9,one,two,,three"]
    path.write_text(HEAD + GOOD + "\n".join(bad) + "\n", encoding="utf-8")
    with CRM.open("memory:") as crm:
        path = rejects(bring(crm, path))
        report = bring(crm, path)
        assert ["quotes", "header", "nul", "columns"] == [each.rule for each in report.errors]
        assert all(each.message.startswith("not corrected yet: ") for each in report.errors)
        assert ((0, 0, 0, 4), {"Ani"}) == (counts(report), names(crm).keys())


def test_a_row_that_is_too_long_keeps_its_cells_apart_until_they_are_put_right(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_text(HEAD + "a1,Lee, Bob,Yerevan,2020-01-01\na2,Ani,Gyumri,2020-01-02,x,y\na3\n", encoding="utf-8")
    with CRM.open("memory:") as crm:
        path = rejects(bring(crm, path))
        assert path.read_text(encoding="utf-8").startswith("id,name,city,since,error_cell_1,error_cell_2,error_row,")
        first = bring(crm, path)
        assert "error_cell" not in "; ".join(first.files[0].notes)
        edit(path, lambda rows: rows[0].update(city="Yerevan"))  # its cells still stand one place too far right
        second = bring(crm, path)
        assert (0, 0, 0, 3) == counts(first) == counts(second)
        told = [(error.column, error.value) for error in second.errors if "beyond" in error.message]
        assert [("error_cell_1", "2020-01-01")] == told
        edit(path, lambda rows: rows[0].update(name="Lee, Bob", since="2020-01-01", error_cell_1=""))
        edit(path, lambda rows: rows[1].update(error_cell_1="", error_cell_2=""))
        assert (2, 0, 0, 1) == counts(bring(crm, path))
        assert {"Lee, Bob": "Yerevan", "Ani": "Gyumri"} == names(crm)


@pytest.mark.parametrize("emptied", ["error_rule", "error_message"])
def test_emptying_an_error_column_or_changing_a_cell_takes_the_row(first: Path, emptied: str) -> None:
    with CRM.open("memory:") as crm:
        path = rejects(bring(crm, first))

        def correct(rows: list[dict[str, str]]) -> None:
            rows[0][emptied] = ""
            rows[1]["city"] = "Gyumri"

        edit(path, correct)
        assert (1, 1, 0, 1) == counts(bring(crm, path))
        assert {"dup": None, "short": "Gyumri"} == names(crm)


def test_what_a_spreadsheet_changes_by_itself_corrects_nothing(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_text(HEAD + "007,Ani,,\n007,  dup  two,12.50,\n", encoding="utf-8")
    with CRM.open("memory:") as crm:
        path = rejects(bring(crm, path))
        edit(path, lambda rows: rows[0].update(id="7", name="dup two ", city="12.5"))
        assert (0, 0, 0, 1) == counts(bring(crm, path))
        edit(path, lambda rows: rows[0].update(id="8"))
        assert (1, 0, 0, 0) == counts(bring(crm, path))


def test_columns_in_another_order_correct_nothing_and_a_column_more_does() -> None:
    columns = ["id", "name", *ERROR_COLUMNS]
    row = marked(columns, ["1", "Ada", "3", "id", "duplicate", "rows 2 and 3"])
    assert uncorrected(columns, row) is not None
    assert uncorrected([*columns, "empty"], [*row, ""]) is not None
    assert uncorrected(columns[::-1], row[::-1]) is not None
    assert uncorrected([*columns, "note"], [*row, "as agreed"]) is None
    assert uncorrected(columns, ["Ada", "1", *row[2:]]) is None


def test_rows_of_rules_that_may_pass_now_are_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "phones.csv"
    path.write_text("id,phone\na10,+374 10 123456\n", encoding="utf-8")
    phones = """
[file]
system = "t"
[[record]]
type = "contact_point"
key = ["id", { const = "phone" }]
[record.fields]
customer_id = { column = "id", ref = "customer" }
kind = { const = "phone" }
value = "phone"
"""
    (tmp_path / "v.csv").write_text(HEAD + GOOD, encoding="utf-8")
    with CRM.open("memory:") as crm:
        refused = import_file(crm, path, parse_mapping(phones))
        assert ["reference"] == [each.rule for each in refused.errors]
        assert "[as rejected" not in rejects(refused).read_text(encoding="utf-8")
        bring(crm, tmp_path / "v.csv")
        assert (1, 0, 0, 0) == counts(import_file(crm, rejects(refused), parse_mapping(phones)))


def test_json_lines_that_nobody_corrected_are_refused_again(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    lines = ['{"id": 1, "name": "Ani", "more": {"x": [1, 2]}}', '{"id": 1, "name": "dup"}', '{"id": 2, "na']
    lines.append('{"id": 3, "name": "a\\u0000b", "since": null}')
    path.write_text("\n".join(lines), encoding="utf-8")
    mapping = MAPPING.replace('city = "city"\nfirst_contact_at = "since"\n', "")
    with CRM.open("memory:") as crm:
        path = rejects(import_file(crm, path, parse_mapping(mapping)))
        again = import_file(crm, path, parse_mapping(mapping))
        assert (0, 0, 0, 3) == counts(again)
        assert ["duplicate", "json", "nul"] == [each.rule for each in again.errors]
        assert all(each.message.startswith("not corrected yet: ") for each in again.errors)
        rows = [json.loads(line) for line in rejects(again).read_text(encoding="utf-8").splitlines()]
        rows[0]["id"] = "4"
        rows[2]["name"] = "Bob"
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        assert (2, 0, 0, 1) == counts(import_file(crm, path, parse_mapping(mapping)))
        assert {"Ani", "dup", "Bob"} == names(crm).keys()


def test_rows_of_a_spreadsheet_that_nobody_corrected_are_refused_again(tmp_path: Path) -> None:
    path, book = tmp_path / "v.xlsx", openpyxl.Workbook()
    for row in (["id", "name", "city", "since"], [7, "Ani", "Yerevan", None], [7, "dup", "1.50", None]):
        book.active.append(row)
    book.save(path)
    with CRM.open("memory:") as crm:
        path = rejects(bring(crm, path))
        again = bring(crm, path)
        assert ((0, 0, 0, 1), {"Ani"}) == (counts(again), names(crm).keys())
        book = openpyxl.load_workbook(path)
        book.active["A2"] = 7  # a person types it again, and the spreadsheet keeps a number
        book.save(path)
        assert (0, 0, 0, 1) == counts(bring(crm, path))
        book.active["A2"] = 8
        book.save(path)
        assert (1, 0, 0, 0) == counts(bring(crm, path))


CARD = "BEGIN:VCARD\r\nVERSION:3.0\r\nUID:{uid}\r\nFN:{name}\r\nORG:Acme\r\nNOTE:one\\, two\r\nEND:VCARD\r\n"
GOOGLE = (
    "First Name,Middle Name,Last Name,Organization Name,Notes,Labels,E-mail 1 - Label,E-mail 1 - Value\n"
    "Ada,,Lovelace,Acme,one,* myContacts,* Work,ada@example.org\n"
    "Ada,,Lovelace,Other,two,* myContacts,* Work,ada@example.org ::: ada@example.net\n"
    "Bob,,Short\n"
)
CONTACTS = {
    "p.vcf": (
        CARD.format(uid="u1", name="Ada") + CARD.format(uid="u1", name="dup") + CARD.format(uid="u2", name="B\0b"),
        "UID:u1",
        "UID:u3",
        ["duplicate", "nul"],
    ),
    "contacts.csv": (GOOGLE, "Bob,,Short", "Bob,,Long", ["duplicate", "columns"]),
}


@pytest.mark.parametrize("name", CONTACTS)
def test_contacts_that_nobody_corrected_are_refused_again(tmp_path: Path, name: str) -> None:
    content, wrong, right, rules = CONTACTS[name]
    path = tmp_path / name
    path.write_bytes(content.encode())

    def contacts(crm: CRM, path: Path) -> ImportReport:
        mapping = built_in_mapping(crm, path, options={})
        assert mapping is not None
        return import_file(crm, path, mapping)

    with CRM.open("memory:") as crm:
        first = contacts(crm, path)
        assert rules == [each.rule for each in first.errors]
        stored = names(crm)
        path = rejects(first)
        again = contacts(crm, path)
        assert (0, 0, 0, len(rules)) == counts(again)
        assert all(each.message.startswith("not corrected yet: ") for each in again.errors)
        assert stored == names(crm)
        third = contacts(crm, rejects(again))
        assert (0, 0, 0, len(rules)) == counts(third)
        text = path.read_text(encoding="utf-8")
        assert wrong in text
        path.write_text(text.replace(wrong, right), encoding="utf-8")
        assert (len(rules) - 1, "not corrected yet: ") == (
            (last := contacts(crm, path)).counts.rejected,
            last.errors[0].message[:19],
        )


def test_an_edited_export_does_not_write_the_second_row_of_an_id_later(tmp_path: Path) -> None:
    with CRM.open("memory:") as crm:
        crm.customers.add(Customer(name="Ada"))
        path = tmp_path / "export.csv"
        export_records(crm, "customer", exporter=exporter_for(crm, None, path), path=path)
        head, row = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join([head, row, row.replace("Ada", "dup")]) + "\n", encoding="utf-8")
        path = rejects(update_file(crm, "customer", path))
        again = update_file(crm, "customer", path)
        assert (0, 0, 0, 1) == counts(again)
        assert "not corrected yet: rows 2 and 3 have the same id; only row 2 is taken" in again.errors[0].message
        assert {"Ada"} == names(crm).keys()
        edit(path, lambda rows: rows[0].update(error_rule=""))
        assert (0, 1, 0, 0) == counts(update_file(crm, "customer", path))
        assert {"dup"} == names(crm).keys()
