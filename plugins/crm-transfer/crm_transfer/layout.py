"""How delimited text is laid out: the delimiter, the header line, how many rows there are; a fault refuses the file.

Apart from the reading of rows, because all of this is known before the first row is given to anybody.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final

import attrs

from crm_core.values import ascii_digits
from crm_transfer.aligned import ONE, TWO, guess_spaces, looks_aligned, with_tabs
from crm_transfer.cells import key_text
from crm_transfer.errors import FileFault, MappingError
from crm_transfer.form import Form, open_text
from crm_transfer.refusals import DELIMITERS, opening_quote
from crm_transfer.report import ERROR_COLUMNS, SURPLUS, is_reject_header, shown

_SAMPLE: Final = 50
_SHORT: Final = 100
_SEP: Final = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""The first line by which a file tells Excel its delimiter."""
_DATA: Final = {
    "an e-mail address": re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+"),
    "a date": re.compile(r"[0-9]{1,4}[-./][0-9]{1,2}[-./][0-9]{1,4}(?:[ T].*)?"),
    "a phone number": re.compile(r"(?:\+|00)[0-9 ()./-]{7,}"),
}
_YEARS: Final = range(1900, 2101)


@attrs.frozen(kw_only=True)
class Layout:
    """Delimiter, columns, the header's cells as they stand, how many rows follow, and in words what was found.

    `first` is the line on which reading begins, counted from 1: the header's, or the first row's where there is none.
    `spaced` says that spaces stand between a delimiter and a quote; `aligned` is which spaces part columns where those
    do, which are then read as tabs.
    """

    delimiter: str
    columns: tuple[str, ...]
    header: tuple[str, ...]
    total: int
    first: int
    has_header: bool
    spaced: bool
    guesses: Mapping[str, str]
    aligned: str = ""

    @property
    def named(self) -> str:
        """The delimiter as a mapping declares it."""
        return self.aligned or self.delimiter


def find_layout(path: Path, form: Form, options: Mapping[str, Any]) -> Layout:
    """Parse the whole file once.

    Raises:
        FileFault: a quote is never closed, a cell is too long, the header is missing or names a column twice.
        MappingError: the declared delimiter is none.
    """
    wanted = int(options.get("header") or 0)
    with open_text(path, form) as lines:
        sample = list(islice(lines, wanted + _SAMPLE))
    first, told = _beginning(sample)
    is_own = not _is_of_rejects(sample[first - 1 :])
    if wanted > first and is_own:
        first = _below_titles(path, sample, wanted)
    delimiter, how = _delimiter(path, sample[first - 1 :], told, options)
    aligned = delimiter if delimiter in (ONE, TWO) else ""
    if aligned:
        delimiter, sample = "\t", list(with_tabs(sample, aligned))
    declared = tuple(options.get("columns", ()))
    twice = _twice(declared)
    if twice:
        raise MappingError(f"[file] columns names {twice!r} more than once", hint="give each column a name of its own")
    spaced = _is_spaced(sample, delimiter)
    renamed = declared if wanted and is_own else ()
    has_header = bool(renamed) or not declared or _is_header(sample[first - 1 :], delimiter, declared)
    declared = () if has_header else declared
    header, total, empty = _walk(path, form, delimiter, first, aligned, width=len(declared), spaced=spaced)
    if renamed and len(renamed) != len(header):
        raise MappingError(
            f"[file] columns has {len(renamed)} names, and the header in line {first} of {path.name} {len(header)}",
            hint="name all of its columns, or leave columns out",
        )
    columns = renamed or declared or _header(path, header, first)
    if not declared:
        _refuse_data(path, header, sample[first - 1 :], delimiter, first)
    guesses = {"delimiter": f"{aligned or DELIMITERS.get(delimiter, delimiter)} ({how})"}
    if spaced:
        guesses["quotes"] = "with spaces before them"
    if empty:
        guesses["empty rows"] = f"{empty:,} passed over"
    return Layout(
        delimiter=delimiter,
        columns=columns,
        header=tuple(header) or columns,
        total=total,
        first=first,
        has_header=has_header,
        spaced=spaced,
        guesses=guesses,
        aligned=aligned,
    )


def from_line(lines: Iterable[str], first: int, form: Form, aligned: str = "") -> Iterator[str]:
    """Return the lines from the one numbered `first` on, without the marks of files that were put together."""
    rest = islice(iter(lines), first - 1, None)
    unmarked = map(_without_mark, rest) if form.has_marks else rest
    return with_tabs(unmarked, aligned) if aligned else unmarked


def _without_mark(line: str) -> str:
    return line.lstrip("\ufeff")


def separator_line(line: str) -> bool:
    """Say whether a first line tells Excel the delimiter: `sep=;`."""
    return _SEP.fullmatch(line.lstrip("\ufeff")) is not None


