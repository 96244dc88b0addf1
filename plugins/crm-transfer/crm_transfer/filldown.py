"""Rows that go on with the one above: a program wrote what they share once, and left it empty below.

Odoo exports the lines of an order so, and a report whose cells are merged downwards looks the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import attrs

from crm_core.extend import BadRow, Source, SourceRow
from crm_transfer.errors import MappingError
from crm_transfer.report import listed

RULE = "fill_down"


def filled_down(source: Source, names: Sequence[str], file: str) -> Source:
    """Return a source whose rows have the cells of these columns from the row above where all of them are empty.

    Raises:
        MappingError: there is no such column.
    """
    missing = next((name for name in names if name not in source.columns), None)
    if missing is not None:
        raise MappingError(
            f"[file] fill_down: {file} has no column {missing!r}", hint=f"its columns: {listed(source.columns)}"
        )
    return attrs.evolve(source, rows=fill(source.rows, [source.columns.index(name) for name in names]))


def fill(rows: Iterable[SourceRow | BadRow], places: Sequence[int]) -> Iterator[SourceRow | BadRow]:
    """Yield rows with the cells that they share with the one above; one that goes on with a bad row is bad, too."""
    above: SourceRow | BadRow | None = None
    for row in rows:
        if not places or any(place < len(row.cells) and row.cells[place].strip() for place in places):
            above = row
            yield row
        elif isinstance(row, BadRow) or above is None:
            yield row
        elif isinstance(above, BadRow):
            message = f"it goes on with row {above.number}, which was rejected; correct that one, and bring both"
            yield BadRow(row.number, row.cells, RULE, message)
        else:
            cells = list(row.cells)
            for place in places:
                cells[place] = above.cells[place]
            yield SourceRow(row.number, cells)
