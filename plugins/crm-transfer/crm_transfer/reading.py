"""Reads delimited text and JSON lines: checks the whole file first, then streams its rows in constant memory.

Apart from the mapping, because a file is refused for its form before anything asks what it means.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from crm_core.extend import BadRow, Importer, Source, SourceRow
from crm_transfer.cells import join_tags
from crm_transfer.csvtext import csv_writer
from crm_transfer.errors import FileFault, MappingError

DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_BLOCK: Final = 1 << 20
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8 with a byte order mark"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16 with a byte order mark"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16 with a byte order mark"),
)
_DISGUISES: Final = (
    (b"PK\x03\x04", "an Excel or ZIP file"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a compressed file"),
)


def open_csv(path: Path, options: Mapping[str, Any]) -> Source:
    """Open delimited text: options `encoding`, `delimiter` and, for a file without a header line, `columns`.

    Raises:
        FileFault: the file as a whole cannot be read as such; nothing of it may be imported.
    """
    form = _examine(path, options)
    with _open(path, form.encoding) as lines:
        first = next(iter(lines), "")
    delimiter, how = _delimiter(first, options)
    declared = tuple(options.get("columns", ()))
    total = _check_structure(path, form.encoding, delimiter, has_header=not declared)
    columns = declared or _header(path, form.encoding, delimiter)
    return Source(
        columns=columns,
        guesses={"encoding": form.found, "delimiter": f"{DELIMITERS.get(delimiter, delimiter)} ({how})"},
        rows=_csv_rows(path, form, delimiter, columns, has_header=not declared),
        total=total,
        digest=form.digest,
        options={**options, "encoding": form.encoding, "delimiter": delimiter},
    )


def open_json_lines(path: Path, options: Mapping[str, Any]) -> Source:
    """Open JSON lines: one object a line; the members of nested objects become columns `outer.inner`.

    Raises:
        FileFault: the file as a whole cannot be read as such.
    """
    form = _examine(path, options)
    names: dict[str, None] = {}
    total = 0
    for _, line in _numbered(path, form.encoding):
        total += 1
        cells = _flat_object(line)
        if isinstance(cells, dict):
            names.update(dict.fromkeys(cells))
    columns = tuple(names)
    return Source(
        columns=columns,
        guesses={"encoding": form.found},
        rows=_json_rows(path, form.encoding, columns),
        total=total,
        digest=form.digest,
        options={**options, "encoding": form.encoding},
    )


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], options: Mapping[str, Any]) -> None:
    """Write rows as delimited text of the same encoding and delimiter, verbatim."""
    with path.open("w", encoding=options.get("encoding", "utf-8"), newline="") as file:
        writer = csv_writer(file, options.get("delimiter", ","))
        writer.writerow(columns)
        writer.writerows(rows)


def write_json_lines(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], options: Mapping[str, Any]
) -> None:
    """Write rows as JSON lines, empty cells left out."""
    with path.open("w", encoding=options.get("encoding", "utf-8")) as file:
        for row in rows:
            cells = {name: cell for name, cell in zip(columns, row, strict=True) if cell}
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


class _Form:
    """What the bytes of a file say: encoding, how it was found, digest, and whether a NUL is anywhere in it."""

    __slots__ = ("digest", "encoding", "found", "has_nul")

    def __init__(self, encoding: str, found: str, digest: str, has_nul: bool) -> None:
        self.encoding = encoding
        self.found = found
        self.digest = digest
        self.has_nul = has_nul


def _examine(path: Path, options: Mapping[str, Any]) -> _Form:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
            encoding, found = _encoding(path, head, options.get("encoding"))
            file.seek(0)
            return _decode_all(path, file, encoding, found)
    except OSError as error:
        raise FileFault(
            f"{path}: cannot be read: {error.strerror}", hint="check the path and its permissions"
        ) from error


def _encoding(path: Path, head: bytes, declared: str | None) -> tuple[str, str]:
    if not head:
        raise FileFault(
            f"{path.name} is empty: not even a header line", hint="export it again, or leave it out of the plan"
        )
    for magic, what in _DISGUISES:
        if head.startswith(magic):
            raise FileFault(
                f"{path.name} is {what}, not text", hint="open it in a spreadsheet and save it as CSV (UTF-8)"
            )
    if head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html", b"<table", b"<?xml")):
        raise FileFault(f"{path.name} is a web page, not text with columns", hint="export it again as CSV")
    if declared:
        try:
            name = codecs.lookup(declared).name
        except LookupError:
            raise MappingError(
                f"[file] encoding: {declared!r} is no encoding", hint='such as "utf-8" or "windows-1256"'
            ) from None
        bom = name == "utf-8" and head.startswith(codecs.BOM_UTF8)
        return ("utf-8-sig" if bom else name), f"{declared} (declared)"
    for mark, encoding, found in _BOMS:
        if head.startswith(mark):
            return encoding, found
    if head.count(0) > len(head) // 5:
        raise FileFault(
            f"{path.name} looks like UTF-16 without a byte order mark",
            hint='declare it in the mapping: [file] encoding = "utf-16-le" (or "utf-16-be")',
        )
    return "utf-8", "UTF-8"


def _decode_all(path: Path, file: Any, encoding: str, found: str) -> _Form:
    """Decode every byte once: an invalid one refuses the file before anything is written."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    digest = hashlib.sha256()
    has_nul = False
    while block := file.read(_BLOCK):
        digest.update(block)
        try:
            text = decoder.decode(block)
        except UnicodeDecodeError:
            raise _undecodable(path, encoding) from None
        has_nul = has_nul or "\0" in text
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise _undecodable(path, encoding) from None
    return _Form(encoding, found, digest.hexdigest(), has_nul)


