"""Filters and sort orders as SQL, by hand: a list needs no SQLAlchemy, whose import takes half a second.

Column names are looked up in the manifest; values go as parameters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import attrs

from crm_core.errors import StorageError
from crm_core.query.ast import And, Compare, Contains, Exists, Expression, In, IsNull, Not, Or, Remainder, SortKey
from crm_core.records.schema import Manifest, Primitive, Table
from crm_storage_sql.dialect import PREFIX, SQLITE, Dialect, liked, prefixed_columns, quote

_LOOSE: Final = {"=": "=", "<": "<=", "<=": "<=", ">": ">=", ">=": ">="}
"""What a comparison says of the beginnings of two texts."""
_LIKED: Final = re.compile(r"[\\%_]")
_ESCAPED: Final = r"\\\g<0>"
_NUL: Final = "\0"
_WITHOUT_NUL: Final = {"<": "<=", "<=": "<=", ">": ">", ">=": ">"}
"""A text with NUL, which no cell has and a server may not even take, lies right behind what stands before the NUL."""


@attrs.define
class Clauses:
    """The clauses of one statement over `table` (alias t0), and the parameters they gather, in order.

    `prefixes` remembers, by table, the columns of which indexes hold the beginning only.
    """

    manifest: Manifest
    table: Table
    dialect: Dialect = SQLITE
    prefixes: dict[str, frozenset[str]] = attrs.field(factory=dict)
    parameters: list[Any] = attrs.field(factory=list)

    def condition(self, expression: Expression) -> str:
        """Return the condition; it may be NULL where an expression is false, but not under a negation."""
        return self._condition(expression, self.table, 0)

    def order(self, sort: Sequence[SortKey], *, first_is_known: bool = False) -> str:
        """Return the sort order, NULLs last, ties by id; `first_is_known` says that the first value is never NULL."""
        terms = []
        for place, key in enumerate(sort):
            direction = "DESC" if key.descending else "ASC"
            known = place == 0 and first_is_known
            for cell in self._cells(self.table, key.column):
                terms.append(f"{cell} {direction}" if known else self.dialect.nulls_last.format(cell, direction))
        return ", ".join([*terms, "t0.id"])

    def after(self, sort: Sequence[SortKey], place: Sequence[Primitive]) -> str:
        """Return the condition that a row comes after a place (its sort values and id) in the order."""
        mark = self.dialect.mark
        if not sort:
            self.parameters.append(place[0])
            return f"t0.id > {mark}"
        name, value = self.column(sort[0].column), place[0]
        if value is None:
            return f"({name} IS NULL AND {self.after(sort[1:], place[1:])})"
        return f"({name} IS NULL OR {self.after_known(sort, place)})"

    def after_known(self, sort: Sequence[SortKey], place: Sequence[Primitive], *, unindexed: bool = False) -> str:
        """Return the same for the rows whose first sort value is not NULL: a range that an index serves.

        `unindexed` says that none does, and keeps SQLite from going through one for each value of what it begins with.
        """
        name, value = self.column(sort[0].column), place[0]
        assert value is not None, "a place among the rows that have a value"
        beyond = "<" if sort[0].descending else ">"
        mark = self.dialect.mark
        if unindexed:
            name = self.dialect.unindexed.format(name)
            self.parameters.append(value)
            start = f"{name} {beyond}= {mark}"
        else:
            start = self._comparison(self.table, sort[0].column, f"{beyond}=", value, 0)
        self.parameters.append(value)
        return f"({start} AND ({name} {beyond} {mark} OR {self.after(sort[1:], place[1:])}))"

    def lead(self, name: str) -> str:
        """Return what an index has of a column: the column, or the beginning of it."""
        return self._cells(self.table, name)[0]

    def is_cut(self, name: str) -> bool:
        """Whether an index has only the beginning of a column."""
        return len(self._cells(self.table, name)) > 1

    def column(self, name: str) -> str:
        """Return a column of the table by its quoted name."""
        return _column(self.table, name, 0)

    def members(self, name: str, values: Sequence[int | str]) -> str:
        """Return the condition that a column has one of the values."""
        return self._member(self.table, name, values, 0)

    def _condition(self, expression: Expression, table: Table, depth: int) -> str:
        match expression:
            case And(parts):
                return self._joined(parts, " AND ", "TRUE", table, depth)
            case Or(parts):
                return self._joined(parts, " OR ", "FALSE", table, depth)
            case Not(part):
                return f"({self._condition(part, table, depth)}) IS NOT TRUE"
            case Exists(child, column, where):
                return self._exists(child, column, where, depth)
            case Compare(column, "!=", value):
                name = _column(table, column, depth)
                if self._impossible(value):
                    return "TRUE"
                self.parameters.append(value)
                return f"({name} IS NULL OR {name} <> {self.dialect.mark})"
            case Compare(column, operator, value):
                return self._comparison(table, column, operator, value, depth)
            case In(column, values):
                return self._member(table, column, values, depth)
            case Contains(column, value):
                if self._impossible(value):
                    return "FALSE"
                if self._has_likes(table, column):
                    self.parameters.append(f"%{_LIKED.sub(_ESCAPED, value)}%")
                    return f"({liked(_column(table, column, depth))}) LIKE {self.dialect.mark}"
                self.parameters.append(value)
                return self.dialect.contains.format(_column(table, column, depth))
            case IsNull(column):
                return f"{_column(table, column, depth)} IS NULL"
            case Remainder(column, modulus, value):
                self.parameters += [modulus, value]
                return self.dialect.remainder.format(_column(table, column, depth))

    def _joined(self, parts: Sequence[Expression], word: str, empty: str, table: Table, depth: int) -> str:
        return word.join(f"({self._condition(part, table, depth)})" for part in parts) or empty

    def _exists(self, name: str, column: str, where: Expression | None, depth: int) -> str:
        child = table_of(self.manifest, name)
        alias = f"t{depth + 1}"
        link = f"SELECT 1 FROM {quote(name)} {alias} WHERE {_column(child, column, depth + 1)} = t{depth}.id"
        return f"EXISTS ({link}{'' if where is None else f' AND ({self._condition(where, child, depth + 1)})'})"

    def _comparison(self, table: Table, column: str, operator: str, value: int | str, depth: int) -> str:
        *beginning, whole = self._cells(table, column, depth)
        if isinstance(value, str) and self._impossible(value):
            if operator == "=":
                return "FALSE"
            operator, value = _WITHOUT_NUL[operator], value.partition(_NUL)[0]
        mark = self.dialect.mark
        conditions = []
        for cell in beginning:
            self.parameters.append(str(value)[:PREFIX])
            conditions.append(f"{cell} {_LOOSE[operator]} {mark}")
        self.parameters.append(value)
        return " AND ".join([*conditions, f"{whole} {operator} {mark}"])

    def _member(self, table: Table, column: str, values: Sequence[int | str], depth: int) -> str:
        *beginning, whole = self._cells(table, column, depth)
        values = [value for value in values if not self._impossible(value)]
        lists: list[tuple[str, Sequence[int | str]]] = [
            *((cell, [str(value)[:PREFIX] for value in values]) for cell in beginning),
            (whole, values),
        ]
        conditions = []
        for cell, wanted in lists:
            side, parameters = self.dialect.members(wanted, self.dialect.mark)
            self.parameters += parameters
            conditions.append(f"{cell} {side}")
        return " AND ".join(conditions)

    def _has_likes(self, table: Table, column: str) -> bool:
        """Whether an index serves LIKE over a column."""
        return self.dialect.likes and any(column == one.column for one in table.searched)

    def _impossible(self, value: int | str) -> bool:
        """Whether no cell can have this value."""
        return not self.dialect.takes_nul and isinstance(value, str) and _NUL in value

    def _cells(self, table: Table, name: str, depth: int = 0) -> list[str]:
        """Return the column and, before it, what an index holds of it where that is only its beginning."""
        column = _column(table, name, depth)
        if self.dialect.beginning is None:
            return [column]
        if table.name not in self.prefixes:
            self.prefixes[table.name] = prefixed_columns(table, self.dialect.index_bytes)
        if name not in self.prefixes[table.name]:
            return [column]
        return [self.dialect.beginning(f"t{depth}", name), column]


def table_of(manifest: Manifest, name: str) -> Table:
    """Return the table of that name.

    Raises:
        StorageError: the database has none.
    """
    found = manifest.tables.get(name)
    if found is None:
        raise StorageError(f"the database has no table {name!r}", hint="bring it up to date: crm storage upgrade")
    return found


def _column(table: Table, name: str, depth: int) -> str:
    if name not in table.column_names:
        raise StorageError(f"the table {table.name} has no column {name!r}; it has: {', '.join(table.column_names)}")
    return f"t{depth}.{quote(name)}"
