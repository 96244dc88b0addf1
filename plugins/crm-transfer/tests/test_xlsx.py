"""Sheets of XLSX files: what their cells become, and which files are refused before any of them is parsed."""

from __future__ import annotations

import datetime as dt
import random
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook

from crm_core import CRM
from crm_core.extend import BadRow, ExportColumn, Source
from crm_transfer.cells import guarded, without_guard
from crm_transfer.errors import FileFault, MappingError
from crm_transfer.exporting import export_records, exporter_for
from crm_transfer.formats.typed import Form, number_writer, time_writer
from crm_transfer.formats.xlsx import open_xlsx, write_xlsx
from crm_transfer.formats.xlsxwriting import write_xlsx_export
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.opening import open_source
from crm_transfer.suggest import suggest_mapping
from crm_transfer.update import update_file

CONTENT_TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/></Types>'
)
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def made(folder: Path, *sheets: tuple[str, list[list[Any]]], name: str = "book.xlsx") -> Path:
    """A workbook as openpyxl writes it, which shares no code with our reader."""
    book = Workbook()
    book.remove(book["Sheet"])
    for title, rows in sheets:
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(folder / name)
    return folder / name


def raw(folder: Path, cells: str, *, shared: str = "", styles: str = "", workbook: str = "") -> Path:
    """A workbook whose only sheet has these rows, as XML."""
    path = folder / "raw.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("[Content_Types].xml", CONTENT_TYPES)
        book.writestr("_rels/.rels", _links(("officeDocument", "xl/workbook.xml")))
        book.writestr("xl/_rels/workbook.xml.rels", _links(("worksheet", "worksheets/sheet1.xml")))
        book.writestr(
            "xl/workbook.xml",
            workbook
            or f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets><sheet name="S" r:id="r0"/></sheets></workbook>',
        )
        book.writestr(
            "xl/worksheets/sheet1.xml", f'<worksheet xmlns="{MAIN}"><sheetData>{cells}</sheetData></worksheet>'
        )
        if shared:
            book.writestr("xl/sharedStrings.xml", f'<sst xmlns="{MAIN}">{shared}</sst>')
        if styles:
            book.writestr("xl/styles.xml", f'<styleSheet xmlns="{MAIN}">{styles}</styleSheet>')
    return path


def _links(*links: tuple[str, str]) -> str:
    found = "".join(
        f'<Relationship Id="r{at}" Type="{OFFICE}/{kind}" Target="{to}"/>' for at, (kind, to) in enumerate(links)
    )
    return (
        f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{found}</Relationships>'
    )


def cells(source: Source) -> list[list[str]]:
    return [list(row.cells) for row in source.rows]


def test_typed_cells_become_text_as_a_person_writes_it(tmp_path: Path) -> None:
    rows: list[list[Any]] = [
        ["text", "id", "tenth", "price", "large", "day", "moment", "time", "yes"],
        ["سارا", 123.0, 0.1, 12.50, 123456789012345, dt.date(2026, 11, 30), dt.datetime(2026, 11, 30, 10, 5, 7),  # noqa: DTZ001
         dt.time(9, 30), True],
        [" x ", -5, 1e-7, 0.1 + 0.2, 4.41e11, dt.date(1900, 1, 31), dt.datetime(2026, 11, 30), dt.time(0, 0), False],  # noqa: DTZ001
    ]  # fmt: skip
    found = cells(open_xlsx(made(tmp_path, ("S", rows)), {}))
    assert [
        ["سارا", "123", "0.1", "12.5", "123456789012345", "2026-11-30", "2026-11-30 10:05:07", "09:30:00", "true"],
        [" x ", "-5", "0.0000001", "0.3", "441000000000", "1900-01-31", "2026-11-30 00:00:00", "00:00:00", "false"],
    ] == found


def test_a_long_number_keeps_all_the_digits_that_the_file_has(tmp_path: Path) -> None:
    rows = '<row><c t="inlineStr"><is><t>id</t></is></c></row><row><c><v>1234567890123456789</v></c></row>'
    assert [["1234567890123456789"]] == cells(open_xlsx(raw(tmp_path, rows), {}))


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9))
def test_a_number_keeps_its_value(number: Decimal) -> None:
    assert number == Decimal(number_writer(Form())(repr(float(number))))
    assert number == Decimal(number_writer(Form(decimal=","))(repr(float(number))).replace(",", "."))


