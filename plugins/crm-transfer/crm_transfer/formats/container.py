"""What a file is that ends in .xlsx, before it is opened as one; and the refusals of what is none, or would do harm."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from crm_transfer.errors import FileFault

_OLE: Final = b"\xd0\xcf\x11\xe0"
_DIRECTORY: Final = 16 << 20


def refuse_other_kinds(path: Path) -> None:
    """Refuse a file that is something else than a container of parts.

    Raises:
        FileFault: it is; the message names what.
    """
    with path.open("rb") as file:
        head = file.read(4096)
        if head.startswith(_OLE):
            file.seek(0)
            directory = file.read(1 << 20)
            if "EncryptedPackage".encode("utf-16-le") in directory:
                raise protected(path)
            raise FileFault(
                f"{path.name} is an old Excel file (XLS)",
                hint="save it as XLSX or CSV (UTF-8)",
                file=path.name,
                rule="not_sheet",
            )
        size = file.seek(0, 2)
        file.seek(max(0, size - (1 << 16) - 22))
        tail = file.read()
    if not head:
        raise FileFault(f"{path.name} is empty: not one sheet", hint="export it again", file=path.name, rule="empty")
    if not head.startswith(b"PK"):
        raise FileFault(
            f"{path.name} is {_what(head)}, not a spreadsheet (XLSX)",
            hint=_way_out(head),
            file=path.name,
            rule="not_sheet",
        )
    end = tail.rfind(b"PK\x05\x06")
    if end >= 0 and len(tail) >= end + 16 and struct.unpack_from("<I", tail, end + 12)[0] > _DIRECTORY:
        raise too_large(path, "its directory alone has more than 16 MB")


def _what(head: bytes) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<table", b"<meta")):
        return "a web page"
    if start.startswith(b"<?xml") or start.startswith(b"<"):
        return "an XML file"
    if start.startswith(b"%pdf"):
        return "a PDF"
    return "text" if b"\0" not in head else "something else"


def _way_out(head: bytes) -> str:
    if _what(head) == "text":
        return "if it is CSV, rename it to end in .csv, or say --format csv"
    return "open it in a spreadsheet and save it as XLSX"


def protected(path: Path) -> FileFault:
    """Return the refusal of a file with a password."""
    return FileFault(
        f"{path.name} is protected by a password",
        hint="open it in a spreadsheet and save it without the password",
        file=path.name,
        rule="protected",
    )


def damaged(path: Path, what: str) -> FileFault:
    """Return the refusal of a file that cannot be read to its end."""
    return FileFault(
        f"{path.name} is damaged or was cut off ({what})",
        hint="copy or export it again; a spreadsheet may repair it",
        file=path.name,
        rule="damaged",
    )


def too_large(path: Path, what: str) -> FileFault:
    """Return the refusal of a file that would be too much unpacked."""
    return FileFault(
        f"{path.name} is refused, because it may be a bomb: {what}",
        hint="a real sheet of that size can be saved as CSV (UTF-8) and imported as such",
        file=path.name,
        rule="bomb",
    )
