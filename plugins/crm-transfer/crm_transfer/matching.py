"""Finds the group that another one belongs to: the sale of a refund, by customer, product and time.

What may be found is kept in a temporary file, so that half a million lines take no memory.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import attrs

from crm_transfer.cells import key_text, without_guard
from crm_transfer.columns import Cells
from crm_transfer.errors import BadCell

Offer = tuple[str, int, str]
"""What must agree, when it was in microseconds, and what it gives."""


@attrs.frozen(kw_only=True)
class Finder:
    """A match made ready for a file: who looks, who may be found, and by what."""

    name: str
    looks: Callable[[Cells], bool]
    among: Callable[[Cells], bool]
    same: Sequence[int]
    latest: int
    gives: int
    instant: Callable[[str], int]

    def offered(self, rows: Iterable[Cells]) -> list[Offer]:
        """Return what rows of a group offer to be found by."""
        return [
            (*place, cells[self.gives].strip()) for cells in rows if self.among(cells) for place in self._places(cells)
        ]

    def wanted(self, rows: Iterable[Cells]) -> list[tuple[str, int]]:
        """Return what the rows of a group look for."""
        return [place for cells in rows for place in self._places(cells)]

    def _places(self, cells: Cells) -> Iterator[tuple[str, int]]:
        """Yield what must agree and when, unless a part is missing; a bad time is for the field that reads it."""
        texts = [key_text(without_guard(cells[at].strip())) for at in self.same]
        when = cells[self.latest].strip()
        if when and all(texts):
            try:
                yield "\x1f".join(texts), self.instant(when)
            except BadCell:
                return


class Offers:
    """The temporary file of what may be found."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="crm-import-match-")
        self._db = sqlite3.connect(Path(self._folder.name) / "offers.db", isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "PRAGMA cache_size = -16000",
            "CREATE TABLE offers (finder TEXT, same TEXT, at INTEGER, gives TEXT,"
            " PRIMARY KEY (finder, same, at, gives)) WITHOUT ROWID",
        ):
            self._db.execute(statement)
        self._db.execute("BEGIN")  # never committed: nobody reads the file after this run

    def __enter__(self) -> Offers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        self._folder.cleanup()

    def add(self, finder: str, offers: Iterable[Offer]) -> None:
        """Remember what may be found."""
        self._db.executemany("INSERT OR IGNORE INTO offers VALUES (?, ?, ?, ?)", [(finder, *each) for each in offers])

    def find(self, finder: str, wanted: Iterable[tuple[str, int]]) -> str:
        """Return what most rows find, each the latest that is not later than itself; of equals the latest one."""
        votes: dict[str, tuple[int, int]] = {}
        for same, at in wanted:
            found = self._db.execute(
                "SELECT at, gives FROM offers WHERE finder = ? AND same = ? AND at <= ?"
                " ORDER BY at DESC, gives LIMIT 1",
                (finder, same, at),
            ).fetchone()
            if found is not None:
                count, latest = votes.get(found[1], (0, found[0]))
                votes[found[1]] = count + 1, max(latest, found[0])
        return min(votes, key=lambda gives: (-votes[gives][0], -votes[gives][1], gives), default="")
