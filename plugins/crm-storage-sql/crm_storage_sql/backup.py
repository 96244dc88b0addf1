"""Copies of a whole SQLite database, out of it and into it, while others use it."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path


def write_copy(connection: sqlite3.Connection, file: Path) -> None:
    """Write what is committed now to a new file.

    VACUUM INTO rather than a copy of pages: what was deleted or erased lies in free pages, and must not live on in a
    backup. It reads one snapshot, so writers neither wait nor show in it.

    Raises:
        sqlite3.Error: the file is there already, or cannot be written.
    """
    connection.execute("VACUUM INTO ?", (str(file),))


def read_copy(file: Path, connection: sqlite3.Connection) -> None:
    """Overwrite the database of a connection by a file: in one transaction, so a crash leaves the old or the new one.

    Raises:
        sqlite3.Error: the file is no database, or the other cannot be written.
    """
    log = file.with_name(file.name + "-wal")
    # Whoever closed the file may have found no room to bring its write-ahead log into it: that is a part of it then.
    still = "" if log.exists() and log.stat().st_size else "&immutable=1"
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro{still}", uri=True)) as source:
        source.backup(connection)
    # All of it is committed, and stands in the write-ahead log, which would otherwise stay as large as the database.
    # Where there is no room to bring it from there into the file, it is brought when there is.
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
