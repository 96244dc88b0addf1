"""The guard of analytic selects: refuses what means something else, or nothing, on another engine.

Apart because it is run on every metric and segment, whoever wrote it, before any engine sees the select.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.sql import elements, functions, operators, selectable
from sqlalchemy.sql.visitors import ExternallyTraversible

from crm_core.errors import StorageError
from crm_core.query.functions import CLOSED_SET, IntegerSum, WholeNumber

_FUNCTIONS: Final = {"count": 1, "min": 1, "max": 1, "coalesce": 9, "row_number": 0, "lead": 3, "lag": 3}
"""The plain functions that mean the same everywhere, and how many arguments they may have."""
_INSTEAD: Final = {
    "sum": "use isum",
    "avg": "select isum and count, and divide in Python",
    "round": "round in Python",
    "total": "use isum",
    "like": "use contains",
    "random": "results must be repeatable",
}
_OPERATORS: Final = frozenset(
    {
        operators.eq, operators.ne, operators.lt, operators.le, operators.gt, operators.ge,
        operators.is_, operators.is_not, operators.in_op, operators.not_in_op,
        operators.between_op, operators.not_between_op,
        operators.and_, operators.or_, operators.inv, operators.exists, operators.is_true, operators.is_false,
        operators.add, operators.sub, operators.neg, operators.mod,
        operators.asc_op, operators.desc_op, operators.comma_op, operators.distinct_op,
    }
)  # fmt: skip
_REFUSED_OPERATORS: Final[dict[Any, str]] = {
    operators.truediv: "/ (7/2 is 3 or 3.5, by the engine): use idiv, or divide in Python",
    operators.floordiv: "// (rounds by the engine): use idiv",
    operators.mul: "* (SQLite makes a float of an overflow): use imul",
    operators.nulls_last_op: "NULLS LAST (MariaDB has none): use the function nulls_last",
    operators.nulls_first_op: "NULLS FIRST (MariaDB has none): use the function nulls_last",
}
_LIKE: Final = re.compile("like|contains|startswith|endswith")
_PASSED: Final = (
    *CLOSED_SET,
    elements.ClauseList,
    elements.Grouping,
    elements.Case,
    elements.Label,
    elements.Null,
    elements.True_,
    elements.False_,
    elements.Over,
    elements.FrameClause,
    elements._label_reference,
    sa.Table,
    selectable.Subquery,
    selectable.CTE,
    selectable.Alias,
    selectable.Join,
    selectable.ScalarSelect,
    selectable.Exists,
    selectable.CompoundSelect,
    selectable.SelectStatementGrouping,
)
_DISTINCT_ON: Final = "DISTINCT ON (PostgreSQL only): use row_number() over a partition"
_PLAIN_TEXT: Final = re.compile(r"\*|-?[0-9]+")
"""`count(*)`, and the integers that `periods` and `idiv` write out."""


def check_select(select: sa.Select[Any] | sa.CompoundSelect[Any]) -> list[str]:
    """Return what a select uses outside the closed set, each with what to use instead; nothing when it may run.

    >>> check_select(sa.select(sa.func.sum(sa.column("amount", sa.BigInteger()))))
    ['SUM: use isum']
    """
    found = [refusal for node in statement_nodes(select) for refusal in _refusals(node)]
    found += [
        f"a result column that is neither an integer nor text: {getattr(column, 'name', column)}"
        for column in select.selected_columns
        if not (_is_integer(column) or isinstance(column.type, sa.String) or _is_null(column))
    ]
    return list(dict.fromkeys(found))


def require_closed(select: sa.Select[Any] | sa.CompoundSelect[Any]) -> None:
    """Refuse a select that leaves the closed set.

    Raises:
        StorageError: it does; the message names the constructs.
    """
    refused = check_select(select)
    if refused:
        raise StorageError(
            f"This select would not mean the same on every database. It uses {'; '.join(refused)}.",
            hint="select integers and keys with crm_core.query.functions, and compute ratios and means in Python",
        )


def statement_nodes(root: ExternallyTraversible) -> Iterator[ExternallyTraversible]:
    """Walk a statement; tables are not entered, because their declarations are not part of it."""
    waiting, seen = [root], {id(root)}
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, sa.Table):
            continue
        fresh = [child for child in _children(node) if id(child) not in seen]
        seen.update(map(id, fresh))
        waiting.extend(reversed(fresh))


def _children(node: ExternallyTraversible) -> Iterator[Any]:
    """Yield the parts of a node, but not what only there is allowed: the SUM of an `isum`, the product of an `imul`."""
    if isinstance(node, IntegerSum):
        inner = next(iter(node.clauses))
        if isinstance(inner, elements.Over):
            yield from (child for child in inner.get_children() if child is not inner.element)
        yield from _sum_of(node).clauses
    elif isinstance(node, WholeNumber):
        inner = next(iter(node.clauses))
        is_product = getattr(inner, "operator", None) is operators.mul
        yield from inner.get_children() if is_product else [inner]
    else:
        yield from node.get_children()


def _sum_of(node: IntegerSum) -> Any:
    inner: Any = next(iter(node.clauses))
    return inner.element if isinstance(inner, elements.Over) else inner


def _refusals(node: ExternallyTraversible) -> Iterator[str]:
    for kinds, check in _CHECKS:
        if isinstance(node, kinds):
            yield from check(node)
            return
    name = type(node).__name__
    if name == "DistinctOnClause":  # named, not imported: the dialect that has it costs 20 ms
        yield _DISTINCT_ON
    elif not isinstance(node, _PASSED):
        yield f"{name}: outside the closed set"


def _of_select(node: sa.Select[Any]) -> Iterator[str]:
    if node._distinct_on:
        yield _DISTINCT_ON


def _of_sum(node: IntegerSum) -> Iterator[str]:
    summed = next(iter(_sum_of(node).clauses))
    if not _is_integer(summed):
        yield "a sum of what is no integer: use count_if for a condition"


def _of_function(node: functions.FunctionElement[Any]) -> Iterator[str]:
    name = str(getattr(node, "name", type(node).__name__)).lower()
    allowed = _FUNCTIONS.get(name)
    if allowed is None:
        yield f"{name.upper()}: {_INSTEAD.get(name, 'outside the closed set')}"
    elif len(list(node.clauses)) > allowed:
        yield f"{name.upper()} of several arguments: outside the closed set"


def _of_operator(node: Any) -> Iterator[str]:
    operator = getattr(node, "operator", None) or getattr(node, "modifier", None)
    yield from _of_operation(operator)
    if operator is operators.mod and not _is_positive_constant(node.right):
        yield "% by what is no positive constant (by 0 it is NULL or an error, by the engine)"


def _of_operation(operator: Any) -> Iterator[str]:
    if operator in _REFUSED_OPERATORS:
        yield _REFUSED_OPERATORS[operator]
    elif _LIKE.search(getattr(operator, "__name__", "")):
        yield "LIKE (case and escapes differ by the engine): use contains"
    elif operator not in _OPERATORS:
        yield f"the operator {getattr(operator, '__name__', operator)}: outside the closed set"


def _of_parameter(node: elements.BindParameter[Any]) -> Iterator[str]:
    values = node.value if isinstance(node.value, (list, tuple)) else [node.value]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, str, type(None))):
            yield f"the value {value!r}: only integers and text have one meaning everywhere"


def _of_literal(node: elements.ColumnClause[Any]) -> Iterator[str]:
    if node.is_literal and not _PLAIN_TEXT.fullmatch(node.name):
        yield f"raw SQL {node.name!r}: outside the closed set"


def _of_filter(node: object) -> Iterator[str]:
    yield "FILTER (MariaDB has none): use count_if, or isum of a case"


def _nothing(node: object) -> Iterator[str]:
    yield from ()


def _is_integer(column: Any) -> bool:
    return isinstance(column.type, sa.Integer)


def _is_null(column: Any) -> bool:
    return isinstance(column.element if isinstance(column, elements.Label) else column, elements.Null)


def _is_positive_constant(node: Any) -> bool:
    return isinstance(node, elements.BindParameter) and isinstance(node.value, int) and node.value > 0


_CHECKS: Final[tuple[tuple[Any, Callable[[Any], Iterator[str]]], ...]] = (
    (sa.Select, _of_select),
    (IntegerSum, _of_sum),
    (CLOSED_SET, _nothing),
    (elements.FunctionFilter, _of_filter),
    (functions.FunctionElement, _of_function),
    ((elements.BinaryExpression, elements.UnaryExpression, elements.ExpressionClauseList), _of_operator),
    (elements.BindParameter, _of_parameter),
    (elements.ColumnClause, _of_literal),
)
