"""The operations of expressions as closures over a row's cells: text in, text out, numbers exact, times in ISO 8601.

What cannot be computed raises `BadCell`, which names the column whose cell is at fault and its value.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal, DivisionByZero, Inexact, InvalidOperation
from typing import Final
from zoneinfo import ZoneInfo

import attrs

from crm_core.values import local_midnight, to_micros
from crm_transfer.cells import When, moment_reader, number_reader, written
from crm_transfer.columns import Cells, Columns, Kind
from crm_transfer.conditions import holds
from crm_transfer.errors import BadCell, MappingError
from crm_transfer.expressions import COLUMN, CONST, Expression, columns_of
from crm_transfer.textoperations import TEXTS, Text, cell_text, first_text

Amount = Callable[[Cells], "Decimal | None"]
Moment = Callable[[Cells], "When | None"]
_EXACT: Final = Context(prec=100, rounding=ROUND_HALF_UP, traps=[Inexact, InvalidOperation, DivisionByZero])
_ROUNDED: Final = Context(prec=100, rounding=ROUND_HALF_UP, traps=[InvalidOperation, DivisionByZero])
_YEARS: Final = range(1, 10_000)


@attrs.frozen(kw_only=True)
class Scope:
    """What an expression is compiled against: the columns, and how the file writes numbers, dates and times."""

    columns: Columns
    decimal: str
    thousands: str
    dates: str
    zone: ZoneInfo

    def number(self, kind: Kind) -> Callable[[str], Decimal]:
        """Return the reader of numbers of a column of this kind."""
        return Decimal if kind == "number" else number_reader(self.decimal, self.thousands)

    def moment(self, kind: Kind) -> Callable[[str], When]:
        """Return the reader of days and times of a column of this kind."""
        return moment_reader("" if kind == "moment" else self.dates, self.zone)

    def instant(self, kind: Kind) -> Callable[[str], int]:
        """Return the reader of microseconds since 1970, by which days and times are put in order."""
        moment, zone = self.moment(kind), self.zone
        known: dict[str, int] = {}

        def read(text: str) -> int:
            found = known.get(text)
            if found is None:
                when = moment(text)
                found = to_micros(when if isinstance(when, dt.datetime) else local_midnight(when, zone))
                if len(known) >= 10_000:
                    known.clear()
                known[text] = found
            return found

        return read


@attrs.frozen
class Computed:
    """A compiled expression: the text of its value, empty when there is none, and what that text is."""

    read: Text
    kind: Kind = "text"


def compiled(made: Expression, scope: Scope) -> Computed:
    """Make an expression ready for a file.

    Raises:
        MappingError: it names a column that is not there, or computes with what can be no number or time.
    """
    operation = made.operation
    if operation == COLUMN:
        at = scope.columns.index(made.text, made.place)
        return Computed(cell_text(at), scope.columns.kind_of(at))
    if operation == CONST:
        text = made.text
        return Computed(lambda cells: text, "number" if made.option("number") else "text")
    if operation == "choose":
        return _choose(made, scope)
    if operation in TEXTS:
        return Computed(TEXTS[operation](made, [compiled(each, scope).read for each in made.args]))
    if operation == "first":
        texts, kind = _alike(made.args, scope)
        return Computed(first_text(texts), kind)
    if operation in _NUMBERS:
        amount = _NUMBERS[operation](made, [_amount(each, scope) for each in made.args])
        return Computed(_written(_guarded(amount, made, scope)), "number")
    return _MOMENTS[operation](made, scope)


def _alike(parts: Sequence[Expression], scope: Scope) -> tuple[list[Text], Kind]:
    """Return the readers of alternatives, and what they are: where one is computed, cells of the file are read like it.

    An empty constant is of every kind.
    """
    all_parts = [(each, compiled(each, scope)) for each in parts]
    kinds = {found.kind for each, found in all_parts if each.operation != CONST or each.text}
    if kinds == {"text", "number"}:
        return [_written(_amount(each, scope)) for each in parts], "number"
    if kinds == {"text", "moment"}:
        return [_iso(_moment(each, scope)) for each in parts], "moment"
    if len(kinds) > 1:
        raise MappingError(f"{parts[0].place}: one part is a number and another a time", hint="make them alike")
    return [found.read for _, found in all_parts], next(iter(kinds), "text")


def _choose(made: Expression, scope: Scope) -> Computed:
    number = scope.number("text")
    tests = [holds(when, scope.columns, number) for when in made.branches]
    (*thens, last), kind = _alike(made.args, scope)
    branches = list(zip(tests, thens, strict=True))

    def read(cells: Cells) -> str:
        for test, then in branches:
            if test(cells):
                return then(cells)
        return last(cells)

    return Computed(read, kind)


# Numbers


def _amount(made: Expression, scope: Scope) -> Amount:
    """Return the reader of an argument as a number, None where it is empty."""
    if made.operation in _NUMBERS:
        return _guarded(_NUMBERS[made.operation](made, [_amount(each, scope) for each in made.args]), made, scope)
    found = compiled(made, scope)
    if found.kind == "moment":
        raise MappingError(
            f"{made.place}: is a time, and a number is needed", hint="days_between makes one of two times"
        )
    text, number, column = found.read, scope.number(found.kind), " + ".join(columns_of(made))
    known: dict[str, Decimal] = {}

    def read(cells: Cells) -> Decimal | None:
        told = text(cells)
        if not told:
            return None
        value = known.get(told)
        if value is None:
            try:
                value = number(told)
            except BadCell as bad:
                raise bad.at(column, told) from None
            if len(known) < 10_000:
                known[told] = value
        return value

    return read


def _guarded(amount: Amount, made: Expression, scope: Scope) -> Amount:
    """Name the columns and what they say when a result has too many digits or a divisor is 0."""
    names = columns_of(made)
    texts = [scope.columns.reader(name, made.place) for name in names]

    def bad(cells: Cells, rule: str, message: str) -> BadCell:
        told = [text(cells) for text in texts]
        value = told[0] if len(told) == 1 else ", ".join(map(": ".join, zip(names, told, strict=True)))
        return BadCell(rule, message, column=" + ".join(names), value=value)

    def read(cells: Cells) -> Decimal | None:
        try:
            return amount(cells)
        except DivisionByZero:
            raise bad(cells, "divide", "divides by 0; leave such rows out by a rule") from None
        except InvalidOperation:
            raise bad(cells, "number", f"{made.operation} of these is no number; correct them") from None
        except Inexact:
            raise bad(cells, "number", f"{made.operation} of these has more than 100 digits; round them") from None

    return read


def _written(amount: Amount) -> Text:
    def read(cells: Cells) -> str:
        value = amount(cells)
        return "" if value is None else f"{value:f}"

    return read


def _folded(step: Callable[[Decimal, Decimal], Decimal]) -> Callable[[Expression, Sequence[Amount]], Amount]:
    def make(made: Expression, parts: Sequence[Amount]) -> Amount:
        first, *others = parts

        def read(cells: Cells) -> Decimal | None:
            total = first(cells)
            for other in others:
                value = other(cells)
                if total is None or value is None:
                    return None
                total = step(total, value)
            return total

        return read

    return make


def _changed(change: Callable[[Decimal, int], Decimal]) -> Callable[[Expression, Sequence[Amount]], Amount]:
    def make(made: Expression, parts: Sequence[Amount]) -> Amount:
        (part,), digits = parts, made.option("digits", 0)

        def read(cells: Cells) -> Decimal | None:
            value = part(cells)
            return None if value is None else change(value, digits)

        return read

    return make


def _divide(made: Expression, parts: Sequence[Amount]) -> Amount:
    digits = made.option("digits")
    return _folded(lambda one, other: _to_digits(_ROUNDED.divide(one, other), digits))(made, parts)


def _to_digits(value: Decimal, digits: int) -> Decimal:
    """Round to digits after the point, halves away from 0."""
    return value.quantize(Decimal(1).scaleb(-digits), context=_ROUNDED)


_NUMBERS: Final[dict[str, Callable[[Expression, Sequence[Amount]], Amount]]] = {
    "add": _folded(_EXACT.add),
    "subtract": _folded(_EXACT.subtract),
    "multiply": _folded(_EXACT.multiply),
    "divide": _divide,
    "negate": _changed(lambda value, _: _EXACT.subtract(Decimal(0), value)),
    "abs": _changed(lambda value, _: value.copy_abs()),
    "round": _changed(_to_digits),
}


# Days and times


def _moment(made: Expression, scope: Scope) -> Moment:
    """Return the reader of an argument as a day or a time, None where it is empty."""
    found = compiled(made, scope)
    if found.kind == "number":
        raise MappingError(
            f"{made.place}: is a number, and a day or a time is needed", hint="such as a column of dates"
        )
    text, moment, column = found.read, scope.moment(found.kind), " + ".join(columns_of(made))

    def read(cells: Cells) -> When | None:
        told = text(cells)
        try:
            return moment(told) if told else None
        except BadCell as bad:
            raise bad.at(column, told) from None

    return read


def _iso(moment: Moment) -> Text:
    def read(cells: Cells) -> str:
        when = moment(cells)
        return "" if when is None else when.isoformat()

    return read


def _day_of(when: When, zone: ZoneInfo) -> dt.date:
    return when.astimezone(zone).date() if isinstance(when, dt.datetime) else when


def _shift(made: Expression, scope: Scope) -> Computed:
    moment, zone = _moment(made.args[0], scope), scope.zone
    measures = [(unit, each.place, _amount(each, scope)) for unit, each in made.options]
    column = " + ".join(columns_of(made))

    def read(cells: Cells) -> str:
        when = moment(cells)
        if when is None:
            return ""
        for unit, _, measure in measures:
            count = measure(cells)
            if count is None:
                return ""
            if count != count.to_integral_value() or abs(count) > 10_000_000:
                raise BadCell("shift", f"is no whole number of {unit}; round it", column=column, value=f"{count:f}")
            try:
                when = _moved(when, unit, int(count), zone)
            except (OverflowError, ValueError):
                raise BadCell(
                    "shift", f"leads beyond the years 1 to 9999 by {count:f} {unit}; correct it", column=column
                ) from None
        return when.isoformat()

    return Computed(read, "moment")


def _moved(when: When, unit: str, count: int, zone: ZoneInfo) -> When:
    """Move a day or time: days, months and years by the calendar of the zone, hours and minutes by the clock."""
    if unit in ("hours", "minutes"):
        start = when if isinstance(when, dt.datetime) else dt.datetime.combine(when, dt.time.min, zone)
        return (start.astimezone(dt.UTC) + dt.timedelta(**{unit: count})).astimezone(zone)
    if isinstance(when, dt.datetime):
        local = when.astimezone(zone)
        moved = dt.datetime.combine(_moved_day(local.date(), unit, count), local.time(), zone)
        return moved.astimezone(dt.UTC).astimezone(zone)  # out of an hour that the clocks left out
    return _moved_day(when, unit, count)


def _moved_day(day: dt.date, unit: str, count: int) -> dt.date:
    if unit == "days":
        return day + dt.timedelta(days=count)
    months = day.year * 12 + day.month - 1 + count * (12 if unit == "years" else 1)
    year, month = months // 12, months % 12 + 1
    if year not in _YEARS:
        raise OverflowError
    return dt.date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def _day(made: Expression, scope: Scope) -> Computed:
    moment, zone = _moment(made.args[0], scope), scope.zone

    def read(cells: Cells) -> str:
        when = moment(cells)
        return "" if when is None else _day_of(when, zone).isoformat()

    return Computed(read, "moment")


def _days_between(made: Expression, scope: Scope) -> Computed:
    first, second = (_moment(each, scope) for each in made.args)
    zone = scope.zone

    def read(cells: Cells) -> str:
        start, end = first(cells), second(cells)
        return "" if start is None or end is None else str((_day_of(end, zone) - _day_of(start, zone)).days)

    return Computed(read, "number")


def _date_text(made: Expression, scope: Scope) -> Computed:
    moment, zone, form = _moment(made.args[0], scope), scope.zone, made.option("as")

    def read(cells: Cells) -> str:
        when = moment(cells)
        if isinstance(when, dt.datetime):
            when = when.astimezone(zone)
        return "" if when is None else written(when, form)

    return Computed(read)


_MOMENTS: Final[dict[str, Callable[[Expression, Scope], Computed]]] = {
    "shift": _shift,
    "day": _day,
    "days_between": _days_between,
    "date_text": _date_text,
}
