"""The file of a backup: a first line (its kind and the digest of the next), a line of JSON, and the content.

The line of JSON says what is inside, with digests: a flipped byte anywhere is noticed before anything is overwritten.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final, Literal

import attrs

from crm_core.errors import CrmError, StorageError

Form = Literal["copy", "portable"]
_KIND: Final = "crm-backup 1"
_BLOCK: Final = 1 << 20
_LONGEST_MANIFEST: Final = 64 << 20


def _texts(found: Iterable[str]) -> tuple[str, ...]:
    return tuple(found)


@attrs.frozen(kw_only=True)
class BackupInfo:
    """What a backup says of itself: when and by which kernel and engine, rows and digests by table, and its content's.

    `position` is that of the ledger's head. `form`: the storage's own "copy", or "portable", which any storage takes
    that has the capability `replace`; of the latter `faults` are what was wrong in the database when it was made.
    """

    made_at: str
    kernel: str
    engine: str
    form: Form
    position: int
    rows: Mapping[str, int]
    digests: Mapping[str, str]
    faults: tuple[str, ...] = attrs.field(converter=_texts)
    size: int
    sha256: str


def assemble(info: BackupInfo, content: Path, file: Path) -> None:
    """Write the file beside its place and give it its name when all of it is on the disk."""
    manifest = json.dumps(attrs.asdict(info), ensure_ascii=False).encode()
    beside = content.with_name("whole")
    with beside.open("wb") as target, content.open("rb") as source:
        target.write(f"{_KIND} {hashlib.sha256(manifest).hexdigest()}\n".encode() + manifest + b"\n")
        for block in blocks(source):
            target.write(block)
        target.flush()
        os.fsync(target.fileno())
    beside.rename(file)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(file.absolute().parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def content_of(file: Path) -> Iterator[tuple[BackupInfo, IO[bytes]]]:
    """Read a backup to its last byte and check it, then give what it says of itself and its content, from the start.

    Raises:
        StorageError: the file cannot be read, is no backup, or is damaged.
    """
    with ExitStack() as opened:
        try:
            source = opened.enter_context(file.open("rb"))
            info = _first_lines(source, file)
            start = source.tell()
            digest, size = hashlib.sha256(), 0
            for block in blocks(source):
                digest.update(block)
                size += len(block)
            source.seek(start)
        except OSError as error:
            told = f"{file} cannot be read: {error.strerror}"
            raise StorageError(told, hint="name a file that backup wrote") from error
        if (size, digest.hexdigest()) != (info.size, info.sha256):
            what = f"{size:,} bytes, not {info.size:,}" if size != info.size else "another digest than it says"
            raise damaged(file, f"its content has {what}")
        yield info, source


def damaged(file: Path, what: str) -> StorageError:
    """Build the error of a backup that is not as it was written."""
    return StorageError(f"{file} is damaged: {what}; nothing was changed", hint="take an older backup")


def digest_of(file: Path) -> str:
    """Return the digest of a whole file."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        for block in blocks(stream):
            digest.update(block)
    return digest.hexdigest()


def blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield a stream piece by piece."""
    read: Callable[[], bytes] = lambda: stream.read(_BLOCK)  # noqa: E731
    return iter(read, b"")


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Tell the system's errors of writing a backup in the CRM's words."""
    try:
        yield
    except CrmError:
        raise
    except OSError as error:
        raise StorageError(
            f"{file} cannot be written: {error.strerror}",
            hint="free some space on that disk, or name a file in a folder you may write to",
        ) from error


def _first_lines(source: IO[bytes], file: Path) -> BackupInfo:
    first, manifest = source.readline(200), source.readline(_LONGEST_MANIFEST)
    if not first.startswith(_KIND.split()[0].encode()):
        raise StorageError(f"{file} is no backup", hint="name a file that `crm storage backup` wrote")
    if first != f"{_KIND} {hashlib.sha256(manifest[:-1]).hexdigest()}\n".encode() or manifest[-1:] != b"\n":
        raise damaged(file, "its first lines do not agree")
    try:
        return BackupInfo(**json.loads(manifest))
    except TypeError as error:
        raise StorageError(
            f"{file} was written by another version of crm-core, which this one does not understand",
            hint="restore it with the version that wrote it: its second line names that as kernel",
        ) from error
