"""Reads the values of a record of many rows at once, column by column.

Apart from the readers of single cells, because a million rows go through here: most cells say what an earlier cell of
their column said, and looking up a column of them is one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from operator import itemgetter
from types import NoneType
from typing import Any, Final

import attrs

from crm_transfer.columns import Cells
from crm_transfer.errors import BadCell

OWN: Final = "fields"
_REMEMBERED: Final = 10_000
_SHORT: Final = 40
"""How many values of a column are remembered, and how long their cells may be: at most a few MB a column."""

ValuesReader = Callable[[Sequence[Cells]], list[dict[str, Any] | BadCell]]
"""From the cells of rows to the values of each, by field, or what is wrong with it."""
Rule = Callable[[dict[str, Any]], None]
"""Refuses values that do not fit each other by `BadCell`, whose column is the name of a field."""


@attrs.frozen(kw_only=True)
class FieldValue:
    """A field of a record: how its value is read from a row's cells, and whether there must be one.

    `alone` is the place of the cell that the value depends on, None where it is not one cell; `group` is empty for a
    field of the record itself.
    """

    group: str
    name: str
    read: Callable[[Cells], Any]
    alone: int | None
    required: bool
    nullable: bool
    column: str
    text: Callable[[Cells], str]
    _known: dict[str, Any] = attrs.field(factory=dict, init=False)

    def of(self, rows: Sequence[Cells], faults: dict[int, BadCell]) -> list[Any]:
        """Return the value of each row, None where there is none; what is wrong with rows is added to `faults`."""
        if self.alone is None:
            return [self._read(at, cells, faults) for at, cells in enumerate(rows)]
        texts, known = list(map(itemgetter(self.alone), rows)), self._known
        try:
            return list(map(known.__getitem__, texts))
        except KeyError:
            self._learn(rows, texts)
        return [known[text] if text in known else self._read(at, rows[at], faults) for at, text in enumerate(texts)]

    def _learn(self, rows: Sequence[Cells], texts: Sequence[str]) -> None:
        """Remember what cells say, as long as there is room; those that cannot be read are not remembered."""
        known, room = self._known, _REMEMBERED - len(self._known)
        fresh = {text: cells for text, cells in zip(texts, rows, strict=True) if text not in known} if room > 0 else {}
        for text, cells in islice(fresh.items(), room):
            if len(text) <= _SHORT:
                try:
                    known[text] = self.read(cells)
                except BadCell:  # told of each row in a moment
                    continue

    def _read(self, at: int, cells: Cells, faults: dict[int, BadCell]) -> Any:
        if at in faults:  # what comes first is told, and nothing behind it is counted
            return None
        try:
            return self.read(cells)
        except BadCell as bad:
            faults[at] = bad.at(self.column, self.text(cells) if bad.rule not in ("required", "value_map") else "")
            return None


def values_reader(fields: Sequence[FieldValue], kind: str, rule: Rule | None) -> ValuesReader:
    """Return the reader of the fields of a record of this kind, whose values must agree on what `rule` says."""
    own, grouped = [one for one in fields if not one.group], [one for one in fields if one.group]
    names = [one.name for one in own]
    columns = {one.name: one.column for one in fields}

    def read_all(rows: Sequence[Cells]) -> list[dict[str, Any] | BadCell]:
        faults: dict[int, BadCell] = {}
        left_out: list[tuple[int, str]] = []
        found: list[list[Any]] = []
        for one in own:
            values = one.of(rows, faults)
            found.append(values)
            if not one.nullable and NoneType in set(map(type, values)):
                empty = [at for at, value in enumerate(values) if value is None and at not in faults]
                left_out += [(at, one.name) for at in empty]
                for at in empty if one.required else ():
                    message = f"is empty, and no {kind} is without {one.name}; fill it in"
                    faults[at] = BadCell("required", message, column=one.column)
        made = [dict(zip(names, values, strict=True)) for values in zip(*found, strict=True)] or [{} for _ in rows]
        for at, name in left_out:
            del made[at][name]
        for one in grouped:
            for values_of_row, value in zip(made, one.of(rows, faults), strict=True):
                group = values_of_row.setdefault(one.group, {}) if one.group == OWN else _extension(values_of_row, one)
                group[one.name] = value
        if rule is not None:
            _check(made, rule, columns, faults)
        return [faults.get(at, values) for at, values in enumerate(made)] if faults else [*made]

    return read_all


def _extension(values: dict[str, Any], field: FieldValue) -> dict[str, Any]:
    found: dict[str, Any] = values.setdefault("extensions", {}).setdefault(field.group, {})
    return found


def _check(made: Sequence[dict[str, Any]], rule: Rule, columns: dict[str, str], faults: dict[int, BadCell]) -> None:
    for at, values in enumerate(made):
        if at in faults:
            continue
        try:
            rule(values)
        except BadCell as bad:
            faults[at] = BadCell(bad.rule, bad.message, column=columns.get(bad.column, ""), value=bad.value)
