"""What the bytes of a file say before anyone parses them: what it is, its encoding, whether all of it can be decoded.

Apart from the reading of rows, because every format asks the same first: a file is refused here before any write.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

import attrs

from crm_transfer.errors import FileFault, MappingError
from crm_transfer.refusals import undecodable
from crm_transfer.report import shown

_BLOCK: Final = 1 << 20
_HEAD: Final = 4096
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
"""The mark of UTF-32 begins with that of UTF-16, so it is asked for first."""
_MARKED: Final = {"utf-8": "utf-8-sig", "utf-16-le": "utf-16", "utf-16-be": "utf-16"}
_DISGUISES: Final = (
    (b"PK\x03\x04", "an Excel or ZIP file"),
    (b"PK\x05\x06", "an empty ZIP file"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a compressed file"),
    (b"BZh91AY&SY", "a compressed file"),
    (b"\xfd7zXZ", "a compressed file"),
    (b"7z\xbc\xaf", "a compressed file"),
    (b"Rar!", "a compressed file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"{\\rtf", "a text document (RTF)"),
)
_PAGES: Final = (b"<!doctype", b"<html", b"<table", b"<?xml", b"<head", b"<meta", b"<style", b"<div", b"mime-version:")
_CONTROLS: Final = re.compile("[\x80-\x9f]")
"""Characters that ISO 8859 has no letters for: text that holds them is of a Windows encoding."""
_STREAMS: Final = ("/dev/stdin", "/dev/fd/", "/proc/")
"""How programs are told to read what a pipe brings; whatever else stands below /dev is known by what it is."""


@attrs.frozen(kw_only=True)
class Form:
    """Encoding, how it was found, SHA-256 of the bytes, and when the file was looked at.

    `has_nul` says whether a NUL is anywhere in it, `has_marks` whether byte order marks stand elsewhere than in front.
    """

    encoding: str
    found: str
    digest: str
    has_nul: bool
    has_marks: bool
    remarks: Mapping[str, str]
    stamp: tuple[int, int, int, int]


def regular_file(path: Path) -> None:
    """Refuse what is no file that can be read twice.

    Raises:
        FileFault: there is none, or it is a folder, a pipe, a device or standard input.
    """
    name = str(path)
    if name == "-" or name.startswith(_STREAMS):
        what = "standard input" if name in ("-", "/dev/stdin") else name
        raise FileFault(
            f"{what} can be read only once, and an import reads its file several times",
            hint="write it to a file first: ... > data.csv",
            file=name,
            rule="file",
        )
    if any("\udc80" <= character <= "\udcff" for character in str(path.absolute())):
        raise FileFault(
            f"{shown(name)}: the name, or that of a folder above it, is no UTF-8, so the ledger cannot keep it",
            hint="rename it",
            file=shown(path.name),
            rule="file",
        )
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileFault(
            f"{path}: there is no such file",
            hint="check the path; --data names the folder of a plan's files",
            file=path.name,
            rule="file",
        ) from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if stat.S_ISDIR(mode):
        raise FileFault(
            f"{path} is a folder, not a file",
            hint="name one file in it; several files are a plan: crm import --plan",
            file=path.name,
            rule="file",
        )
    if not stat.S_ISREG(mode):
        raise FileFault(
            f"{path} is a pipe or a device: it can be read only once, and an import reads its file several times",
            hint=f"write it to a file first: cat {path} > data.csv",
            file=path.name,
            rule="file",
        )


def examine(path: Path, options: Mapping[str, Any]) -> Form:
    """Find the encoding, `options["encoding"]` or what the bytes say, and decode all of it once.

    Raises:
        FileFault: it is empty, no text, or not all of it is text of that encoding.
        MappingError: the declared encoding does not exist.
    """
    regular_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            encoding, found = _encoding(path, head, options.get("encoding"))
            file.seek(0)
            return _decode_all(path, file, encoding, found)
    except OSError as error:
        raise _unreadable(path, error) from error


@contextmanager
def open_text(path: Path, form: Form) -> Iterator[TextIO]:
    """Open the text of a file that was examined; its lines keep their ends.

    Raises:
        FileFault: it is no longer the file that was examined, now or when it is closed after it was read to its end.
    """
    try:
        file = path.open(encoding=form.encoding, newline="")
    except FileNotFoundError as error:
        raise _changed(path, "was taken away") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        _refuse_change(path, file, form)
        yield file
        _refuse_change(path, file, form)


def _refuse_change(path: Path, file: Any, form: Form) -> None:
    if _stamp(file) != form.stamp:
        raise _changed(path, "was changed")


def _stamp(file: Any) -> tuple[int, int, int, int]:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _changed(path: Path, what: str) -> FileFault:
    return FileFault(
        f"{path.name}: the file {what} while it was read",
        hint="import a copy that nobody writes to; rows that are in already will be unchanged",
        file=path.name,
        rule="changed",
    )


def _unreadable(path: Path, error: Exception) -> FileFault:
    why = getattr(error, "strerror", None) or str(error)
    return FileFault(
        f"{path}: cannot be read: {why}", hint="check the path and its permissions", file=path.name, rule="file"
    )


def _encoding(path: Path, head: bytes, declared: str | None) -> tuple[str, str]:
    """Return the encoding, and in words how it was found."""
    if not head:
        raise FileFault(
            f"{path.name} is empty: not even a header line",
            hint="export it again, or leave it out of the plan",
            file=path.name,
            rule="empty",
        )
    _refuse_disguises(path, head)
    mark, marked, told = next(((m, e, t) for m, e, t in _BOMS if head.startswith(m)), (b"", "", ""))
    if declared:
        return _declared(path, head, declared, marked, told), f"{declared} (declared)"
    if mark:
        return marked, f"{told} with a byte order mark"
    wide = _wide(head)
    if wide:
        raise FileFault(
            f"{path.name} looks like {wide.upper()} without a byte order mark",
            hint=f'declare it in the mapping: [file] encoding = "{wide}"; with --suggest: --encoding {wide}',
            file=path.name,
            rule="encoding",
        )
    return "utf-8", "UTF-8"


def _declared(path: Path, head: bytes, declared: str, marked: str, told: str) -> str:
    try:
        name = codecs.lookup(declared).name
        "".encode(name)  # refuses codecs of bytes, such as base64
    except (LookupError, UnicodeError, ValueError):
        raise MappingError(
            f"[file] encoding: {declared!r} is no encoding of text", hint='such as "utf-8" or "windows-1256"'
        ) from None
    if marked:
        fits = marked in (name, _MARKED.get(name)) and not (
            (name == "utf-16-le" and head.startswith(codecs.BOM_UTF16_BE))
            or (name == "utf-16-be" and head.startswith(codecs.BOM_UTF16_LE))
        )
        if not fits:
            raise _contradiction(path, declared, f"begins with the byte order mark of {told}")
        return marked
    wide = _wide(head)
    if wide and name not in (wide, "utf-32-le", "utf-32-be"):
        raise _contradiction(path, declared, f"looks like {wide.upper()} without a byte order mark", wide)
    if name.startswith(("utf-16", "utf-32")) and 0 not in head:
        raise _contradiction(path, declared, "has one byte for each Latin letter")
    return name


def _contradiction(path: Path, declared: str, what: str, wide: str = "") -> FileFault:
    way = f'declare it instead: [file] encoding = "{wide}"' if wide else "take the line encoding = ... out of [file]"
    return FileFault(
        f"{path.name} {what}, and the mapping declares {declared}", hint=way, file=path.name, rule="encoding"
    )


def _refuse_disguises(path: Path, head: bytes) -> None:
    what = next((told for magic, told in _DISGUISES if head.startswith(magic)), "")
    if what:
        raise FileFault(
            f"{path.name} is {what}, not text",
            hint="open it in the program it is of, and save it as CSV (UTF-8)",
            file=path.name,
            rule="not_text",
        )
    bare = head.removeprefix(codecs.BOM_UTF8).replace(b"\0", b"").removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff")
    if bare.lstrip().lower().startswith(_PAGES):
        raise FileFault(
            f"{path.name} is a web page, not text with columns",
            hint="open it in a spreadsheet and save it as CSV (UTF-8)",
            file=path.name,
            rule="not_text",
        )


def _wide(head: bytes) -> str:
    """Return "utf-16-le" or "utf-16-be" when the bytes look like it: line ends, or many letters, have a NUL half."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    if not even and not odd:
        return ""
    ends = head.count(b"\n") + head.count(b"\r")
    halved = sum(head.count(end) for end in ((b"\n\0", b"\r\0") if odd > even else (b"\0\n", b"\0\r")))
    if (ends and 2 * halved > ends) or even + odd > len(head) // 5:
        return "utf-16-le" if odd > even else "utf-16-be"
    return ""


