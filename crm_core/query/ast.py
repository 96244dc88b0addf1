"""The one expression tree behind filters, sort orders and segment rules.

These are bound: they name columns and hold primitives, and a storage runs them as they are. What a person typed names
fields and holds literals: `crm_core.query.text` parses it, `crm_core.query.bind` binds it.
"""

from __future__ import annotations

from typing import Literal as OneOf

import attrs

Operator = OneOf["=", "!=", "<", "<=", ">", ">="]


@attrs.frozen
class Compare:
    """`column operator value`; NULL matches nothing but `!=`, which means "is not this value"."""

    column: str
    operator: Operator
    value: int | str


@attrs.frozen
class In:
    """`column in (values)`."""

    column: str
    values: tuple[int | str, ...]


@attrs.frozen
class Contains:
    """The text of `column` has `value` somewhere inside."""

    column: str
    value: str


@attrs.frozen
class IsNull:
    """`column is null`."""

    column: str


@attrs.frozen
class Exists:
    """Some row of the child `table` points at this row's id by `column` and matches `where` (None: any row)."""

    table: str
    column: str
    where: Expression | None = None


@attrs.frozen
class Remainder:
    """`column % modulus = value`, with the sign of the cell: how an id is found by its last characters."""

    column: str
    modulus: int
    value: int


@attrs.frozen
class Not:
    """The negation of a two-valued expression: what `part` does not match, NULLs included."""

    part: Expression


@attrs.frozen
class And:
    """Every part matches; no part at all matches everything."""

    parts: tuple[Expression, ...]


@attrs.frozen
class Or:
    """Some part matches."""

    parts: tuple[Expression, ...]


Expression = Compare | In | Contains | IsNull | Exists | Remainder | Not | And | Or


@attrs.frozen
class SortKey:
    """Sort by a column; NULLs come last in both directions."""

    column: str
    descending: bool = False
