"""Copies of a whole SQLite database, out of it and into it, while others use it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
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
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as source:
        source.backup(connection)
    # All of it stands in the write-ahead log now, which would otherwise stay as large as the database.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
