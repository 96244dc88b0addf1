from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_core import CRM
from crm_core.extend import BadRow, Source, SourceRow
from crm_transfer.errors import FileFault, MappingError
from crm_transfer.opening import importer_for
from crm_transfer.reading import open_csv, open_json_lines, write_csv


def write(folder: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path = folder / "people.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def cells(source: Source) -> list[list[str]]:
    return [list(row.cells) for row in source.rows if isinstance(row, SourceRow)]


def bad(source: Source) -> list[BadRow]:
    return [row for row in source.rows if isinstance(row, BadRow)]


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("utf-8", "UTF-8"),
        ("utf-8-sig", "UTF-8 with a byte order mark"),
        ("utf-16", "UTF-16 with a byte order mark"),
    ],
)
def test_encodings_with_a_mark_are_found(tmp_path: Path, encoding: str, told: str) -> None:
    source = open_csv(write(tmp_path, "name\nسارا\n", encoding), {})
    assert (told, ("name",), [["سارا"]]) == (source.guesses["encoding"], source.columns, cells(source))


def test_a_declared_encoding_is_used(tmp_path: Path) -> None:
    source = open_csv(write(tmp_path, "name\nسارا\n", "windows-1256"), {"encoding": "windows-1256"})
    assert [["سارا"]] == cells(source)


def test_one_invalid_byte_refuses_the_file_with_row_and_column(tmp_path: Path) -> None:
    with pytest.raises(FileFault, match=r"row 3, column 2 \('b'\): the byte 0xC7 is not UTF-8") as caught:
        open_csv(write(tmp_path, b"a,b\n1,2\n1,\xc7\xe1\n"), {})
    assert "windows-1256" in caught.value.hint


def test_utf_16_without_a_mark_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileFault, match="looks like UTF-16"):
        open_csv(write(tmp_path, "name,city\nAda,London\n", "utf-16-le"), {})


@pytest.mark.parametrize(
    ("text", "delimiter"), [("a,b\n1,2\n", "comma"), ("a;b\n1;2\n", "semicolon"), ("a\tb\n1\t2\n", "tab")]
)
def test_the_delimiter_is_guessed_and_told(tmp_path: Path, text: str, delimiter: str) -> None:
    source = open_csv(write(tmp_path, text), {})
    assert (f"{delimiter} (guessed)", [["1", "2"]]) == (source.guesses["delimiter"], cells(source))


def test_an_unclosed_quote_refuses_the_file_and_names_the_line_it_opens_in(tmp_path: Path) -> None:
    with pytest.raises(FileFault, match="the quote that opens in line 4 is never closed"):
        open_csv(write(tmp_path, 'a,b\n1,2\n"x\ny","z\n3,4\n'), {})


def test_a_header_that_names_a_column_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFault, match=r"'b' more than once \(columns 2, 3\)"):
        open_csv(write(tmp_path, "a,b,b\n1,2,3\n"), {})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04rest", "an Excel or ZIP file"),
        (b"\xd0\xcf\x11\xe0rest", "an old Excel file"),
        (b"<!DOCTYPE html><table>", "a web page"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    with pytest.raises(FileFault, match=told):
        open_csv(write(tmp_path, content), {})


def test_a_header_alone_is_zero_rows(tmp_path: Path) -> None:
    source = open_csv(write(tmp_path, "a,b\n"), {})
    assert (0, []) == (source.total, cells(source))


def test_a_field_over_the_limit_refuses_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileFault, match="a cell of line 2 has more than 131,072 characters"):
        open_csv(write(tmp_path, "a,b\n1," + "x" * 200_000 + "\n"), {})


def test_short_and_long_rows_are_rejected_and_kept(tmp_path: Path) -> None:
    found = bad(open_csv(write(tmp_path, "a,b\n1\n1,2,3\n4,5\n"), {}))
    assert [(2, ["1", ""]), (3, ["1", "2\0003"])] == [(row.number, list(row.cells)) for row in found]
    assert {"columns"} == {row.rule for row in found}


def test_a_nul_rejects_its_row_alone(tmp_path: Path) -> None:
    source = open_csv(write(tmp_path, "a,b\n1,x\0y\n2,z\n"), {})
    rows = list(source.rows)
    assert ("nul", "b") == (rows[0].rule, rows[0].column)  # type: ignore[union-attr]
    assert ["2", "z"] == rows[1].cells


def test_a_quote_inside_a_cell_rejects_its_row_alone(tmp_path: Path) -> None:
    rows = list(open_csv(write(tmp_path, 'a,b\n"12" screen,1\n3,4\n'), {}).rows)
    assert ["quotes", ["3", "4"]] == [rows[0].rule, rows[1].cells]  # type: ignore[union-attr]


