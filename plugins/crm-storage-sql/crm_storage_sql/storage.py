"""The SQLite storage: the contract of `crm_core.extend.Storage` over one file, a connection for each thread."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import ClassVar

from crm_core.errors import StorageError, StorageLocked
from crm_core.extend import Capability, StorageStatus
from crm_core.records.schema import Manifest, SchemaChange
from crm_storage_sql.backup import read_copy, write_copy
from crm_storage_sql.ddl import carry_out
from crm_storage_sql.dialect import SQLITE
from crm_storage_sql.errors import translated
from crm_storage_sql.lock import WriterQueue
from crm_storage_sql.room import MANIFEST, SqlStorage
from crm_storage_sql.session import SqliteSession
from crm_storage_sql.sqlite import claim, pragma
from crm_storage_sql.url import Place
from crm_storage_sql.verify import faults
from crm_storage_sql.views import drop_views, replace_views


class SqliteStorage(SqlStorage[SqliteSession]):
    """One SQLite file. Writers queue on a lock file; readers see the last commit and never wait."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset({"execute", "concurrent", "copy", "backup"})
    dialect = SQLITE

    def __init__(self, place: Place) -> None:
        super().__init__(str(place.path))
        self.place = place
        self._queue = WriterQueue(place.lock_path, place.timeout)
        self._manifest = self.schema()

    def apply(self, changes: Sequence[SchemaChange], manifest: Manifest) -> None:
        """Carry out schema changes and renew the views, all in one transaction."""
        session = self._session()
        if session.mode:
            raise StorageError("the schema cannot be changed inside a transaction", hint="commit or roll back first")
        # A dropped table's rows would count as deleted; the pragma has no effect inside a transaction.
        with self._told(self.place.path):
            session.connection.execute("PRAGMA foreign_keys=OFF")
        try:
            with self._writing(session):
                claim(session.connection)
                drop_views(session.connection)
                for change in changes:
                    carry_out(session.connection, change, manifest)
                replace_views(session.connection, manifest)
                text = json.dumps(manifest.to_json(), ensure_ascii=False, separators=(",", ":"))
                session.connection.execute(f"INSERT OR REPLACE INTO {MANIFEST} (id, json) VALUES (1, ?)", (text,))
        finally:
            with self._told(self.place.path):
                session.connection.execute("PRAGMA foreign_keys=ON")
        self.use(manifest)

    @contextmanager
    def upgrading(self) -> Iterator[None]:
        """Hold the writers' queue, so that nobody else writes meanwhile."""
        self._queue.acquire()
        try:
            yield
        finally:
            self._queue.release()

    def status(self) -> StorageStatus:
        """Return engine, file, bytes on disk, and the settings that matter for safety."""
        connection = self._session().connection
        log = self.place.path.with_name(self.place.path.name + "-wal")
        levels = {0: "off", 1: "normal", 2: "full", 3: "extra"}
        return StorageStatus(
            engine=f"SQLite {sqlite3.sqlite_version}",
            place=str(self.place.path),
            size=sum(path.stat().st_size for path in (self.place.path, log) if path.exists()),
            details={
                "journal": str(pragma(connection, "journal_mode")),
                "synchronous": levels[int(pragma(connection, "synchronous"))],
                "foreign keys": "on" if pragma(connection, "foreign_keys") else "off",
                "writers wait": f"{self.place.timeout:g} s",
            },
        )

    def scrub(self) -> str:
        """Write the file anew without what deleted rows left in it, and empty the write-ahead log."""
        session = self._session()
        try:
            with self.upgrading():
                # Some builds of SQLite keep samples of what is indexed for the planner.
                if session.connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_stat4'").fetchone():
                    session.connection.execute("DELETE FROM sqlite_stat4")
                session.connection.execute("VACUUM")
                busy = session.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except (sqlite3.Error, StorageLocked) as error:  # what was to be deleted is deleted all the same
            return f"what deleted rows left in the file, which could not be written anew: {error}"
        return "the write-ahead log, which another process is reading" if busy else ""

    def copied(self, folder: Path) -> SqliteStorage:
        """Copy the file as it is now into `folder` and open that; writers go on meanwhile."""
        place = Place(folder / "copy.db", self.place.timeout)
        with self._told(place.path) as session, closing(sqlite3.connect(place.path)) as target:
            session.connection.backup(target)
        return SqliteStorage(place)

    def backup(self, file: Path) -> None:
        """Write what is committed now to a file of its own; writers go on meanwhile."""
        with self._told(file) as session:
            write_copy(session.connection, file)

    def opened_backup(self, file: Path) -> SqliteStorage:
        """Open a file that `backup` wrote."""
        return SqliteStorage(Place(file, self.place.timeout))

    def restore(self, file: Path) -> None:
        """Overwrite the database by a file that `backup` wrote, in one transaction of SQLite."""
        self._queue.acquire()
        try:
            with self._told(self.place.path) as session:
                if session.mode:
                    raise StorageError("nothing can be restored inside a transaction", hint="commit or roll back first")
                read_copy(file, session.connection)
        finally:
            self._queue.release()
        self._statements.clear()
        self._manifest = self.schema()

    def check(self) -> list[str]:
        """Read the whole file: pages, indexes, foreign keys, and whether it holds what the manifest says."""
        with self._told(self.place.path) as session:
            return faults(session.connection, self.schema())

    @contextmanager
    def _told(self, path: Path) -> Iterator[SqliteSession]:
        """Give this thread's connection, and tell the driver's errors in the CRM's words."""
        try:
            yield self._session()
        except sqlite3.Error as error:
            raise translated(error, path) from error

    def close(self) -> None:
        """Close every connection and the lock file."""
        super().close()
        self._queue.close()

    def connected(self) -> SqliteSession:
        """Open a connection for this thread."""
        try:
            return SqliteSession(self.place, self._queue)
        except sqlite3.Error as error:
            raise translated(error, self.place.path) from error

    def has_manifest(self, session: SqliteSession) -> bool:
        """Return whether the file has the table of the manifest."""
        return bool(session.read("SELECT count(*) FROM sqlite_schema WHERE name = ?", (MANIFEST,))[0][0])

    def refresh_statistics(self, session: SqliteSession, tables: Sequence[str]) -> bool:
        """Refresh the planner's statistics from a sample; when another writer is at work, the next call does it."""
        try:
            self._queue.acquire(timeout=0)
        except StorageLocked:
            return False
        try:
            session.connection.execute("PRAGMA analysis_limit=1000")
            with self._writing(session):
                session.connection.execute("ANALYZE")
        finally:
            self._queue.release()
        return True
