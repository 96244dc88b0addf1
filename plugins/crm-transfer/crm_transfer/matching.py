"""Finds the group that another one belongs to: the sale of a refund, by customer, product and time.

What may be found is kept in a temporary file, so that half a million lines take no memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Final, Protocol

import attrs

from crm_core.settings import ScratchFolder
from crm_transfer.cells import keys_of_column
from crm_transfer.columns import Cells
from crm_transfer.errors import BadCell

Offer = tuple[str, int, str]
"""What must agree, when it was in microseconds, and what it gives."""
Wanted = tuple[str, int]
"""What must agree, and how late it may be."""
Found = tuple[int, str]
"""When it was, and what it gives."""
SEPARATOR: Final = "\x1f"
"""Between the texts that must agree."""
_AT_ONCE: Final = 5_000
"""Offers that are in memory before they are stored."""


@attrs.frozen(kw_only=True)
class Finder:
    """A match made ready for a file: who looks, who may be found, and by what.

    `asked` are the columns that say who may be found, by name and by place.
    """

    name: str
    looks: Callable[[Cells], bool]
    among: Callable[[Cells], bool]
    same: Sequence[int]
    latest: int
    gives: int
    instant: Callable[[str], int]
    asked: Mapping[str, int] = attrs.field(factory=dict)
    _key_of: Callable[[str], str] = attrs.field(factory=keys_of_column, init=False)

    def offered(self, rows: Iterable[Cells]) -> list[Offer]:
        """Return what rows of a group offer to be found by."""
        among, place_of, gives, key_of = self.among, self._place, self.gives, self._key_of
        places = ((place_of(cells), cells) for cells in rows if among(cells))
        return [(*place, key_of(cells[gives])) for place, cells in places if place is not None]

    def wanted(self, rows: Iterable[Cells]) -> list[Wanted]:
        """Return what the rows of a group look for."""
        return [place for cells in rows if (place := self._place(cells)) is not None]

    def _place(self, cells: Cells) -> Wanted | None:
        """Return what must agree and when, None where a part is missing; a bad time is for the field that reads it."""
        when, key_of = cells[self.latest].strip(), self._key_of
        texts = [key_of(cells[at]) for at in self.same]
        if not when or not all(texts):
            return None
        try:
            return SEPARATOR.join(texts), self.instant(when)
        except BadCell:
            return None


class Search(Protocol):
    """Looks for what a match wants where the file does not have it."""

    def any(self) -> bool:
        """Say whether there is anything to be found."""

    def find(self, wanted: Sequence[Wanted], in_file: Callable[[str], bool]) -> Mapping[Wanted, Found]:
        """Return what is found, by what was wanted."""


class Offers:
    """The temporary file of what may be found."""

    def __init__(self) -> None:
        self._folder = ScratchFolder("import-match")
        self._db = sqlite3.connect(self._folder.path / "offers.db", isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "PRAGMA cache_size = -16000",
            "CREATE TABLE offers (finder TEXT, same TEXT, at INTEGER, gives TEXT,"
            " PRIMARY KEY (finder, same, at, gives)) WITHOUT ROWID",
            "CREATE TABLE given (finder TEXT, gives TEXT, PRIMARY KEY (finder, gives)) WITHOUT ROWID",
        ):
            self._db.execute(statement)
        self._added: list[tuple[str, str, int, str]] = []
        self._db.execute("BEGIN")  # never committed: nobody reads the file after this run

    def __enter__(self) -> Offers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        self._folder.cleanup()

    def add(self, finder: str, offers: Sequence[Offer], *, named: bool = False) -> None:
        """Remember what may be found; `named`, so that `has` knows it."""
        self._added += [(finder, *each) for each in offers]
        if len(self._added) >= _AT_ONCE:
            self._store()
        if not named:
            return
        given = {gives for _, _, gives in offers}
        self._db.executemany("INSERT OR IGNORE INTO given VALUES (?, ?)", [(finder, gives) for gives in given])

    def _store(self) -> None:
        """Put what was added into the file, in the order of its index: that takes a fraction of the time."""
        self._db.executemany("INSERT OR IGNORE INTO offers VALUES (?, ?, ?, ?)", sorted(self._added))
        self._added.clear()

    def has(self, finder: str, gives: str) -> bool:
        """Say whether a row of the file offers this."""
        found = self._db.execute("SELECT 1 FROM given WHERE finder = ? AND gives = ?", (finder, gives))
        return found.fetchone() is not None

    def find(self, finder: str, wanted: Iterable[Wanted], earlier: Mapping[Wanted, Found]) -> str:
        """Return what most rows find, each the latest that is not later than itself; of equals the latest one.

        `earlier` is what they find of what is no longer in the file.
        """
        if self._added:
            self._store()
        votes: dict[str, tuple[int, int]] = {}
        for same, at in wanted:
            here: Found | None = self._db.execute(
                "SELECT at, gives FROM offers WHERE finder = ? AND same = ? AND at <= ?"
                " ORDER BY at DESC, gives LIMIT 1",
                (finder, same, at),
            ).fetchone()
            both = [each for each in (here, earlier.get((same, at))) if each is not None]
            if both:
                latest, gives = min(both, key=lambda each: (-each[0], each[1]))
                count, last = votes.get(gives, (0, latest))
                votes[gives] = count + 1, max(last, latest)
        return min(votes, key=lambda gives: (-votes[gives][0], -votes[gives][1], gives), default="")
