"""The container of an XLSX file: what the file really is, how large it is unpacked, its sheets, styles and strings.

Apart from the rows of a sheet, because a file that lies about itself is refused before any of it is parsed.
"""

from __future__ import annotations

import mmap
import re
import struct
import tempfile
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final
from xml.parsers import expat

import attrs

from crm_transfer.errors import FileFault
from crm_transfer.formats.container import damaged, protected, refuse_other_kinds, too_large
from crm_transfer.formats.numberformats import BUILT_IN, Style, kind_of
from crm_transfer.serial import Epoch

LARGEST: Final = 4 << 30
"""Bytes that all parts may have unpacked: a sheet full to its last row with thirty columns has half of it."""
_SUSPECT, _RATIO = 32 << 20, 250
"""A part above so many bytes that shrank by more than so many times is no sheet: real ones shrink 5 to 60 times."""
_SMALL_PART: Final = 64 << 20
_BLOCK: Final = 1 << 16
_ESCAPED: Final = re.compile(r"_x([0-9A-Fa-f]{4})_")
_DAMAGED: Final = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, KeyError)


@attrs.frozen(kw_only=True)
class Sheet:
    """A sheet of cells: its name, whether the spreadsheet shows it, and the part of the container that holds it."""

    name: str
    visible: bool
    part: str


