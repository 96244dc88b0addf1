"""Bound expressions and sort orders as SQLAlchemy clauses, for storages with SQL.

Apart from `crm_core.query.predicate`, which is the same in plain Python, so that filters load no SQLAlchemy.
"""

from __future__ import annotations

import operator as op
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, and_, exists, false, not_, or_, true
from sqlalchemy.types import String

from crm_core.errors import StorageError
from crm_core.query.ast import And, Compare, Contains, Exists, Expression, In, IsNull, Not, Or, Remainder, SortKey
from crm_core.query.functions import contains, nulls_last
from crm_core.query.predicate import complete
from crm_core.query.tables import sibling
from crm_core.records.schema import Primitive

_MAX: Final = 2**63 - 1


def to_clause(expression: Expression, table: Table) -> ColumnElement[bool]:
    """Render an expression as a condition on the rows of a table, for a WHERE or a CASE.

    Negation is pushed down to the leaves, where it includes NULL, so that the condition is true exactly where the
    expression is; elsewhere it is false or NULL. Do not negate the result: render `Not(expression)`.

    Raises:
        StorageError: a column the table has not, or a value that is not of the column's type.
    """
    return _clause(expression, table, positive=True)


def order_by(sort: Sequence[SortKey], table: Table) -> list[ColumnElement[Any]]:
    """Return the terms of the order: the keys, NULLs last in both directions, then the id."""
    terms: list[ColumnElement[Any]] = []
    for key in sort:
        column = _column(table, key.column)
        if column.nullable:
            terms.append(nulls_last(column, desc=key.descending))
        else:
            terms.append(column.desc() if key.descending else column.asc())
    return terms if any(key.column == "id" for key in sort) else [*terms, table.c.id.asc()]


def keyset(after: Sequence[Primitive], sort: Sequence[SortKey], table: Table) -> ColumnElement[bool]:
    """Return the condition that a row comes after a place in the order of `order_by`.

    Args:
        after: the sort values and the id of the last row of the page before.
        sort: the keys of the order.
        table: the table of the rows.

    Raises:
        StorageError: `after` has not one value per key and one for the id.
    """
    return or_(*keyset_runs(after, sort, table))


def keyset_runs(after: Sequence[Primitive], sort: Sequence[SortKey], table: Table) -> list[ColumnElement[bool]]:
    """Return the condition of `keyset` in one or two parts, whose rows follow each other in the order.

    A page is read from the first part, and only what it still lacks from the second. Each part lets a database enter an
    index at the place; the two as one condition do not (page 2,000 of 200,000 customers by name: 0.4 ms against 14 ms).
    """
    keys = complete(sort, after)
    first, ties = _column(table, keys[0].column), list[ColumnElement[bool]]()
    alternatives: list[ColumnElement[bool]] = []
    for key, last in zip(keys, after, strict=True):
        column = _column(table, key.column)
        if last is not None:
            _checked(column, last)
            beyond: ColumnElement[bool] = column < last if key.descending else column > last
            is_later_null = column.nullable and column is not first
            alternatives.append(and_(*ties, or_(beyond, column.is_(None)) if is_later_null else beyond))
        ties.append(column.is_(None) if last is None else column == last)
    clause = or_(*alternatives)
    if after[0] is None:
        return [clause]
    start = first <= after[0] if keys[0].descending else first >= after[0]
    return [and_(start, clause), first.is_(None)] if first.nullable else [and_(start, clause)]


_COMPARISONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "=": op.eq,
    "!=": op.ne,
    "<": op.lt,
    "<=": op.le,
    ">": op.gt,
    ">=": op.ge,
}
_OPPOSITES: Final = {"=": "!=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def _column(table: Table, name: str) -> Any:
    column = table.c.get(name)
    if column is None:
        raise StorageError(f"{table.name} has no column {name!r}; it has: {', '.join(table.c.keys())}.")
    return column


def _checked(column: Any, value: int | str) -> int | str:
    wanted = str if isinstance(column.type, String) else int
    if type(value) is not wanted or (isinstance(value, int) and not -_MAX - 1 <= value <= _MAX):
        kind = "text" if wanted is str else "a whole number of 64 bits"
        raise StorageError(f"{column.table.name}.{column.name} holds {kind} and cannot be compared with {value!r}.")
    return value


def _clause(expression: Expression, table: Table, *, positive: bool) -> ColumnElement[bool]:
    match expression:
        case Not(part):
            return _clause(part, table, positive=not positive)
        case And(parts) | Or(parts):
            rendered = [_clause(part, table, positive=positive) for part in parts]
            if isinstance(expression, And) is positive:
                return and_(true(), *rendered)
            return or_(false(), *rendered)
        case Exists(child, name, where):
            rows = sibling(table, child)
            pointing = exists().where(_column(rows, name) == table.c.id)
            found = pointing if where is None else pointing.where(to_clause(where, rows))
            return found if positive else not_(found)
        case IsNull(name):
            column: Any = _column(table, name)
            return (
                (column.is_(None) if positive else column.is_not(None)) if column.nullable else _constant(not positive)
            )
        case _:
            column = _column(table, expression.column)
            return _leaf(expression, column) if positive else _negated(expression, column)


def _constant(value: bool) -> ColumnElement[bool]:
    return true() if value else false()


def _leaf(expression: Compare | In | Contains | Remainder, column: Any) -> ColumnElement[bool]:
    match expression:
        case Compare(name, "!=", value):
            return _negated(Compare(name, "=", value), column)
        case Compare(_, operator, value):
            return _comparison(column, operator, value)
        case In(_, values):
            return column.in_([_checked(column, value) for value in values]) if values else false()
        case Contains(_, part):
            return contains(column, str(_checked(column, part)))
        case Remainder(_, modulus, rest):
            remainder: ColumnElement[bool] = column % _checked(column, modulus) == rest
            return remainder


def _negated(expression: Compare | In | Contains | Remainder, column: Any) -> ColumnElement[bool]:
    match expression:
        case Compare(_, "!=", value):
            return _comparison(column, "=", value)
        case Compare(_, operator, value):
            opposite = _comparison(column, _OPPOSITES[operator], value)
        case In(_, ()):
            return true()
        case In(_, values):
            opposite = column.not_in([_checked(column, value) for value in values])
        case _:
            opposite = not_(_leaf(expression, column))
    return or_(column.is_(None), opposite) if column.nullable else opposite


def _comparison(column: Any, operator: str, value: int | str) -> ColumnElement[bool]:
    compared: ColumnElement[bool] = _COMPARISONS[operator](column, _checked(column, value))
    return compared