def _beginning(sample: Sequence[str]) -> tuple[int, str]:
    """Return the first line that counts, and the delimiter that a line before it names."""
    first, told = 1, ""
    found = _SEP.fullmatch(sample[0].lstrip("\ufeff")) if sample else None
    if found:
        first, told = 2, found[1]
    while first <= len(sample) and not sample[first - 1].strip("\ufeff\r\n"):
        first += 1
    return first, told


def _is_of_rejects(sample: Sequence[str]) -> bool:
    """Say whether the first line is the header of a reject file, which has no titles above it."""
    with suppress(csv.Error):
        rows = (next(csv.reader(sample[:1], delimiter=delimiter), []) for delimiter in DELIMITERS)
        return any(is_reject_header(cells) for cells in rows)
    return False


def _below_titles(path: Path, sample: Sequence[str], wanted: int) -> int:
    """Return the line that is declared to be the header; it must have something in it."""
    if len(sample) < wanted or not sample[wanted - 1].strip():
        raise FileFault(
            f"{path.name}: line {wanted} is empty, so it is no header",
            hint="say which line has the names of the columns: [file] header = ...",
            file=path.name,
            row=wanted,
            rule="empty",
        )
    return wanted


def _delimiter(path: Path, sample: Sequence[str], told: str, options: Mapping[str, Any]) -> tuple[str, str]:
    declared = options.get("delimiter")
    if declared:
        if declared in (ONE, TWO):
            return str(declared), "declared"
        delimiter = {"tab": "\t", "\\t": "\t"}.get(declared, declared)
        if len(delimiter) != 1 or delimiter in '"\r\n':
            raise MappingError(
                f"[file] delimiter: {declared!r} is not one character", hint='such as ";", "tab" or "spaces"'
            )
        return str(delimiter), "declared"
    if told and told not in '"\r\n ':
        return told, "the file's own sep= line"
    fits = {delimiter: _fit(sample, delimiter) for delimiter in DELIMITERS}
    best = max(fits, key=lambda delimiter: fits[delimiter])
    if fits[best] > (0, 0):
        return best, "guessed"
    if aligned := guess_spaces(sample):
        return aligned, "guessed"
    if looks_aligned(sample):
        raise FileFault(
            f"{path.name}: the columns are aligned by spaces, and some rows have an empty cell: spaces alone do not "
            "say which one",
            hint="open it in a spreadsheet program as text of a fixed width, and save it as CSV; if it has one column "
            'only, say so: [file] delimiter = ","',
            file=path.name,
            rule="delimiter",
        )
    return ",", "one column only"


def _fit(sample: Sequence[str], delimiter: str) -> tuple[int, int]:
    """Return how well a delimiter parts the first rows: those as wide as the first one, and how wide that is."""
    rows: list[int] = []
    with suppress(csv.Error):  # told when the file is walked; the rows before it say enough
        rows.extend(len(cells) for cells in csv.reader(sample, delimiter=delimiter) if cells)
    wide = rows[0] if rows else 0
    return (sum(count == wide for count in rows), wide) if wide > 1 else (0, 0)


def _is_header(sample: Sequence[str], delimiter: str, declared: Sequence[str]) -> bool:
    """Say whether the first line is a header after all, as that of a reject file is: it has the declared names."""
    with suppress(csv.Error, StopIteration):
        names = [" ".join(cell.split()) for cell in next(csv.reader(sample, delimiter=delimiter))]
        added = [name for name in names[len(declared) :] if not name.startswith(SURPLUS)]
        return names[: len(declared)] == [*declared] and added in ([], [*ERROR_COLUMNS])
    return False


def _is_spaced(sample: Sequence[str], delimiter: str) -> bool:
    """Say whether cells begin with spaces and a quote, as some programs write them: the quote encloses the cell."""
    with suppress(csv.Error):
        rows = csv.reader(sample, delimiter=delimiter)
        return any(cell[:1] == " " and cell.lstrip(" ")[:1] == '"' for cells in rows for cell in cells)
    return False


def _walk(
    path: Path, form: Form, delimiter: str, first: int, aligned: str, *, width: int, spaced: bool
) -> tuple[list[str], int, int]:
    """Parse every row; return the header's cells (none with declared columns), how many rows follow, how many empty.

    A row that is not parsed counts: it is rejected when it is read.
    """
    header: list[str] = []
    rows = empty = 0
    longer = 0
    with open_text(path, form) as lines:
        rest = from_line(lines, first, form, aligned)
        reader = csv.reader(rest, delimiter=delimiter, strict=True, skipinitialspace=spaced)
        while True:
            start = first + reader.line_num
            try:
                for cells in reader:
                    if not header and not width and cells:
                        header = cells
                    elif any(cells):
                        rows += 1
                        longer += len(cells) == len(header) + 1 and not cells[-1]
                    elif cells:
                        empty += 1
                    start = first + reader.line_num
                break
            except csv.Error as error:
                _refuse_unparsed(path, form, start, str(error))
                if not header and not width:
                    raise FileFault(
                        f"{path.name}: a quote stands inside a name of the header line",
                        hint="quote the whole name and double the quotes in it",
                        file=path.name,
                        row=start,
                        rule="quotes",
                    ) from None
                rows += 1
    if header and rows and longer == rows:
        raise _trailing(path, header, delimiter)
    return header, rows, empty


