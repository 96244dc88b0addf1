"""The closed set of SQL functions: each means the same on every engine, and has one rendering per engine.

Apart because plain SQL does not: `7/2` is 3 or 3.5, `1/0` NULL, an error or infinity, and a sum an integer, a decimal
or (SQLite, past 64 bits) a float. `crm_core.query.guard` refuses the rest. Results are 64-bit integers or conditions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Select,
    and_,
    case,
    func,
    literal,
    literal_column,
    or_,
    select,
)
from sqlalchemy.exc import CompileError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BinaryExpression, ClauseElement, ExpressionClauseList
from sqlalchemy.sql.functions import FunctionElement

from crm_core.errors import UsageError

Number = ColumnElement[Any] | int

_MYSQL: Final = ("mysql", "mariadb")
_BIGINT_CAST: Final = ("postgresql", "duckdb")


def isum(
    expr: ColumnElement[Any],
    *,
    partition_by: Any = None,
    order_by: Any = None,
    rows: tuple[int | None, int | None] | None = None,
    bounded: bool = False,
) -> ColumnElement[int]:
    """Sum integers exactly; with a partition or an order, over a window.

    The sum of no value at all is NULL, not 0: write `func.coalesce(isum(x), 0)` where none means nothing. Past 64 bits
    it is an error on every engine, as is a float inside it (SQLite makes one of an overflowing `+`);
    `bounded` leaves out that check, which costs as much as the expression itself, where the arithmetic inside cannot
    leave 64 bits: the difference of two moments.
    """
    total: Any = func.sum(whole(expr) if not bounded and _has_arithmetic(expr) else expr)
    if partition_by is not None or order_by is not None:
        total = total.over(partition_by=partition_by, order_by=order_by, rows=rows)
    return IntegerSum(total)


def imul(left: Number, right: Number) -> ColumnElement[int]:
    """Multiply integers exactly; a product past 64 bits is an error on every engine (SQLite would make it a float)."""
    return whole(_number(left) * _number(right))


def idiv(dividend: Number, divisor: Number) -> ColumnElement[int]:
    """Divide integers, dropping the fraction: 7 by 2 is 3, -7 by 2 is -3 (towards zero); by zero it is NULL."""
    return IntegerQuotient(_number(dividend), _number(divisor))


def whole(expr: ColumnElement[Any]) -> ColumnElement[int]:
    """Pass an integer through; a float that SQLite made of an overflow is an error, as the overflow is elsewhere."""
    return WholeNumber(expr)


def count_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    """Count the rows that satisfy a condition; an unknown condition does not count, and no row counts 0."""
    return func.count(case((condition, 1)))


def lead(value: ColumnElement[Any], *, partition_by: Any = None, order_by: Any) -> ColumnElement[Any]:
    """Return the value of the row after this one in its partition, NULL for the last; plain `func.lead` has no type."""
    return func.lead(value, type_=value.type).over(partition_by=partition_by, order_by=order_by)


def lag(value: ColumnElement[Any], *, partition_by: Any = None, order_by: Any) -> ColumnElement[Any]:
    """Return the value of the row before this one in its partition, NULL for the first."""
    return func.lag(value, type_=value.type).over(partition_by=partition_by, order_by=order_by)


def contains(column: ColumnElement[Any], value: str) -> ColumnElement[bool]:
    """Return whether text has `value` somewhere inside, by code point; NULL for NULL."""
    return TextContains(column, literal(value))


def nulls_last(column: ColumnElement[Any], *, desc: bool = False) -> ColumnElement[Any]:
    """Sort by a column, NULLs last in both directions; for `order_by` only."""
    return Descending(column) if desc else Ascending(column)


def periods(column: ColumnElement[Any], bounds: Sequence[int]) -> ColumnElement[int]:
    """Return the index of the bucket a value lies in, NULL outside all of them.

    Args:
        column: an integer, such as the microseconds of a moment.
        bounds: ascending edges; bucket i is half-open, from `bounds[i]` to `bounds[i + 1]`.

    The edges are inlined as integers into a balanced tree of CASE, which a million rows pass in half a second where
    date functions take over two.
    """
    if len(bounds) < 2 or any(low >= high for low, high in pairwise(bounds)):
        raise UsageError(f"The edges of periods must be two or more, each above the one before; found {list(bounds)}.")
    inside = and_(column >= _inline(bounds[0]), column < _inline(bounds[-1]))
    return case((inside, _tree(column, bounds, 0, len(bounds) - 1)))


def quantile(
    value: ColumnElement[Any],
    *,
    at: tuple[int, int],
    by: Sequence[ColumnElement[Any]] = (),
    where: ColumnElement[bool] | None = None,
) -> Select[Any]:
    """Select a quantile by nearest rank: the smallest value that at least the share `at` of the values do not exceed.

    Args:
        value: an integer; NULLs are left out.
        at: the share as (numerator, denominator), such as (9, 10); above 0, at most 1.
        by: the groups.
        where: the rows to look at.

    Returns:
        Rows of (group keys `g0`, `g1`, ..., the quantile `value`, the number of values `n`); no values, no row.
    """
    numerator, denominator = at
    if not 0 < numerator <= denominator:
        raise UsageError(f"A quantile is a share above 0 and at most 1; found {numerator}/{denominator}.")
    ranked = _ranked(value, by, where)
    keys = [ranked.c[f"g{index}"] for index in range(len(by))]
    rank = idiv(imul(ranked.c.n, numerator) + (denominator - 1), denominator)
    return select(*keys, ranked.c.value, ranked.c.n).where(ranked.c.rank == rank)


def median(
    value: ColumnElement[Any], *, by: Sequence[ColumnElement[Any]] = (), where: ColumnElement[bool] | None = None
) -> Select[Any]:
    """Select the two middle values (the same one twice when the number of values is odd), for an exact mean in Python.

    Returns:
        Rows of (group keys `g0`, `g1`, ..., `low`, `high`, the number of values `n`); no values, no row.
    """
    ranked = _ranked(value, by, where)
    keys = [ranked.c[f"g{index}"] for index in range(len(by))]
    middle = or_(ranked.c.rank == idiv(ranked.c.n + 1, 2), ranked.c.rank == idiv(ranked.c.n + 2, 2))
    low, high = func.min(ranked.c.value).label("low"), func.max(ranked.c.value).label("high")
    # `n` is the same throughout a group; named here, it keeps a select without groups from answering with NULLs.
    return select(*keys, low, high, ranked.c.n).where(middle).group_by(*keys, ranked.c.n)


class IntegerSum(FunctionElement[int]):
    """What `isum` makes; the sum itself, or its window, is the only argument."""

    name = "isum"
    type = BigInteger()
    inherit_cache = True


class IntegerQuotient(FunctionElement[int]):
    """What `idiv` makes."""

    name = "idiv"
    type = BigInteger()
    inherit_cache = True


class WholeNumber(FunctionElement[int]):
    """What `whole` and `imul` make."""

    name = "whole"
    type = BigInteger()
    inherit_cache = True


class TextContains(FunctionElement[bool]):
    """What `contains` makes."""

    name = "contains"
    type = Boolean()
    inherit_cache = True


class Ascending(FunctionElement[Any]):
    """What `nulls_last` makes."""

    name = "nulls_last"
    inherit_cache = True


class Descending(FunctionElement[Any]):
    """What `nulls_last(desc=True)` makes."""

    name = "nulls_last_desc"
    inherit_cache = True


CLOSED_SET: Final = (IntegerSum, IntegerQuotient, WholeNumber, TextContains, Ascending, Descending)


def _number(value: Number) -> ColumnElement[Any]:
    return _inline(value) if isinstance(value, int) else value


def _inline(value: int) -> ColumnElement[Any]:
    # A bound parameter hides the value from SQLite's planner and gets another type on PostgreSQL and DuckDB.
    return literal_column(str(int(value)), BigInteger())


def _has_arithmetic(expr: Any) -> bool:
    if isinstance(expr, WholeNumber):
        return False
    risky = (operators.add, operators.sub, operators.mul)
    if isinstance(expr, (BinaryExpression, ExpressionClauseList)) and expr.operator in risky:
        return True
    return any(_has_arithmetic(child) for child in expr.get_children())


def _tree(column: ColumnElement[Any], bounds: Sequence[int], first: int, last: int) -> ColumnElement[Any]:
    if last - first == 1:
        return _inline(first)
    middle = (first + last) // 2
    left, right = (_tree(column, bounds, first, middle), _tree(column, bounds, middle, last))
    return case((column < _inline(bounds[middle]), left), else_=right)


def _ranked(value: ColumnElement[Any], by: Sequence[ColumnElement[Any]], where: ColumnElement[bool] | None) -> Any:
    # The names are reserved: an alias equal to a column groups silently by something else on two engines.
    keys = [key.label(f"g{index}") for index, key in enumerate(by)]
    partition: Any = list(by) or None
    rank = func.row_number().over(partition_by=partition, order_by=value).label("rank")
    number = func.count().over(partition_by=partition).label("n")
    ranked = select(*keys, value.label("value"), rank, number).where(value.is_not(None))
    return (ranked if where is None else ranked.where(where)).subquery("ranked")


def _arguments(element: FunctionElement[Any]) -> list[ClauseElement]:
    return list(element.clauses)


def _render(compiler: SQLCompiler, element: FunctionElement[Any], template: str, **kw: Any) -> str:
    rendered = [compiler.process(argument, **kw) for argument in _arguments(element)]
    return template.format(*rendered)


def _rendering(element: type[FunctionElement[Any]], template: str, *dialects: str) -> None:
    def render(element: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> str:
        return _render(compiler, element, template, **kw)

    compiles(element, *dialects)(render)


def _without_rendering(element: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> str:
    if compiler.dialect.name == "default":  # `str(select)`, for a person to read
        return _render(compiler, element, f"{element.name}({', '.join('{}' for _ in element.clauses)})", **kw)
    raise CompileError(f"{element.name} has no rendering for {compiler.dialect.name!r}")


for _element in CLOSED_SET:
    compiles(_element)(_without_rendering)


# SQLite's own sum of integers raises on overflow. MariaDB clamps a decimal cast to SIGNED in silence; DIV raises.
_rendering(IntegerSum, "{0}", "sqlite")
_rendering(IntegerSum, "CAST({0} AS BIGINT)", *_BIGINT_CAST)
_rendering(IntegerSum, "({0} DIV 1)", *_MYSQL)

_rendering(IntegerQuotient, "(({0}) / NULLIF({1}, 0))", "sqlite", "postgresql")
_rendering(IntegerQuotient, "(({0}) DIV NULLIF({1}, 0))", *_MYSQL)
_rendering(IntegerQuotient, "(({0}) // NULLIF({1}, 0))", "duckdb")

# The absolute value of the smallest integer is SQLite's way to raise "integer overflow" from an expression.
_rendering(WholeNumber, "CASE typeof({0}) WHEN 'real' THEN abs(-9223372036854775808) ELSE ({0}) END", "sqlite")
_rendering(WholeNumber, "({0})", *_BIGINT_CAST, *_MYSQL)

_rendering(TextContains, "(instr({0}, {1}) > 0)", "sqlite")
_rendering(TextContains, "(strpos({0}, {1}) > 0)", "postgresql", "duckdb")
_rendering(TextContains, "(locate({1}, {0}) > 0)", *_MYSQL)

# SQLite and MariaDB hold NULL for the smallest value, so that descending order needs no help and keeps its index.
_rendering(Ascending, "({0}) ASC NULLS LAST", "sqlite", "postgresql", "duckdb")
_rendering(Ascending, "({0}) IS NULL, ({0}) ASC", *_MYSQL)
_rendering(Descending, "({0}) DESC", "sqlite", *_MYSQL)
_rendering(Descending, "({0}) DESC NULLS LAST", "postgresql", "duckdb")
