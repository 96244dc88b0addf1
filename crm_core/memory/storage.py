"""The contract of a storage over tables of dicts: transactions, snapshots, and one writer at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import ClassVar, Final

import attrs

from crm_core.errors import StorageError, StorageLocked
from crm_core.extend.storage import (
    LEDGER_HEAD,
    LEDGER_TRANSACTIONS,
    Capability,
    Storage,
    StorageStatus,
    TableRows,
    Update,
)
from crm_core.memory.tables import Changes, Committed, Rows, carry_out
from crm_core.query.ast import Expression, SortKey
from crm_core.query.predicate import after_row, predicate, sort_rows
from crm_core.records.schema import AddType, Manifest, Primitive, Row, SchemaChange, Table

_PATIENCE: Final = 30.0


@attrs.define
class _Writing:
    """A writing transaction: its changes by table."""

    changes: dict[str, Changes] = attrs.field(factory=dict)


@attrs.define(eq=False)
class _Snapshot:
    """A reading transaction: the tables and rows of the moment it began."""

    tables: dict[str, tuple[Table, Rows]]


class MemoryStorage(Storage):
    """Tables in memory. One thread writes at a time; what it writes shows to others when it commits.

    A snapshot shares the tables until the next commit, which then changes copies of those it touches.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset({"copy", "replace"})

    def __init__(self, *, timeout: float = _PATIENCE) -> None:
        self._timeout = timeout
        self._writer = threading.Lock()
        self._state = threading.RLock()
        self._local = threading.local()
        self._manifest: Manifest | None = None
        self._tables: dict[str, Committed] = {}
        self._pinned: dict[int, _Snapshot] = {}
        self._closed = False

    def schema(self) -> Manifest | None:
        """Return the manifest, None before the first `apply`."""
        return self._manifest

    def apply(self, changes: Sequence[SchemaChange], manifest: Manifest) -> None:
        """Change the tables in place; refused while this thread is in a transaction."""
        if self._transaction() is not None:
            raise StorageError("the schema cannot be changed inside a transaction", hint="commit or roll back first")
        self._take_turn()
        try:
            with self._state:
                for change in changes:
                    carry_out(self._tables, change)
                self.use(manifest)
        finally:
            self._writer.release()

    def use(self, manifest: Manifest) -> None:
        """Keep and read rows in the order of this manifest."""
        with self._state:
            for table in manifest.tables.values():
                found = self._tables.setdefault(table.name, Committed(table))
                if found.table != table:
                    self._tables[table.name] = found.rearranged(table)
            self._manifest = manifest

    def begin(self, *, write: bool = True) -> None:
        """Start this thread's transaction: a writing one, or a snapshot."""
        if self._transaction() is not None:
            raise StorageError("this thread is in a transaction already", hint="commit or roll back first")
        if write:
            self._take_turn()
            self._local.transaction = _Writing()
            return
        with self._state:
            snapshot = _Snapshot({name: (one.table, one.rows) for name, one in self._tables.items()})
            self._pinned[id(snapshot)] = snapshot
            self._local.transaction = snapshot

    def commit(self) -> None:
        """Show this thread's writes to everybody."""
        transaction = self._transaction()
        if transaction is None:
            raise StorageError("there is no transaction to commit", hint="begin one first")
        if isinstance(transaction, _Writing):
            if any(changes.failed for changes in transaction.changes.values()):
                self.rollback()
                raise StorageError(
                    "a write of this transaction failed; it was rolled back", hint="do the whole of it again"
                )
            with self._state:
                pinned = {id(rows) for snapshot in self._pinned.values() for _, rows in snapshot.tables.values()}
                for changes in transaction.changes.values():
                    if id(changes.committed.rows) in pinned:
                        changes.committed.rows = dict(changes.committed.rows)
                    changes.committed.take(changes.rows, changes.keys)
        self.rollback()

    def rollback(self) -> None:
        """Forget this thread's transaction; without one, do nothing."""
        transaction = self._transaction()
        self._local.transaction = None
        if isinstance(transaction, _Writing):
            self._writer.release()
        elif transaction is not None:
            with self._state:
                del self._pinned[id(transaction)]

    def insert_many(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows; columns left out are NULL."""
        changes = self._changes(table)
        arrange = changes.arrangement(columns)
        with changes.guarded():
            for row in rows:
                changes.insert(arrange(row))

    def put_many(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows, or replace those of the same `id` whole."""
        changes = self._changes(table)
        arrange = changes.arrangement(columns)
        with changes.guarded():
            for row in rows:
                changes.put(arrange(row))

    def update_if_version(self, table: str, updates: Sequence[Update]) -> list[int]:
        """Write each update whose row still has its version; return the ids of the others."""
        changes = self._changes(table)
        version = changes.committed.at("version")
        stale = []
        with changes.guarded():
            for update in updates:
                changed = {changes.committed.at(name): value for name, value in update.changes.items()}
                row = changes.get(update.id)
                if row is None or row[version] != update.version:
                    stale.append(update.id)
                    continue
                cells = list(row)
                for place, value in changed.items():
                    cells[place] = value
                cells[version] = update.version + 1
                changes.put(tuple(cells))
        return stale

    def delete(self, table: str, keys: Sequence[tuple[int, int]]) -> list[int]:
        """Delete the rows of (id, version) pairs; return the ids of those gone or of another version."""
        changes = self._changes(table)
        version = changes.committed.at("version")
        stale = []
        for id_, expected in keys:
            row = changes.get(id_)
            if row is None or row[version] != expected:
                stale.append(id_)
            else:
                changes.remove(row)
        return stale

    def append_ledger(self, columns: Sequence[str], row: Row) -> int:
        """Move the head and insert the transaction row at its position."""
        head = self._changes(LEDGER_HEAD)
        before = head.get(1)
        position = 1 if before is None else int(before[head.committed.at("position")] or 0) + 1
        self.put_many(LEDGER_HEAD, ("id", "position"), [(1, position)])
        self.insert_many(LEDGER_TRANSACTIONS, [*columns, "position"], [(*row, position)])
        return position

    def get_many(self, table: str, ids: Sequence[int]) -> list[Row]:
        """Return the whole rows of those ids that exist."""
        with self._state:
            view = self._view(table)
            return [row for row in map(view.get, dict.fromkeys(ids)) if row is not None]

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
        with self._state:
            view = self._view(table)
            names = view.table.column_names
            rows = self._matching(table, where)
            if after:
                rows = filter(after_row(names, sort, after), rows)
            page = sort_rows(rows, names, sort)[:limit]
        return _columns_of(page, view, columns)

    def count(self, table: str, where: Expression | None = None) -> int:
        """Return how many rows match."""
        with self._state:
            return sum(1 for _ in self._matching(table, where))

    def scan(self, table: str, columns: Sequence[str], *, batch: int = 10_000) -> Iterator[list[Row]]:
        """Yield all rows in batches, in id order."""
        with self._state:
            ids = self._view(table).ids()
        for start in range(0, len(ids), batch):
            rows = self.get_many(table, ids[start : start + batch])
            if rows:
                yield _columns_of(rows, self._view(table), columns)

    def status(self) -> StorageStatus:
        """Return how many rows there are; nothing of it outlives the process."""
        rows = sum(len(table.rows) for table in self._tables.values())
        details = {"rows": str(rows), "durable": "no: it ends with the process", "search": "reads every row"}
        return StorageStatus(engine="memory", place="this process", size=None, details=details)

    def scrub(self) -> str:
        """Return that nothing remains: what was deleted is in no file."""
        return ""

    def copied(self, folder: Path) -> MemoryStorage:
        """Return a storage of its own with what is committed now; it needs nothing on disk."""
        made = MemoryStorage(timeout=self._timeout)
        with self._state:
            made._tables = {name: Committed(one.table, dict(one.rows)) for name, one in self._tables.items()}
            made._manifest = self._manifest
        return made

    def replace(self, manifest: Manifest, tables: Iterable[TableRows]) -> None:
        """Fill a storage of its own and take its tables; a snapshot keeps those it has."""
        if self._transaction() is not None:
            raise StorageError("nothing can be replaced inside a transaction", hint="commit or roll back first")
        made = MemoryStorage(timeout=self._timeout)
        made.apply([AddType(table) for table in manifest.tables.values()], manifest)
        made.begin()
        for one in tables:
            for rows in one.batches:
                made.insert_many(one.table, one.columns, rows)
        made.commit()
        self._take_turn()
        try:
            with self._state:
                self._tables, self._manifest = made._tables, manifest
        finally:
            self._writer.release()

    def close(self) -> None:
        """Forget everything."""
        if not self._closed:
            self.rollback()
            self._closed = True
            self._tables = {}

    def _take_turn(self) -> None:
        if not self._writer.acquire(timeout=self._timeout):
            raise StorageLocked(
                f"memory: another thread has held the storage for {self._timeout:g} seconds",
                hint="commit or roll back its transaction",
            )

    def _transaction(self) -> _Writing | _Snapshot | None:
        if self._closed:
            raise StorageError("memory: is closed")
        found: _Writing | _Snapshot | None = getattr(self._local, "transaction", None)
        return found

    def _changes(self, table: str) -> Changes:
        transaction = self._transaction()
        if not isinstance(transaction, _Writing):
            raise StorageError("a write outside a writing transaction", hint="begin one first")
        if table not in transaction.changes:
            transaction.changes[table] = Changes(self._committed(table))
        return transaction.changes[table]

    def _committed(self, table: str) -> Committed:
        found = self._tables.get(table)
        if found is None:
            raise StorageError(f"the database has no table {table!r}", hint="bring it up to date: crm storage upgrade")
        return found

    def _view(self, table: str) -> Changes:
        """Return the table as this thread's transaction sees it."""
        transaction = self._transaction()
        committed = self._committed(table)
        if isinstance(transaction, _Writing):
            return transaction.changes.get(table) or Changes(committed)
        if transaction is not None and table in transaction.tables:
            then, rows = transaction.tables[table]
            return Changes(committed if rows is committed.rows else Committed(then, rows))
        return Changes(committed)

    def _matching(self, table: str, where: Expression | None) -> Iterable[Row]:
        view = self._view(table)
        if where is None:
            return view.all()

        def lookup(name: str) -> tuple[Sequence[str], Iterable[Row]]:
            child = self._view(name)
            return child.table.column_names, child.all()

        test = predicate(where, view.table.column_names, lookup)
        return filter(test, view.candidates(where))


def _columns_of(rows: list[Row], view: Changes, columns: Sequence[str]) -> list[Row]:
    if not columns:
        return rows
    at = [view.committed.at(name) for name in columns]
    if len(at) == 1:
        return [(row[at[0]],) for row in rows]
    return list(map(itemgetter(*at), rows))