def _decode_all(path: Path, file: Any, encoding: str, found: str) -> Form:
    """Decode every byte once: an invalid one refuses the file before anything is written."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    unicode = None if encoding.startswith("utf") else codecs.getincrementaldecoder("utf-8")("strict")
    controls = encoding.startswith("iso8859")
    digest = hashlib.sha256()
    has_nul, has_marks, lost, ascii_only = False, False, 0, True
    stamp = _stamp(file)
    while True:
        block = file.read(_BLOCK)
        digest.update(block)
        ascii_only = ascii_only and block.isascii()
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeError:
            raise undecodable(path, encoding) from None
        if controls and _CONTROLS.search(text):
            raise undecodable(path, encoding, _CONTROLS)
        unicode = unicode if unicode is not None and _goes_on(unicode, block) else None
        has_nul, has_marks = has_nul or "\0" in text, has_marks or "\ufeff" in text
        lost += text.count("\ufffd")
        if not block:
            break
    if unicode is not None and not ascii_only:
        raise _contradiction(path, found.removesuffix(" (declared)"), "is UTF-8")
    remarks = (
        {"damage": f"� stands {lost:,} {'time' if lost == 1 else 'times'} where an earlier program lost a letter"}
        if lost
        else {}
    )
    return Form(
        encoding=encoding,
        found=found,
        digest=digest.hexdigest(),
        has_nul=has_nul,
        has_marks=has_marks,
        remarks=remarks,
        stamp=stamp,
    )


def _goes_on(decoder: codecs.IncrementalDecoder, block: bytes) -> bool:
    """Say whether the bytes so far may be UTF-8: text of a one-byte encoding is never so by chance for long."""
    try:
        decoder.decode(block, final=not block)
    except UnicodeDecodeError:
        return False
    return True