class Workbook:
    """An open XLSX file that passed as a container."""

    def __init__(self, path: Path) -> None:
        """Open a file and look at its directory; nothing is unpacked yet.

        Raises:
            FileFault: it is something else, protected, damaged, or would be too large unpacked.
        """
        self.path = path
        try:
            refuse_other_kinds(path)
            self._zip = zipfile.ZipFile(path)
        except OSError as error:
            raise FileFault(
                f"{path}: cannot be read: {error.strerror}",
                hint="check the path and its permissions",
                file=path.name,
                rule="file",
            ) from error
        except _DAMAGED as error:
            raise damaged(path, str(error)) from None
        try:
            self._check_sizes()
            self._main = self._main_part()
            self.sheets, self.epoch = self._read_main()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Workbook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def sheet(self, wanted: str) -> tuple[Sheet, str]:
        """Return the sheet of a name, or without one the first that is shown; and in words how it was chosen.

        Raises:
            FileFault: there is no such sheet, or none at all.
        """
        names = ", ".join(repr(sheet.name) for sheet in self.sheets)
        if not self.sheets:
            raise FileFault(
                f"{self.path.name} has no sheet with cells",
                hint="save it again as XLSX",
                file=self.path.name,
                rule="sheet",
            )
        if wanted:
            exact = [sheet for sheet in self.sheets if sheet.name == wanted]
            alike = [sheet for sheet in self.sheets if sheet.name.strip().casefold() == wanted.strip().casefold()]
            if not exact and len(alike) != 1:
                raise FileFault(
                    f"{self.path.name} has no sheet {wanted!r}",
                    hint=f"its sheets: {names}",
                    file=self.path.name,
                    rule="sheet",
                )
            return (exact or alike)[0], f"{(exact or alike)[0].name} (declared)"
        first = next((sheet for sheet in self.sheets if sheet.visible), self.sheets[0])
        if len(self.sheets) == 1:
            return first, f"{first.name} (the only one)"
        return first, f"{first.name} (guessed: the first of {names}; --sheet names another)"

    def blocks(self, part: str, *, limit: int = LARGEST) -> Iterator[bytes]:
        """Yield the bytes of a part, checked against its checksum.

        Raises:
            FileFault: the part is missing, damaged, or longer than `limit` bytes.
        """
        size = 0
        try:
            with self._zip.open(part) as stream:
                while block := stream.read(_BLOCK):
                    size += len(block)
                    if size > limit:
                        raise too_large(self.path, f"its part {part} has more than {limit >> 20:,} MB")
                    yield block
        except _DAMAGED as error:
            raise damaged(self.path, f"{part}: {error}") from None

    def strings(self) -> Strings:
        """Return the texts that cells share, kept in a temporary file."""
        found = self._of_type("sharedStrings", "xl/sharedStrings.xml")
        return Strings(self, found)

    def styles(self) -> dict[str, Style]:
        """Return, by the number of a cell's style, how its number is read as a time; other styles are left out."""
        part = self._of_type("styles", "xl/styles.xml")
        codes: dict[str, str] = {}
        found: list[str] = []
        inside: list[str] = []

        def start(name: str, attributes: Mapping[str, str]) -> None:
            inside.append(name)
            if name == "numFmt":
                codes[attributes.get("numFmtId", "")] = attributes.get("formatCode", "")
            elif name == "xf" and "cellXfs" in inside:
                found.append(attributes.get("numFmtId", "0"))

        if part is not None:
            parse(self, part, start=start, end=lambda name: inside.pop())
        kinds = {number: BUILT_IN.get(number) or kind_of(codes.get(number, "")) for number in set(found)}
        return {str(at): kind for at, number in enumerate(found) if (kind := kinds[number]) is not None}

    def _check_sizes(self) -> None:
        """Refuse a bomb by what the directory says; what it hides shows when its checksum is wrong."""
        parts = self._zip.infolist()
        total = sum(part.file_size for part in parts)
        if total > LARGEST:
            raise too_large(self.path, f"unpacked it has {total >> 20:,} MB")
        if sum(part.compress_size for part in parts) > self.path.stat().st_size:
            raise too_large(self.path, "its parts lie on each other")
        for part in parts:
            if part.flag_bits & 1:
                raise protected(self.path)
            if part.file_size > _SUSPECT and part.file_size > _RATIO * max(part.compress_size, 1):
                grown = part.file_size // max(part.compress_size, 1)
                raise too_large(self.path, f"its part {part.filename} grows {grown:,} times when it is unpacked")

    def _main_part(self) -> str:
        names = set(self._zip.namelist())
        if "xl/workbook.bin" in names:
            raise FileFault(
                f"{self.path.name} is a binary Excel file (XLSB)",
                hint="save it as XLSX or CSV (UTF-8)",
                file=self.path.name,
                rule="not_sheet",
            )
        if "mimetype" in names and "content.xml" in names:
            raise FileFault(
                f"{self.path.name} is an OpenDocument file",
                hint="save it as XLSX or CSV (UTF-8)",
                file=self.path.name,
                rule="not_sheet",
            )
        if "word/document.xml" in names or "ppt/presentation.xml" in names:
            raise FileFault(
                f"{self.path.name} is a text document or a presentation",
                hint="name a spreadsheet",
                file=self.path.name,
                rule="not_sheet",
            )
        for kind, target in self._links("_rels/.rels", "").values():
            if kind == "officeDocument" and target in names:
                return target
        if "xl/workbook.xml" in names:
            return "xl/workbook.xml"
        raise FileFault(
            f"{self.path.name} is a ZIP file, not a spreadsheet",
            hint="unpack it and name the file inside",
            file=self.path.name,
            rule="not_sheet",
        )

    def _read_main(self) -> tuple[tuple[Sheet, ...], Epoch]:
        links = self._links(_links_of(self._main), self._main.rpartition("/")[0])
        sheets: list[Sheet] = []
        epoch: Epoch = "excel"

        def start(name: str, attributes: Mapping[str, str]) -> None:
            nonlocal epoch
            if name == "fileVersion" and attributes.get("appName") == "Calc":
                epoch = "calc"
            elif name == "workbookPr" and attributes.get("date1904", "") in ("1", "true"):
                epoch = "1904"
            elif name == "sheet":
                link = next((value for key, value in attributes.items() if key.rpartition(":")[2] == "id"), "")
                kind, target = links.get(link, ("", ""))
                if kind == "worksheet":
                    visible = attributes.get("state", "visible") == "visible"
                    sheets.append(Sheet(name=attributes.get("name", ""), visible=visible, part=target))

        parse(self, self._main, start=start, limit=_SMALL_PART)
        return tuple(sheets), epoch

    def _of_type(self, wanted: str, usual: str) -> str | None:
        links = self._links(_links_of(self._main), self._main.rpartition("/")[0])
        found = next((target for kind, target in links.values() if kind == wanted), usual)
        return found if found in self._zip.NameToInfo else None

    def _links(self, part: str, folder: str) -> dict[str, tuple[str, str]]:
        """Return what a part of relationships says: by id, the last word of the type and the part it points at."""
        links: dict[str, tuple[str, str]] = {}

        def start(name: str, attributes: Mapping[str, str]) -> None:
            if name == "Relationship":
                kind = attributes.get("Type", "").rpartition("/")[2]
                links[attributes.get("Id", "")] = kind, _resolved(folder, attributes.get("Target", ""))

        if part in self._zip.NameToInfo:
            parse(self, part, start=start, limit=_SMALL_PART)
        return links


