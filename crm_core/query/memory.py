"""The in-memory engine: analytic selects for storages without SQL, run by SQLite on copies of the columns they need.

The one place in the kernel that knows a database driver, the standard library's. A million rows of five columns load in
1.8 s and take 73 MB; a grouped sum over them runs in 1.2 s, one by 44 periods in 1.4 s, a median by owner in 5 s (busy
2-core machine, `scan` not counted).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary, finalize

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import selectable

from crm_core.errors import NumberTooLarge, StorageError
from crm_core.query.guard import statement_nodes
from crm_core.records.schema import Row

Statement = sa.Select[Any] | sa.CompoundSelect[Any]
Answer = list[tuple[Any, ...]]

_DIALECT: Final = sqlite.dialect(paramstyle="named")


class Scannable(Protocol):
    """What the engine needs of a storage."""

    def scan(self, table: str, columns: Sequence[str], *, batch: int = ...) -> Iterator[list[Row]]:
        """Yield the cells of all rows in batches."""


def run_in_memory(select: Statement, storage: Scannable, *, token: Hashable = None) -> Answer:
    """Run a select over the rows of a storage, through its `scan` alone.

    Args:
        select: a select over tables of `crm_core.query.tables`.
        storage: what is read; the caller holds its snapshot when several tables must agree.
        token: says which state the storage is in, such as the ledger's position. Columns loaded for one token are kept
            until another comes; without a token every call loads anew.

    Raises:
        NumberTooLarge: an integer overflow.
        StorageError: a result that is neither integer nor text.
    """
    if token is None:
        with InMemoryEngine() as engine:
            return engine.run(select, storage)
    with _engines_lock:
        if storage not in _engines:
            _engines[storage] = InMemoryEngine()
        engine = _engines[storage]
    return engine.run(select, storage, token=token)


class InMemoryEngine:
    """A SQLite database in memory that holds the columns asked for so far; safe to share by threads, one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._token: Hashable = None
        self._columns: dict[str, frozenset[str]] = {}
        self._database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA temp_store = MEMORY")
        self._close = finalize(self, self._database.close)

    def __enter__(self) -> InMemoryEngine:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def run(self, select: Statement, storage: Scannable, *, token: Hashable = None) -> Answer:
        """Load what is missing and run the select; `token` as in `run_in_memory`."""
        compiled = select.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
        with self._lock:
            if token is None or token != self._token:
                self._forget(token)
            read = columns_read(select)
            for table, columns in read.items():
                self._load(table, columns, storage)
            if any(isinstance(node, selectable.ScalarSelect) for node in statement_nodes(select)):
                self._index(read)
            try:
                found = self._database.execute(str(compiled), compiled.params).fetchall()
            except (sqlite3.Error, OverflowError) as error:
                if isinstance(error, OverflowError) or "integer overflow" in str(error):
                    raise NumberTooLarge from error
                raise StorageError(f"The in-memory engine cannot run this select: {error}.") from error
        return _checked(found)

    def _forget(self, token: Hashable) -> None:
        for table in self._columns:
            self._database.execute(f"DROP TABLE {_quoted(table)}")
        self._columns = {}
        self._token = token

    def _load(self, table: sa.Table, wanted: Iterable[str], storage: Scannable) -> None:
        loaded = self._columns.get(table.name, frozenset())
        if loaded.issuperset(wanted):
            return
        columns = [column for column in table.columns if column.name in loaded.union(wanted)]
        names = [column.name for column in columns]
        # An index serves a comparison only where both sides have one type: the key is an integer, so must its
        # references be.
        types = ["INTEGER" if isinstance(column.type, sa.Integer) else "TEXT" for column in columns]
        quoted = [
            f"{_quoted(name)} {type_}{' PRIMARY KEY' if name == 'id' else ''}"
            for name, type_ in zip(names, types, strict=True)
        ]
        insert = f"INSERT INTO {_quoted(table.name)} VALUES ({', '.join('?' * len(names))})"
        with self._database:  # a scan that fails leaves what was loaded before
            self._database.execute("BEGIN")
            self._database.execute(f"DROP TABLE IF EXISTS {_quoted(table.name)}")
            self._database.execute(f"CREATE TABLE {_quoted(table.name)} ({', '.join(quoted)})")
            for rows in storage.scan(table.name, names):
                self._database.executemany(insert, rows)
        self._columns[table.name] = frozenset(names)

    def _index(self, tables: Iterable[sa.Table]) -> None:
        """Make the declared indexes, as far as their columns are loaded: without them each look-up reads a table."""
        for table in tables:
            loaded = self._columns[table.name]
            for index in table.indexes:
                names = list(takewhile(loaded.__contains__, (column.name for column in index.columns)))
                if names:
                    name, columns = _quoted("/".join([table.name, *names])), ", ".join(map(_quoted, names))
                    self._database.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {_quoted(table.name)} ({columns})")


def columns_read(select: Statement) -> Mapping[sa.Table, frozenset[str]]:
    """Return the columns of each table that a select reads; its primary key when it names none."""
    read: dict[sa.Table, set[str]] = {}
    for node in statement_nodes(select):
        table = _table_of(node)
        if table is not None:
            read.setdefault(table, {"id"})
        if isinstance(node, sa.Column) and (table := _table_of(node.table)) is not None:
            read.setdefault(table, {"id"}).add(node.name)
    return {table: frozenset(columns) for table, columns in read.items()}


_engines: WeakKeyDictionary[Scannable, InMemoryEngine] = WeakKeyDictionary()
_engines_lock = threading.Lock()


def _table_of(node: object) -> sa.Table | None:
    while isinstance(node, selectable.AliasedReturnsRows) and not isinstance(node, (sa.Subquery, sa.CTE)):
        node = node.element
    return node if isinstance(node, sa.Table) else None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _checked(rows: Answer) -> Answer:
    kinds = {kind for row in rows for kind in map(type, row)} - {int, str, type(None)}
    if kinds:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise StorageError(
            f"The select returned {names} where only integers and text belong.",
            hint="an integer beyond 64 bits becomes a float in SQLite: compute with isum, imul and idiv",
        )
    return rows