@given(st.datetimes(dt.datetime(1900, 3, 1), dt.datetime(2199, 1, 1)).map(lambda m: m.replace(microsecond=0)))  # noqa: DTZ001
def test_a_moment_keeps_its_value(moment: dt.datetime) -> None:
    from openpyxl.utils.datetime import to_excel

    write = time_writer("moment", Form(), epoch="excel")
    assert moment == dt.datetime.fromisoformat(write(repr(to_excel(moment))))


def test_both_epochs_and_the_day_that_never_was(tmp_path: Path) -> None:
    write = time_writer("date", Form(), epoch="excel")
    assert ["1900-01-01", "1900-02-28", "1900-03-01"] == [write(each) for each in ("1", "59", "61")]
    from_libreoffice = time_writer("date", Form(), epoch="calc")
    assert ["1815-12-10", "1899-12-30", "1900-01-01", "1900-02-28", "1900-03-01"] == [
        from_libreoffice(serial) for serial in ("-30701", "0", "2", "60", "61")
    ]
    assert "1904-01-02" == time_writer("date", Form(), epoch="1904")("1")
    styles = '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs>'
    text = '<c t="inlineStr"><is><t>d</t></is></c>'
    source = open_xlsx(
        raw(tmp_path, f'<row r="1">{text}</row><row r="2"><c s="1"><v>60</v></c></row>', styles=styles), {}
    )
    row = next(source.rows)
    assert isinstance(row, BadRow)
    assert (2, "date", "d", "60") == (row.number, row.rule, row.column, row.value)


def test_rows_are_numbered_as_the_spreadsheet_shows_them_and_empty_ones_are_left_out(tmp_path: Path) -> None:
    path = made(tmp_path, ("S", [[], ["a", "b"], [], [1, 2], [None, " "], [3, None]]))
    source = open_xlsx(path, {})
    assert (2, ("a", "b")) == (source.total, source.columns)
    assert [(4, ["1", "2"]), (6, ["3", ""])] == [(row.number, list(row.cells)) for row in source.rows]


def test_merged_cells_have_their_value_in_the_first_and_columns_without_a_name_get_their_letter(tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for row in [["a", None, "c", None], [1, "beside", 3, None], [None, None, 4, None]]:
        sheet.append(row)
    sheet.merge_cells("A2:A3")
    book.save(tmp_path / "m.xlsx")
    source = open_xlsx(tmp_path / "m.xlsx", {})
    assert ("a", "column B", "c") == source.columns
    assert [["1", "beside", "3"], ["", "", "4"]] == cells(source)


def test_a_header_may_stand_further_down_or_not_at_all(tmp_path: Path) -> None:
    path = made(tmp_path, ("S", [["Report of 2026"], [], ["a", "b"], [1, 2]]))
    assert [["1", "2"]] == cells(open_xlsx(path, {"header": 3}))
    with pytest.raises(FileFault, match="row 2 of 'S' is empty"):
        open_xlsx(path, {"header": 2})
    bare = made(tmp_path, ("S", [[1, 2], [3, 4]]), name="bare.xlsx")
    assert [["1", "2"], ["3", "4"]] == cells(open_xlsx(bare, {"columns": ["a", "b"]}))


def test_errors_of_a_spreadsheet_are_errors_of_their_row(tmp_path: Path) -> None:
    source = open_xlsx(made(tmp_path, ("S", [["a", "b"], [1, "#REF!"], [2, "x"]])), {})
    bad, good = source.rows
    assert isinstance(bad, BadRow)
    assert (2, "spreadsheet_error", "b", "#REF!") == (bad.number, bad.rule, bad.column, bad.value)
    assert ["2", "x"] == good.cells


def test_a_header_that_names_a_column_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFault, match=r"'b' more than once \(columns B, D\)"):
        open_xlsx(made(tmp_path, ("S", [["a", "b", "c", "b"], [1, 2, 3, 4]])), {})


def test_shared_texts_with_formats_and_readings_and_escapes(tmp_path: Path) -> None:
    shared = (
        "<si><t>a</t></si><si><r><t>bo</t></r><r><rPr><b/></rPr><t>ld</t></r><rPh sb='0' eb='1'><t>kana</t></rPh></si>"
        "<si><t xml:space='preserve'> _x000D_x_x005F_x000D_ </t></si>"
    )
    row = "".join(f'<row r="{at + 1}"><c r="A{at + 1}" t="s"><v>{at}</v></c></row>' for at in range(3))
    assert [["bold"], [" \rx_x000D_ "]] == cells(open_xlsx(raw(tmp_path, row, shared=shared), {}))


