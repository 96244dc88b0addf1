"""Filters and sort orders as SQL of SQLite, by hand: a list needs no SQLAlchemy, whose import takes half a second.

Column names are looked up in the manifest; values go as parameters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import attrs

from crm_core.errors import StorageError
from crm_core.query.ast import And, Compare, Contains, Exists, Expression, In, IsNull, Not, Or, Remainder, SortKey
from crm_core.records.schema import Manifest, Primitive, Table

_MANY: Final = 50
"""Longer lists go as one JSON parameter, so that the text of a statement does not depend on their length."""


def quote(name: str) -> str:
    """Return an identifier in quotes."""
    return '"' + name.replace('"', '""') + '"'


@attrs.define
class Clauses:
    """The clauses of one statement over `table` (alias t0), and the parameters they gather, in order."""

    manifest: Manifest
    table: Table
    parameters: list[Any] = attrs.field(factory=list)

    def condition(self, expression: Expression) -> str:
        """Return the condition; it may be NULL where an expression is false, but not under a negation."""
        return self._condition(expression, self.table, 0)

    def order(self, sort: Sequence[SortKey]) -> str:
        """Return the sort order, NULLs last, ties by id."""
        terms = [f"{self.column(key.column)} {'DESC' if key.descending else 'ASC'} NULLS LAST" for key in sort]
        return ", ".join([*terms, "t0.id"])

    def after(self, sort: Sequence[SortKey], place: Sequence[Primitive]) -> str:
        """Return the condition that a row comes after a place (its sort values and id) in the order."""
        if not sort:
            self.parameters.append(place[0])
            return "t0.id > ?"
        name, value = self.column(sort[0].column), place[0]
        if value is None:
            return f"({name} IS NULL AND {self.after(sort[1:], place[1:])})"
        return f"({name} IS NULL OR {self.after_known(sort, place)})"

    def after_known(self, sort: Sequence[SortKey], place: Sequence[Primitive]) -> str:
        """Return the same for the rows whose first sort value is not NULL: a range that an index serves."""
        name, value = self.column(sort[0].column), place[0]
        beyond = "<" if sort[0].descending else ">"
        self.parameters += [value, value]
        return f"({name} {beyond}= ? AND ({name} {beyond} ? OR {self.after(sort[1:], place[1:])}))"

    def column(self, name: str) -> str:
        """Return a column of the table by its quoted name."""
        return _column(self.table, name, 0)

    def _condition(self, expression: Expression, table: Table, depth: int) -> str:
        match expression:
            case And(parts):
                return self._joined(parts, " AND ", "1", table, depth)
            case Or(parts):
                return self._joined(parts, " OR ", "0", table, depth)
            case Not(part):
                return f"({self._condition(part, table, depth)}) IS NOT TRUE"
            case Exists(child, column, where):
                return self._exists(child, column, where, depth)
            case Compare(column, operator, value):
                self.parameters.append(value)
                return f"{_column(table, column, depth)} {'IS NOT' if operator == '!=' else operator} ?"
            case In(column, values):
                return self._member(_column(table, column, depth), values)
            case Contains(column, value):
                self.parameters.append(value)
                return f"instr({_column(table, column, depth)}, ?) > 0"
            case IsNull(column):
                return f"{_column(table, column, depth)} IS NULL"
            case Remainder(column, modulus, value):
                self.parameters += [modulus, value]
                return f"{_column(table, column, depth)} % ? = ?"

    def _joined(self, parts: Sequence[Expression], word: str, empty: str, table: Table, depth: int) -> str:
        return word.join(f"({self._condition(part, table, depth)})" for part in parts) or empty

    def _exists(self, name: str, column: str, where: Expression | None, depth: int) -> str:
        child = table_of(self.manifest, name)
        alias = f"t{depth + 1}"
        link = f"SELECT 1 FROM {quote(name)} {alias} WHERE {_column(child, column, depth + 1)} = t{depth}.id"
        return f"EXISTS ({link}{'' if where is None else f' AND ({self._condition(where, child, depth + 1)})'})"

    def _member(self, column: str, values: Sequence[int | str]) -> str:
        if len(values) > _MANY:
            self.parameters.append(json.dumps(values, ensure_ascii=False))
            return f"{column} IN (SELECT value FROM json_each(?))"
        self.parameters += values
        return f"{column} IN ({', '.join('?' * len(values))})"


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
