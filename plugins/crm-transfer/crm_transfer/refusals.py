"""Finds where in a file the fault stands that refuses it as a whole: the row, the column and the cell, for its words.

Apart from the reading, because it runs once, on a file that is not going to be imported.
"""

from __future__ import annotations

import codecs
import csv
import re
from pathlib import Path
from typing import Final

from crm_transfer.errors import FileFault
from crm_transfer.report import shown

DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_BAD: Final = re.compile("[\udc00-\udcff]+")
_MARK: Final = "crm-transfer-undecodable"


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Let each byte that cannot be decoded stand in the text as a lone surrogate, which decoding never makes."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_MARK, _mark)


def undecodable(path: Path, encoding: str, controls: re.Pattern[str] | None = None) -> FileFault:
    """Say in which row and column the first byte stands that the encoding does not know.

    `controls` finds the characters that text of a one-byte encoding never has.
    """
    row, at, cell, name = _first_bad(path, encoding, controls or _BAD)
    bad = (controls or _BAD).search(cell)
    unit = 1 if not encoding.startswith(("utf-16", "utf-32")) else 4
    bytes_ = " ".join(f"0x{ord(character) % 0xDC00:02X}" for character in bad[0][:unit]) if bad else "?"
    what = f"the bytes {bytes_} are" if " " in bytes_ else f"the byte {bytes_} is"
    column = f"column {at}" + (f" ({name!r})" if name else "")
    official = encoding.upper().removesuffix("-SIG")
    return FileFault(
        f"{path.name}: row {row}, {column}: {what} not {official}",
        hint=_way_out(encoding),
        file=path.name,
        row=row,
        column=name or str(at),
        value=shown(_BAD.sub(lambda found: "".join(f"\\x{ord(c) - 0xDC00:02x}" for c in found[0]), cell)),
        rule="encoding",
    )


def _way_out(encoding: str) -> str:
    if encoding.startswith(("utf-16", "utf-32")):
        return "the file is damaged or was cut off: export it again, best as UTF-8"
    others = '"windows-1252" (western), "windows-1256" (Persian, Arabic), "windows-1251" (Cyrillic) ...'
    if encoding.startswith("utf-8"):
        return (
            f"declare the encoding in the mapping: [file] encoding = {others}; with --suggest: --encoding windows-1252"
        )
    return f"the mapping declares {encoding}, and it is another one: {others}"


def _first_bad(path: Path, encoding: str, bad: re.Pattern[str]) -> tuple[int, int, str, str]:
    """Return row, column, cell and the column's name; the cell is empty when a row before it cannot be parsed."""
    with path.open(encoding=encoding, errors=_MARK, newline="") as lines:
        first = lines.readline()
        delimiter = max(DELIMITERS, key=first.count)
        lines.seek(0)
        reader = csv.reader(lines, delimiter=delimiter)
        start, header = 1, list[str]()
        try:
            for cells in reader:
                for at, cell in enumerate(cells, 1):
                    if bad.search(cell):
                        name = header[at - 1] if at <= len(header) else ""
                        return start, at, cell, name
                header = header or [cell.strip() for cell in cells]
                start = reader.line_num + 1
        except csv.Error:
            pass  # a cell over the limit: the row is near enough
    return start, 1, "", ""


def opening_quote(path: Path, encoding: str, start: int) -> tuple[int, str]:
    """Walk the record that starts in line `start` to its last opening quote; return its line, and what follows it."""
    opened, quoted, after = start, False, ""
    with path.open(encoding=encoding, newline="") as lines:
        for number, line in enumerate(lines, 1):
            if number < start:
                continue
            for at, character in enumerate(line):
                if character == '"':
                    quoted = not quoted
                    opened, after = (number, line[at + 1 :].strip()) if quoted else (opened, after)
    return opened, after