def test_sheets_are_chosen_by_name_or_the_first_is_taken_and_told(tmp_path: Path) -> None:
    path = made(tmp_path, ("Notes", [["x"], ["y"]]), ("Clients", [["a"], [1]]))
    assert (
        "Notes (guessed: the first of 'Notes', 'Clients'; --sheet names another)"
        == open_xlsx(path, {}).guesses["sheet"]
    )
    assert ("a",) == open_xlsx(path, {"sheet": "clients"}).columns
    with pytest.raises(FileFault, match="no sheet 'Clinets'") as caught:
        open_xlsx(path, {"sheet": "Clinets"})
    assert "'Notes', 'Clients'" in caught.value.hint
    (tmp_path / "p.csv").write_text("a\n1\n", encoding="utf-8")
    with CRM.open("memory:") as crm:
        from crm_transfer.opening import importer_for

        with pytest.raises(MappingError, match="has no sheets"):
            open_source(importer_for(crm, tmp_path / "p.csv"), tmp_path / "p.csv", {"sheet": "x"})


def test_a_hidden_sheet_is_not_the_first(tmp_path: Path) -> None:
    book = Workbook()
    hidden = book.active
    assert hidden is not None
    hidden.append(["secret"])
    hidden.sheet_state = "hidden"
    book.create_sheet("Shown").append(["a"])
    book.save(tmp_path / "h.xlsx")
    assert ("a",) == open_xlsx(tmp_path / "h.xlsx", {}).columns


MAPPING = """
[file]
system = "t"
decimal = ","
thousands = "."
dates = "%d/%m/%Y"
[[record]]
type = "sale"
key = "no"
[record.fields]
sold_at = "day"
amount = { column = "total", currency = "TND" }
"""


def test_number_and_date_cells_are_never_read_by_the_forms_of_texts(tmp_path: Path) -> None:
    rows: list[list[Any]] = [
        ["no", "day", "total"], [1, dt.date(2026, 3, 12), 1.234], [2, "12/03/2026", "1.234,50"], [3, None, 1234.5],
    ]  # fmt: skip
    path = made(tmp_path, ("S", rows))
    with CRM.open("memory:") as crm:
        report = import_file(crm, path, parse_mapping(MAPPING))
        assert [] == report.errors
        sales = sorted((str(sale.amount), str(sale.sold_at)) for sale in crm.sales.iterate())
    assert [("1,234.500 TND", "2026-03-12"), ("1,234.500 TND", "None"), ("1.234 TND", "2026-03-12")] == sales


def test_a_suggestion_names_the_sheet_and_can_be_used(tmp_path: Path) -> None:
    rows = [["no", "name", "since"], ["a1", "Ada", dt.date(2020, 1, 1)], ["a2", "سارا", dt.date(2021, 1, 1)]]
    path = made(tmp_path, ("Notes", [["x"]]), ("Clients", rows))
    with CRM.open("memory:") as crm:
        text = suggest_mapping(crm, "customers", path, sheet="Clients")
        assert 'sheet = "Clients"' in text
        assert 2 == import_file(crm, path, parse_mapping(text)).counts.created


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["=1+1", "'=1", "''=1", "+98 912 345", "-", "@x", "\t=x", "\r", "_x000D_", "#REF!", " a ", "\ufffe", "1.5", "😀"]
)


@given(st.lists(TEXTS.filter(lambda text: "\0" not in text), min_size=1, max_size=5))
def test_any_text_survives_being_written_and_read(texts: list[str]) -> None:
    with _folder() as folder:
        path = folder / "t.xlsx"
        write_xlsx_export(path, [ExportColumn("n", "integer"), ExportColumn("t")], list(enumerate(texts, 1)))
        assert texts == [without_guard(row[1]) for row in cells(open_xlsx(path, {}))]
        sheet = load_workbook(path).active
        assert sheet is not None
        for (cell,) in sheet.iter_rows(min_row=2, min_col=2):
            assert "f" != cell.data_type


@given(TEXTS)
def test_the_guard_of_a_formula_is_taken_away_from_what_got_one_and_from_nothing_else(text: str) -> None:
    assert text == without_guard(guarded(text))
    assert not guarded(text).startswith(("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠"))
    if text.startswith("'") and not text.lstrip("'").startswith(
        ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
    ):
        assert text == guarded(text)


