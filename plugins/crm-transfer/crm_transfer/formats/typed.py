"""How a typed cell of a spreadsheet becomes text: in the form in which the mapping then reads that column.

A number cell has no decimal comma and a date cell no order of day and month. Where the mapping declares one for the
texts of the column, the cell is written so; a rejected row can then be written back as text, and reads the same.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import attrs

from crm_transfer.cells import is_timed, written
from crm_transfer.formats.numberformats import Style
from crm_transfer.mapping import RowMapping
from crm_transfer.serial import Epoch, micros_of, moment_of

_DIGITS: Final = 15
"""How many digits a spreadsheet keeps and shows: what follows them in a fraction is noise of its arithmetic."""
_CACHED: Final = 20_000


@attrs.frozen
class Form:
    """How the mapping reads a column: its decimal separator, and the form of its dates; empty where it says nothing."""

    decimal: str = ""
    dates: str = ""


def forms_of(mapping: RowMapping) -> dict[str, Form]:
    """Return the form of each column for which a field declares one, and under the empty name that of the file."""
    file = Form(mapping.form.decimal, mapping.form.dates)
    forms = {"": file}
    for record in mapping.records:
        for field in record.fields:
            if field.decimal is not None or field.format:
                decimal = file.decimal if field.decimal is None else field.decimal
                for part in field.parts:
                    if part.column:
                        forms[part.column] = Form(decimal, field.format or file.dates)
    return forms


def number_writer(form: Form) -> Callable[[str], str]:
    """Return a function from the text of a number in XML to plain digits: 123.0 is 123, 1E-3 is 0.001."""

    def write(text: str) -> str:
        if text.isdecimal() and text.isascii():
            return text
        try:
            number = Decimal(text)
        except InvalidOperation:
            return text
        if not number.is_finite() or abs(number.adjusted()) > 400:
            return text
        if number == number.to_integral_value():
            return f"{number:.0f}" if number else "0"
        if len(number.as_tuple().digits) > _DIGITS:
            number = Decimal(f"{number:.{_DIGITS - 1}e}").normalize()
        plain = f"{number:f}"
        return plain.replace(".", form.decimal) if form.decimal not in ("", ".") else plain

    return _remembering(write)


def time_writer(style: Style, form: Form, *, epoch: Epoch) -> Callable[[str], str]:
    """Return a function from a serial number to a day, a moment, a time of day or a length of time, as text.

    A moment has no zone: it is read in that of the mapping or the workspace.
    """

    def write(text: str) -> str:
        try:
            serial = float(text)
        except ValueError:
            return text
        if style == "elapsed":
            return _clock(micros_of(serial))
        if style == "time" and 0 <= serial < 1:
            return _clock(micros_of(serial))
        moment = moment_of(serial, epoch)
        whole = style == "date" and moment.time() == dt.time()
        if form.dates:
            return written(moment, form.dates) if whole or is_timed(form.dates) else _unfitting(moment, form.dates)
        return moment.date().isoformat() if whole else moment.isoformat(sep=" ")

    return _remembering(write)


def _unfitting(moment: dt.datetime, form: str) -> str:
    """Write a moment in the form of a day where it is a midnight; else as it is, which that form then refuses."""
    return written(moment, form) if moment.time() == dt.time() else moment.isoformat(sep=" ")


def _clock(micros: int) -> str:
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    seconds, rest = divmod(micros, 1_000_000)
    fraction = f".{rest:06}" if rest else ""
    return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{fraction}"


def _remembering(write: Callable[[str], str]) -> Callable[[str], str]:
    known: dict[str, str] = {}

    def remembered(text: str) -> str:
        found = known.get(text)
        if found is None:
            found = write(text)
            if len(known) < _CACHED:
                known[text] = found
        return found

    return remembered


def forms_in(options: Mapping[str, Any]) -> Mapping[str, Form]:
    """Return the forms among the options of a file: none when nobody asked for a mapping yet."""
    found: Mapping[str, Form] = options.get("forms", {})
    return found
