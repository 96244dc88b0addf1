"""Rows with cells that are no values: formulas that failed or were never calculated, days that never were.

Such a row is refused only where somebody reads the cell: a broken helper column that no mapping names costs no row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import attrs

from crm_core.extend import BadRow, SourceRow
from crm_transfer.errors import BadCell
from crm_transfer.expressions import Expression
from crm_transfer.failed import is_failed
from crm_transfer.mapping import RowMapping


@attrs.frozen
class DoubtfulRow(BadRow):
    """A row with cells that are no values: `faults` says what is wrong with each, by its place in the row."""

    faults: tuple[tuple[int, BadCell], ...] = ()


def doubtful(number: int, cells: list[str], faults: Collection[tuple[int, BadCell]]) -> DoubtfulRow:
    """Return the row of these faults, of which the first one is told."""
    first = next(iter(faults))[1]
    return DoubtfulRow(number, cells, first.rule, first.message, first.column, first.value[:80], tuple(faults))


def refused(
    rows: Iterable[SourceRow | BadRow], read: Collection[int], nothing: Collection[str] = ()
) -> Iterator[SourceRow | BadRow]:
    """Yield rows; one with doubtful cells is refused for those in the places that are `read`, else taken.

    Texts of `nothing` are known to the mapping, which says what becomes of them.
    """
    for row in rows:
        if isinstance(row, DoubtfulRow):
            cells = row.cells
            left = [(at, bad) for at, bad in row.faults if at in read and cells[at] not in nothing]
            yield doubtful(row.number, list(cells), left) if left else SourceRow(row.number, cells)
        else:
            yield row


def only_failed(row: SourceRow | BadRow) -> bool:
    """Say whether a row is refused for nothing but formulas without a value, if anybody reads them."""
    return isinstance(row, DoubtfulRow) and all(is_failed(row.cells[at]) for at, _ in row.faults)


def known_texts(mapping: RowMapping) -> frozenset[str]:
    """Return the texts of which a mapping says what they mean: nothing, or something else."""
    found = set(mapping.form.null_if)
    made = [each for _, each in mapping.computed]
    for record in mapping.records:
        for field in record.fields:
            found |= {*field.null_if, *field.values, *field.corrections}
            made += [] if field.value is None else [field.value]
    for each in made:
        found |= _nothing_in(each)
    return frozenset(found)


def _nothing_in(made: Expression) -> set[str]:
    found = set(made.option("is", ()))
    for each in (*made.args, *(value for _, value in made.options if isinstance(value, Expression))):
        found |= _nothing_in(each)
    return found
