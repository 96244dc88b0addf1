"""What the SQL storages share: the contract of `crm_core.extend.Storage` over one connection for each thread.

A storage of one database adds its session (how it connects, begins and ends transactions, moves rows in bulk, and what
its errors mean), its schema changes and its status.
"""

from __future__ import annotations

import threading
import weakref
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, TypeGuard, TypeVar

from crm_core.errors import CrmError, StorageError
from crm_core.extend import Storage, Update
from crm_core.extend.storage import LEDGER_HEAD, LEDGER_TRANSACTIONS
from crm_core.query.ast import Compare, Expression, SortKey
from crm_core.records.schema import Manifest, Primitive, Row, Table
from crm_storage_sql.dialect import Dialect, quote
from crm_storage_sql.lists import Listing
from crm_storage_sql.where import Clauses, table_of

if TYPE_CHECKING:
    from sqlalchemy import Select

MANIFEST: Final = "crm_manifest"
"""The table of one row that holds the manifest as JSON."""
STALE_STATISTICS: Final = 10_000
"""Inserted rows after which the planner's statistics are refreshed before the next analytic select."""

Parameters = Sequence[Any] | Mapping[str, Any]


class Session:
    """A thread's connection, and the transaction it is in; it closes when its thread ends.

    `failed` says that a write of the transaction went wrong, so that it can only be rolled back.
    """

    errors: tuple[type[Exception], ...] = ()
    """What the driver raises."""

    def __init__(self) -> None:
        self.mode: Literal["", "read", "write"] = ""
        self.failed = False

    @property
    @abstractmethod
    def usable(self) -> bool:
        """Whether it belongs to this process and is open."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection, unless it is a parent's: closing that here would break it there."""

    @abstractmethod
    def begin(self, *, write: bool) -> None:
        """Start a writing transaction, or one snapshot."""

    @abstractmethod
    def commit(self) -> None:
        """Make the transaction durable; when that fails it is rolled back."""

    @abstractmethod
    def rollback(self) -> None:
        """Forget the transaction."""

    @abstractmethod
    def read(self, statement: str, parameters: Parameters = ()) -> list[Row]:
        """Return the rows of a statement."""

    @abstractmethod
    def run_all(self, steps: Iterable[tuple[str, Sequence[Any]]], table: str) -> list[int]:
        """Run (statement, parameters) after each other; return how many rows of `table` each touched."""

    @abstractmethod
    def insert(self, statement: str, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows of those columns, by the statement or a faster way."""

    @abstractmethod
    def translated(self, error: Exception, table: str = "") -> CrmError:
        """Return the CRM's error for one of the driver's; `table` is what was written."""

    def run(self, statement: str, parameters: Sequence[Any] = (), table: str = "") -> int:
        """Run one statement; return how many rows it touched."""
        return self.run_all([(statement, parameters)], table)[0]

    def failure(self, error: Exception, table: str = "") -> CrmError:
        """Note that a write went wrong, and return the CRM's error for it."""
        self.failed = self.mode == "write"
        return self.translated(error, table)


S = TypeVar("S", bound=Session)


class SqlStorage(Storage, Generic[S]):
    """Tables in an SQL database, a connection for each thread."""

    dialect: ClassVar[Dialect]

    def __init__(self, place: str) -> None:
        """Take the place of the database in words, without secrets."""
        self.title = place
        self._local = threading.local()
        self._sessions: weakref.WeakSet[S] = weakref.WeakSet()
        self._opening = threading.Lock()
        self._closed = False
        self._statements: dict[tuple[str, ...], str] = {}
        self._prefixes: dict[str, frozenset[str]] = {}
        self._inserted: Counter[str] = Counter()
        self._manifest: Manifest | None = None
        self._claimed = False

    @abstractmethod
    def connected(self) -> S:
        """Open a connection for this thread."""

    @abstractmethod
    def has_manifest(self, session: S) -> bool:
        """Return whether the database has the table of the manifest."""

    @abstractmethod
    def refresh_statistics(self, session: S, tables: Sequence[str]) -> bool:
        """Refresh what the planner knows of tables that grew; False: not now, the next analytic select tries again."""

    # -- schema ------------------------------------------------------------------------------------------------------

    def schema(self) -> Manifest | None:
        """Return the manifest the database holds now, None when it is empty."""
        session = self._session()
        rows = self._manifest_rows(session) if self.is_claimed(session) else []
        try:
            return Manifest.from_text(str(rows[0][0])) if rows else None
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"the database is damaged: what {MANIFEST} says of its tables cannot be read ({error})",
                hint="put a backup back: crm storage restore FILE",
            ) from error

    def is_claimed(self, session: S) -> bool:
        """Return whether the database has the table of the manifest; of one that had it, nobody takes it away."""
        self._claimed = self._claimed or self.has_manifest(session)
        return self._claimed

    def _manifest_rows(self, session: S) -> list[Row]:
        try:
            return session.read(f'SELECT "json" FROM {MANIFEST}')
        except CrmError:
            if session.mode or self.has_manifest(session):
                raise
            self._claimed = False  # somebody has made the database anew
            return []

    def use(self, manifest: Manifest) -> None:
        """Read rows in the order of this manifest from now on."""
        self._manifest = manifest
        self._statements.clear()
        self._prefixes.clear()

    # -- transactions ------------------------------------------------------------------------------------------------

    def begin(self, *, write: bool = True) -> None:
        """Start a writing transaction; or (`write=False`) take a snapshot."""
        session = self._session()
        if session.mode:
            raise StorageError("this thread is in a transaction already", hint="commit or roll back first")
        session.begin(write=write)

    def commit(self) -> None:
        """Make this thread's transaction durable."""
        session = self._session()
        if session.failed:
            session.rollback()
            raise StorageError(
                "a write of this transaction failed; it was rolled back", hint="do the whole of it again"
            )
        if not session.mode:
            raise StorageError("there is no transaction to commit", hint="begin one first")
        session.commit()

    def rollback(self) -> None:
        """Forget this thread's transaction; without one, do nothing."""
        session = self._session()
        if session.mode:
            session.rollback()

    # -- writes ------------------------------------------------------------------------------------------------------

    def insert_many(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows by one prepared statement, or by the way the database has for many."""
        session = self._writer()
        known = table_of(self._known, table)
        key = ("insert", table, *columns)
        statement = self._statements.get(key)
        if statement is None:
            statement = self._statements[key] = self.insert_statement(known, columns)
        session.insert(statement, known, columns, rows)
        self._inserted[table] += len(rows)

    def put_many(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows, or replace those of the same `id` whole."""
        key = ("put", table, *columns)
        statement = self._statements.get(key)
        if statement is None:
            known = table_of(self._known, table)
            replaced = ", ".join(
                f"{quote(name)} = excluded.{quote(name)}" for name in known.column_names if name != "id"
            )
            insert = self.insert_statement(known, columns)
            statement = self._statements[key] = f"{insert} ON CONFLICT (id) DO UPDATE SET {replaced}"
        self._writer().run_all([(statement, row) for row in rows], table)

    def update_if_version(self, table: str, updates: Sequence[Update]) -> list[int]:
        """Write each update whose row still has its version; return the ids of the others."""
        session = self._writer()
        steps = [
            (
                self._update_statement(table, tuple(update.changes)),
                (*update.changes.values(), update.id, update.version),
            )
            for update in updates
        ]
        counts = session.run_all(steps, table)
        return [update.id for update, count in zip(updates, counts, strict=True) if count == 0]

    def delete(self, table: str, keys: Sequence[tuple[int, int]]) -> list[int]:
        """Delete the rows of (id, version) pairs; return the ids of those gone or of another version."""
        mark = self.dialect.mark
        name = quote(table_of(self._known, table).name)
        statement = f"DELETE FROM {name} WHERE id = {mark} AND version = {mark}"
        counts = self._writer().run_all([(statement, key) for key in keys], table)
        return [key[0] for key, count in zip(keys, counts, strict=True) if count == 0]

    def append_ledger(self, columns: Sequence[str], row: Row) -> int:
        """Move the head and insert the transaction row at its position."""
        position = self.next_position(self._writer())
        self.insert_many(LEDGER_TRANSACTIONS, [*columns, "position"], [(*row, position)])
        return position

    def append_linked(self, columns: Sequence[str], row: Row, link: Callable[[int, str | None], str]) -> int:
        """Move the head, then insert the transaction row at its position with its link."""
        position = self.next_position(self._writer())
        linked = (*row, position, link(position, self.link_before(position)))
        self.insert_many(LEDGER_TRANSACTIONS, [*columns, "position", "chain"], [linked])
        return position

    def next_position(self, session: S) -> int:
        """Move the head, which keeps other writers from doing so until the commit, and return where it is."""
        insert = f"INSERT INTO {LEDGER_HEAD} (id, position) VALUES (1, 1) ON CONFLICT (id)"
        try:
            ((position,),) = session.read(
                f"{insert} DO UPDATE SET position = {LEDGER_HEAD}.position + 1 RETURNING position"
            )
        except CrmError:
            session.failed = True
            raise
        assert isinstance(position, int)
        return position

    # -- reads -------------------------------------------------------------------------------------------------------

    def get_many(self, table: str, ids: Sequence[int]) -> list[Row]:
        """Return the whole rows of those ids that exist."""
        mark = self.dialect.mark
        side, parameters = (f"= {mark}", ids) if len(ids) == 1 else self.dialect.members(ids, mark)
        key = ("get", table)
        statement = self._statements.get(key)
        if statement is None:
            known = table_of(self._known, table)
            names = ", ".join(map(quote, known.column_names))
            statement = self._statements[key] = f"SELECT {names} FROM {quote(known.name)} WHERE id "
        return self._read(statement + side, parameters)

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
        if limit is None and not sort and not after and _is_lookup(where):
            return self._rows_with(table, where, columns)
        clauses = self._clauses(table)
        names = ", ".join(map(clauses.column, columns)) if columns else self._all_columns(clauses)
        listing = Listing(clauses=lambda: self._clauses(table), read=self._read, columns=names, where=where, sort=sort)
        return listing.page(after, limit)

    def _rows_with(self, table: str, where: Compare, columns: Sequence[str]) -> list[Row]:
        """Return the rows of one number, by a statement that is put together once: the tags of a record, say."""
        key = ("lookup", table, where.column, *columns)
        statement = self._statements.get(key)
        if statement is None:
            clauses = self._clauses(table)
            names = ", ".join(map(clauses.column, columns)) if columns else self._all_columns(clauses)
            condition = clauses.condition(where)
            statement = f"SELECT {names} FROM {quote(table)} t0 WHERE {condition} ORDER BY t0.id"
            self._statements[key] = statement
        return self._read(statement, (where.value,))

    def count(self, table: str, where: Expression | None = None) -> int:
        """Return how many rows match."""
        clauses = self._clauses(table)
        condition = "" if where is None else f" WHERE {clauses.condition(where)}"
        rows = self._read(f"SELECT count(*) FROM {quote(table)} t0{condition}", clauses.parameters)
        assert isinstance(rows[0][0], int)
        return rows[0][0]

    def scan(self, table: str, columns: Sequence[str], *, batch: int = 10_000) -> Iterator[list[Row]]:
        """Yield all rows in batches, each its own read, so that no read stays open between them."""
        clauses = self._clauses(table)
        names = ", ".join(map(clauses.column, columns))
        mark = self.dialect.mark
        statement = f"SELECT {names}, id FROM {quote(table)} t0 WHERE id >= {mark} ORDER BY id LIMIT {mark}"
        last: Primitive = -(2**63)
        while True:
            rows = self._read(statement, (last, batch))
            if rows:
                yield [row[:-1] for row in rows]
            if len(rows) < batch:
                return
            last = rows[-1][-1]
            statement = statement.replace("id >= ", "id > ")

    def execute(self, select: Select[Any]) -> list[tuple[Any, ...]]:
        """Run an analytic select."""
        from crm_storage_sql.compile import statement_of

        session = self._session()
        if not session.mode:
            self._refresh_statistics(session)
        return session.read(*statement_of(select, self.dialect.name))

    def _read(self, statement: str, parameters: Parameters = ()) -> list[Row]:
        """Return the rows of a statement that compares columns with what was given."""
        return self._session().read(statement, parameters)

    # -- the rest ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close every connection; open transactions are rolled back."""
        if self._closed:
            return
        session: S | None = getattr(self._local, "session", None)
        if session is not None and session.usable:
            if session.mode:
                session.rollback()
            self._refresh_statistics(session)
        self._closed = True
        with self._opening:
            for other in list(self._sessions):
                other.close()

    @property
    def _known(self) -> Manifest:
        """The manifest in use."""
        if self._manifest is None:
            raise StorageError(f"{self.title} holds no tables yet", hint="create them: crm storage upgrade")
        return self._manifest

    def _session(self) -> S:
        """Return this thread's session."""
        session: S | None = getattr(self._local, "session", None)
        if session is not None and session.usable:
            return session
        if self._closed:
            raise StorageError(f"{self.title} is closed")
        session = self.connected()
        with self._opening:
            self._sessions.add(session)
        self._local.session = session
        return session

    def _writer(self) -> S:
        """Return this thread's session, which must be in a writing transaction."""
        session = self._session()
        if session.mode != "write":
            raise StorageError("a write outside a writing transaction", hint="begin one first")
        return session

    @contextmanager
    def _writing(self, session: S) -> Iterator[None]:
        """Put what is done inside into a transaction of its own."""
        session.begin(write=True)
        with self._ending(session):
            yield

    @contextmanager
    def _ending(self, session: S) -> Iterator[None]:
        """Commit the transaction that is open after what is done inside, or roll it back."""
        try:
            yield
            session.commit()
        except BaseException as error:
            if session.mode:
                session.rollback()
            if isinstance(error, session.errors):
                raise session.translated(error) from error
            raise

    def insert_statement(self, table: Table, columns: Iterable[str]) -> str:
        """Return the insert of those columns.

        Raises:
            StorageError: the table lacks one of them.
        """
        names = list(columns)
        unknown = set(names) - set(table.column_names)
        if unknown:
            raise StorageError(
                f"the table {table.name} has no column {min(unknown)!r}; it has: {', '.join(table.column_names)}"
            )
        marks = ", ".join([self.dialect.mark] * len(names))
        return f"INSERT INTO {quote(table.name)} ({', '.join(map(quote, names))}) VALUES ({marks})"

    def _clauses(self, table: str) -> Clauses:
        return Clauses(self._known, table_of(self._known, table), self.dialect, self._prefixes)

    def _all_columns(self, clauses: Clauses) -> str:
        key = ("columns", clauses.table.name)
        if key not in self._statements:
            self._statements[key] = ", ".join(map(clauses.column, clauses.table.column_names))
        return self._statements[key]

    def _update_statement(self, table: str, columns: tuple[str, ...]) -> str:
        key = ("update", table, *columns)
        statement = self._statements.get(key)
        if statement is None:
            clauses = self._clauses(table)
            for name in columns:
                clauses.column(name)
            mark = self.dialect.mark
            sets = ", ".join([*(f"{quote(name)} = {mark}" for name in columns), "version = version + 1"])
            statement = f"UPDATE {quote(table)} SET {sets} WHERE id = {mark} AND version = {mark}"
            self._statements[key] = statement
        return statement

    def _refresh_statistics(self, session: S) -> None:
        if self._inserted.total() >= STALE_STATISTICS and self.refresh_statistics(session, list(self._inserted)):
            self._inserted.clear()


def _is_lookup(where: Expression | None) -> TypeGuard[Compare]:
    return isinstance(where, Compare) and where.operator == "=" and isinstance(where.value, int)
