"""What the storages on a server share: sessions that outlive a dropped connection, and schema changes in one hand.

A connection that the server dropped while nothing was going on is made again in silence; one that is lost inside a
transaction is an error, because the server has rolled that back.
"""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, ClassVar, Final, TypeVar
from weakref import WeakSet

from crm_core.errors import CrmError, StorageError, StorageLocked
from crm_core.extend import Capability, TableRows
from crm_core.query.search import Hit, Question, Searched, searched_in
from crm_core.records.schema import Manifest, Row, SchemaChange
from crm_storage_sql.dialect import index_name, quote, server_name
from crm_storage_sql.room import MANIFEST, Parameters, Session, SqlStorage
from crm_storage_sql.server_ddl import ServerDdl, table_of_change
from crm_storage_sql.server_lookup import ServerLookup
from crm_storage_sql.server_url import Server
from crm_storage_sql.views import Forms, create_view
from crm_storage_sql.where import table_of

T = TypeVar("T")


class ServerSession(Session):
    """A thread's connection to a server, and the transaction it is in."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server
        self.locked = False
        """Whether it holds the lock of an upgrade, which would be lost with the connection."""
        self.keys: dict[str, tuple[str, tuple[str, ...]]] = {}
        """What each unique index is over: (table, columns) by its name."""
        self._pid = os.getpid()
        self.connection: Any = self.connect()
        _open.add(self)

    @abstractmethod
    def connect(self) -> Any:
        """Open a connection with the settings that the CRM needs.

        Raises:
            StorageError: the server does not answer, or refuses; what to do is in its hint.
        """

    @abstractmethod
    def start(self, *, write: bool) -> None:
        """Send what begins a transaction; for a snapshot, also what takes it."""

    @abstractmethod
    def fetch(self, statement: str, parameters: Parameters) -> list[Row]:
        """Return the rows of a statement."""

    @abstractmethod
    def change(self, statement: str) -> None:
        """Carry out a statement without parameters or rows."""

    @abstractmethod
    def is_lost(self, error: Exception) -> bool:
        """Return whether the connection is gone."""

    @property
    def usable(self) -> bool:
        """Whether it belongs to this process and was not closed."""
        return self._pid == os.getpid()

    def close(self) -> None:
        """Close the connection, unless it is a parent's."""
        if self.usable:
            self._pid = 0
            self._disconnect()

    def begin(self, *, write: bool) -> None:
        """Start a writing transaction, or take a snapshot."""
        try:
            self._again_if_lost(lambda: self.start(write=write))
        except self.errors as error:
            raise self.translated(error) from error
        self.mode, self.failed = "write" if write else "read", False

    def commit(self) -> None:
        """Make the transaction durable: it returns after the server's log is synced."""
        try:
            self.change("COMMIT")
        except self.errors as error:
            lost = self.is_lost(error)
            failure = self.failure(error)
            self.rollback()
            if lost:
                raise StorageError(
                    f"{self.server.title}: the connection was lost while a transaction was being committed; whether it "
                    "was stored is not known",
                    hint="look whether it is there (crm ledger log) before doing it again",
                ) from error
            raise failure from error
        self.end()

    def rollback(self) -> None:
        """Forget the transaction; where that cannot be sent, the server does so when the connection ends."""
        try:
            self.change("ROLLBACK")
        except self.errors:
            self._disconnect()
        finally:
            self.end()

    def end(self) -> None:
        """Note that there is no transaction any more."""
        self.mode, self.failed = "", False

    def read(self, statement: str, parameters: Parameters = ()) -> list[Row]:
        """Return the rows of a statement."""
        if self.failed:
            raise StorageError("a write of this transaction failed", hint="roll back, then do the whole of it again")
        try:
            if self.mode:
                return self.fetch(statement, parameters)
            return self._again_if_lost(lambda: self.fetch(statement, parameters))
        except self.errors as error:
            raise self.failure(error) from error

    def failure(self, error: Exception, table: str = "") -> CrmError:
        """Note that something went wrong, and return the CRM's error for it."""
        if self.mode and self.is_lost(error):
            self.failed = True
            return StorageError(
                f"{self.server.title}: the connection was lost in the middle of a transaction; nothing of it was kept",
                hint="do the whole of it again",
            )
        return super().failure(error, table)

    def duplicate_of(self, name: str, table: str) -> tuple[str, tuple[str, ...]]:
        """Return table and columns of the unique index of that name; a primary key has none of ours."""
        return self.keys.get(name, (table, ("id",)))

    def _again_if_lost(self, call: Callable[[], T]) -> T:
        """Do it; when the server has dropped the idle connection, do it once more on a new one."""
        if self.connection is None:
            self.connection = self.connect()
        try:
            return call()
        except self.errors as error:
            if not self.is_lost(error):
                raise
            if self.locked:
                raise StorageError(
                    f"{self.server.title}: the connection was lost during an upgrade", hint="run it again: it goes on"
                ) from error
        self._disconnect()
        self.connection = self.connect()
        return call()

    def _disconnect(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            with suppress(*self.errors):
                connection.close()

    def __del__(self) -> None:
        if hasattr(self, "connection"):
            self.close()


_open: Final[WeakSet[ServerSession]] = WeakSet()
_inherited: Final[list[ServerSession]] = []
"""Sessions of the parent, kept so that collecting them does not end its connections."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _inherited.extend(_open))

S = TypeVar("S", bound=ServerSession)


class ServerStorage(SqlStorage[S]):
    """A database on a server. Many write at once; who changes the schema does so alone."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset({"execute", "concurrent", "replace", "search"})
    forms: ClassVar[Forms]

    def __init__(self, server: Server) -> None:
        super().__init__(server.title)
        self.server = server
        self._keys: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._searched: dict[str, Searched] = {}
        self.prepare()
        self._manifest = self.schema()
        if self._manifest is not None:
            self.use(self._manifest)

    @abstractmethod
    def prepare(self) -> None:
        """Create the database when there is none; refuse one of another program, or a server that is too old."""

    @abstractmethod
    def open_session(self) -> S:
        """Open a connection."""

    @abstractmethod
    def ddl(self, session: S, manifest: Manifest) -> ServerDdl:
        """Return what writes this database's schema changes."""

    @abstractmethod
    def take_upgrade_lock(self, session: S) -> bool:
        """Take the lock of upgrades for this session, waiting as long as the settings allow; it may be taken twice."""

    @abstractmethod
    def release_upgrade_lock(self, session: S) -> None:
        """Give it back once."""

    @abstractmethod
    def changing(self, session: S) -> AbstractContextManager[None]:
        """Return the context in which schema changes are made: a transaction, where the database has one for them."""

    @abstractmethod
    def refill(self, session: S, ddl: ServerDdl, tables: Iterable[TableRows], before: Sequence[str]) -> None:
        """Put tables and rows, the views of them and the manifest of `ddl` in the place of the tables `before`."""

    def search(self, table: str, question: Question, *, after: Hit | None = None, limit: int) -> list[Hit] | None:
        """Look records up by their texts, all of one state of the data; None where only parts of them have texts."""
        searched = self._searched.get(table)
        if searched is None or not searched.own:
            return None
        session = self._session()
        lookup = ServerLookup(searched, question, clauses=self._clauses, find=self.find, read=session.read)
        if session.mode:
            return lookup.page(after, limit)
        self._refresh_statistics(session)
        session.begin(write=False)
        try:
            return lookup.page(after, limit)
        finally:
            session.rollback()

    def connected(self) -> S:
        """Open a connection for this thread."""
        session = self.open_session()
        session.keys = self._keys
        return session

    def use(self, manifest: Manifest) -> None:
        """Read rows in the order of this manifest from now on."""
        super().use(manifest)
        self._searched = searched_in(manifest.tables)
        self._keys.clear()
        self._keys.update(keys_of(manifest))

    def apply(self, changes: Sequence[SchemaChange], manifest: Manifest) -> None:
        """Carry out schema changes, renew the views of the tables they touch, and store the manifest last."""
        session = self._session()
        if session.mode:
            raise StorageError("the schema cannot be changed inside a transaction", hint="commit or roll back first")
        self._keys.update(keys_of(manifest))
        touched = sorted({table_of_change(change) for change in changes})
        with self.upgrading(), self.changing(session):
            ddl = self.ddl(session, manifest)
            ddl.create_manifest_table()
            if ddl.views_hold:
                ddl.drop_views(touched)
            for change in changes:
                ddl.carry_out(change)
            ddl.finish()
            self.renew_views(ddl, touched)
            ddl.flush()
            self.store_manifest(session, manifest)
        self.use(manifest)

    def replace(self, manifest: Manifest, tables: Iterable[TableRows]) -> None:
        """Put tables and rows in the place of all that the database holds of the CRM's."""
        session = self._session()
        if session.mode:
            raise StorageError("nothing can be replaced inside a transaction", hint="commit or roll back first")
        self._keys.update(keys_of(manifest))
        with self.upgrading():
            stored = self.schema()
            ddl = self.ddl(session, manifest)
            known = {*manifest.tables, *(stored.tables if stored is not None else ())}
            self.refill(session, ddl, tables, sorted(known & set(ddl.tables())))
            self.use(manifest)
            self.refresh_statistics(session, list(manifest.tables))

    @abstractmethod
    def faults_inside(self, session: S, tables: Sequence[str]) -> list[str]:
        """Return in words which indexes of these tables do not say what the rows say, as far as the server can tell."""

    def check_indexes(self) -> list[str]:
        """Look whether every index that was declared is there, in use, and says what the rows say.

        The last on a connection of its own, as it would end the snapshot of the caller.
        """
        manifest = self.schema()
        if manifest is None:
            return []
        ddl = self.ddl(self._session(), manifest)
        found = ddl.index_faults()
        session = self.connected()
        try:
            return found + self.faults_inside(session, sorted(set(manifest.tables) & set(ddl.tables())))
        finally:
            session.close()

    def reindex(self) -> list[str]:
        """Make the indexes of each table anew: one after the other, and only who writes to that table waits."""
        session = self._session()
        if session.mode:
            raise StorageError("nothing can be indexed anew inside a transaction", hint="commit or roll back first")
        manifest = self.schema()
        if manifest is None:
            return []
        self._keys.update(keys_of(manifest))
        with self.upgrading():
            ddl = self.ddl(session, manifest)
            tables = sorted(set(manifest.tables) & set(ddl.tables()))
            for name in tables:
                with self.changing(session):
                    ddl.rebuild_indexes(manifest.tables[name])
                    ddl.flush()
        return [f"the indexes of {len(tables)} tables"]

    def renew_views(self, ddl: ServerDdl, names: Iterable[str]) -> None:
        """Create the views of these tables anew, and remove those of tables that are no more."""
        ddl.drop_views(names)
        for name in names:
            table = ddl.manifest.tables.get(name)
            if table is not None and "version" in table.column_names:
                ddl.run(create_view(table, self.forms))

    def store_manifest(self, session: S, manifest: Manifest, table: str = MANIFEST) -> None:
        """Replace the manifest."""
        mark = self.dialect.mark
        text = json.dumps(manifest.to_json(), ensure_ascii=False, separators=(",", ":"))
        if not session.run(f'UPDATE {table} SET "json" = {mark} WHERE id = 1', (text,)):
            session.run(f'INSERT INTO {table} (id, "json") VALUES (1, {mark})', (text,))

    @contextmanager
    def upgrading(self) -> Iterator[None]:
        """Hold the lock of upgrades, so that nobody else changes the schema meanwhile."""
        session = self._session()
        if not self.take_upgrade_lock(session):
            raise StorageLocked(
                f"{self.title}: another process has been upgrading it for {self.server.timeout:g} seconds",
                hint="let it end, then try again",
            )
        outer, session.locked = session.locked, True
        try:
            yield
        finally:
            session.locked = outer
            with suppress(CrmError):  # a lost connection has given it back
                self.release_upgrade_lock(session)

    def lock(self, table: str, ids: Sequence[int]) -> None:
        """Keep others from writing these rows until the transaction ends."""
        session = self._writer()
        name = quote(table_of(self._known, table).name)
        side, parameters = self.dialect.members(ids, self.dialect.mark)
        session.read(f"SELECT id FROM {name} WHERE id {side} ORDER BY id FOR UPDATE", parameters)


def keys_of(manifest: Manifest) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return table and columns of every unique index, by its name on a server."""
    return {
        server_name(index_name(table.name, index)): (table.name, index.columns)
        for table in manifest.tables.values()
        for index in table.indexes
        if index.unique
    }
