"""Reads sheets of XLSX files row by row, in constant memory however large they are.

Not by a library: those that were tried hold the whole sheet (python-calamine 0.9: 420 MB for 500,000 rows of ten cells)
or take the digits of long numbers (openpyxl, calamine: floats), and none can stop while a bomb unpacks.
"""

from __future__ import annotations

import hashlib
import marshal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from crm_core.extend import Importer, Source, SourceRow
from crm_transfer.doubtful import DoubtfulRow, doubtful
from crm_transfer.errors import BadCell, FileFault
from crm_transfer.failed import FAILED, NEVER, UNCALCULATED
from crm_transfer.formats.numberformats import Style
from crm_transfer.formats.sheetwalk import FORMULA, Cell, letters, sheet_rows
from crm_transfer.formats.typed import Form, forms_in, number_writer, time_writer
from crm_transfer.formats.workbook import Sheet, Strings, Workbook, unescaped
from crm_transfer.report import is_reject_header
from crm_transfer.serial import Epoch

_BATCH: Final = 200
"""Rows that are written to the temporary file together."""
_CALCULATE: Final = "open the file in a spreadsheet and save it: that writes the values of formulas"


@attrs.frozen(kw_only=True)
class _Layout:
    """What a walk through a sheet found: the columns with their places, and how many rows there are."""

    columns: tuple[str, ...]
    places: tuple[int, ...]
    total: int


def open_xlsx(path: Path, options: Mapping[str, Any]) -> Source:
    """Open a sheet of a spreadsheet.

    The sheet is parsed once, to its end, so that a fault shows before anybody takes a row of it; its cells wait in a
    temporary file.

    Options: `sheet` (its name; the first one that is shown when left out), `header` (the row of the column names; the
    first row that is not empty when left out), `columns` (names, for a sheet without a header line; with `header`,
    other names for those that stand there).

    Raises:
        FileFault: the file as a whole cannot be read; nothing of it may be imported.
    """
    with Workbook(path) as book, book.strings() as strings:
        sheet, how = book.sheet(str(options.get("sheet", "")))
        styles, cells = book.styles(), Kept()
        layout = _look_through(book, sheet, strings, options, cells)
        rows = _rows(cells, layout, styles, forms_in(options), epoch=book.epoch)
    return Source(
        columns=layout.columns,
        guesses={"sheet": how},
        rows=rows,
        total=layout.total,
        digest=_digest(path),
        options={**options, "sheet": sheet.name},
    )


def first_rows(path: Path, options: Mapping[str, Any], count: int) -> list[tuple[int, list[str]]]:
    """Return the first rows of a sheet that are not empty, with their numbers, each cell at its place.

    Raises:
        FileFault: the file as a whole cannot be read.
    """
    with Workbook(path) as book, book.strings() as strings:
        sheet, _ = book.sheet(str(options.get("sheet", "")))
        styles = book.styles()
        writers = _Writers(Form(), styles, epoch=book.epoch)
        found: list[tuple[int, list[str]]] = []
        for number, cells in sheet_rows(book, sheet):
            row: list[str] = []
            for place, kind, style, text in (_given(path, cell, strings) for cell in cells):
                row += [""] * (place + 1 - len(row))
                row[place], _ = writers.read(kind, style, text)
            found.append((number, row))
            if len(found) == count:
                break
        return found


def write_xlsx(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], options: Mapping[str, Any]) -> None:
    """Write rows to a sheet of the same name, every cell as text, verbatim."""
    from crm_transfer.formats.xlsxwriting import write_sheet

    write_sheet(path, columns, rows, title=str(options.get("sheet") or "Rows"))


XLSX: Final = Importer(
    name="xlsx",
    suffixes=(".xlsx", ".xlsm"),
    open=open_xlsx,
    write=write_xlsx,
    help="A sheet of a spreadsheet (Excel 2007 and later).",
)


def _look_through(book: Workbook, sheet: Sheet, strings: Strings, options: Mapping[str, Any], kept: Kept) -> _Layout:
    declared = tuple(options.get("columns", ()))
    wanted = int(options.get("header") or 0)
    has_header, names = bool(declared), dict(enumerate(declared))
    before = True
    filled: set[int] = set()
    for number, found in sheet_rows(book, sheet):
        cells = [_given(book.path, cell, strings) for cell in found]
        given = [cell for cell in cells if cell[3].strip()]
        if before and given:
            before = False
            if is_reject_header([_written(cell) for cell in given]):  # its own header is the first row
                wanted, has_header = number, False
        if not given or number < wanted or (has_header and number == wanted):
            continue
        if not has_header:
            if wanted and number > wanted:
                raise FileFault(
                    f"{book.path.name}: row {wanted} of {sheet.name!r} is empty, so it is no header",
                    hint="say which row has the names of the columns: [file] header = ...",
                    file=book.path.name,
                    rule="empty",
                )
            has_header = True
            _refuse_formulas(book.path, number, given)
            names = {cell[0]: " ".join(_written(cell).split()) for cell in given}
            continue
        kept.add(number, cells)
        filled.update(cell[0] for cell in given)
    if not names:
        raise FileFault(
            f"{book.path.name}: the sheet {sheet.name!r} is empty: not even a header line",
            hint="name another one with --sheet, or leave the file out of the plan",
            file=book.path.name,
            rule="empty",
        )
    places = tuple(sorted(names.keys() | filled))
    columns = tuple(names.get(at) or f"column {letters(at)}" for at in places)
    _refuse_doubles(book.path, columns, places)
    return _Layout(columns=columns, places=places, total=kept.count)


