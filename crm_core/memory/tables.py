"""Tables of dicts: what is committed, and what one transaction changes on top of it; unique keys hold in both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import attrs

from crm_core.errors import DuplicateKey, NumberTooLarge, StorageError
from crm_core.query.ast import And, Compare, Expression, In
from crm_core.records.schema import (
    AddField,
    AddIndex,
    AddType,
    Drop,
    DropIndex,
    Index,
    Primitive,
    Rename,
    Row,
    SchemaChange,
    Table,
)

_LEAST: Final = -(2**63)
_MOST: Final = 2**63 - 1
Rows = dict[int, Row]
Key = tuple[Primitive, ...]


class Committed:
    """One table as everybody sees it: rows by id, ids by unique key, and ids by value of columns once asked for."""

    def __init__(self, table: Table, rows: Rows | None = None) -> None:
        self.table = table
        self.rows: Rows = {} if rows is None else rows
        self.unique = [index for index in table.indexes if index.unique]
        self.keys: dict[Index, dict[Key, int]] = {index: {} for index in self.unique}
        self._at = {name: at for at, name in enumerate(table.column_names)}
        self._indexed = frozenset(name for index in table.indexes for name in index.columns)
        self._by_value: dict[str, dict[Primitive, set[int]]] = {}
        for index in self.unique:
            for id_, row in self.rows.items():
                self._claim(index, self.key(index, row), id_)

    def at(self, column: str) -> int:
        """Return the place of a column in a row."""
        found = self._at.get(column)
        if found is None:
            raise StorageError(f"the table {self.table.name} has no column {column!r}; it has: {', '.join(self._at)}")
        return found

    def key(self, index: Index, row: Row) -> Key | None:
        """Return the unique key of a row; None when a part is NULL, which is equal to nothing."""
        key = tuple([row[self._at[name]] for name in index.columns])
        return None if None in key else key

    def ids_with(self, column: str, values: Iterable[Primitive]) -> set[int] | None:
        """Return the ids of the rows with one of these values; None when the column is in no index."""
        if column not in self._indexed:
            return None
        if column not in self._by_value:
            found = self._by_value[column] = {}
            at = self.at(column)
            for id_, row in self.rows.items():
                found.setdefault(row[at], set()).add(id_)
        by_value = self._by_value[column]
        return {id_ for value in values for id_ in by_value.get(value, ())}

    def take(self, rows: Mapping[int, Row | None], keys: Mapping[Index, Mapping[Key, int | None]]) -> None:
        """Let the changes of a transaction become what everybody sees."""
        for id_, row in rows.items():
            old = self.rows.get(id_)
            for column, by_value in self._by_value.items():
                at = self._at[column]
                if old is not None:
                    by_value[old[at]].discard(id_)
                if row is not None:
                    by_value.setdefault(row[at], set()).add(id_)
            if row is None:
                self.rows.pop(id_, None)
            else:
                self.rows[id_] = row
        for index, changed in keys.items():
            for key, owner in changed.items():
                if owner is None:
                    self.keys[index].pop(key, None)
                else:
                    self.keys[index][key] = owner

    def rearranged(self, table: Table) -> Committed:
        """Return the same rows with the columns of `table`, those that are new being NULL."""
        return Committed(table, dict(zip(self.rows, _arrange(self, table), strict=True)))

    def _claim(self, index: Index, key: Key | None, id_: int) -> None:
        if key is not None:
            if key in self.keys[index]:
                raise taken(self.table, index.columns)
            self.keys[index][key] = id_


@attrs.define
class Changes:
    """What a transaction changed in one table (None: deleted), over what is committed; as a view, it may be empty."""

    committed: Committed
    rows: dict[int, Row | None] = attrs.field(factory=dict)
    keys: dict[Index, dict[Key, int | None]] = attrs.field(factory=dict)
    failed: bool = False

    @property
    def table(self) -> Table:
        """The table's declaration."""
        return self.committed.table

    def get(self, id_: int) -> Row | None:
        """Return a row as the transaction sees it."""
        return self.rows[id_] if id_ in self.rows else self.committed.rows.get(id_)

    def all(self) -> Iterator[Row]:
        """Yield every row as the transaction sees it, in no particular order."""
        if not self.rows:
            yield from self.committed.rows.values()
            return
        yield from (row for id_, row in self.committed.rows.items() if id_ not in self.rows)
        yield from (row for row in self.rows.values() if row is not None)

    def ids(self) -> list[int]:
        """Return every id as the transaction sees it, ascending."""
        gone = {id_ for id_, row in self.rows.items() if row is None}
        return sorted((self.committed.rows.keys() | self.rows.keys()) - gone if self.rows else self.committed.rows)

    def candidates(self, where: Expression) -> Iterable[Row]:
        """Return the rows that may match: all of them, or those that an indexed column's value leaves."""
        narrowed = [
            ids for ids in map(self._ids_of, where.parts if isinstance(where, And) else [where]) if ids is not None
        ]
        if not narrowed:
            return self.all()
        ids = min(narrowed, key=len) | self.rows.keys()
        return [row for row in map(self.get, ids) if row is not None]

    def insert(self, row: Row) -> None:
        """Add a row whose id is free."""
        if self.get(_id(row)) is not None:
            raise taken(self.table, ("id",))
        self._put(row, None)

    def put(self, row: Row) -> None:
        """Add a row, or write it over the one of the same id."""
        self._put(row, self.get(_id(row)))

    def remove(self, row: Row) -> None:
        """Take a row away."""
        self._free(row)
        self.rows[_id(row)] = None

    def arrangement(self, columns: Sequence[str]) -> Callable[[Row], Row]:
        """Return how a row of these columns becomes one of the table."""
        if tuple(columns) == self.table.column_names:
            return tuple
        given = {self.committed.at(name): place for place, name in enumerate(columns)}
        places = [given.get(at) for at in range(len(self.table.columns))]
        return lambda row: tuple([None if place is None else row[place] for place in places])

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Remember that a write failed, so that the transaction is never committed."""
        try:
            yield
        except BaseException:
            self.failed = True
            raise

    def _put(self, row: Row, old: Row | None) -> None:
        for cell in row:
            if isinstance(cell, int) and not _LEAST <= cell <= _MOST:
                raise NumberTooLarge
        if old is not None:
            self._free(old)
        for index in self.committed.unique:
            key = self.committed.key(index, row)
            if key is None:
                continue
            changed = self.keys.setdefault(index, {})
            if (changed[key] if key in changed else self.committed.keys[index].get(key)) is not None:
                raise taken(self.table, index.columns)
            changed[key] = _id(row)
        self.rows[_id(row)] = row

    def _free(self, row: Row) -> None:
        for index in self.committed.unique:
            key = self.committed.key(index, row)
            if key is not None:
                self.keys.setdefault(index, {})[key] = None

    def _ids_of(self, part: Expression) -> set[int] | None:
        match part:
            case Compare("id", "=", int(value)):
                return {value}
            case In("id", values):
                return {value for value in values if isinstance(value, int)}
            case Compare(column, "=", value):
                return self.committed.ids_with(column, (value,))
            case In(column, values):
                return self.committed.ids_with(column, values)
            case _:
                return None


def carry_out(tables: dict[str, Committed], change: SchemaChange) -> None:
    """Make one change of the schema, unless it is there already; rows that a snapshot may hold stay as they are."""
    match change:
        case AddType(table):
            tables.setdefault(table.name, Committed(table))
        case AddField(name, column):
            known = tables[name].table
            if column.name not in known.column_names:
                tables[name] = tables[name].rearranged(attrs.evolve(known, columns=(*known.columns, column)))
        case AddIndex(name, index):
            known = tables[name].table
            indexes = tuple(dict.fromkeys([*known.indexes, index]))
            tables[name] = Committed(attrs.evolve(known, indexes=indexes), tables[name].rows)
        case DropIndex(name, index):
            known = tables[name].table
            indexes = tuple(one for one in known.indexes if one != index)
            tables[name] = Committed(attrs.evolve(known, indexes=indexes), tables[name].rows)
        case Rename(name, old, column):
            known = tables[name].table
            columns = tuple(column if one.name == old else one for one in known.columns)
            tables[name] = Committed(attrs.evolve(known, columns=columns), tables[name].rows)
        case Drop(name, ""):
            tables.pop(name, None)
        case Drop(name, column_name):
            known = tables[name].table
            columns = tuple(one for one in known.columns if one.name != column_name)
            indexes = tuple(one for one in known.indexes if column_name not in one.columns)
            tables[name] = tables[name].rearranged(attrs.evolve(known, columns=columns, indexes=indexes))
        case _:  # Widen and Relax: nothing here limits a cell
            pass


def taken(table: Table, columns: Sequence[str]) -> DuplicateKey:
    """Return the error of a unique key that another row has."""
    return DuplicateKey(
        f"{table.name}: another record has the same {', '.join(columns)}", table=table.name, columns=columns
    )


def _arrange(before: Committed, table: Table) -> Iterator[Row]:
    there = before.table.column_names
    places = [there.index(name) if name in there else None for name in table.column_names]
    for row in before.rows.values():
        yield tuple([None if place is None else row[place] for place in places])


def _id(row: Row) -> int:
    id_ = row[0]
    if not isinstance(id_, int):
        raise StorageError(f"a row needs an integer id, not {id_!r}")
    return id_
