"""How the text of a cell becomes the value of a field, by the field's kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import MAX_PREC, Context, Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

import attrs

from crm_core.errors import InvalidValue
from crm_core.records.registry import Field
from crm_transfer.cells import (
    Number,
    day_reader,
    moment_reader,
    money_of,
    number_reader,
    split_tags,
    whole,
)
from crm_transfer.currencies import Unit, amount_in, currencies_of, unit_named
from crm_transfer.errors import BadCell
from crm_transfer.failed import failure_of
from crm_transfer.fieldmaps import FieldMap
from crm_transfer.mapping import FileForm

Cells = Sequence[str]
Text = Callable[[Cells], str]
Value = Callable[[Cells], Any]
_EXACT: Final = Context(prec=MAX_PREC)
"""No digit is rounded away before it is seen; shifting the point takes no memory for the precision."""


@attrs.frozen(kw_only=True)
class Reading:
    """All that says how a field is read: its mapping, its declaration, the file's form, zone and currency.

    `tomans` are the columns whose amounts are in tomans, which has to be told.
    """

    field: FieldMap
    declared: Field
    form: FileForm
    zone: ZoneInfo
    currency: Callable[[Cells], str]
    tomans: set[str] = attrs.field(factory=set)

    @property
    def number(self) -> Number:
        """The reader of numbers as this file writes them."""
        decimal = self.form.decimal if self.field.decimal is None else self.field.decimal
        thousands = self.form.thousands if self.field.thousands is None else self.field.thousands
        return number_reader(decimal, thousands)

    @property
    def dates(self) -> str:
        """The form of dates, empty for ISO 8601."""
        return self.field.format or self.form.dates


def field_reader(reading: Reading, text: Text) -> Value:
    """Return a function from a row's cells to the value, None when the cell is empty. It raises `BadCell`."""
    return _READERS[reading.declared.declaration.kind](reading, text)


def _text(reading: Reading, text: Text) -> Value:
    declared = reading.declared.declaration
    limit = declared.max_length or 2**62
    choices = {choice.casefold(): choice for choice in declared.choices}

    def chosen(cells: Cells) -> str | None:
        value = text(cells)
        if not value:
            return None
        found = choices.get(value.casefold())
        if found is None:
            raise BadCell("choices", f"is not one of: {', '.join(declared.choices)}; a value map can translate it")
        return found

    def plain(cells: Cells) -> str | None:
        value = text(cells)
        if not value:
            return None
        if len(value) > limit:
            raise BadCell("max_length", f"is {len(value):,} characters long; at most {limit:,} are allowed; shorten it")
        if value[0] in "#E" and (failure := failure_of(value)) is not None:  # nobody is called #REF!
            raise failure
        if not value.isascii():
            _refuse_surrogates(value)
        return value

    return chosen if choices else plain


def _refuse_surrogates(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadCell("unicode", "has a lone surrogate, which is no character; take it out") from error


def _integer(reading: Reading, text: Text) -> Value:
    number = reading.number

    def read(cells: Cells) -> int | None:
        value = text(cells)
        return whole(number(value)) if value else None

    return read


def _decimal(reading: Reading, text: Text) -> Value:
    number, scale = reading.number, reading.declared.declaration.scale

    def read(cells: Cells) -> Decimal | None:
        value = text(cells)
        if not value:
            return None
        found = number(value)
        scaled = found.scaleb(scale, _EXACT)
        if scaled != scaled.to_integral_value():
            raise BadCell("scale", f"is finer than {scale} digits after the point; round it")
        whole(scaled)
        return found

    return read


def _boolean(reading: Reading, text: Text) -> Value:
    parse = reading.declared.codec.parse

    def read(cells: Cells) -> bool | None:
        value = text(cells)
        if not value:
            return None
        try:
            return bool(parse(value))
        except InvalidValue as error:
            raise BadCell(error.rule, "is neither yes nor no; a value map can translate it") from error

    return read


def _moment(reading: Reading, text: Text) -> Value:
    moment = moment_reader(reading.dates, reading.zone)

    def read(cells: Cells) -> Any:
        value = text(cells)
        return moment(value) if value else None

    return read


def _day(reading: Reading, text: Text) -> Value:
    day = day_reader(reading.dates, reading.zone)

    def read(cells: Cells) -> Any:
        value = text(cells)
        return day(value) if value else None

    return read


def _money(reading: Reading, text: Text) -> Value:
    number, currency, column = reading.number, reading.currency, reading.field.currency_column
    units: dict[str, Unit] = {}
    name = next(iter(reading.field.columns), reading.field.path)

    def read(cells: Cells) -> Any:
        value = text(cells)
        if not value:
            return None
        said = currency(cells)
        unit = units.get(said)
        if unit is None:
            unit = units[said] = _unit(said, column)
        plain, factor = value, unit.factor
        if not (value[0].isdecimal() and value[-1].isdecimal()):
            plain, factor = amount_in(value, unit)
        if factor == 1:
            return money_of(number(plain), unit.currency)
        reading.tomans.add(name)
        return money_of(_EXACT.multiply(number(plain), factor), unit.currency)

    return read


def _unit(said: str, column: str) -> Unit:
    if not said:
        raise BadCell("required", "is empty, so the amount has no currency; fill it in", column=column)
    unit = unit_named(said)
    if unit is None:
        meant = currencies_of(said)
        message = f"may be {', '.join(meant)}; write the code" if meant else "is no currency; use a code of ISO 4217"
        raise BadCell("currency", f"{message}, such as EUR, USD or IRR", column=column, value=said)
    return unit


def _tags(reading: Reading, text: Text) -> Value:
    separator = reading.field.separator

    def read(cells: Cells) -> tuple[str, ...]:
        return split_tags(text(cells), separator)

    return read


def _reference(reading: Reading, text: Text) -> Value:
    raise AssertionError("references are resolved by the run, not read from one cell")


_READERS: Final[dict[str, Callable[[Reading, Text], Value]]] = {
    "text": _text,
    "integer": _integer,
    "boolean": _boolean,
    "decimal": _decimal,
    "day": _day,
    "moment": _moment,
    "money": _money,
    "tags": _tags,
    "reference": _reference,
}
