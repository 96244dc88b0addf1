"""The SQLite storage: the contract of `crm_core.extend.Storage` over one file, a connection for each thread."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from math import inf
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar, Final

from crm_core.errors import CrmError, NumberTooLarge, StorageError, StorageLocked
from crm_core.extend import Capability, StorageStatus, TableRows, Update
from crm_core.query.search import Hit, Question
from crm_core.records.schema import AddType, Manifest, Row, SchemaChange
from crm_storage_sql.backup import read_copy, write_copy
from crm_storage_sql.ddl import carry_out
from crm_storage_sql.dialect import SQLITE
from crm_storage_sql.errors import translated
from crm_storage_sql.keeping import Keeper, synchronise
from crm_storage_sql.lock import WriterQueue
from crm_storage_sql.lookup import Lookup
from crm_storage_sql.mending import index_faults, rebuild
from crm_storage_sql.room import MANIFEST, Parameters, SqlStorage
from crm_storage_sql.session import MANY, SqliteSession
from crm_storage_sql.sqlite import claim, pragma
from crm_storage_sql.url import Place
from crm_storage_sql.verify import faults
from crm_storage_sql.views import drop_views, replace_views

if TYPE_CHECKING:
    from sqlalchemy import Select


_A_MOMENT: Final = 0.5
"""Seconds that a search spends on records that a bulk write has left for later."""
_TURN: Final = 0.1
"""Seconds that it waits for its turn to do so: longer than a chunk of an import takes."""


class SqliteStorage(SqlStorage[SqliteSession]):
    """One SQLite file. Writers queue on a lock file; readers see the last commit and never wait."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {"execute", "concurrent", "copy", "backup", "replace", "search"}
    )
    dialect = SQLITE

    def __init__(self, place: Place) -> None:
        super().__init__(str(place.path))
        self.place = place
        self._queue = WriterQueue(place.lock_path, place.timeout)
        self._manifest = self.schema()
        self._keeper = Keeper()
        self._keeper.load(self._session())

    def use(self, manifest: Manifest) -> None:
        """Read rows in the order of this manifest from now on."""
        super().use(manifest)
        self._keeper.load(self._session())

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
                synchronise(session.connection, manifest)
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

    def insert_many(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows, and note whom they let be found."""
        super().insert_many(table, *_filled(columns, rows))
        self._keeper.inserted(self._session(), table, columns, rows)

    def put_many(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows, or replace those of the same `id` whole."""
        at = columns.index("id")
        self._keeper.deleting(self._writer(), table, [int(str(row[at])) for row in rows])
        super().put_many(table, columns, rows)
        self._keeper.inserted(self._session(), table, columns, rows)

    def update_if_version(self, table: str, updates: Sequence[Update]) -> list[int]:
        """Write each update whose row still has its version; return the ids of the others."""
        self._keeper.updating(self._writer(), table, updates)
        if all(_fits(one.id) and _fits(one.version) for one in updates):
            return super().update_if_version(table, updates)
        return [one.id for one in updates if not self._applies(table, one)]

    def delete(self, table: str, keys: Sequence[tuple[int, int]]) -> list[int]:
        """Delete the rows of (id, version) pairs; return the ids of those gone or of another version."""
        self._keeper.deleting(self._writer(), table, [id_ for id_, _ in keys])
        if all(_fits(id_) and _fits(version) for id_, version in keys):
            return super().delete(table, keys)
        return [id_ for id_, version in keys if not self._goes(table, id_, version)]

    def _applies(self, table: str, update: Update) -> bool:
        return _fits(update.id) and _fits(update.version) and not super().update_if_version(table, [update])

    def _goes(self, table: str, id_: int, version: int) -> bool:
        return _fits(id_) and _fits(version) and not super().delete(table, [(id_, version)])

    def _read(self, statement: str, parameters: Parameters = ()) -> list[Row]:
        """Return the rows of a statement; a number past 64 bits, which SQLite does not take, is beyond all columns."""
        try:
            return super()._read(statement, parameters)
        except NumberTooLarge:
            cells = parameters.values() if isinstance(parameters, Mapping) else parameters
            compared = [cell if _fits(cell) else inf if cell > 0 else -inf for cell in cells]
            if isinstance(parameters, Mapping):
                return super()._read(statement, dict(zip(parameters, compared, strict=True)))
            return super()._read(statement, compared)

    def commit(self) -> None:
        """Bring the search indexes up to this thread's transaction, and make it durable."""
        session = self._session()
        if session.mode == "write" and not session.failed:
            self._keeper.settle(session)
        super().commit()

    def search(self, table: str, question: Question, *, after: Hit | None = None, limit: int) -> list[Hit] | None:
        """Look records up by trigrams; None while many are not indexed yet, or where SQLite was built without FTS5."""
        session = self._session()
        if not self._keeper.usable or session.failed:
            return None
        if session.mode:
            if session.mode == "write":
                self._keeper.settle(session)
            return self._looked_up(session, table, question, after, limit)
        if self._keeper.is_behind(session):
            session.set_up(for_writing=True)
            self._catch_up(session)
        session.set_up(for_writing=False)
        session.begin(write=False)
        try:
            return self._looked_up(session, table, question, after, limit)
        finally:
            session.rollback()

    def _looked_up(
        self, session: SqliteSession, table: str, question: Question, after: Hit | None, limit: int
    ) -> list[Hit] | None:
        """Return a page of one state of the data: in a transaction of either kind."""
        self._keeper.renew(session)
        index = self._keeper.indexes.get(table)
        if index is None or self._keeper.is_behind(session):
            return None
        return Lookup(index, question, session.read).page(after, limit)

    def _catch_up(self, session: SqliteSession) -> None:
        """Index what waits, for a moment, unless somebody else writes."""
        deadline = time.monotonic() + _A_MOMENT
        while self._keeper.is_behind(session) and time.monotonic() < deadline:
            try:
                self._queue.acquire(timeout=_TURN)
            except CrmError:  # somebody writes, or this process may not: records are searched by reading
                return
            try:
                with self._writing(session):
                    self._keeper.catch_up(session)
            except CrmError:  # a full disk, say: records are searched by reading
                return
            finally:
                self._queue.release()

    def execute(self, select: Select[Any]) -> list[tuple[Any, ...]]:
        """Run an analytic select, by settings for reading."""
        self._session().set_up(for_writing=False)
        return super().execute(select)

    def status(self) -> StorageStatus:
        """Return engine, file, bytes on disk, and the settings that matter for safety."""
        session = self._session()
        connection = session.connection
        log = self.place.path.with_name(self.place.path.name + "-wal")
        levels = {0: "off", 1: "normal", 2: "full", 3: "extra"}
        return StorageStatus(
            engine=f"SQLite {sqlite3.sqlite_version}",
            place=str(self.place.path),
            size=sum(path.stat().st_size for path in (self.place.path, log) if path.exists()),
            details={
                "journal": "none: read only" if session.reads_only else str(pragma(connection, "journal_mode")),
                "synchronous": levels[int(pragma(connection, "synchronous"))],
                "foreign keys": "on" if pragma(connection, "foreign_keys") else "off",
                "writers wait": f"{self.place.timeout:g} s",
                "search": self._keeper.described(self._session()),
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
                while self._keeper.is_behind(session):
                    with self._writing(session):
                        self._keeper.catch_up(session)
                for index in self._keeper.indexes.values():
                    session.connection.execute(index.merging)
                session.connection.execute("VACUUM")
                busy = session.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except (sqlite3.Error, CrmError) as error:  # what was to be deleted is deleted all the same
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
        self._keeper.load(self._session())

    def replace(self, manifest: Manifest, tables: Iterable[TableRows]) -> None:
        """Fill a new file, and overwrite the database by that."""
        with TemporaryDirectory(prefix=".crm-replace-", dir=self.place.path.parent) as folder:
            made = SqliteStorage(Place(Path(folder, "made.db"), self.place.timeout))
            try:
                made.apply([AddType(table) for table in manifest.tables.values()], manifest)
                made.begin()
                for one in tables:
                    for rows in one.batches:
                        made.insert_many(one.table, one.columns, rows)
                made.commit()
            finally:
                made.close()  # which brings all of it from the write-ahead log into the file
            self.restore(made.place.path)
        self.use(manifest)

    def check(self) -> list[str]:
        """Read the whole file: pages, indexes, foreign keys, and whether it holds what the manifest says."""
        with self._told(self.place.path) as session:
            return faults(session.connection, self.schema())

    def check_indexes(self) -> list[str]:
        """Compare the search indexes with the records, and with what FTS5 makes of those; see `mending`."""
        with self._told(self.place.path) as session, self._one_state(session):
            manifest = self.schema()
            return [] if manifest is None else index_faults(session.connection, manifest)

    def reindex(self) -> list[str]:
        """Make the search indexes anew, however damaged they are, and all others, in one transaction."""
        session = self._session()
        if session.mode:
            raise StorageError("nothing can be indexed anew inside a transaction", hint="commit or roll back first")
        manifest = self.schema()
        if manifest is None:
            return []
        with self._told(self.place.path), self._writing(session):
            made = [f"the search index of {name}" for name in rebuild(session.connection, manifest)]
            session.connection.execute("REINDEX")
        self._keeper.load(session)
        return [*made, f"the indexes of {len(manifest.tables)} tables"]

    @contextmanager
    def _one_state(self, session: SqliteSession) -> Iterator[None]:
        """Read one state of the data: that of the transaction at hand, else a snapshot."""
        if session.mode:
            yield
            return
        session.begin(write=False)
        try:
            yield
        finally:
            session.rollback()

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


def _filled(columns: Sequence[str], rows: Sequence[Row]) -> tuple[Sequence[str], Sequence[Row]]:
    """Leave the columns out that are NULL in each of many rows, as they are where an insert does not name them.

    Python's driver looks for an adapter of each None it binds: the six of an imported customer took two fifths of the
    time of its insert.
    """
    count = len(rows)
    if count < MANY or set(map(len, rows)) != {len(columns)}:
        return columns, rows
    unset = {
        at for at, cell in enumerate(rows[0]) if cell is None and list(map(itemgetter(at), rows)).count(None) == count
    }
    kept = [at for at in range(len(columns)) if at not in unset]
    if not unset or len(kept) == 1:
        return columns, rows
    return [columns[at] for at in kept], list(map(itemgetter(*kept), rows))


def _fits(cell: object) -> bool:
    return not isinstance(cell, int) or -(2**63) <= cell < 2**63
