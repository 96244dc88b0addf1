"""Bound expressions and sort orders as plain Python over rows, for storages that have no SQL.

The reference for `crm_core.query.sql`: both must pick the same rows in the same order.
"""

from __future__ import annotations

import operator as op
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from crm_core.errors import StorageError
from crm_core.query.ast import And, Compare, Contains, Exists, Expression, In, IsNull, Not, Or, Remainder, SortKey
from crm_core.records.schema import Primitive, Row

Test = Callable[[Row], bool]
Lookup = Callable[[str], tuple[Sequence[str], Iterable[Row]]]
"""From the name of a child table to its column names and rows."""


def predicate(expression: Expression, columns: Sequence[str], lookup: Lookup) -> Test:
    """Compile an expression to a test of rows whose cells are in the order of `columns`.

    An expression is two-valued: an unknown cell satisfies no test but `!=`, `is null` and negations. Text is compared
    by code point. `lookup` is asked once per `Exists`, when the test is made.

    Raises:
        StorageError: the expression names a column that is not there.

    >>> test = predicate(Compare("points", ">", 3), ["id", "points"], lambda table: ([], []))
    >>> [row for row in [(1, 5), (2, 3), (3, None)] if test(row)]
    [(1, 5)]
    """
    match expression:
        case And(parts):
            tests = [predicate(part, columns, lookup) for part in parts]
            return lambda row: all(test(row) for test in tests)
        case Or(parts):
            tests = [predicate(part, columns, lookup) for part in parts]
            return lambda row: any(test(row) for test in tests)
        case Not(part):
            negated = predicate(part, columns, lookup)
            return lambda row: not negated(row)
        case Exists():
            owners = _owners(expression, lookup)
            at = _index(columns, "id")
            return lambda row: row[at] in owners
        case _:
            return _leaf(expression, _index(columns, expression.column))


def sort_rows(rows: Iterable[Row], columns: Sequence[str], sort: Sequence[SortKey]) -> list[Row]:
    """Sort rows by the keys and then by id, unknown cells last in both directions.

    >>> sort_rows([(1, None), (2, 7), (3, 9), (4, 7)], ["id", "points"], [SortKey("points", descending=True)])
    [(3, 9), (2, 7), (4, 7), (1, None)]
    """
    ordered = sorted(rows, key=op.itemgetter(_index(columns, "id")))
    for key in reversed(sort):
        at = _index(columns, key.column)
        known: list[Any] = [row for row in ordered if row[at] is not None]
        known.sort(key=op.itemgetter(at), reverse=key.descending)  # stable, reversed or not
        ordered = known + [row for row in ordered if row[at] is None]
    return ordered


def after_row(columns: Sequence[str], sort: Sequence[SortKey], after: Sequence[Primitive]) -> Test:
    """Return the test of whether a row comes after a place in the order of `sort_rows`.

    Args:
        columns: the names of a row's cells.
        sort: the keys of the order.
        after: the sort values and the id of the last row of the page before.

    Raises:
        StorageError: `after` has not one value per key and one for the id.
    """
    keys = complete(sort, after)
    places = [(_index(columns, key.column), key.descending, last) for key, last in zip(keys, after, strict=True)]

    def is_after(row: Row) -> bool:
        for at, descending, last in places:
            cell: Any = row[at]
            if cell == last:
                continue
            if cell is None or last is None:
                return cell is None
            return bool(cell < last if descending else cell > last)
        return False

    return is_after


def complete(sort: Sequence[SortKey], after: Sequence[Primitive]) -> list[SortKey]:
    """Return the keys of a page order, the id as the last one, once `after` is seen to fit them."""
    if len(after) != len(sort) + 1:
        raise StorageError(
            f"A place among {len(sort)} sort keys and the id has {len(sort) + 1} values, not {len(after)}."
        )
    return [*sort, SortKey("id")]


def remainder(cell: int, modulus: int) -> int:
    """Return the remainder with the sign of the cell, as every database computes it."""
    return cell % modulus if cell >= 0 else -(-cell % modulus)


_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": op.eq,
    "<": op.lt,
    "<=": op.le,
    ">": op.gt,
    ">=": op.ge,
}


def _index(columns: Sequence[str], name: str) -> int:
    try:
        return columns.index(name)
    except ValueError:
        raise StorageError(f"There is no column {name!r}; there are: {', '.join(columns)}.") from None


def _owners(expression: Exists, lookup: Lookup) -> frozenset[Primitive]:
    columns, rows = lookup(expression.table)
    at = _index(columns, expression.column)
    if expression.where is None:
        return frozenset(row[at] for row in rows)
    test = predicate(expression.where, columns, lookup)
    return frozenset(row[at] for row in rows if test(row))


def _leaf(expression: Compare | In | Contains | IsNull | Remainder, at: int) -> Test:
    match expression:
        case Compare(_, "!=", value):
            return lambda row: row[at] != value
        case Compare(_, operator, value):
            compare = _COMPARISONS[operator]
            return lambda row: row[at] is not None and compare(row[at], value)
        case In(_, values):
            wanted = frozenset(values)
            return lambda row: row[at] in wanted
        case Contains(_, part):
            return lambda row: isinstance(cell := row[at], str) and part in cell
        case IsNull():
            return lambda row: row[at] is None
        case Remainder(_, modulus, rest):
            return lambda row: isinstance(cell := row[at], int) and remainder(cell, modulus) == rest
