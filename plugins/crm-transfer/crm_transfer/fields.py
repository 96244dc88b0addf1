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
    refuse_broken,
    split_tags,
    whole,
)
from crm_transfer.currencies import is_currency, of_currency
from crm_transfer.errors import BadCell
from crm_transfer.mapping import FieldMap, FileForm

Cells = Sequence[str]
Text = Callable[[Cells], str]
Value = Callable[[Cells], Any]
_EXACT: Final = Context(prec=MAX_PREC)
"""No digit is rounded away before it is seen; shifting the point takes no memory for the precision."""


@attrs.frozen(kw_only=True)
class Reading:
    """All that says how a field is read: its mapping, its declaration, the file's form, zone and currency."""

    field: FieldMap
    declared: Field
    form: FileForm
    zone: ZoneInfo
    currency: Callable[[Cells], str]

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
        if value[0] == "#":
            refuse_broken(value)
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
    known: set[str] = set()

    def read(cells: Cells) -> Any:
        value = text(cells)
        if not value:
            return None
        code = currency(cells)
        if code not in known:
            _refuse_currency(code, column)
            known.add(code)
        plain = value if value[0].isdecimal() and value[-1].isdecimal() else of_currency(value, code)
        return money_of(number(plain), code)

    return read


def _refuse_currency(code: str, column: str) -> None:
    if not code:
        raise BadCell("required", "is empty, so the amount has no currency; fill it in", column=column)
    if not is_currency(code):
        message = "is no currency; use a code of ISO 4217, such as EUR, USD or IRR"
        raise BadCell("currency", message, column=column, value=code)


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