def _undecodable(path: Path, encoding: str) -> FileFault:
    """Say in which line, and after how many delimiters, the first byte stands that the encoding does not know."""
    hint = (
        'declare it in the mapping: [file] encoding = "windows-1252" (western), "windows-1256" (Persian, Arabic), '
        '"windows-1251" (Cyrillic) ...; with --suggest: --encoding windows-1252'
    )
    line_number, column, byte = 0, 0, "?"
    with path.open(encoding=encoding, errors="surrogateescape", newline="") as lines:
        for number, line in enumerate(lines, 1):
            at = next((i for i, c in enumerate(line) if "\udc80" <= c <= "\udcff"), -1)
            if at >= 0:
                line_number, byte = number, f"0x{ord(line[at]) - 0xDC00:02X}"
                before = line[:at]
                column = 1 + max(before.count(delimiter) for delimiter in DELIMITERS)
                break
    where = f"row {line_number}, column {column}" if line_number else "its end"
    return FileFault(f"{path.name}: {where}: the byte {byte} is not {encoding.upper()}", hint=hint)


def _open(path: Path, encoding: str) -> TextIO:
    return path.open(encoding=encoding, newline="")


def _delimiter(first: str, options: Mapping[str, Any]) -> tuple[str, str]:
    declared = options.get("delimiter")
    if declared:
        delimiter = {"tab": "\t", "\\t": "\t"}.get(declared, declared)
        if len(delimiter) != 1 or delimiter in '"\r\n':
            raise MappingError(f"[file] delimiter: {declared!r} is not one character", hint='such as ";" or "tab"')
        return delimiter, "declared"
    outside = "".join(first.split('"')[::2])
    counts = {delimiter: outside.count(delimiter) for delimiter in DELIMITERS}
    best = max(counts, key=lambda delimiter: counts[delimiter])
    return (best, "guessed") if counts[best] else (",", "one column only")


def _header(path: Path, encoding: str, delimiter: str) -> tuple[str, ...]:
    with _open(path, encoding) as lines:
        cells = next(csv.reader(lines, delimiter=delimiter, strict=True), [])
    columns = tuple(" ".join(cell.split()) or f"column {at}" for at, cell in enumerate(cells, 1))
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        places = ", ".join(str(at) for at, name in enumerate(columns, 1) if name == twice[0])
        raise FileFault(
            f"{path.name}: the header has {twice[0]!r} more than once (columns {places})",
            hint="rename one of them: which one is meant could not be told apart",
        )
    return columns