def test_rejected_rows_are_written_as_text_and_read_the_same(tmp_path: Path) -> None:
    rows = [["007", "=1+1", "", "1.50"], ["x\ny", "#N/A!", " ", "\x01_x0001_"]]
    write_xlsx(tmp_path / "r.xlsx", ["a", "b", "c", "d"], rows, {"sheet": "Clients: 1/2"})
    found = list(open_xlsx(tmp_path / "r.xlsx", {}).rows)
    assert [rows[0], rows[1]] == [list(row.cells) for row in found]


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


# Files that are refused


def _bomb(path: Path, megabytes: int) -> Path:
    with zipfile.ZipFile(made(path.parent, ("S", [["a"], [1]]), name="seed.xlsx")) as seed:
        parts = {name: seed.read(name) for name in seed.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name, content in parts.items():
            if not name.endswith("sheet1.xml"):
                bomb.writestr(name, content)
        with bomb.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as part:
            part.write(f'<worksheet xmlns="{MAIN}"><sheetData>'.encode())
            for _ in range(megabytes):
                part.write(b"<row/>" * ((1 << 20) // 6))
    return path


def test_a_bomb_is_refused_within_two_seconds_and_200_megabytes(tmp_path: Path) -> None:
    path = _bomb(tmp_path / "bomb.xlsx", 600)
    said, seconds, megabytes = read_apart(path)
    assert "is refused, because it may be a bomb: its part xl/worksheets/sheet1.xml grows" in said
    assert seconds < 2
    assert megabytes < 200


def test_a_bomb_whose_directory_lies_is_refused(tmp_path: Path) -> None:
    path = _bomb(tmp_path / "bomb.xlsx", 60)
    content = bytearray(path.read_bytes())
    at = content.rfind(b"PK\x01\x02", 0, content.rfind(b"xl/worksheets/sheet1.xml"))
    struct.pack_into("<I", content, at + 24, 5_000)  # what it says of its size unpacked
    path.write_bytes(content)
    started = perf_counter()
    with pytest.raises(FileFault, match="damaged"):
        open_xlsx(path, {})
    assert perf_counter() - started < 2


def test_parts_that_lie_on_each_other_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "o.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("a", random.Random(1).randbytes(100_000))
    content = path.read_bytes()
    at, end = content.find(b"PK\x01\x02"), content.find(b"PK\x05\x06")
    entries, tail = content[at:end] * 40, bytearray(content[end:])
    struct.pack_into("<HHI", tail, 8, 40, 40, len(entries))
    path.write_bytes(content[:at] + entries + bytes(tail))
    with pytest.raises(FileFault, match="lie on each other"):
        open_xlsx(path, {})


def test_entities_cannot_grow(tmp_path: Path) -> None:
    book = f'<!DOCTYPE x [<!ENTITY a "b">]><workbook xmlns="{MAIN}"><sheets/></workbook>'
    with pytest.raises(FileFault, match="declares a document type"):
        open_xlsx(raw(tmp_path, "", workbook=book), {})


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ('<row r="2"><c><v>1</v></c></row><row r="1"><c><v>1</v></c></row>', "row 1 comes after row 2"),
        ('<row r="1"><c r="ZZZZ1"><v>1</v></c></row>', "no column of a sheet"),
        ('<row r="x"/>', "damaged"),
        ('<row r="1"><c t="s"><v>7</v></c></row>', "shared text '7'"),
        ("<row>", "damaged"),
        ('<row r="1">' + "<c><v>1</v></c>" * 16_385 + "</row>", "more cells than a sheet has columns|no column"),
        (f'<row r="1"><c t="str"><v>{"x" * 140_000}</v></c></row>', "the cell A1 has more than 131,072 characters"),
    ],
)
def test_what_no_spreadsheet_writes_is_refused(tmp_path: Path, cells: str, told: str) -> None:
    with pytest.raises(FileFault, match=told):
        open_xlsx(raw(tmp_path, cells), {})


def test_a_formula_without_a_value_rejects_its_row_and_wipes_nothing(tmp_path: Path) -> None:
    mapping = parse_mapping("""
[file]
system = "f"
[[record]]
type = "customer"
key = "No"
[record.fields]
name = "Name"
city = "City"
""")
    header = ["No", "Name", "City"]
    with CRM.open("memory:") as crm:
        first = [header, ["1", "Ada", "Rome"], ["2", "Bob", '=UPPER("z")'], ["=1+2", None, None]]
        report = import_file(crm, made(tmp_path, ("S", first)), mapping)
        assert (1, 2) == (report.counts.created, report.counts.rejected)
        way = "open the file in a spreadsheet program and save it there: that calculates it"
        what = f"is a formula that was never calculated, so it has no value; {way}"
        assert [(3, "City", '=UPPER("z")', "formula", what), (4, "No", "=1+2", "formula", what)] == [
            (error.row, error.column, error.value, error.rule, error.message) for error in report.errors
        ]
        again = import_file(crm, made(tmp_path, ("S", [header, ["1", '=B1&"x"', '=UPPER("q")']])), mapping)
        assert 1 == again.counts.rejected
        export_records(crm, "customers", exporter=exporter_for(crm, "xlsx", None), path=tmp_path / "out.xlsx")
        book = load_workbook(tmp_path / "out.xlsx")
        sheet = book.worksheets[0]
        place = next(cell for cell in sheet[1] if cell.value == "city")
        sheet.cell(2, place.column).value = '=UPPER("q")'
        book.save(tmp_path / "out.xlsx")
        edited = update_file(crm, "customers", tmp_path / "out.xlsx")
        assert [("city", "formula")] == [(error.column, error.rule) for error in edited.errors]
        rejects = edited.files[0].rejects_file
        assert rejects is not None
        assert 1 == update_file(crm, "customers", Path(rejects)).counts.rejected
        assert [("Ada", "Rome")] == [(each.name, each.city) for each in crm.customers.iterate()]


def test_a_formula_whose_value_is_the_empty_text_is_an_empty_cell(tmp_path: Path) -> None:
    head = '<row r="1"><c t="str"><v>a</v></c><c t="str"><v>b</v></c></row>'
    row = '<row r="2"><c><f>1+2</f><v>3</v></c><c t="str"><f>""</f><v></v></c></row>'
    assert [["3", ""]] == cells(open_xlsx(raw(tmp_path, head + row), {}))
    row = '<row r="2"><c t="str"><f>A1</f></c><c><f t="shared" si="0"/><v/></c></row>'
    (bad,) = open_xlsx(raw(tmp_path, head + row), {}).rows
    assert isinstance(bad, BadRow)
    assert ("formula", ["#GETTING_DATA"] * 2) == (bad.rule, list(bad.cells))
    with pytest.raises(FileFault, match="the cell B1 of the header is a formula without a value"):
        open_xlsx(raw(tmp_path, '<row r="1"><c t="str"><v>a</v></c><c><f>A1</f></c></row>'), {})


def test_a_protected_file_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "p.xlsx"
    path.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(500) + "EncryptedPackage".encode("utf-16-le") + bytes(500))
    with pytest.raises(FileFault, match="protected by a password"):
        open_xlsx(path, {})


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"xl/workbook.bin": b""}, "binary Excel"),
        ({"mimetype": b"", "content.xml": b""}, "OpenDocument"),
        ({"word/document.xml": b""}, "text document"),
        ({"a.txt": b"x"}, "a ZIP file, not a spreadsheet"),
    ],
)
def test_other_containers_are_refused_by_name(tmp_path: Path, parts: dict[str, bytes], told: str) -> None:
    path = tmp_path / "x.xlsx"
    with zipfile.ZipFile(path, "w") as book:
        for name, content in parts.items():
            book.writestr(name, content)
    with pytest.raises(FileFault, match=told):
        open_xlsx(path, {})


