"""Computes the columns that a mapping adds to those of a file, for many rows at once.

Apart from the expressions, which read one row: most cells say what an earlier row said, and looking up what was
computed of them is one call for all rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final

import attrs

from crm_transfer.columns import Cells
from crm_transfer.errors import BadCell

_REMEMBERED: Final = 10_000
_SHORT: Final = 200
"""How many values of a computed column are remembered, and how long what they depend on may be: a few MB a column."""


@attrs.frozen
class ComputedColumn:
    """A column that is not in the file: `read` computes its cell of a row, from those at `places`."""

    read: Callable[[Cells], str]
    places: Sequence[int]
    _known: dict[Any, str] = attrs.field(factory=dict, init=False)

    def fill(self, rows: Sequence[list[str]], faults: dict[int, BadCell]) -> None:
        """Put the cell of each row behind its others, an empty one where it cannot be computed.

        What is wrong with rows is added to `faults`, unless something is wrong with them already.
        """
        found = self._found(rows, faults)
        deque(map(list.append, rows, found), maxlen=0)

    def _found(self, rows: Sequence[list[str]], faults: dict[int, BadCell]) -> list[str]:
        if not self.places:
            return [self._read(at, cells, faults) for at, cells in enumerate(rows)]
        known, told = self._known, list(map(itemgetter(*self.places), rows))
        try:
            return list(map(known.__getitem__, told))
        except KeyError:
            return [
                known[said] if said in known else self._learn(at, rows[at], said, faults)
                for at, said in enumerate(told)
            ]

    def _learn(self, at: int, cells: list[str], said: Any, faults: dict[int, BadCell]) -> str:
        """Compute a cell and remember it as long as there is room; what cannot be computed is not remembered."""
        try:
            text = self.read(cells)
        except BadCell as bad:
            faults.setdefault(at, bad)
            return ""
        if len(self._known) < _REMEMBERED and sum(len(cells[place]) for place in self.places) <= _SHORT:
            self._known[said] = text
        return text

    def _read(self, at: int, cells: list[str], faults: dict[int, BadCell]) -> str:
        try:
            return self.read(cells)
        except BadCell as bad:
            faults.setdefault(at, bad)
            return ""
