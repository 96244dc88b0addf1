"""Writes the parts of an XLSX file with one sheet, row by row in constant memory.

Not by a library: for 500,000 rows of ten columns openpyxl takes 425 s, XlsxWriter with `constant_memory` 31 s and this
6 s, since a sheet of values needs but one element a cell. The same rows give the same bytes.
"""

from __future__ import annotations

import datetime as dt
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final

from crm_transfer.errors import FileFault
from crm_transfer.formats.sheetwalk import letters

_DAY_STYLE, _MOMENT_STYLE = 1, 2
_EPOCH: Final = dt.datetime(1899, 12, 30)  # noqa: DTZ001 - a spreadsheet knows no zones
_EPOCH_DAY: Final = _EPOCH.toordinal()
_SPECIAL: Final = re.compile(r"[&<>\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
"""What XML writes in another way or cannot hold, the carriage return that it would make another line end, and what
looks like an escape."""
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_TITLE: Final = re.compile(r"[\[\]:*?/\\\x00-\x1f]")
_LONGEST: Final = 32_767
_BLOCK: Final = 1 << 18
"""Characters that are packed together."""
_FULL: Final = zipfile.ZIP64_LIMIT
"""Bytes of a sheet beyond which its file needs ZIP64, which Excel takes for damaged and offers to repair."""
_LEVEL: Final = 3
"""Of 1 to 9: a third faster than the usual 6, and a tenth larger."""

_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_DOCUMENT: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_HEAD: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_PARTS: Final = {
    "[Content_Types].xml": (
        f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPE}.worksheet+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{_TYPE}.styles+xml"/></Types>'
    ),
    "_rels/.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships">'
        f'<Relationship Id="rId1" Type="{_DOCUMENT}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/_rels/workbook.xml.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships">'
        f'<Relationship Id="rId1" Type="{_DOCUMENT}/worksheet" Target="worksheets/sheet1.xml"/>'
        f'<Relationship Id="rId2" Type="{_DOCUMENT}/styles" Target="styles.xml"/></Relationships>'
    ),
    "xl/styles.xml": (
        f'<styleSheet xmlns="{_MAIN}"><numFmts count="2"><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd"/>'
        '<numFmt numFmtId="165" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss"/></numFmts>'
        '<fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>'
        '<fills count="2"><fill><patternFill patternType="none"/></fill>'
        '<fill><patternFill patternType="gray125"/></fill></fills>'
        '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
        '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
        '<cellXfs count="3"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>'
        '<xf numFmtId="164" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>'
        '<xf numFmtId="165" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/></cellXfs>'
        '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
    ),
}
_SHEET: Final = (
    f'<worksheet xmlns="{_MAIN}"><sheetViews><sheetView tabSelected="1" workbookViewId="0">'
    '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><sheetData>'
)


class SheetWriter:
    """A new file with one sheet; `append` takes the cells of a row, made by the functions below, None for an empty one.

    Raises:
        FileFault: the sheet becomes larger than a spreadsheet can open.
    """

    def __init__(self, path: Path, title: str) -> None:
        """Begin the file; the first row stays in view."""
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL)
        for name, content in _PARTS.items():
            self._zip.writestr(_part(name), _HEAD + content)
        named = _plain(_TITLE.sub(" ", title)[:31].strip("' ") or "Rows").replace('"', "&quot;")
        self._zip.writestr(
            _part("xl/workbook.xml"),
            f'{_HEAD}<workbook xmlns="{_MAIN}" xmlns:r="{_DOCUMENT}"><sheets>'
            f'<sheet name="{named}" sheetId="1" r:id="rId1"/></sheets></workbook>',
        )
        self._part = self._zip.open(_part("xl/worksheets/sheet1.xml"), "w")
        self._waiting, self._length = [_HEAD, _SHEET], 0
        self._letters: list[str] = []
        self._row = self._written = 0

    def __enter__(self) -> SheetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._waiting.append("</sheetData></worksheet>")
                self._pack()
        finally:
            self._part.close()
            self._zip.close()

    def append(self, cells: Iterable[str | None]) -> None:
        """Write a row."""
        self._row += 1
        row = self._row
        made = [f'<row r="{row}">']
        for at, cell in enumerate(cells):
            if cell is None:
                continue
            while at >= len(self._letters):
                self._letters.append(letters(len(self._letters)))
            made.append(f'<c r="{self._letters[at]}{row}"{cell}</c>')
        made.append("</row>")
        line = "".join(made)
        self._waiting.append(line)
        self._length += len(line)
        if self._length >= _BLOCK:
            self._pack()

    def _pack(self) -> None:
        block = "".join(self._waiting).encode()
        self._waiting, self._length = [], 0
        self._written += len(block)
        if self._written > _FULL:
            raise FileFault(
                f"the sheet grows beyond {_FULL >> 20:,} MB in row {self._row:,}, which spreadsheets do not open",
                hint="choose --columns, filter with --where, or write --format csv or parquet",
            )
        self._part.write(block)


def text_cell(text: str) -> str:
    """Return a cell of text, which is never taken for a formula or a number.

    Raises:
        FileFault: it is longer than a cell can be.
    """
    if len(text) > _LONGEST:
        raise FileFault(
            f"a cell has {len(text):,} characters, and a spreadsheet allows {_LONGEST:,}",
            hint="leave the column out with --columns, or write --format csv or jsonl",
        )
    kept = ' xml:space="preserve"' if text != text.strip() or "\n" in text or "  " in text else ""
    return f' t="inlineStr"><is><t{kept}>{_plain(text)}</t></is>'


def error_cell(text: str) -> str:
    """Return a cell that shows an error, such as `#REF!`."""
    return f' t="e"><v>{_plain(text)}</v>'


def yes_no_cell(value: bool) -> str:
    """Return a cell that is true or false."""
    return f' t="b"><v>{int(value)}</v>'


def number_cell(number: object) -> str:
    """Return a cell of a whole number or a decimal one, with all its digits."""
    return f"><v>{number}</v>"


def day_cell(day: dt.date) -> str:
    """Return a cell of a day, from 1 March 1900 on."""
    return f' s="{_DAY_STYLE}"><v>{day.toordinal() - _EPOCH_DAY}</v>'


def moment_cell(moment: dt.datetime) -> str:
    """Return a cell of a moment without a zone, from 1 March 1900 on."""
    since = moment - _EPOCH
    return f' s="{_MOMENT_STYLE}"><v>{since / dt.timedelta(days=1)!r}</v>'


def _plain(text: str) -> str:
    return _SPECIAL.sub(_escaped, text) if _SPECIAL.search(text) else text


def _escaped(match: re.Match[str]) -> str:
    return _ENTITIES.get(match[0]) or f"_x{ord(match[0]):04X}_"


def _part(name: str) -> zipfile.ZipInfo:
    part = zipfile.ZipInfo(name)  # its time is that of no clock: the same rows are the same file
    part.compress_type = zipfile.ZIP_DEFLATED
    part._compresslevel = _LEVEL  # type: ignore[attr-defined]  # the only way before Python 3.13
    return part