def _refuse_unparsed(path: Path, form: Form, start: int, problem: str) -> None:
    """Raise when the rest of the file cannot be told into rows; a quote inside a cell concerns its row alone."""
    if "unexpected end of data" in problem:
        line, after = opening_quote(path, form.encoding, start)
        raise FileFault(
            f"{path.name}: the quote that opens in line {line} is never closed",
            hint='close it, or double a quote that belongs to the text (""); was the file cut off?',
            file=path.name,
            row=line,
            value=shown(after),
            rule="quotes",
        )
    if "field limit" in problem:
        raise FileFault(
            f"{path.name}: a cell of line {start} has more than {csv.field_size_limit():,} characters",
            hint="a quote that is never closed? otherwise shorten the cell",
            file=path.name,
            row=start,
            rule="length",
        )


def _trailing(path: Path, header: Sequence[str], delimiter: str) -> FileFault:
    return FileFault(
        f"{path.name}: every row has one cell more than the {len(header)} of the header, and the last one is empty",
        hint=f"if each row ends with a delimiter, put one ({delimiter!r}) at the end of the header line too; if a cell "
        "has the delimiter in it, quote that cell",
        file=path.name,
        rule="columns",
    )


def _header(path: Path, cells: Sequence[str], line: int) -> tuple[str, ...]:
    if not any(cell.strip("\ufeff") for cell in cells):
        raise FileFault(
            f"{path.name} is empty: not even a header line",
            hint="export it again, or leave it out of the plan",
            file=path.name,
            rule="empty",
        )
    columns = tuple(
        " ".join(cell.split()).strip("\ufeff\u200e\u200f") or f"column {at}" for at, cell in enumerate(cells, 1)
    )
    nul = next((name for name in columns if "\0" in name), "")
    if nul:
        raise FileFault(
            f"{path.name}: the header's {shown(nul)!r} has a NUL character in it",
            hint="export it again, or correct the header line",
            file=path.name,
            column=shown(nul),
            rule="nul",
        )
    twice = _twice(columns)
    if twice:
        places = [at for at, name in enumerate(columns, 1) if key_text(name) == key_text(twice)]
        raise FileFault(
            f"{path.name}: the header has {shown(twice)!r} more than once "
            f"(columns {', '.join(str(at) for at in places)})",
            hint="rename one of them: which one is meant could not be told apart",
            file=path.name,
            row=line,
            column=shown(twice),
            rule="header",
        )
    return columns


def _twice(columns: Sequence[str]) -> str:
    """Return the first name that another column has too, invisible marks aside; empty when there is none."""
    counts = Counter(key_text(name) for name in columns)
    return next((name for name in columns if counts[key_text(name)] > 1), "")


def _refuse_data(path: Path, header: Sequence[str], sample: Sequence[str], delimiter: str, line: int) -> None:
    """Refuse a first line that reads like the rows below it: a file without a header line must say its columns."""
    try:
        rows = [cells for cells in csv.reader(sample, delimiter=delimiter) if any(cells)][1:]
    except csv.Error:
        return
    below = rows[0] if rows else header
    pairs = zip(header, below, strict=False)
    same = ((at, kind) for at, (above, under) in enumerate(pairs, 1) if (kind := _kind_of(above)) == _kind_of(under))
    at, what = next((found for found in same if found[1]), (0, ""))
    if not at and rows and _is_number(header[0]) and _is_number(below[0]) and header[0] != below[0]:
        at, what = 1, "a number"
    if at:
        raise FileFault(
            f"{path.name}: the first line looks like data, not like a header: column {at} is {what}, "
            f"{shown(header[at - 1])!r}",
            hint=f"name the {len(header)} columns in the mapping: [file] columns = [...]; or put a header line above",
            file=path.name,
            row=line,
            column=str(at),
            value=shown(header[at - 1]),
            rule="header",
        )


def _kind_of(cell: str) -> str:
    plain = ascii_digits(cell.strip())
    return next((told for told, form in _DATA.items() if len(plain) <= _SHORT and form.fullmatch(plain)), "")


def _is_number(cell: str) -> bool:
    plain = ascii_digits(cell.strip())
    return plain.isascii() and plain.isdigit() and int(plain[:9]) not in _YEARS