def test_memory_stays_flat_with_texts_that_all_differ(tmp_path: Path) -> None:
    """Shared texts lie in a temporary file: ten times as many take hardly more."""
    peaks = []
    for rows in (5_000, 50_000):
        texts = ([f"text {n} a", f"text {n} b"] for n in range(rows))
        said, _, peak = read_apart(made(tmp_path, ("S", [["a", "b"], *texts]), name=f"{rows}.xlsx"))
        assert str(rows) == said
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 10


_PROGRAM = """
import re, sys, time
from pathlib import Path
from crm_transfer.formats.xlsx import open_xlsx
started = time.perf_counter()
try:
    said = sum(1 for _ in open_xlsx(Path(sys.argv[1]), {}).rows)
except Exception as error:
    said = error
print(said)
print(time.perf_counter() - started)
print(re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1])
"""


def read_apart(path: Path) -> tuple[str, float, float]:
    """Read a file in a process of its own; return how many rows it has or the error, seconds, and megabytes at most."""
    if not Path("/proc/self/status").is_file():
        pytest.skip("NOT RUN: this system does not say how much memory a process took")
    done = subprocess.run([sys.executable, "-c", _PROGRAM, str(path)], capture_output=True, text=True, check=True)
    said, seconds, kilobytes = done.stdout.splitlines()
    return said, float(seconds), int(kilobytes) / 1024
