"""The SQLite storage: the contract of `crm_core.extend.Storage` over one file, a connection for each thread."""

from __future__ import annotations

import json
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from crm_core.errors import CrmError, StorageError, StorageLocked
from crm_core.extend import Capability, Storage, StorageStatus, Update
from crm_core.extend.storage import LEDGER_HEAD, LEDGER_TRANSACTIONS
from crm_core.query.ast import Expression, SortKey
from crm_core.records.schema import Manifest, Primitive, Row, SchemaChange
from crm_storage_sql.ddl import carry_out, insert_statement
from crm_storage_sql.errors import translated
from crm_storage_sql.lock import WriterQueue
from crm_storage_sql.session import Session
from crm_storage_sql.sqlite import MANIFEST, claim, patiently, pragma
from crm_storage_sql.url import Place
from crm_storage_sql.views import drop_views, replace_views
from crm_storage_sql.where import Clauses, quote, table_of

if TYPE_CHECKING:
    from sqlalchemy import Select

_STALE_STATISTICS: Final = 10_000
"""Inserted rows after which the planner's statistics are refreshed before the next analytic select."""


class SqliteStorage(Storage):
    """One SQLite file. Writers queue on a lock file; readers see the last commit and never wait."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset({"execute", "concurrent", "copy"})

    def __init__(self, place: Place) -> None:
        self.place = place
        self._queue = WriterQueue(place.lock_path, place.timeout)
        self._local = threading.local()
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._opening = threading.Lock()
        self._closed = False
        self._statements: dict[tuple[str, ...], str] = {}
        self._inserted = 0
        self._manifest = self._read_manifest()

    # -- schema ------------------------------------------------------------------------------------------------------

    def schema(self) -> Manifest | None:
        """Return the manifest the file holds now, None when it is empty."""
        return self._read_manifest()

    def apply(self, changes: Sequence[SchemaChange], manifest: Manifest) -> None:
        """Carry out schema changes and renew the views, all in one transaction."""
        session = self._session()
        if session.mode:
            raise StorageError("the schema cannot be changed inside a transaction", hint="commit or roll back first")
        # A dropped table's rows would count as deleted; the pragma has no effect inside a transaction.
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
            session.connection.execute("PRAGMA foreign_keys=ON")
        self.use(manifest)

    def use(self, manifest: Manifest) -> None:
        """Read rows in the order of this manifest from now on."""
        self._manifest = manifest
        self._statements.clear()

    @contextmanager
    def upgrading(self) -> Iterator[None]:
        """Hold the writers' queue, so that nobody else writes meanwhile."""
        self._queue.acquire()
        try:
            yield
        finally:
            self._queue.release()

    # -- transactions ------------------------------------------------------------------------------------------------

    def begin(self, *, write: bool = True) -> None:
        """Wait in line and start a writing transaction; or (`write=False`) take a snapshot."""
        session = self._session()
        if session.mode:
            raise StorageError("this thread is in a transaction already", hint="commit or roll back first")
        if write:
            self._begin_writing(session)
            return
        try:
            session.connection.execute("BEGIN")
            session.connection.execute(
                "SELECT count(*) FROM sqlite_schema"
            ).fetchone()  # the first read takes the snapshot
        except sqlite3.Error as error:
            raise self._failed(error, session) from error
        session.mode = "read"

    def commit(self) -> None:
        """Make this thread's transaction durable: it returns after the log is synced."""
        session = self._session()
        if session.failed:
            self.rollback()
            raise StorageError(
                "a write of this transaction failed; it was rolled back", hint="do the whole of it again"
            )
        if not session.mode:
            raise StorageError("there is no transaction to commit", hint="begin one first")
        try:
            session.connection.execute("COMMIT")
        except sqlite3.Error as error:
            failure = self._failed(error, session)
            self.rollback()
            raise failure from error
        self._end(session)

    def rollback(self) -> None:
        """Forget this thread's transaction; without one, do nothing."""
        session = self._session()
        if not session.mode:
            return
        try:
            if session.connection.in_transaction:  # SQLite has rolled back by itself after some errors
                session.connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise self._failed(error, session) from error
        finally:
            self._end(session)

    # -- writes ------------------------------------------------------------------------------------------------------

    def insert_many(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows by one prepared statement."""
        session = self._writer()
        key = ("insert", table, *columns)
        statement = self._statements.get(key)
        if statement is None:
            statement = self._statements[key] = insert_statement(table_of(self._known, table), columns)
        try:
            session.connection.executemany(statement, rows)
        except (sqlite3.Error, OverflowError) as error:
            raise self._failed(error, session) from error
        self._inserted += len(rows)

    def put_many(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows, or replace those of the same `id` whole."""
        session = self._writer()
        known = table_of(self._known, table)
        replaced = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in known.column_names if name != "id")
        statement = f"{insert_statement(known, columns)} ON CONFLICT (id) DO UPDATE SET {replaced}"
        try:
            session.connection.executemany(statement, rows)
        except (sqlite3.Error, OverflowError) as error:
            raise self._failed(error, session) from error

    def update_if_version(self, table: str, updates: Sequence[Update]) -> list[int]:
        """Write each update whose row still has its version; return the ids of the others."""
        session = self._writer()
        stale = []
        try:
            for update in updates:
                statement = self._update_statement(table, tuple(update.changes))
                done = session.connection.execute(statement, (*update.changes.values(), update.id, update.version))
                if done.rowcount == 0:
                    stale.append(update.id)
        except (sqlite3.Error, OverflowError) as error:
            raise self._failed(error, session) from error
        return stale

    def delete(self, table: str, keys: Sequence[tuple[int, int]]) -> list[int]:
        """Delete the rows of (id, version) pairs; return the ids of those gone or of another version."""
        session = self._writer()
        statement = f"DELETE FROM {quote(table_of(self._known, table).name)} WHERE id = ? AND version = ?"
        try:
            return [key[0] for key in keys if session.connection.execute(statement, key).rowcount == 0]
        except sqlite3.Error as error:
            raise self._failed(error, session) from error

    def append_ledger(self, columns: Sequence[str], row: Row) -> int:
        """Move the head and insert the transaction row at its position."""
        session = self._writer()
        start = f"INSERT INTO {LEDGER_HEAD} (id, position) VALUES (1, 1)"
        try:
            session.connection.execute(f"{start} ON CONFLICT (id) DO UPDATE SET position = position + 1")
            position: int = session.connection.execute(f"SELECT position FROM {LEDGER_HEAD}").fetchone()[0]
        except sqlite3.Error as error:
            raise self._failed(error, session) from error
        self.insert_many(LEDGER_TRANSACTIONS, [*columns, "position"], [(*row, position)])
        return position

    # -- reads -------------------------------------------------------------------------------------------------------

    def get_many(self, table: str, ids: Sequence[int]) -> list[Row]:
        """Return the whole rows of those ids that exist."""
        key = ("get" if len(ids) == 1 else "get many", table)
        statement = self._statements.get(key)
        if statement is None:
            known = table_of(self._known, table)
            wanted = "= ?" if len(ids) == 1 else "IN (SELECT value FROM json_each(?))"
            names = ", ".join(map(quote, known.column_names))
            statement = self._statements[key] = f"SELECT {names} FROM {quote(known.name)} WHERE id {wanted}"
        return self._read(statement, ids if len(ids) == 1 else [json.dumps(list(ids))])

    def find(
        self,
        table: str,
        where: Expression | None = None,
        *,
        sort: Sequence[SortKey] = (),
        after: Sequence[Primitive] = (),
        limit: int | None = None,
        columns: Sequence[str] = (),
    ) -> list[Row]:
        """Return the rows that match, a page at a time; see `Storage.find`."""
        if after and len(after) != len(sort) + 1:
            raise StorageError(
                f"a place among {len(sort)} sort keys and the id has {len(sort) + 1} values, not {len(after)}"
            )
        if not after or not sort or after[0] is None:
            return self._page(
                table, where, sort, limit, columns, lambda clauses: clauses.after(sort, after) if after else ""
            )
        rows = self._page(table, where, sort, limit, columns, lambda clauses: clauses.after_known(sort, after))
        if limit is not None and len(rows) >= limit:
            return rows
        # The rows whose first sort value is NULL come last: a second read, because one condition for both has no index.
        left = None if limit is None else limit - len(rows)
        return rows + self._page(
            table, where, sort, left, columns, lambda clauses: f"{clauses.column(sort[0].column)} IS NULL"
        )

    def count(self, table: str, where: Expression | None = None) -> int:
        """Return how many rows match."""
        clauses = Clauses(self._known, table_of(self._known, table))
        condition = "" if where is None else f" WHERE {clauses.condition(where)}"
        rows = self._read(f"SELECT count(*) FROM {quote(table)} t0{condition}", clauses.parameters)
        assert isinstance(rows[0][0], int)
        return rows[0][0]

    def scan(self, table: str, columns: Sequence[str], *, batch: int = 10_000) -> Iterator[list[Row]]:
        """Yield all rows in batches, each its own read, so that no read stays open between them."""
        clauses = Clauses(self._known, table_of(self._known, table))
        names = ", ".join(map(clauses.column, columns))
        statement = f"SELECT {names}, id FROM {quote(table)} t0 WHERE id >= ? ORDER BY id LIMIT ?"
        last: Primitive = -(2**63)
        while True:
            rows = self._read(statement, (last, batch))
            if rows:
                yield [row[:-1] for row in rows]
            if len(rows) < batch:
                return
            last = rows[-1][-1]
            statement = statement.replace("id >= ?", "id > ?")

    def execute(self, select: Select[Any]) -> list[tuple[Any, ...]]:
        """Run an analytic select."""
        from crm_storage_sql.compile import statement_of

        session = self._session()
        if self._inserted >= _STALE_STATISTICS and not session.mode:
            self._analyse(session)
        return self._read(*statement_of(select))

    # -- the rest ----------------------------------------------------------------------------------------------------

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

    def copied(self, folder: Path) -> SqliteStorage:
        """Copy the file as it is now into `folder` and open that; writers go on meanwhile."""
        place = Place(folder / "copy.db", self.place.timeout)
        session = self._session()
        try:
            with closing(sqlite3.connect(place.path)) as target:
                session.connection.backup(target)
        except sqlite3.Error as error:
            raise translated(error, place.path) from error
        return SqliteStorage(place)

    def close(self) -> None:
        """Close every connection; open transactions are rolled back."""
        if self._closed:
            return
        session = getattr(self._local, "session", None)
        if session is not None and session.usable:
            self.rollback()
            if self._inserted >= _STALE_STATISTICS:
                self._analyse(session)
        self._closed = True
        with self._opening:
            for other in list(self._sessions):
                other.close()
        self._queue.close()

    @property
    def _known(self) -> Manifest:
        if self._manifest is None:
            raise StorageError(f"{self.place.path} holds no tables yet", hint="create them: crm storage upgrade")
        return self._manifest

    def _session(self) -> Session:
        session: Session | None = getattr(self._local, "session", None)
        if session is not None and session.usable:
            return session
        if self._closed:
            raise StorageError(f"{self.place.path} is closed")
        try:
            session = Session(self.place, self._queue)
        except sqlite3.Error as error:
            raise translated(error, self.place.path) from error
        with self._opening:
            self._sessions.add(session)
        self._local.session = session
        return session

    def _writer(self) -> Session:
        session = self._session()
        if session.mode != "write":
            raise StorageError("a write outside a writing transaction", hint="begin one first")
        return session

    def _begin_writing(self, session: Session) -> None:
        self._queue.acquire()
        try:
            patiently(lambda: session.connection.execute("BEGIN IMMEDIATE"), self.place.timeout)
        except BaseException as error:
            self._queue.release()
            if isinstance(error, sqlite3.Error):
                raise self._failed(error, session) from error
            raise
        session.mode, session.failed = "write", False

    def _end(self, session: Session) -> None:
        wrote, session.mode, session.failed = session.mode == "write", "", False
        if wrote:
            self._queue.release()

    @contextmanager
    def _writing(self, session: Session) -> Iterator[None]:
        self._begin_writing(session)
        try:
            yield
            self.commit()
        except BaseException as error:
            self.rollback()
            if isinstance(error, sqlite3.Error):
                raise translated(error, self.place.path) from error
            raise

    def _failed(self, error: Exception, session: Session) -> CrmError:
        session.failed = session.mode == "write"
        return translated(error, self.place.path, session.connection)

    def _read(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[Row]:
        session = self._session()
        try:
            if session.mode:
                return session.connection.execute(statement, parameters).fetchall()
            return patiently(lambda: session.connection.execute(statement, parameters).fetchall(), self.place.timeout)
        except (sqlite3.Error, OverflowError) as error:
            raise translated(error, self.place.path) from error

    def _read_manifest(self) -> Manifest | None:
        there = self._read("SELECT count(*) FROM sqlite_schema WHERE name = ?", (MANIFEST,))[0][0]
        rows = self._read(f"SELECT json FROM {MANIFEST}", ()) if there else []
        return Manifest.from_json(json.loads(str(rows[0][0]))) if rows else None

    def _all_columns(self, clauses: Clauses) -> str:
        key = ("columns", clauses.table.name)
        if key not in self._statements:
            self._statements[key] = ", ".join(map(clauses.column, clauses.table.column_names))
        return self._statements[key]

    def _update_statement(self, table: str, columns: tuple[str, ...]) -> str:
        key = ("update", table, *columns)
        statement = self._statements.get(key)
        if statement is None:
            clauses = Clauses(self._known, table_of(self._known, table))
            for name in columns:
                clauses.column(name)
            sets = ", ".join([*(f"{quote(name)} = ?" for name in columns), "version = version + 1"])
            statement = f"UPDATE {quote(table)} SET {sets} WHERE id = ? AND version = ?"
            self._statements[key] = statement
        return statement

    def _page(
        self,
        table: str,
        where: Expression | None,
        sort: Sequence[SortKey],
        limit: int | None,
        columns: Sequence[str],
        place: Callable[[Clauses], str],
    ) -> list[Row]:
        clauses = Clauses(self._known, table_of(self._known, table))
        names = ", ".join(map(clauses.column, columns)) if columns else self._all_columns(clauses)
        conditions = [] if where is None else [f"({clauses.condition(where)})"]
        conditions += filter(None, [place(clauses)])
        statement = f"SELECT {names} FROM {quote(table)} t0"
        if conditions:
            statement += " WHERE " + " AND ".join(conditions)
        statement += " ORDER BY " + clauses.order(sort)
        if limit is not None:
            statement += " LIMIT ?"
            clauses.parameters.append(limit)
        return self._read(statement, clauses.parameters)

    def _analyse(self, session: Session) -> None:
        """Refresh the planner's statistics from a sample; when another writer is at work, the next call does it."""
        try:
            self._queue.acquire(timeout=0)
        except StorageLocked:
            return
        try:
            session.connection.execute("PRAGMA analysis_limit=1000")
            with self._writing(session):
                session.connection.execute("ANALYZE")
        finally:
            self._queue.release()
        self._inserted = 0
