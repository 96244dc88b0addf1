"""Reads delimited text and JSON lines: checks the whole file first, then streams its rows in constant memory.

Apart from the mapping, because a file is refused for its form before anything asks what it means.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from crm_core.extend import BadRow, Importer, Source, SourceRow
from crm_transfer.aligned import ONE, TWO
from crm_transfer.cells import join_tags
from crm_transfer.csvtext import csv_writer
from crm_transfer.errors import FileFault
from crm_transfer.form import Form, examine, open_text
from crm_transfer.layout import Layout, find_layout, from_line
from crm_transfer.report import BEYOND, SURPLUS, shown

_LINE: Final = "error_line"
"""The member under which a reject file keeps a line that is no object: there it can be put right."""
_MOST_DIGITS: Final = 400
_MOST_BEYOND: Final = 50
"""How many cells beyond the header a rejected row keeps apart."""


def open_csv(path: Path, options: Mapping[str, Any]) -> Source:
    """Open delimited text: options `encoding`, `delimiter`, `header` (its line) and `columns`.

    `columns` are the names of a file without a header line; with `header`, other names for those that stand there.

    Raises:
        FileFault: the file as a whole cannot be read as such; nothing of it may be imported.
    """
    form = examine(path, options)
    _refuse_others(path, form)
    layout = find_layout(path, form, options)
    return Source(
        columns=layout.columns,
        guesses={"encoding": form.found, **layout.guesses, **form.remarks},
        rows=_csv_rows(path, form, layout),
        total=layout.total,
        digest=form.digest,
        options={**options, "encoding": form.encoding, "delimiter": layout.named},
        own=tuple(name for name in layout.columns if name.startswith(SURPLUS)),
    )


def open_json_lines(path: Path, options: Mapping[str, Any]) -> Source:
    """Open JSON lines: one object a line; the members of nested objects become columns `outer.inner`.

    Raises:
        FileFault: the file as a whole cannot be read as such.
    """
    form = examine(path, options)
    names: dict[str, None] = {}
    total, torn = 0, False
    for _, line in _numbered(path, form):
        total += 1
        cells = _flat_object(line)
        torn = torn or isinstance(cells, str)
        if isinstance(cells, dict):
            names.update(dict.fromkeys(cells))
    if not names:
        raise _no_objects(path, torn=torn)
    columns = tuple(names) + ((_LINE,) if torn and _LINE not in names else ())
    return Source(
        columns=columns,
        guesses={"encoding": form.found, **form.remarks},
        rows=_json_rows(path, form, columns),
        total=total,
        digest=form.digest,
        options={**options, "encoding": form.encoding},
    )


def _no_objects(path: Path, *, torn: bool) -> FileFault:
    if not torn:
        return FileFault(
            f"{path.name} is empty: no line has anything in it",
            hint="export it again, or leave it out of the plan",
            file=path.name,
            rule="empty",
        )
    return FileFault(
        f"{path.name}: no line is a JSON object with a member",
        hint="write one object a line; delimited text is named .csv, or say which it is: [file] format",
        file=path.name,
        rule="json",
    )


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], options: Mapping[str, Any]) -> None:
    """Write rows as delimited text of the same encoding and delimiter, verbatim.

    A character that the encoding lacks can only be one of a message, and is written as its number.
    """
    encoding = options.get("encoding", "utf-8")
    with path.open("w", encoding=encoding, errors="backslashreplace", newline="") as file:
        delimiter = options.get("delimiter", ",")
        writer = csv_writer(file, "\t" if delimiter in (ONE, TWO) else delimiter)
        writer.writerow(columns)
        writer.writerows(rows)


def write_json_lines(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], options: Mapping[str, Any]
) -> None:
    """Write rows as JSON lines; a lone surrogate is escaped, as JSON may.

    The first row has every column, so that the file has them when it is read again; the others leave empty cells out.
    """
    with path.open("w", encoding=options.get("encoding", "utf-8"), errors="backslashreplace") as file:
        for at, row in enumerate(rows):
            cells = {name: cell for name, cell in zip(columns, row, strict=True) if cell or not at}
            file.write(json.dumps(cells, ensure_ascii=False) + "\n")


CSV: Final = Importer(
    name="csv",
    suffixes=(".csv", ".tsv", ".txt"),
    open=open_csv,
    write=write_csv,
    help="Text with one row a line, cells parted by comma, semicolon, tab or another character.",
)
JSON_LINES: Final = Importer(
    name="jsonl",
    suffixes=(".jsonl", ".ndjson"),
    open=open_json_lines,
    write=write_json_lines,
    help="One JSON object a line.",
)


class _Absent(str):
    """The empty cell of a member that a JSON object does not have; one that is null has a plain empty cell."""

    __slots__ = ()


ABSENT: Final[str] = _Absent()


def _refuse_others(path: Path, form: Form) -> None:
    """Refuse what is text, but of a form that has no delimiters: it would be taken for one strange column."""
    with open_text(path, form) as lines:
        beginning = lines.read(200).lstrip("\ufeff \t\r\n")
    others = ((("{", "[{"), "JSON", ".jsonl", "jsonl"), (("BEGIN:VCARD",), "a vCard", ".vcf", "vcard"))
    for marks, what, suffix, name in others:
        if beginning.upper().startswith(marks):
            raise FileFault(
                f"{path.name} is {what}, not delimited text",
                hint=f'name it {path.stem}{suffix}, or say which it is: [file] format = "{name}"',
                file=path.name,
                rule="not_text",
            )


def _csv_rows(path: Path, form: Form, layout: Layout) -> Iterator[SourceRow | BadRow]:
    columns, first = layout.columns, layout.first
    width, header = len(columns), list(layout.header)
    beyond = [at for at, name in enumerate(columns) if name.startswith(SURPLUS)]
    text: list[str] = []

    def remembered(lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            text.append(line)
            yield line

    with open_text(path, form) as lines:
        reader = csv.reader(
            remembered(from_line(lines, first, form, layout.aligned)),
            delimiter=layout.delimiter,
            strict=True,
            skipinitialspace=layout.spaced,
        )
        if layout.has_header:
            next((cells for cells in reader if cells), None)
        while True:
            number = first + reader.line_num
            text.clear()
            try:
                for cells in reader:
                    if len(cells) == width and any(cells) and cells != header and not (form.has_nul and _nul_in(cells)):
                        if beyond and any(cells[at] for at in beyond):
                            yield _too_long(number, cells, columns, beyond)
                        else:
                            yield SourceRow(number, cells)
                    elif any(cells):
                        yield _misfit(number, cells, layout, cut=not text[-1].endswith(("\r", "\n")))
                    number = first + reader.line_num
                    text.clear()
                return
            except csv.Error:
                yield _unparsed(number, text, width, layout.delimiter)


def _unparsed(number: int, lines: Sequence[str], width: int, delimiter: str) -> BadRow:
    """Return a row whose quotes make no sense, all of its lines kept."""
    text = "".join(lines).rstrip("\r\n")
    where = (
        "a quote" if len(lines) == 1 else f"in lines {number} to {number + len(lines) - 1}, which are one row, a quote"
    )
    return BadRow(
        number,
        _glued(text.split(delimiter), width, delimiter),
        "quotes",
        f"{where} stands inside a cell; quote the whole cell and double the quotes in it",
        value=shown(text),
    )


def _nul_in(cells: Sequence[str]) -> bool:
    return any("\0" in cell for cell in cells)


def _misfit(number: int, cells: list[str], layout: Layout, *, cut: bool) -> BadRow:
    """Return a row that does not fit its header; `cut` says that the file ends in it."""
    width, delimiter = len(layout.columns), layout.delimiter
    if cells == list(layout.header):
        message = "the row is the header line again; were files put together? delete it"
        return BadRow(number, cells, "header", message, value=shown(delimiter.join(cells)))
    if len(cells) == width:
        return _with_nul(number, cells, layout.columns)
    count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
    few, way = (
        ("fewer", "fill it up")
        if len(cells) < width
        else ("more", f"quote a cell that has the delimiter ({delimiter!r}) in it")
    )
    if layout.aligned:
        way = f"columns are parted by {layout.aligned}: is a cell empty, or has one such spaces in it?"
    if cut and len(cells) < width:
        way = "the file ends in it: was it cut off? export it again, or fill the row up"
    message = f"the row has {count}, {few} than the {width} of the header; {way}"
    return BadRow(number, _padded(cells, width, delimiter), "columns", message, value=shown(delimiter.join(cells)))


def _too_long(number: int, cells: list[str], columns: Sequence[str], beyond: Sequence[int]) -> BadRow:
    """Return a row of a reject file that still has cells beyond the columns of the file it comes from."""
    first = next(at for at in beyond if cells[at])
    message = "the cell is beyond the columns of the file; put the row's cells into their columns and empty this one"
    return BadRow(number, cells, "columns", message, columns[first], shown(cells[first]))


def _with_nul(number: int, cells: list[str], columns: Sequence[str]) -> BadRow:
    at = next(index for index, cell in enumerate(cells) if "\0" in cell)
    message = "the cell has a NUL character, which no database keeps; the reject file has the row without it"
    bare = [cell.replace("\0", "") for cell in cells]
    return BadRow(number, bare, "nul", message, columns[at], shown(cells[at]))


def _padded(cells: list[str], width: int, delimiter: str) -> list[str]:
    """Fit cells to the header so that a rejected row can be written back: those beyond it wait in the last one.

    A NUL is left out: hardly a program that could correct the row would open the file.
    """
    bare = [cell.replace("\0", "") for cell in cells]
    if len(bare) > width:
        most = width + _MOST_BEYOND
        apart = [*bare[width - 1 : most], delimiter.join(bare[most:])] if len(bare) > most else bare[width - 1 :]
        bare = [*bare[: width - 1], BEYOND.join(apart)]
    return bare + [""] * (width - len(bare))


def _glued(cells: list[str], width: int, delimiter: str) -> list[str]:
    """Fit the pieces of a line that could not be parsed: nobody knows where its cells end, so the rest stays one."""
    return _padded([*cells[: width - 1], delimiter.join(cells[width - 1 :])], width, delimiter)


def _numbered(path: Path, form: Form) -> Iterator[tuple[int, str]]:
    with open_text(path, form) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, line


def _json_rows(path: Path, form: Form, columns: Sequence[str]) -> Iterator[SourceRow | BadRow]:
    for number, line in _numbered(path, form):
        found = _flat_object(line)
        if isinstance(found, str):
            saved = [line.strip() if name == _LINE else "" for name in columns]
            yield BadRow(number, saved, "json", found, value=shown(line.strip()))
            continue
        cells = [found.get(name, ABSENT) for name in columns]
        if _nul_in(cells):
            yield _with_nul(number, cells, columns)
        else:
            yield SourceRow(number, cells)


def _flat_object(line: str) -> dict[str, str] | str:
    """Return the cells of one JSON object by column, or in words why the line is none."""
    try:
        found = json.loads(
            line.strip().lstrip("\ufeff"), parse_float=_number, parse_int=str, object_pairs_hook=_no_doubles
        )
    except json.JSONDecodeError as error:
        return f"the line is no JSON object: {error.msg} at character {error.pos + 1}; correct it"
    except ValueError as error:
        return f"the line is no JSON object: {error}; correct it"
    except RecursionError:
        return "the line is nested too deeply; flatten it"
    if not isinstance(found, dict):
        return 'the line is JSON but no object; write {"column": "cell", ...}'
    cells: dict[str, str] = {}
    _flatten(found, "", cells)
    return cells


def _number(text: str) -> str:
    """Return a number of JSON without an exponent, which here is no sign that a spreadsheet cut it.

    >>> _number("1.5e-7"), _number("12.50")
    ('0.00000015', '12.50')
    """
    if "e" not in text.lower():
        return text
    number = Decimal(text)
    return f"{number:f}" if abs(number.adjusted()) <= _MOST_DIGITS else text


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is there twice")
    return members


def _flatten(value: Mapping[str, Any], prefix: str, cells: dict[str, str]) -> None:
    for name, inner in value.items():
        if isinstance(inner, dict):
            _flatten(inner, f"{prefix}{name}.", cells)
        elif isinstance(inner, list):
            cells[prefix + name] = join_tags([_plain(each) for each in inner], ",")
        else:
            cells[prefix + name] = _plain(inner)


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
