"""Expressions: texts, numbers and times that a mapping computes from a row, as TOML tables of one operation each.

Read here, made into closures by `operations`; nothing of a mapping is ever evaluated as code.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import attrs

from crm_transfer.cells import written
from crm_transfer.conditions import Condition, columns_asked, conditions
from crm_transfer.patterns import fault_of
from crm_transfer.tables import Table

COLUMN: Final = "column"
CONST: Final = "const"
_DEEPEST: Final = 20
_A_NUMBER: Final = (("number", True),)


@attrs.frozen
class Shape:
    """How an operation is written: how many arguments (`most` None: any number), and the keys beside them.

    `texts` hold a text, `lists` texts, `pairs` a table of texts, `counts` a whole number, `measures` an expression.
    """

    least: int = 1
    most: int | None = 1
    texts: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that may stand beside the operation."""
        return (*self.texts, *self.lists, *self.pairs, *self.counts, *self.measures)


SHAPES: Final[Mapping[str, Shape]] = {
    "concat": Shape(least=1, most=None, texts=("separator",)),
    "first": Shape(least=1, most=None),
    "trim": Shape(),
    "lower": Shape(),
    "upper": Shape(),
    "replace": Shape(pairs=("with",)),
    "split": Shape(texts=("at",), counts=("part",)),
    "cut": Shape(counts=("start", "length")),
    "null_if": Shape(lists=("is", "like")),
    "add": Shape(least=2, most=None),
    "subtract": Shape(least=2, most=2),
    "multiply": Shape(least=2, most=None),
    "divide": Shape(least=2, most=2, counts=("digits",)),
    "negate": Shape(),
    "abs": Shape(),
    "round": Shape(counts=("digits",)),
    "shift": Shape(measures=("years", "months", "days", "hours", "minutes")),
    "day": Shape(),
    "days_between": Shape(least=2, most=2),
    "date_text": Shape(texts=("as",)),
}
"""Every operation but `choose`, `column` and `const`, which are written in their own way."""
OPERATIONS: Final = (*SHAPES, "choose", COLUMN, CONST)


@attrs.frozen(kw_only=True)
class Expression:
    """An operation, its arguments and its options; of `choose` the `branches`, whose `args` end with the `else`.

    `place` names it in errors.
    """

    operation: str
    args: tuple[Expression, ...] = ()
    text: str = ""
    options: tuple[tuple[str, Any], ...] = ()
    branches: tuple[tuple[Condition, ...], ...] = ()
    place: str = attrs.field(default="", repr=False)

    def option(self, name: str, default: Any = None) -> Any:
        """Return an option."""
        return dict(self.options).get(name, default)


def expression(value: Any, table: Table, key: str, depth: int = 0) -> Expression:
    """Read what stands under a key: a column's name, a number, or a table of one operation.

    Raises:
        MappingError: it is neither; the message names file, key and operation.
    """
    place = f"{table.place}: {key}"
    if isinstance(value, str) and value:
        return Expression(operation=COLUMN, text=value, place=place)
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return Expression(operation=CONST, text=f"{Decimal(str(value)):f}", options=_A_NUMBER, place=place)
    if not isinstance(value, dict):
        raise table.wrong(key, f"must be a column's name, a number or an operation, found {value!r}", _EXAMPLE)
    inner = Table(value, place)
    if depth > _DEEPEST:
        raise inner.wrong("", f"is nested more than {_DEEPEST} deep", "compute a part in a column of its own")
    named = [name for name in OPERATIONS if name in value]
    if len(named) != 1:
        found = f"found {' and '.join(named)}" if named else "found none"
        raise inner.wrong("", f"needs exactly one operation, {found}", f"there are: {', '.join(OPERATIONS)}")
    return _operation(named[0], inner, depth)


_EXAMPLE: Final = 'such as "name" or { multiply = ["quantity", "price"] }'


def _operation(name: str, table: Table, depth: int) -> Expression:
    if name in (COLUMN, CONST):
        table.only({name})
        if name == COLUMN and not table.text(name):
            raise table.wrong(name, "names no column")
        if name == CONST and not isinstance(table.data[name], str):
            return expression(table.data[name], table, name)
        return Expression(operation=name, text=table.text(name), place=table.place)
    if name == "choose":
        return _choose(table, depth)
    shape = SHAPES[name]
    table.only({name, *shape.keys})
    value = table.data[name]
    listed = value if isinstance(value, list) else [value]
    if len(listed) < shape.least or (shape.most is not None and len(listed) > shape.most):
        wanted = f"{shape.least}" if shape.most == shape.least else f"{shape.least} or more"
        raise table.wrong(name, f"takes {wanted}, found {len(listed)}", _EXAMPLE)
    args = tuple(expression(each, table, name, depth + 1) for each in listed)
    made = Expression(operation=name, args=args, options=_options(table, shape, depth), place=table.place)
    _check(made, table)
    return made