class Strings:
    """The texts that cells share, by number; a million of them take a few MB, since they lie in a temporary file."""

    def __init__(self, workbook: Workbook, part: str | None) -> None:
        """Read them all."""
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="crm-import-")  # noqa: SIM115 - closed by `close`
        self._ends = array("Q", [0])
        self._texts: mmap.mmap | None = None
        try:
            if part is not None:
                self._fill(workbook, part)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Strings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the temporary file."""
        if self._texts is not None:
            self._texts.close()
        self._file.close()

    def __getitem__(self, number: str) -> str:
        at = int(number)
        if self._texts is None or not 0 <= at < len(self._ends) - 1:
            raise IndexError(number)
        return self._texts[self._ends[at] : self._ends[at + 1]].decode("utf-8", "surrogatepass")

    def _fill(self, workbook: Workbook, part: str) -> None:
        pieces: list[str] = []
        reading, sound = [False], [0]

        def start(name: str, attributes: Mapping[str, str]) -> None:
            if name == "t":
                reading[0] = not sound[0]
            elif name == "rPh":  # how a text is read aloud stands beside it, and is not part of it
                sound[0] += 1

        def end(name: str) -> None:
            if name == "t":
                reading[0] = False
            elif name == "rPh":
                sound[0] -= 1
            elif name == "si":
                text = unescaped("".join(pieces))
                pieces.clear()
                self._file.write(text.encode("utf-8", "surrogatepass"))
                self._ends.append(self._file.tell())

        parse(workbook, part, start=start, end=end, text=lambda piece: pieces.append(piece) if reading[0] else None)
        self._file.flush()
        if self._ends[-1]:
            self._texts = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)


def parser_of(
    start: Callable[[str, Mapping[str, str]], Any] | None,
    end: Callable[[str], Any] | None,
    text: Callable[[str], Any] | None,
) -> expat.XMLParserType:
    """Return a parser of XML that gives names as they stand and takes no document type: entities could be endless."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.buffer_size = 1 << 16
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    return parser


def parse(
    workbook: Workbook,
    part: str,
    *,
    start: Callable[[str, Mapping[str, str]], Any],
    end: Callable[[str], Any] | None = None,
    text: Callable[[str], Any] | None = None,
    limit: int = LARGEST,
) -> None:
    """Walk through a part; names are given without their namespace prefix.

    Raises:
        FileFault: the part is damaged.
    """
    parser = parser_of(
        lambda name, attributes: start(name.rpartition(":")[2], attributes),
        None if end is None else lambda name: end(name.rpartition(":")[2]),
        text,
    )
    with reading(workbook.path, part):
        for block in workbook.blocks(part, limit=limit):
            parser.Parse(block)
        parser.Parse(b"", True)


class reading:  # noqa: N801 - used as a statement: `with reading(path, part):`
    """Turns what a parser says of a broken part into a fault of the file."""

    def __init__(self, path: Path, part: str) -> None:
        self._path = path
        self._part = part

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, (expat.ExpatError, ValueError)):
            raise damaged(self._path, f"{self._part}: {error}") from None


def unescaped(text: str) -> str:
    r"""Return a text with what XLSX writes as `_x000D_` put back: characters that XML cannot hold.

    >>> unescaped("a_x000D_b_x005F_x000D_")
    'a\rb_x000D_'
    """
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text) if "_x" in text else text


def _refuse_doctype(*_: Any) -> None:
    raise expat.ExpatError("it declares a document type, which no spreadsheet does")


def _links_of(part: str) -> str:
    folder, _, name = part.rpartition("/")
    return f"{folder}/_rels/{name}.rels" if folder else f"_rels/{name}.rels"


def _resolved(folder: str, target: str) -> str:
    if target.startswith("/"):
        return target[1:]
    found = folder.split("/") if folder else []
    for step in target.split("/"):
        if step == ".." and found:
            found.pop()
        elif step not in ("", ".", ".."):
            found.append(step)
    return "/".join(found)
