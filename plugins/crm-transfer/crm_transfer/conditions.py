"""Conditions on a row: how a mapping writes them, and the closures they become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from operator import eq, ge, gt, le, lt
from typing import Final

import attrs

from crm_transfer.cells import Number
from crm_transfer.columns import Cells, Columns
from crm_transfer.errors import BadCell
from crm_transfer.patterns import fault_of, matcher
from crm_transfer.tables import Table

_NUMBERS: Final = {"equals": eq, "above": gt, "below": lt, "at_least": ge, "at_most": le}
_TEXTS: Final = ("is", "not", "like", "not_like")
_TESTS: Final = (*_TEXTS, "given", "same_as", *_NUMBERS)
_KEYS: Final = frozenset({"column", "any", *_TESTS})
Holds = Callable[[Cells], bool]


@attrs.frozen(kw_only=True)
class Condition:
    """What a row must be like: its cell is one of `values` (`negated`: none of them), is given, or equals another's.

    `patterns` are `values` with wildcards; `compare` is a comparison and the number it is with; of `parts` one must
    hold.
    """

    column: str = ""
    values: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    negated: bool = False
    given: bool | None = None
    same_as: str = ""
    compare: tuple[str, Decimal] | None = None
    parts: tuple[Condition, ...] = ()
    place: str = ""


def conditions(table: Table, key: str = "when") -> tuple[Condition, ...]:
    """Return the conditions under a key: one table, or a list of tables that must all hold."""
    found = table.data.get(key, [])
    listed = [found] if isinstance(found, dict) else found
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise table.wrong(key, "must be a condition", f'{key} = {{ column = "stage", is = "Won" }}')
    return tuple(_condition(Table(each, f"{table.place}: {key}")) for each in listed)


def holds(wanted: Sequence[Condition], columns: Columns, number: Number) -> Holds:
    """Return the function that says whether a row meets all conditions; `number` reads numbers as the file has them."""
    tests = [_test(condition, columns, number) for condition in wanted]
    if len(tests) == 1:
        return tests[0]
    return lambda cells: all(test(cells) for test in tests)


def columns_asked(wanted: Sequence[Condition]) -> list[str]:
    """Return the columns that conditions name, each once."""
    named = [name for each in wanted for name in (each.column, each.same_as, *columns_asked(each.parts)) if name]
    return list(dict.fromkeys(named))


def _condition(table: Table) -> Condition:
    table.only(_KEYS)
    if "any" in table.data:
        if set(table.data) != {"any"}:
            raise table.wrong("any", "stands alone: it holds the conditions of which one must hold")
        return Condition(parts=conditions(table, "any"), place=table.place)
    column = table.text("column")
    tests = [key for key in _TESTS if key in table.data]
    if not column or len(tests) != 1:
        raise table.wrong(
            "", f"needs a column and one of: {', '.join(_TESTS)}", '{ column = "stage", is = "Won" }, or any = [...]'
        )
    test = tests[0]
    texts = table.texts(test) if test in _TEXTS else ()
    like = test.endswith("like")
    for pattern in texts if like else ():
        if fault := fault_of(pattern):
            raise table.wrong(test, f"{fault}: {pattern[:80]!r}", 'such as "C*", "GIFT_????" or "[0-9]*"')
    return Condition(
        column=column,
        values=() if like else texts,
        patterns=texts if like else (),
        negated=test.startswith("not"),
        given=table.flag("given") if test == "given" else None,
        same_as=table.text("same_as"),
        compare=(test, _number(table, test)) if test in _NUMBERS else None,
        place=table.place,
    )


def _number(table: Table, key: str) -> Decimal:
    found = table.data[key]
    try:
        if isinstance(found, bool):
            raise InvalidOperation
        number = Decimal(str(found))
    except InvalidOperation:
        raise table.wrong(key, f"must be a number, found {found!r}", f"{key} = 0") from None
    if not number.is_finite():
        raise table.wrong(key, f"must be a number, found {found!r}", f"{key} = 0")
    return number


def _test(condition: Condition, columns: Columns, number: Number) -> Holds:
    if condition.parts:
        parts = [_test(part, columns, number) for part in condition.parts]
        return lambda cells: any(part(cells) for part in parts)
    at = columns.index(condition.column, condition.place)
    if condition.given is not None:
        given = condition.given
        return lambda cells: bool(cells[at].strip()) is given
    if condition.same_as:
        other = columns.index(condition.same_as, condition.place)
        return lambda cells: cells[at].strip() == cells[other].strip()
    if condition.compare is not None:
        return _compared(condition.compare, at, Decimal if columns.kind_of(at) == "number" else number)
    negated = condition.negated
    if condition.patterns:
        fits = matcher(condition.patterns)
        return lambda cells: fits(cells[at].strip()) is not negated
    values = frozenset(condition.values)
    return lambda cells: (cells[at].strip() in values) is not negated


def _compared(compare: tuple[str, Decimal], at: int, number: Number) -> Holds:
    """Compare as numbers; a cell that is none meets no comparison: the field that reads it will say what is wrong."""
    operation, limit = _NUMBERS[compare[0]], compare[1]
    known: dict[str, bool] = {}

    def test(cells: Cells) -> bool:
        text = cells[at].strip()
        found = known.get(text)
        if found is None:
            if len(known) > 10_000:
                known.clear()
            try:
                found = bool(text) and bool(operation(number(text), limit))
            except BadCell:
                found = False
            known[text] = found
        return found

    return test