def _options(table: Table, shape: Shape, depth: int) -> tuple[tuple[str, Any], ...]:
    found: list[tuple[str, Any]] = []
    for key in shape.keys:
        if key not in table.data:
            continue
        if key in shape.texts:
            found.append((key, table.text(key)))
        elif key in shape.lists:
            found.append((key, table.texts(key)))
        elif key in shape.pairs:
            found.append((key, tuple(table.mapping(key).items())))
        elif key in shape.measures:
            found.append((key, expression(table.data[key], table, key, depth + 1)))
        else:
            found.append((key, table.count(key)))
    return tuple(found)


def _choose(table: Table, depth: int) -> Expression:
    table.only({"choose", "else"})
    tests: list[tuple[Condition, ...]] = []
    args: list[Expression] = []
    for branch in table.tables("choose"):
        branch.only({"when", "then"})
        when = conditions(branch)
        if not when or "then" not in branch.data:
            raise branch.wrong("", "needs when and then", 'when = { column = "no", like = "C*" }, then = ...')
        tests.append(when)
        args.append(expression(branch.data["then"], branch, "then", depth + 1))
    otherwise = table.data.get("else", {CONST: ""})
    args.append(expression(otherwise, table, "else", depth + 1))
    return Expression(operation="choose", args=tuple(args), branches=tuple(tests), place=table.place)


def _check(made: Expression, table: Table) -> None:
    """Refuse options that cannot work, so that no row has to."""
    name, options = made.operation, dict(made.options)
    if name == "replace" and not (options.get("with") and all(old for old, _ in options["with"])):
        raise table.wrong("with", "must say what becomes what", 'with = { "St." = "Street" }')
    if name == "split" and (not options.get("at") or not options.get("part")):
        raise table.wrong(
            "", "needs at, a text, and part, counted from 1 or from the end: -1", 'at = ",", part = 1'
        )  # fmt: skip
    if name == "cut" and (not options.get("start") or options.get("length", 1) < 1):
        raise table.wrong("", "needs start, from 1, or -1 for the last, and length", "start = 1, length = 2")
    if name == "null_if" and not options:
        raise table.wrong("", "needs is or like", 'is = ["n/a", "-"]')
    for pattern in options.get("like", ()):
        if fault := fault_of(pattern):
            raise table.wrong("like", f"{fault}: {pattern[:80]!r}", 'such as "[?]*" or "n/a*"')
    if name in ("divide", "round") and not 0 <= options.get("digits", -1) <= 12:
        raise table.wrong("digits", "must be from 0 to 12: how many digits after the point are kept", "digits = 2")
    if name == "shift" and not options:
        raise table.wrong("", "needs years, months, days, hours or minutes", "days = 30")
    if name == "date_text":
        _check_form(options.get("as", ""), table)


def _check_form(form: str, table: Table) -> None:
    example = written(dt.datetime(2026, 11, 30, 13, 5, tzinfo=dt.UTC), form) if form else ""
    if not example or example == form:
        raise table.wrong("as", f"is no form of a date: {form!r}", 'as = "%Y-%m"')


def columns_of(made: Expression) -> Sequence[str]:
    """Return the columns that an expression names outside of its conditions, in order."""
    own = [made.text] if made.operation == COLUMN else []
    measures = [each for _, each in made.options if isinstance(each, Expression)]
    return list(dict.fromkeys([*own, *(name for each in (*made.args, *measures) for name in columns_of(each))]))


def columns_read(made: Expression) -> Sequence[str]:
    """Return all columns that an expression depends on, those of its conditions too, each once."""
    measures = [each for _, each in made.options if isinstance(each, Expression)]
    asked = [name for branch in made.branches for name in columns_asked(branch)]
    inner = [name for each in (*made.args, *measures) for name in columns_read(each)]
    return list(dict.fromkeys([*([made.text] if made.operation == COLUMN else []), *asked, *inner]))
