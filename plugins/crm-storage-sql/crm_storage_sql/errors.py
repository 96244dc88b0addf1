"""SQLite's errors in the CRM's words: what failed, where, and what to do next."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Final

from crm_core.errors import (
    CrmError,
    DuplicateKey,
    NotADatabase,
    NumberTooLarge,
    StorageError,
    StorageFull,
    StorageLocked,
)
from crm_core.values import format_id

_UNIQUE: Final = frozenset({"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_ROWID"})
_CANNOT_GROW: Final = frozenset({"SQLITE_IOERR_WRITE", "SQLITE_IOERR_TRUNCATE", "SQLITE_IOERR_SHMSIZE"})
"""What SQLite calls a write that a limit or quota refused; a failing disk looks the same."""
_SEARCH: Final = "crm_search"
"""What the names of all tables of the search begin with."""
_OF_FTS5: Final = frozenset({"SQLITE_CORRUPT_VTAB", "SQLITE_CONSTRAINT"})
"""Only virtual tables give these: a constraint of a table of ours is named by an extended code."""
_SAID_BY_FTS5: Final = (f"no such table: {_SEARCH}", "vtable constructor failed", "fts5", "SQL logic error")
"""What the search says that cannot read its own tables; statements of ours fail with other words."""
_LITTLE: Final = 1 << 20
"""With less than these bytes free, a failed write is taken for a full disk."""


def translated(error: Exception, path: Path, connection: sqlite3.Connection | None = None) -> CrmError:
    """Return the CRM's error for one of the driver's; `connection` lets it look up which reference is broken."""
    name: str = getattr(error, "sqlite_errorname", None) or ""
    if name in _UNIQUE:
        return _duplicate(error)
    if name == "SQLITE_CONSTRAINT_FOREIGNKEY":
        return _dangling(error, connection)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StorageLocked(
            f"{path}: another program holds the database",
            hint="close the program that has the file open (a database browser, a backup), then try again",
        )
    if name == "SQLITE_FULL" or (name.startswith("SQLITE_IOERR") and _is_full(path)):
        return StorageFull(
            f"{path}: there is no room left to write; nothing of the transaction was kept",
            hint="free some space on that disk, then run the command again",
        )
    if name in _CANNOT_GROW:
        return StorageFull(
            f"{path}: the file may not grow, or the disk fails ({error}); nothing of the transaction was kept",
            hint="raise the limit on the size of files (ulimit -f shows it) or your quota on that disk, then run the "
            "command again; where there is neither, look at the disk",
        )
    if name == "SQLITE_NOTADB":
        return NotADatabase(f"{path} is not an SQLite database", hint="correct the storage URL, or move that file away")
    if name in _OF_FTS5 or any(words in str(error) for words in _SAID_BY_FTS5):
        return StorageError(
            f"{path}: the search index is damaged ({error}); records and ledger are not in it",
            hint="make it anew from the records: crm storage reindex",
        )
    if name.startswith("SQLITE_CORRUPT"):
        return StorageError(
            f"{path}: the database is damaged: {error}",
            hint="keep the file, and see what is damaged: crm storage verify. Indexes are made anew by crm storage "
            "reindex; of anything else, move the file and its -wal to a safe place, then: crm storage restore FILE",
        )
    if name.startswith("SQLITE_READONLY"):
        return StorageError(f"{path} may only be read", hint="give yourself the right to write to it and to its folder")
    if name.startswith("SQLITE_CANTOPEN"):
        return _cannot_open(path)
    if isinstance(error, OverflowError) or str(error) == "integer overflow":
        return NumberTooLarge()
    return StorageError(f"{path}: SQLite says: {error}")


def _duplicate(error: Exception) -> DuplicateKey:
    # The message ends in "failed:" and the columns, each as table.column.
    names = [part.strip().rpartition(".") for part in str(error).partition(":")[2].split(",")]
    table, columns = names[0][0], tuple(column for _, _, column in names)
    return DuplicateKey(f"{table}: another record has the same {', '.join(columns)}", table=table, columns=columns)


def _dangling(error: Exception, connection: sqlite3.Connection | None) -> StorageError:
    found = (
        connection.execute("PRAGMA foreign_key_check").fetchone() if connection and connection.in_transaction else None
    )
    if found is None:
        return StorageError(f"a record points at one that does not exist: {error}")
    table, row_id, parent, _ = found
    return StorageError(
        f"{table} {format_id(row_id)} points at a record of {parent} that does not exist; nothing was written",
        hint="write the record that is pointed at first, or delete those that point at it",
    )


def _cannot_open(path: Path) -> StorageError:
    if not path.parent.is_dir():
        return StorageError(
            f"{path}: the folder {path.parent} does not exist", hint="create it, or correct the storage URL"
        )
    if path.is_dir():
        return StorageError(f"{path} is a folder, not a database", hint="name a file in the storage URL")
    return StorageError(f"{path} cannot be opened", hint="give yourself the right to read and write it and its folder")


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _LITTLE
    except OSError:
        return False