def test_line_breaks_in_cells_and_old_line_ends_are_understood(tmp_path: Path) -> None:
    assert [["1", "x\ny"], ["2", "z"]] == cells(open_csv(write(tmp_path, 'a,"b\nc"\n1,"x\ny"\n2,z\n'), {}))
    assert [["1", "2"], ["3", "4"]] == cells(open_csv(write(tmp_path, "a,b\r1,2\r3,4\r"), {}))


def test_rows_are_numbered_as_a_person_counts_lines(tmp_path: Path) -> None:
    source = open_csv(write(tmp_path, 'a,b\n1,"x\ny"\n2,z\n'), {})
    assert [2, 4] == [row.number for row in source.rows]


def test_columns_can_be_declared_for_a_file_without_header(tmp_path: Path) -> None:
    source = open_csv(write(tmp_path, "1,2\n3,4\n"), {"columns": ("a", "b")})
    assert (("a", "b"), 2, [["1", "2"], ["3", "4"]]) == (source.columns, source.total, cells(source))


def test_json_lines_become_columns(tmp_path: Path) -> None:
    path = write(tmp_path, '{"a": 1.10, "b": {"c": true}}\n{"a": null, "d": ["x", "y"]}\n[1]\n')
    source = open_json_lines(path, {})
    rows = list(source.rows)
    assert ("a", "b.c", "d", "error_line") == source.columns
    assert [["1.10", "true", "", ""], ["", "", "x,y", ""]] == [rows[0].cells, rows[1].cells]
    assert "json" == rows[2].rule  # type: ignore[union-attr]


def test_what_is_written_back_reads_the_same(tmp_path: Path) -> None:
    rows = [["1", 'x "y"'], ["2", "a;b\nc"]]
    path = tmp_path / "again.csv"
    write_csv(path, ["a", "b"], rows, {"delimiter": ";", "encoding": "utf-16"})
    assert rows == cells(open_csv(path, {}))


CSV_LIKE = st.text(st.sampled_from('a1,;\t|"\r\n \0\ufeff\u200eسé\x1a=-'), max_size=60).map(str.encode)
JSON_LIKE = st.text(st.sampled_from('{}[]":,a1\n\\u \ufeff'), max_size=60).map(str.encode)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=60), CSV_LIKE, CSV_LIKE.map(lambda text: b"a,b\n" + text)))
def test_whatever_the_bytes_a_file_is_refused_or_its_rows_are_those_counted(content: bytes, tmp_path: Path) -> None:
    check_rows(open_csv, write(tmp_path, content))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=60), JSON_LIKE, JSON_LIKE.map(lambda text: b'{"a": "1"}\n' + text)))
def test_whatever_the_bytes_json_lines_are_refused_or_their_rows_are_those_counted(
    content: bytes, tmp_path: Path
) -> None:
    check_rows(open_json_lines, write(tmp_path, content))


def bare(row: SourceRow | BadRow) -> list[str]:
    """Return the cells without byte order marks, which are dropped where they begin a line, and without NUL.

    A NUL parts the cells of a row that is too long.
    """
    return [cell.replace("\ufeff", "").replace("\0", "") for cell in row.cells]


def check_rows(opened: Callable[[Path, dict[str, Any]], Source], path: Path) -> None:
    """Check that the file is refused in words, or read row for row into cells of the columns, and can be rewritten."""
    refused = None
    try:
        source = opened(path, {})
    except FileFault as fault:
        refused = fault
    if refused is not None:
        assert "" not in (refused.message, refused.hint)
        assert {"file", "row", "column", "value", "rule"} == refused.details.keys()
        return
    rows = list(source.rows)
    assert source.total == len(rows)
    assert {len(source.columns)} >= {len(row.cells) for row in rows}
    assert sorted(row.number for row in rows) == [row.number for row in rows]
    if opened is open_csv and rows:
        again = path.with_name("again.csv")
        names = [f"column {at}" for at in range(len(source.columns))]
        write_csv(again, names, [row.cells for row in rows], source.options)
        found = open_csv(again, {**source.options, "columns": names})
        assert [bare(row) for row in rows if any(bare(row))] == [bare(row) for row in found.rows if any(bare(row))]


def test_a_spreadsheet_of_another_kind_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "old.xls").write_bytes(b"\xd0\xcf\x11\xe0")
    with CRM.open("memory:") as crm, pytest.raises(MappingError, match=r"reads the file old\.xls") as caught:
        importer_for(crm, tmp_path / "old.xls")
    assert caught.value.hint.startswith(
        "open it in a spreadsheet program and save it as XLSX or CSV (UTF-8); where it is"
    )
