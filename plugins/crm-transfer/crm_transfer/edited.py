"""Reads the cells of an edited export: which of them a person changed, and what they say now.

A cell counts as changed only where its text is not what the export wrote, and its value is not what the export meant:
a spreadsheet respells dates, numbers and yes or no, drops apostrophes, and cuts long numbers.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Hashable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

import attrs

from crm_core.errors import InvalidValue
from crm_core.records import Record, RecordType
from crm_core.values import Money
from crm_transfer.cells import join_tags, money_of, split_tags, whole, without_guard, written
from crm_transfer.conflicts import same
from crm_transfer.edited_columns import Cells, Column
from crm_transfer.errors import BadCell
from crm_transfer.exporting import csv_cell
from crm_transfer.failed import failure_of
from crm_transfer.mangled import mangling
from crm_transfer.names import plain_id
from crm_transfer.respelt import (
    DAY_FORMS,
    NO_WORDS,
    STYLES,
    YES_WORDS,
    Learnt,
    day_of,
    is_shortened,
    number_of,
    readings,
)

UNTOUCHED: Final = object()
"""What a cell says that nobody changed."""
_EXAMPLE: Final = dt.date(2026, 11, 30)
_WHOLE: Final = re.compile(r"[+-]?[0-9]+")
T = TypeVar("T", bound=Hashable)
_NUMBERS: Final = frozenset({"integer", "decimal", "money"})
_DATES: Final = frozenset({"day", "moment"})


@attrs.frozen
class Mangled:
    """A cell that a spreadsheet program may have changed by itself: what it says, and in words what happened to it."""

    text: str
    how: str


@attrs.define
class Forms:
    """How this file writes dates and numbers, learnt from the cells whose value is known, column by column.

    A column that tells nothing is read as the file as a whole is; what a mapping declares counts alone.
    """

    zone: ZoneInfo
    currency: str
    nested: bool
    declared_dates: str = ""
    declared_numbers: tuple[str, str] | None = None
    shortened: int = 0
    _learnt: dict[tuple[str, str], Learnt] = attrs.field(factory=dict)

    def learn(self, columns: Sequence[Column], cells: Cells, record: Record) -> None:
        """Compare the dates and numbers of a row with what its record says."""
        for column in columns:
            kind, value = column.field.declaration.kind, column.field.of(record)
            text = cells[column.at].strip()
            if value is None or not text or kind not in _DATES | _NUMBERS:
                continue
            for learnt in (self._of(kind, column.field.path), self._of(kind, "")):
                if kind in _DATES:
                    learnt.look(DAY_FORMS, partial(_day, text), _local(value, self.zone).date())
                elif not _WHOLE.fullmatch(text):
                    learnt.look(STYLES, partial(number_of, text), _number(value))

    def dates(self, column: Column) -> Sequence[str]:
        """Return the forms that the dates of a column may have: one, or several equally good."""
        return [self.declared_dates] if self.declared_dates else self._best(column, DAY_FORMS)

    def styles(self, column: Column) -> Sequence[tuple[str, str]]:
        """Return the (decimal, thousands) that the numbers of a column may have."""
        return [self.declared_numbers] if self.declared_numbers else self._best(column, STYLES)

    def _best(self, column: Column, forms: Sequence[T]) -> list[T]:
        kind = column.field.declaration.kind
        mine, whole_file = self._of(kind, column.field.path), self._of(kind, "")
        return (mine if mine.agreed else whole_file).best(forms)

    def _of(self, kind: str, path: str) -> Learnt:
        return self._learnt.setdefault(("date" if kind in _DATES else "number", path), Learnt())


def exported(column: Column, record: Record, *, nested: bool) -> tuple[str, str]:
    """Return what an export writes of a record for a column: its cell, and the one of the currency."""
    field, value = column.field, column.field.of(record)
    if value is None:
        return "", ""
    if isinstance(value, Money):
        return f"{value.amount:f}", value.currency
    kind = field.declaration.kind
    if kind == "reference":
        return (str(field.codec.show(value)) if nested else plain_id(value)), ""
    if nested:
        shown = field.codec.show(value) if kind != "decimal" else str(value)
        if isinstance(shown, list):
            return join_tags(shown, ","), ""
        return ("true" if shown else "false") if isinstance(shown, bool) else str(shown), ""
    shown = value if kind in ("integer", "boolean", "decimal") else field.codec.show(value)
    return str(csv_cell(shown)), ""


class Reader:
    """Reads what the cells of one column say, as one file writes them."""

    def __init__(
        self,
        kind: RecordType,
        forms: Forms,
        resolve: Callable[[Column, str, str], int],
        was_called: Callable[[Column, int, str], bool],
    ) -> None:
        """Take how the file writes.

        `resolve(column, typed, name)` gives the id of the record a cell points at, `was_called(column, id, name)` says
        whether that record had this name before.
        """
        self._kind = kind
        self._was_called = was_called
        self._forms = forms
        self._resolve = resolve

    def read(self, column: Column, cells: Cells, record: Record, label: str | None, *, believed: bool = False) -> Any:
        """Return the new value of a field, `UNTOUCHED`, or a `Mangled` one unless the file is `believed` in any case.

        `label` is what the record it points at is called.

        Raises:
            BadCell: the cell was changed to something that the field cannot be.
        """
        field, kind = column.field, column.field.declaration.kind
        if column.is_left_out(cells):
            return UNTOUCHED
        known = exported(column, record, nested=self._forms.nested)
        if kind == "reference":
            return self._reference(column, cells, record, known[0], label, believed=believed)
        text = cells[column.at]
        currency = known[1] if column.currency_at is None else cells[column.currency_at].strip().upper()
        if _alike(text, known[0]) and currency == known[1]:
            return UNTOUCHED
        value = field.of(record)
        if self._is_respelt(column, text.strip(), value) and currency == known[1]:
            return UNTOUCHED
        if not believed and (how := self._mangled(kind, text, known[0])):
            return Mangled(text.strip(), how)
        found = self.value(column, text, currency)
        return UNTOUCHED if same(found, value) or (found in (None, ()) and value in (None, ())) else found

    def value(self, column: Column, text: str, currency: str = "") -> Any:
        """Return what a changed cell, or one of a new row, says.

        Raises:
            BadCell: the field cannot be that.
        """
        declared = column.field.declaration
        clean = without_guard(text.strip())
        if declared.kind == "tags":
            return split_tags(clean)
        if not clean:
            if declared.required:
                raise BadCell("required", f"is empty, and no {self._kind.name} is without {column.field.path}")
            return None
        if (failure := failure_of(clean)) is not None:
            raise failure
        if declared.kind == "text":
            found: Any = column.field.codec.parse(clean)
        elif declared.kind == "boolean":
            found = _yes_or_no(clean)
        elif declared.kind in _DATES:
            found = self._date(column, clean)
        else:
            found = self._numeric(column, clean, currency or self._forms.currency)
        try:
            column.field.codec.encode(found)
        except InvalidValue as error:
            raise BadCell(error.rule, error.message.partition(": ")[2] or error.message) from error
        return found

    def target(self, column: Column, cells: Cells) -> int | None:
        """Return what the cells of a new row point at."""
        typed = column.typed(cells)
        name = cells[column.label_at].strip() if column.label_at is not None else ""
        if not typed and not name:
            if column.field.declaration.required:
                raise BadCell("required", f"is empty, and no {self._kind.name} is without {column.field.path}")
            return None
        return self._resolve(column, typed, "" if typed else without_guard(name))

    # References

    def _reference(
        self, column: Column, cells: Cells, record: Record, known: str, label: str | None, *, believed: bool
    ) -> Any:
        typed, name = column.typed(cells), None
        if column.label_at is not None:
            told = cells[column.label_at]
            name = None if _alike(told, str(csv_cell(label))) else without_guard(told.strip())
        now = column.field.of(record)
        if name and now is not None and self._was_called(column, now, name):
            name = None
        only_name = column.at == column.label_at
        given = None if only_name or typed.replace("-", "").upper() == known.replace("-", "") else typed
        if given is None and name is None:
            return UNTOUCHED
        if given is None and name and label and not believed and (how := _mangling(name, label)):
            return Mangled(name, how)
        ids = {self._pointed(column, given, "")} if given is not None else set()
        if name is not None:
            ids.add(self._pointed(column, None, name))
        if len(ids) > 1:
            raise BadCell(
                "reference", f"the id and the name {name!r} beside it were both changed, and name different records"
            )
        return ids.pop()

    def _pointed(self, column: Column, typed: str | None, name: str) -> int | None:
        if not (typed or name):
            if column.field.declaration.required:
                raise BadCell("required", f"is empty, and no {self._kind.name} is without {column.field.path}")
            return None
        return self._resolve(column, typed or "", name)

    # Values

    def _is_respelt(self, column: Column, text: str, value: Any) -> bool:
        """Say whether a spreadsheet only spells a value in another way, or has cut it."""
        kind = column.field.declaration.kind
        if value is None or not text:
            return False
        if kind in ("text", "integer") and is_shortened(text, str(value)):
            self._forms.shortened += 1
            return True
        if kind in _DATES:
            shown = _local(value, self._forms.zone)
            found = readings(text, self._forms.dates(column), day_of)
            return bool(found) and all(_agrees(one, shown, text) for one in found)
        if kind in _NUMBERS:
            numbers = readings(text, self._forms.styles(column), number_of)
            return bool(numbers) and all(one == _number(value) for one in numbers)
        return False

    @staticmethod
    def _mangled(kind: str, text: str, known: str) -> str:
        """Say what a spreadsheet program may have made of a cell: also of a number, which it takes for a date too."""
        if kind in _DATES:
            return ""
        if kind in _NUMBERS and "." in known:
            return _mangling(text, known, is_text=False) or _mangling(text, known.rstrip("0"), is_text=False)
        return _mangling(text, known, is_text=kind in ("text", "tags"))

    def _date(self, column: Column, text: str) -> Any:
        kind = column.field.declaration.kind
        found = readings(text, self._forms.dates(column), day_of)
        try:
            exact = dt.datetime.fromisoformat(text) if len(text) > 10 and text[:4].isdecimal() else None
        except ValueError:
            exact = None
        if exact is not None and exact.tzinfo is not None:
            return exact.astimezone(self._forms.zone).date() if kind == "day" else exact.astimezone(dt.UTC)
        if not found:
            example = written(_EXAMPLE, self._forms.dates(column)[0])
            raise BadCell("date", f"is no date of the form that this file writes; write it as {example}")
        if len(set(found)) > 1:
            listed = " or ".join(sorted({one.date().isoformat() for one in found}))
            raise BadCell(
                "date", f'may be {listed}; write it so, or declare the form in a mapping: dates = "%d/%m/%Y" in [file]'
            )
        wall = next(iter(found))
        if kind == "day" or ":" not in text:
            return wall.date()
        aware = wall.replace(tzinfo=self._forms.zone)
        if aware.astimezone(dt.UTC).astimezone(self._forms.zone).replace(tzinfo=None) != wall:
            raise BadCell("time_gap", f"never was in {self._forms.zone.key}: the clocks were put forward over it")
        return aware.astimezone(dt.UTC)

    def _numeric(self, column: Column, text: str, currency: str) -> Any:
        kind = column.field.declaration.kind
        styles = self._forms.styles(column)
        found = readings(text, styles, number_of)
        if not found:
            example = "1234" if kind == "integer" else f"1234{styles[0][0]}50"
            raise BadCell("number", f"is not a number as this file writes them; write it as {example}", value=text)
        if len(found) > 1:
            listed = " or ".join(sorted(f"{one:f}" for one in found))
            raise BadCell(
                "separator",
                f'may be {listed}; write it so, or declare decimal = "," in the [file] of a mapping',
                value=text,
            )
        number: Decimal = next(iter(found))
        if kind == "money":
            return money_of(number, currency)
        return whole(number) if kind == "integer" else number


def _alike(text: str, known: str) -> bool:
    """Say whether a cell is as the export wrote it, or as a spreadsheet leaves it: other line ends, no apostrophe."""
    if text == known:
        return True
    one, other = (each.replace("\r\n", "\n").replace("\r", "\n") for each in (text, known))
    return one == other or without_guard(one) == without_guard(other)


def _mangling(text: str, known: str, *, is_text: bool = True) -> str:
    """Say what a spreadsheet program may have made of what an export wrote, other line ends and guards aside."""
    one, other = (without_guard(each.replace("\r\n", "\n").strip()) for each in (text, known))
    return mangling(one, other, is_text=is_text)


def _local(value: dt.datetime | dt.date, zone: ZoneInfo) -> dt.datetime:
    if isinstance(value, dt.datetime):
        return value.astimezone(zone).replace(tzinfo=None)
    return dt.datetime.combine(value, dt.time())


def _number(value: Money | Decimal | int) -> Decimal:
    return value.amount if isinstance(value, Money) else Decimal(value)


def _day(text: str, form: str) -> dt.date | None:
    found = day_of(text, form)
    return None if found is None else found.date()


def _agrees(found: dt.datetime, value: dt.datetime, text: str) -> bool:
    """Say whether a date, as exactly as it is written, is this one: spreadsheets leave out seconds, or the time."""
    if ":" not in text:
        return found.date() == value.date()
    seconds = text.count(":") > 1
    exact = "." in text.rpartition(":")[2]
    value = value if exact else value.replace(microsecond=0) if seconds else value.replace(second=0, microsecond=0)
    return found == value


def _yes_or_no(text: str) -> bool:
    word = text.casefold()
    if word not in YES_WORDS and word not in NO_WORDS:
        raise BadCell("type", "is neither yes nor no")
    return word in YES_WORDS
