"""A thread's connection to an SQLite file, and what becomes of it when the process forks.

SQLite counts its locks per process, and a forked child inherits the count but not the locks: were it to open the same
file beside an inherited connection, it would write unprotected. So the forking thread's idle connection is closed
before the fork, and a child that inherits any other one refuses that file.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from weakref import WeakSet

from crm_core.errors import CrmError, StorageConflict, StorageError
from crm_core.records.schema import Row, Table
from crm_storage_sql.errors import translated
from crm_storage_sql.lock import WriterQueue
from crm_storage_sql.room import Parameters, Session
from crm_storage_sql.sqlite import TO_READ, TO_WRITE, connect, connect_still, patiently, still_state
from crm_storage_sql.url import Place

MANY: Final = 100
"""Rows of one insert from which on a connection is set up for writing."""


class SqliteSession(Session):
    """A thread's connection, and the transaction it is in; writers wait in line before they begin."""

    errors = (sqlite3.Error, OverflowError)

    def __init__(self, place: Place, queue: WriterQueue) -> None:
        super().__init__()
        if place.path in _refused:
            raise StorageError(
                f"{place.path}: this process was forked while its parent was using the database",
                hint='open the CRM in the child alone, or start the process by "spawn" instead of "fork"',
            )
        self.path = place.path
        self._queue = queue
        self._writes_much = False
        self.touched: dict[str, set[int]] = {}
        """The records, by table, whose documents for the search are to be made anew before the commit."""
        self._place = place
        self._still: tuple[int, int] | None = None
        self.connection: sqlite3.Connection = self._connected()
        self._pid = os.getpid()
        self._thread = threading.get_ident()
        _open.add(self)

    @property
    def usable(self) -> bool:
        """Whether it belongs to this process and was not closed for a fork."""
        return self._pid == os.getpid()

    def close(self) -> None:
        """Close the connection, unless it is a parent's: closing that here would break it there."""
        if self.usable:
            self._pid = 0
            self.connection.close()

    def begin(self, *, write: bool) -> None:
        """Wait in line and start a writing transaction, or take a snapshot."""
        if write:
            self._begin_writing()
            return
        try:
            self.connection.execute("BEGIN")
            self.connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # this takes the snapshot
        except sqlite3.Error as error:
            raise self.failure(error) from error
        self.mode = "read"

    def commit(self) -> None:
        """Make the transaction durable: it returns after the log is synced."""
        try:
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            failure = self.failure(error)
            self.rollback()
            raise failure from error
        self._end()

    def rollback(self) -> None:
        """Forget the transaction."""
        try:
            if self.connection.in_transaction:  # SQLite has rolled back by itself after some errors
                self.connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise self.failure(error) from error
        finally:
            self._end()

    @property
    def reads_only(self) -> bool:
        """Whether neither the file nor its folder may be written to, and nobody else writes either."""
        return self._still is not None

    def read(self, statement: str, parameters: Parameters = ()) -> list[Row]:
        """Return the rows of a statement; outside a transaction it waits for a program that holds the file."""
        while True:
            try:
                rows = self._read(statement, parameters)
            except CrmError:
                if self._still is None or self._still == still_state(self.path):
                    raise
            else:
                if self._still is None or self._still == still_state(self.path):
                    return rows
            # Somebody else may write, and did: what was read without locks may be of two moments.
            if self.mode:
                raise StorageConflict(f"{self.path} was written to while it was being read", hint="read it again")
            self.connection.close()
            self.connection = self._connected()

    def _connected(self) -> sqlite3.Connection:
        try:
            connection = connect(self._place, self._queue)
        except sqlite3.Error as error:
            name: str = getattr(error, "sqlite_errorname", None) or ""
            if not name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")) or not self.path.is_file():
                raise
            self._still = still_state(self.path)
            if self._still is None:
                raise
            return connect_still(self._place)
        self._still = None
        return connection

    def _read(self, statement: str, parameters: Parameters) -> list[Row]:
        try:
            if self.mode:
                return self.connection.execute(statement, parameters).fetchall()
            return patiently(lambda: self.connection.execute(statement, parameters).fetchall(), self._place)
        except self.errors as error:
            raise self.translated(error) from error

    def run_all(self, steps: Iterable[tuple[str, Sequence[object]]], table: str) -> list[int]:
        """Run statements after each other; return how many rows each touched."""
        try:
            return [self.connection.execute(statement, parameters).rowcount for statement, parameters in steps]
        except self.errors as error:
            raise self.failure(error, table) from error

    def insert(self, statement: str, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows by one prepared statement."""
        try:
            if len(rows) >= MANY:
                self.set_up(for_writing=True)
            self.connection.executemany(statement, rows)
        except self.errors as error:
            raise self.failure(error, table.name) from error

    def set_up(self, *, for_writing: bool) -> None:
        """Choose the settings for writing many rows, or those for reading many."""
        if for_writing is not self._writes_much:
            for setting in TO_WRITE if for_writing else TO_READ:
                self.connection.execute(setting)
            self._writes_much = for_writing

    def translated(self, error: Exception, table: str = "") -> CrmError:
        """Return the CRM's error for one of the driver's."""
        return translated(error, self.path, self.connection)

    def _begin_writing(self) -> None:
        self._queue.acquire()
        try:
            patiently(lambda: self.connection.execute("BEGIN IMMEDIATE"), self._place)
        except BaseException as error:
            self._queue.release()
            if isinstance(error, sqlite3.Error):
                raise self.failure(error) from error
            raise
        self.mode, self.failed = "write", False

    def _end(self) -> None:
        wrote, self.mode, self.failed = self.mode == "write", "", False
        self.touched.clear()
        if wrote:
            self._queue.release()

    def __del__(self) -> None:
        if hasattr(self, "_pid"):
            self.close()


_open: Final[WeakSet[SqliteSession]] = WeakSet()
_inherited: Final[list[SqliteSession]] = []
_refused: Final[set[Path]] = set()


def _before_fork() -> None:
    for session in list(_open):
        if session._thread == threading.get_ident() and not session.mode:
            session.close()


def _after_fork_in_child() -> None:
    kept = [session for session in _open if session._pid]
    _inherited.extend(kept)
    _refused.update(session.path for session in kept)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
