"""The columns that a mapping may name: those of the file, and those that the mapping computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from crm_core.values import text_key
from crm_transfer.errors import MappingError
from crm_transfer.report import listed

Cells = Sequence[str]
Kind = Literal["text", "number", "moment"]
"""What the cells of a column are: as the file writes them, or computed as `1234.5` or in ISO 8601."""


class Columns:
    """The columns of a file by name, remembering which were asked for."""

    def __init__(self, names: Sequence[str], file: str) -> None:
        """Take the names in the order of a row's cells."""
        self._at = {name: index for index, name in enumerate(names)}
        self._alike: dict[str, list[str]] = {}
        for name in names:
            self._alike.setdefault(text_key(name), []).append(name)
        self._file = file
        self._kinds: dict[int, Kind] = {}
        self.used: set[int] = set()
        self.taken: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._at)

    def index(self, name: str, place: str) -> int:
        """Return where a row has this column; one that differs in case or invisible marks alone is `taken` for it.

        Raises:
            MappingError: there is no such column.
        """
        found = self._at.get(name)
        alike = self._alike.get(text_key(name), []) if found is None else []
        if len(alike) == 1:
            found, self.taken[name] = self._at[alike[0]], alike[0]
        if found is None:
            raise MappingError(
                f"{place}: {self._file} has no column {name!r}",
                hint=f"its columns: {listed(self._at)}; a header below titles is declared, [file] header = 4, and "
                "a file without one needs [file] columns = [...]",
            )
        self.used.add(found)
        return found

    def kind_of(self, index: int) -> Kind:
        """Return what the cells of a column are."""
        return self._kinds.get(index, "text")

    def digested(self, index: int) -> int:
        """Return the place that stands for this one in a digest of the row."""
        return index

    def add(self, name: str, kind: Kind, place: str) -> int:
        """Add a computed column behind the others and return where rows have it.

        Raises:
            MappingError: there is a column of that name.
        """
        if name in self._at:
            raise MappingError(
                f"{place}: there is a column {name!r} already", hint="give the computed one another name"
            )
        self._at[name] = len(self._at)
        self._kinds[self._at[name]] = kind
        return self._at[name]

    def names(self, indexes: set[int]) -> tuple[str, ...]:
        """Return the names of columns by index."""
        return tuple(name for name, index in self._at.items() if index in indexes)

    def reader(self, name: str, place: str) -> Callable[[Cells], str]:
        """Return a function from a row's cells to the trimmed text of a column."""
        at = self.index(name, place)
        return lambda cells: cells[at].strip()
