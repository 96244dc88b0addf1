"""A connection as the CRM needs it: durable, in write-ahead mode, and to a file that is ours."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from crm_core.errors import NewerDatabase, NotADatabase, StorageError
from crm_storage_sql.lock import PATIENCE, WriterQueue, say_waiting
from crm_storage_sql.room import MANIFEST
from crm_storage_sql.url import Place

APPLICATION_ID: Final = 0x43524D43
"""The bytes "CRMC" in the header of our files."""
FILE_VERSION: Final = 1
"""The header's user version: raised when an older crm-storage-sql must not write to the file."""
_SLICE: Final = 0.25
"""Seconds of one wait inside SQLite, during which Python cannot see that a person presses Ctrl-C."""
_OLDEST: Final = (3, 37, 0)  # STRICT tables
_SETTINGS: Final = (
    "PRAGMA foreign_keys=ON",
    "PRAGMA synchronous=FULL",
    "PRAGMA wal_autocheckpoint=16000",
)
"""Durable at every commit; checkpoints at 64 MB, so that bulk loads sync less.

The place of temporary tables stays SQLite's own: sorts in memory (`temp_store`) took up to 1.8 times as long, and as
much memory as there was to sort.
"""
TO_READ: Final = ("PRAGMA cache_size=-2000", "PRAGMA mmap_size=1073741824")
"""Reading by memory map. A sort merges runs of the size of the cache: of 2 MB they fit the processor's; with 32 MB it
took 1.3 times as long."""
TO_WRITE: Final = ("PRAGMA cache_size=-65536", "PRAGMA mmap_size=0")
"""Inserting many rows touches the pages of all indexes again and again: with 64 MB a million imported rows took a tenth
less time. They are mostly in the write-ahead log, where no map reaches; and mapped pages count as memory."""

T = TypeVar("T")


def connect(place: Place, queue: WriterQueue) -> sqlite3.Connection:
    """Open a connection for one thread; the caller commits by hand.

    Raises:
        sqlite3.Error: the file cannot be opened or read.
        NotADatabase: the file is an SQLite database of another program.
        NewerDatabase: a newer crm-storage-sql has written it.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        raise StorageError(
            f"Python's SQLite is {sqlite3.sqlite_version}; 3.37 or later is needed", hint="use a newer build of Python"
        )
    connection = _opened(place, str(place.path), uri=False)
    try:
        patiently(lambda: _recognise(connection, place), place)
        for setting in (*_SETTINGS, *TO_READ):
            connection.execute(setting)
        if patiently(lambda: pragma(connection, "journal_mode"), place) != "wal":
            _write_ahead(connection, place, queue)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_still(place: Place) -> sqlite3.Connection:
    """Open a file for reading only, as one that nobody is changing: without the locks for which it needs its folder.

    Raises:
        sqlite3.Error: the file cannot be opened or read.
        NotADatabase, NewerDatabase: see `connect`.
    """
    connection = _opened(place, f"{place.path.as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        _recognise(connection, place)
        for setting in TO_READ:
            connection.execute(setting)
    except BaseException:
        connection.close()
        raise
    return connection


def still_state(path: Path) -> tuple[int, int] | None:
    """Return what changes when somebody writes to a file; None while somebody may be writing."""
    if path.with_name(path.name + "-wal").exists():
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def patiently(call: Callable[[], T], place: Place) -> T:
    """Do it again while another program holds the database, as long as the place says; after two seconds, say so.

    Raises:
        sqlite3.Error: the driver's last answer.
    """
    start = time.monotonic()
    deadline, told = start + place.timeout, start + PATIENCE
    while True:
        try:
            return call()
        except sqlite3.OperationalError as error:
            busy = (getattr(error, "sqlite_errorname", None) or "").startswith("SQLITE_BUSY")
            now = time.monotonic()
            if not busy or now >= deadline:
                raise
            if now >= told:
                say_waiting(place.path, "another program that has the file open (a database browser?)", place.timeout)
                told = deadline


def pragma(connection: sqlite3.Connection, name: str) -> str | int:
    """Return the value of a setting."""
    value: str | int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def claim(connection: sqlite3.Connection) -> None:
    """Mark the file as ours."""
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={FILE_VERSION}")
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {MANIFEST} (id INTEGER PRIMARY KEY CHECK (id = 1), json TEXT) STRICT"
    )


def _opened(place: Place, name: str, *, uri: bool) -> sqlite3.Connection:
    return sqlite3.connect(
        name,
        timeout=min(place.timeout, _SLICE),
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
        uri=uri,
    )


def _recognise(connection: sqlite3.Connection, place: Place) -> None:
    owner, version, is_empty = _identity(connection)
    if owner == APPLICATION_ID:
        if version > FILE_VERSION:
            raise NewerDatabase(
                f"{place.path} has file version {version}, this crm-storage-sql knows {FILE_VERSION}",
                hint="install a newer one: pip install --upgrade crm-storage-sql",
            )
    elif owner or not is_empty:
        raise NotADatabase(
            f"{place.path} is an SQLite database of another program",
            hint="correct the storage URL, or move that file away",
        )


def _identity(connection: sqlite3.Connection) -> tuple[int, int, bool]:
    """Return owner, version, and whether the file is empty, of one moment: another process may be claiming it."""
    connection.execute("BEGIN")
    try:
        owner, version = (int(pragma(connection, name)) for name in ("application_id", "user_version"))
        return owner, version, not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    finally:
        if connection.in_transaction:  # SQLite has rolled back by itself after some errors
            connection.execute("ROLLBACK")


def _write_ahead(connection: sqlite3.Connection, place: Place, queue: WriterQueue) -> None:
    queue.acquire()
    try:
        mode = patiently(lambda: connection.execute("PRAGMA journal_mode=WAL").fetchone()[0], place)
    finally:
        queue.release()
    if mode != "wal":
        raise StorageError(
            f"{place.path}: this file system has no write-ahead log (SQLite chose {mode!r})",
            hint="keep the database on a local disk",
        )
