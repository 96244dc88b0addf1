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


def undecodable(path: Path, encoding: str) -> FileFault:
    """Say in which row and column the first byte stands that the encoding does not know."""
    row, at, cell, name = _first_undecodable(path, encoding)
    bad = _BAD.search(cell)
    unit = 1 if not encoding.startswith(("utf-16", "utf-32")) else 4
    bytes_ = " ".join(f"0x{ord(character) - 0xDC00:02X}" for character in bad[0][:unit]) if bad else "?"
    what = f"the bytes {bytes_} are" if " " in bytes_ else f"the byte {bytes_} is"
    column = f"column {at}" + (f" ({name!r})" if name else "")
    official = encoding.upper().removesuffix("-SIG")
    known = "" if official.startswith("UTF") else f"; the mapping declares {official}, and it may be another one"
    return FileFault(
        f"{path.name}: row {row}, {column}: {what} not {official}",
        hint='declare the encoding in the mapping: [file] encoding = "windows-1252" (western), "windows-1256" '
        f'(Persian, Arabic), "windows-1251" (Cyrillic) ...; with --suggest: --encoding windows-1252{known}',
        file=path.name,
        row=row,
        column=name or str(at),
        value=shown(_BAD.sub(lambda found: "".join(f"\\x{ord(c) - 0xDC00:02x}" for c in found[0]), cell)),
        rule="encoding",
    )


def _first_undecodable(path: Path, encoding: str) -> tuple[int, int, str, str]:
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
                    if _BAD.search(cell):
                        name = header[at - 1] if at <= len(header) else ""
                        return start, at, cell, name
                header = header or [cell.strip() for cell in cells]
                start = reader.line_num + 1
        except csv.Error:
            pass  # a cell over the limit: the row is near enough
    return start, 1, "", ""


def opening_line(path: Path, encoding: str, start: int) -> int:
    """Walk the record that starts in line `start` to find the line of its last opening quote."""
    opened, quoted = start, False
    with path.open(encoding=encoding, newline="") as lines:
        for number, line in enumerate(lines, 1):
            if number < start:
                continue
            for character in line:
                if character == '"':
                    quoted = not quoted
                    opened = number if quoted else opened
    return opened