def _check_structure(path: Path, encoding: str, delimiter: str, *, has_header: bool) -> int:
    """Parse the whole file once and count its rows; a quote that is never closed refuses the file."""
    rows = 0
    with _open(path, encoding) as lines:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            start = reader.line_num + 1
            try:
                for row in reader:
                    if row:
                        rows += 1
                    start = reader.line_num + 1
                break
            except csv.Error as error:
                if "unexpected end of data" in str(error):
                    line = _opening_line(path, encoding, start)
                    raise FileFault(
                        f"{path.name}: the quote that opens in line {line} is never closed",
                        hint='close it, or double a quote that belongs to the text ("")',
                    ) from None
                if "field limit" in str(error):
                    raise FileFault(
                        f"{path.name}: a cell of line {start} has more than {csv.field_size_limit():,} characters",
                        hint="a quote that is never closed? otherwise shorten the cell",
                    ) from None
                rows += 1
    return max(rows - has_header, 0)


def _opening_line(path: Path, encoding: str, start: int) -> int:
    """Walk the record that starts in line `start` to find the line of its last opening quote."""
    opened, quoted = start, False
    with _open(path, encoding) as lines:
        for number, line in enumerate(lines, 1):
            if number < start:
                continue
            for character in line:
                if character == '"':
                    quoted = not quoted
                    opened = number if quoted else opened
    return opened


def _csv_rows(
    path: Path, form: _Form, delimiter: str, columns: Sequence[str], *, has_header: bool
) -> Iterator[SourceRow | BadRow]:
    width = len(columns)
    last = [""]

    def remembered(lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            last[0] = line
            yield line

    with _open(path, form.encoding) as lines:
        reader = csv.reader(remembered(lines), delimiter=delimiter, strict=True)
        if has_header:
            next(reader, None)
        number = reader.line_num + 1
        while True:
            try:
                for cells in reader:
                    if len(cells) == width and not (form.has_nul and _nul_in(cells)):
                        yield SourceRow(number, cells)
                    elif cells:
                        yield _misfit(number, cells, columns, delimiter)
                    number = reader.line_num + 1
                return
            except csv.Error as error:
                text = last[0].rstrip("\r\n")
                yield BadRow(
                    number,
                    _padded(text.split(delimiter), width, delimiter),
                    "quotes",
                    f"a quote stands inside a cell ({error}); quote the whole cell and double the quotes in it",
                    value=text[:80],
                )
                number = reader.line_num + 1


def _nul_in(cells: Sequence[str]) -> bool:
    return any("\0" in cell for cell in cells)


def _misfit(number: int, cells: list[str], columns: Sequence[str], delimiter: str) -> BadRow:
    width = len(columns)
    if len(cells) == width:
        at = next(index for index, cell in enumerate(cells) if "\0" in cell)
        message = "the cell has a NUL character, which no database keeps"
        return BadRow(number, [cell.replace("\0", "") for cell in cells], "nul", message, columns[at], cells[at][:80])
    few = "fewer" if len(cells) < width else "more"
    message = f"the row has {len(cells)} cells, {few} than the {width} of the header"
    return BadRow(number, _padded(cells, width, delimiter), "columns", message, value=delimiter.join(cells)[:80])


def _padded(cells: list[str], width: int, delimiter: str) -> list[str]:
    """Fit cells to the header so that a rejected row can be written back: what is too much joins the last cell."""
    if len(cells) > width:
        return [*cells[: width - 1], delimiter.join(cells[width - 1 :])]
    return cells + [""] * (width - len(cells))


def _numbered(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    with _open(path, encoding) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, line


def _json_rows(path: Path, encoding: str, columns: Sequence[str]) -> Iterator[SourceRow | BadRow]:
    first = columns[:1]
    for number, line in _numbered(path, encoding):
        found = _flat_object(line)
        if isinstance(found, str):
            saved = [line.strip(), *[""] * (len(columns) - 1)] if first else []
            yield BadRow(number, saved, "json", found, value=line.strip()[:80])
            continue
        cells = [found.get(name, ABSENT) for name in columns]
        if _nul_in(cells):
            yield _misfit(number, cells, columns, ",")
        else:
            yield SourceRow(number, cells)


def _flat_object(line: str) -> dict[str, str] | str:
    """Return the cells of one JSON object by column, or in words why the line is none."""
    try:
        found = json.loads(line, parse_float=str, parse_int=str, object_pairs_hook=_no_doubles)
    except ValueError as error:
        return f"the line is no JSON object ({error})"
    except RecursionError:
        return "the line is nested too deeply"
    if not isinstance(found, dict):
        return "the line is JSON but no object"
    cells: dict[str, str] = {}
    _flatten(found, "", cells)
    return cells


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
