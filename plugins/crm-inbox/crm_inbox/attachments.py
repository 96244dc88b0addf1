"""Files that come with messages: kept once by the hash of their content, under names that can do no harm."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Final

from crm_core.extend import Attachment

FOLDER: Final = "attachments"
LARGEST: Final = 25_000_000
"""Bytes of one attachment that are kept."""
MOST: Final = 50
"""Attachments of one message that are kept."""
_LONGEST: Final = 120
"""Characters of a name: even of four bytes each it stays below the 255 bytes of a file system, twice."""
_REFUSED: Final = frozenset(
    {".app", ".bat", ".cmd", ".com", ".cpl", ".dll", ".exe", ".hta", ".jar", ".js", ".jse", ".lnk", ".msi", ".msp"}
    | {".pif", ".ps1", ".reg", ".scr", ".vb", ".vbe", ".vbs", ".wsf", ".wsh"}
)
_RESERVED: Final = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|\Z)", re.IGNORECASE)
_UNSAFE: Final = re.compile(r'[<>:"|?*]')
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS: Final = "\u200c\u200d"
"""Without these, words of Persian and some emoji are spelt wrong."""
_NAMELESS: Final = "attachment"


def safe_name(given: str) -> str:
    r"""Return a file name that is a name only: no folders, no control or bidi characters, none that a system reserves.

    >>> safe_name("../../etc/passwd"), safe_name("C:\\temp\\a.pdf"), safe_name("گزارش\u202efdp.exe")
    ('passwd', 'a.pdf', 'گزارشfdp.exe')
    """
    last = re.split(r"[/\\\u2044\u2215\u29f8\uff0f\uff3c]", given)[-1]
    shown = "".join(each for each in last if each in _JOINERS or unicodedata.category(each) not in _INVISIBLE)
    name = _UNSAFE.sub("_", " ".join(shown.split())).strip(" .")
    if not name:
        return _NAMELESS
    if _RESERVED.match(name):
        name = f"_{name}"
    stem, dot, ending = name.rpartition(".")
    if len(name) > _LONGEST and dot and len(ending) <= 10:
        return f"{stem[: _LONGEST - len(ending) - 1]}.{ending}"
    return name[:_LONGEST]


def refusal(attachment: Attachment, number: int) -> str:
    """Return in words why an attachment, the so-many-th of its message, is not kept; empty if it is."""
    if number > MOST:
        return f"a message keeps {MOST} attachments"
    if len(attachment.content) > LARGEST:
        return f"it has {len(attachment.content):,} bytes, more than {LARGEST:,}"
    ending = Path(safe_name(attachment.name)).suffix.casefold()
    return f"files that end in {ending} are programs" if ending in _REFUSED else ""


def keep(directory: Path, content: bytes) -> str:
    """Write a content into the store, once however often it comes; returns its SHA-256.

    It is on disk before this returns, so that no record ever names a file that is not there.
    """
    digest = hashlib.sha256(content).hexdigest()
    file = place_of(directory, digest)
    if file.is_file() and file.stat().st_size == len(content):
        os.utime(file)  # a record names it soon: until then it is no leftover
        return digest
    above = () if file.parent.is_dir() else (file.parent.parent, directory)
    file.parent.mkdir(parents=True, exist_ok=True)
    # A name that nobody else has: two threads may keep the same content at once.
    beside = file.with_suffix(f".{os.getpid()}.{token_hex(4)}.part")
    try:
        with beside.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
    for folder in (file.parent, *above):
        _sync(folder)
    return digest


def kept_before(directory: Path, moment: float) -> Iterator[tuple[str, Path]]:
    """Yield digest and place of the contents that were last kept before a moment, in seconds since 1970."""
    for file in (directory / FOLDER).glob("??/*"):
        if _DIGEST.fullmatch(file.name) and file.stat().st_mtime < moment:
            yield file.name, file


def _sync(folder: Path) -> None:
    """Have the names in a folder on the disk, where a system lets folders be synced."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def place_of(directory: Path, digest: str) -> Path:
    """Return where the content of a digest lies in a workspace."""
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"{digest!r} is no SHA-256")
    return directory / FOLDER / digest[:2] / digest