def _refuse_formulas(path: Path, number: int, header: Sequence[Cell]) -> None:
    bad = next((cell for cell in header if cell[1] == FORMULA), None)
    if bad is not None:
        raise FileFault(
            f"{path.name}: the cell {letters(bad[0])}{number} of the header is a formula without a value",
            hint=_CALCULATE,
            file=path.name,
            rule="formula",
        )


def _refuse_doubles(path: Path, columns: Sequence[str], places: Sequence[int]) -> None:
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        found = ", ".join(letters(at) for at, name in zip(places, columns, strict=True) if name == twice[0])
        raise FileFault(
            f"{path.name}: the header has {twice[0]!r} more than once (columns {found})",
            hint="rename one of them: which one is meant could not be told apart",
            file=path.name,
            rule="columns",
        )


def _given(path: Path, cell: Cell, strings: Strings) -> Cell:
    """Return a cell with its own text, where it shares one with others or has escapes in it."""
    at, kind, style, text = cell
    if kind == "s":
        try:
            return at, kind, style, strings[text]
        except (IndexError, ValueError):
            raise FileFault(
                f"{path.name} is damaged: a cell names the shared text {text!r}, which is not there",
                hint="open it in a spreadsheet and save it again",
                file=path.name,
                rule="damaged",
            ) from None
    return (at, kind, style, unescaped(text)) if "_x" in text else cell


def _written(cell: Cell) -> str:
    """Return the text of a cell of the header."""
    _, kind, _, text = cell
    return number_writer(Form())(text) if kind in ("", "n") else text


def _rows(
    kept: Kept, layout: _Layout, styles: Mapping[str, Style], forms: Mapping[str, Form], *, epoch: Epoch
) -> Iterator[SourceRow | DoubtfulRow]:
    columns, at = layout.columns, {place: index for index, place in enumerate(layout.places)}
    file = forms.get("", Form())
    writers = [_Writers(forms.get(name, file), styles, epoch=epoch) for name in columns]
    for number, cells in kept.rows():
        texts = [""] * len(columns)
        faults: list[tuple[int, BadCell]] = []
        for place, kind, style, text in cells:
            index = at.get(place)
            if index is None:  # white space in a column without a name
                continue
            found, bad = writers[index].read(kind, style, text)
            if bad is not None:
                faults.append((index, bad.at(columns[index], text)))
            if "\0" in found:
                faults.append((index, _nul(columns[index], found)))
                found = found.replace("\0", "")
            texts[index] = found
        yield doubtful(number, texts, faults) if faults else SourceRow(number, texts)


class Kept:
    """The cells of a sheet in a temporary file, row by row; it goes when they were read or nobody will."""

    def __init__(self) -> None:
        """Begin an empty one."""
        self._file = tempfile.TemporaryFile(prefix="crm-import-")  # noqa: SIM115 - closed by `__del__`
        self._waiting: list[tuple[int, list[Cell]]] = []
        self.count = 0

    def __del__(self) -> None:
        """Drop the file."""
        self._file.close()

    def add(self, number: int, cells: list[Cell]) -> None:
        """Keep a row."""
        self._waiting.append((number, cells))
        self.count += 1
        if len(self._waiting) >= _BATCH:
            self._put()

    def rows(self) -> Iterator[tuple[int, list[Cell]]]:
        """Yield the rows that were kept."""
        self._put()
        self._file.seek(0)
        while size := self._file.read(8):
            yield from marshal.loads(self._file.read(int.from_bytes(size)))
        self._file.close()

    def _put(self) -> None:
        content = marshal.dumps(self._waiting)
        self._file.write(len(content).to_bytes(8) + content)
        self._waiting.clear()


class _Writers:
    """Writes the typed cells of one column."""

    def __init__(self, form: Form, styles: Mapping[str, Style], *, epoch: Epoch) -> None:
        self._number = number_writer(form)
        kinds: dict[Style, Callable[[str], str]] = {
            kind: time_writer(kind, form, epoch=epoch) for kind in set(styles.values())
        }
        self._times = {style: kinds[kind] for style, kind in styles.items()}

    def read(self, kind: str, style: str, text: str) -> tuple[str, BadCell | None]:
        """Return the text of a cell; of one that is no value what stands for it, and why it is none."""
        try:
            return self._text(kind, style, text), None
        except BadCell as bad:
            return (UNCALCULATED if kind == FORMULA else text), bad

    def _text(self, kind: str, style: str, text: str) -> str:
        if kind in ("", "n"):
            return self._times.get(style, self._number)(text) if text else ""
        if kind == "b":
            return "true" if text in ("1", "true") else "false"
        if kind == "e":
            raise BadCell("spreadsheet_error", FAILED)
        if kind == FORMULA:
            raise BadCell("formula", NEVER)
        if kind == "d":
            return text.replace("T", " ").removesuffix(" 00:00:00")
        return text


def _nul(column: str, text: str) -> BadCell:
    return BadCell("nul", "the cell has a NUL character, which no database keeps", column=column, value=text)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
