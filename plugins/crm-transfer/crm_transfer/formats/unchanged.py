"""Notices that a file is no longer the one that was looked through: it is read twice, and somebody may write to it."""

from __future__ import annotations

from pathlib import Path

from crm_transfer.errors import FileFault

Stamp = tuple[int, int, int, int]


def stamp_of(path: Path) -> Stamp:
    """Return what tells this state of a file from others."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def refuse_change(path: Path, stamp: Stamp) -> None:
    """Refuse a file that is not in the state it had.

    Raises:
        FileFault: it was changed or taken away.
    """
    try:
        what = "" if stamp_of(path) == stamp else "was changed"
    except OSError:
        what = "was taken away"
    if what:
        raise FileFault(
            f"{path.name}: the file {what} while it was read",
            hint="import a copy that nobody writes to; rows that are in already will be unchanged",
            file=path.name,
            rule="changed",
        )
