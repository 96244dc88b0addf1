"""Walks through the part of a sheet and collects its rows: the cells with their types, as they stand there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from crm_transfer.errors import FileFault
from crm_transfer.formats.workbook import LARGEST, Sheet, Workbook, parser_of, reading

_COLUMNS: Final = 16_384
_CELL: Final = 131_072
"""The longest text of a cell, as in delimited text; a spreadsheet itself allows 32,767 characters."""
FORMULA: Final = "f"
"""The type that we give a cell whose formula was never calculated; no sheet has one of that name."""

Cell = tuple[int, str, str, str]
"""Column from 0, type, style and text of a cell as the part of the sheet has them; of `FORMULA` the formula itself."""


def sheet_rows(book: Workbook, sheet: Sheet) -> Iterator[tuple[int, list[Cell]]]:
    """Yield the rows of a sheet with their numbers, as the spreadsheet shows them; empty ones are left out."""
    walk = _Walk(book.path)
    parser = parser_of(walk.start, walk.end, walk.text)
    with reading(book.path, sheet.part):
        for block in book.blocks(sheet.part, limit=LARGEST):
            parser.Parse(block)
            if walk.rows:
                yield from walk.rows
                walk.rows.clear()
        parser.Parse(b"", True)
        yield from walk.rows


def letters(at: int) -> str:
    """Return the letters of a column.

    >>> letters(0), letters(25), letters(26), letters(16383)
    ('A', 'Z', 'AA', 'XFD')
    """
    text, at = "", at + 1
    while at:
        at, rest = divmod(at - 1, 26)
        text = chr(65 + rest) + text
    return text


class _Walk:
    """Takes the events of a parser and collects whole rows: a million cells pass through these three methods."""

    __slots__ = (
        "_cell", "_cells", "_code", "_coding", "_column", "_formula", "_kind", "_last", "_letters", "_names", "_path",
        "_pieces", "_reading", "_row", "_style", "rows",
    )  # fmt: skip

    def __init__(self, path: Path) -> None:
        self.rows: list[tuple[int, list[Cell]]] = []
        self._path = path
        self._names = _Names()
        self._letters = _Letters()
        self._cells: list[Cell] = []
        self._row = 0
        self._last = -1
        self._column, self._kind, self._style = 0, "", ""
        self._pieces: list[str] = []
        self._code: list[str] = []
        self._reading = self._cell = self._formula = self._coding = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        """Begin an element."""
        name = self._names[name]
        if name == "c":
            get = attributes.get
            place = get("r")
            self._last = self._column = self._last + 1 if place is None else self._letters[place.rstrip("0123456789")]
            self._kind, self._style = get("t", ""), get("s", "0")
            self._cell = True
            if self._code:
                self._code = []
        elif name == "v" or name == "t":
            self._reading = self._cell
        elif name == "f":
            self._formula = self._coding = self._cell
        elif name == "row":
            row = int(attributes.get("r") or self._row + 1)
            if row <= self._row:
                raise ValueError(f"row {row} comes after row {self._row}")
            self._row, self._last = row, -1
        elif name == "rPh":
            self._cell = False

    def end(self, name: str) -> None:
        """End an element."""
        name = self._names[name]
        if name == "c":
            if self._pieces:
                text = "".join(self._pieces)
                if len(text) > _CELL:
                    raise self._fault(f"has more than {_CELL:,} characters")
                if len(self._cells) >= _COLUMNS:
                    raise ValueError(f"row {self._row} has more cells than a sheet has columns")
                self._cells.append((self._column, self._kind, self._style, text))
                self._pieces = []
            elif self._formula:
                self._cells.append((self._column, FORMULA, "", "=" + ("".join(self._code) or "...")))
            self._cell = self._formula = False
        elif name == "v" or name == "t":
            self._reading = False
            self._formula = self._formula and self._kind != "str"  # the value of a formula may be the empty text
        elif name == "f":
            self._coding = False
        elif name == "row":
            if self._cells:
                self.rows.append((self._row, self._cells))
                self._cells = []
        elif name == "rPh":
            self._cell = True

    def text(self, piece: str) -> None:
        """Take some text."""
        if self._reading:
            self._pieces.append(piece)
            if len(self._pieces) > 64 and sum(map(len, self._pieces)) > _CELL:
                raise self._fault(f"has more than {_CELL:,} characters")
        elif self._coding and len(self._code) < 8:  # enough to know the formula by
            self._code.append(piece)

    def _fault(self, what: str) -> FileFault:
        place = f"{letters(self._column)}{self._row}"
        return FileFault(
            f"{self._path.name}: the cell {place} {what}", hint="shorten it", file=self._path.name, rule="file"
        )


class _Names(defaultdict[str, str]):
    """The names of elements without their namespace prefix."""

    def __missing__(self, name: str) -> str:
        found = self[name] = name.rpartition(":")[2]
        return found


class _Letters(dict[str, int]):
    """The columns by their letters: A is 0."""

    def __missing__(self, text: str) -> int:
        found = 0
        for letter in text:
            found = found * 26 + ord(letter) - 64
        if not 0 < found <= _COLUMNS:
            raise ValueError(f"{text!r} is no column of a sheet")
        self[text] = found - 1
        return found - 1
