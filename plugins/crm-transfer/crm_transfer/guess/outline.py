"""Sheets whose rows stand below the name of their group, with a sum behind each, as accounting programs print them."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from crm_core.extend import BadRow, SourceRow
from crm_transfer.guess.asides import says_sum
from crm_transfer.guess.words import tokens
from crm_transfer.toml import quoted


@attrs.frozen(kw_only=True)
class Outline:
    """The column of the names of groups, one that every record has, and the rows that are none, by number."""

    column: str = ""
    places: tuple[int, ...] = ()
    mark: str = ""
    others: frozenset[int] = frozenset()
    example: str = ""

    def filled(self) -> list[str]:
        """Return the line of `[file]` that gives each record the name of its group; none where there are no groups."""
        said = f"fill_down = [{quoted(self.column)}]  # high: the name of a group stands above its rows"
        return [said] if self.column else []

    def left_out(self) -> list[str]:
        """Return the rule that leaves out the rows that are no records."""
        if not self.column:
            return []
        when = f"when = {{ column = {quoted(self.mark)}, given = false }}"
        return ["", "[[rule]]", 'name = "groups"', when, "skip = true  # high: names of groups, and their sums"]

    def questions(self) -> list[str]:
        """Say what was taken for what."""
        if not self.column:
            return []
        return [f"the rows stand in groups, such as {self.example[:80]!r}: {quoted(self.column)} names that of each"]


def find_outline(names: Sequence[str], rows: Sequence[SourceRow | BadRow]) -> Outline:
    """Find the names of groups, which stand alone in the first column above records that leave it empty.

    >>> cells = [["Ann", "", ""], ["", "1", "5"], ["", "2", "6"], ["Total for Ann", "", "11"]]
    >>> found = find_outline(["", "No", "Sum"], [SourceRow(at, row) for at, row in enumerate(cells, 2)])
    >>> found.mark, sorted(found.others)
    ('No', [2, 5])
    """
    good = [row for row in rows if isinstance(row, SourceRow) and any(map(str.strip, row.cells))]
    records = [row for row in good if not row.cells[0].strip()]
    others = [row for row in good if row.cells[0].strip()]
    alone = [row for row in others if not any(map(str.strip, row.cells[1:]))]
    if len(records) < 2 or not alone or alone[0] is not good[0] or len(alone) > len(records):
        return Outline()
    if any(row not in alone and not says_sum(tokens(row.cells[0])) for row in others):
        return Outline()
    marks = (
        at
        for at in range(1, len(names))
        if all(row.cells[at].strip() for row in records) and not any(row.cells[at].strip() for row in others)
    )
    mark = next(marks, None)
    if mark is None:
        return Outline()
    numbers = frozenset(row.number for row in others)
    return Outline(column=names[0], places=(0,), mark=names[mark], others=numbers, example=alone[0].cells[0].strip())
