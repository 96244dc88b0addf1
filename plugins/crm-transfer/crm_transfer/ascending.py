"""Keys of a file that come in ascending order, as most exports are sorted: none of them can have come before.

Such keys need no index. They are put away batch by batch, for the case that one comes out of order after all.
"""

from __future__ import annotations

import marshal
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

_MOST: Final = 20_000
"""Keys of which the latest are known by name: some chunks, since one that is done again brings its keys again."""

TABLE: Final = "CREATE TABLE ascending (seq INTEGER PRIMARY KEY, scope TEXT, keys BLOB)"


class Ascending:
    """The keys of one scope, as long as each batch lies behind all those before the latest one."""

    def __init__(self, db: sqlite3.Connection, scope: str) -> None:
        """Put keys away in a database that has the table."""
        self._db = db
        self._scope = scope
        self._before = ""
        self._last = ""
        self._latest: dict[str, int] = {}

    def first_rows(self, keys: Sequence[tuple[int, str]]) -> dict[int, int] | None:
        """Remember (row, key) pairs; return, by row, the earlier row with that key. None: they are out of order."""
        if not keys:
            return {}
        texts = [key for _, key in keys]
        lowest = min(texts)
        if lowest > self._last:
            self._put_away()
        elif lowest <= self._before or len(self._latest) > _MOST:
            return None
        latest = self._latest
        first = {row: latest.setdefault(key, row) for row, key in keys}
        self._last = max(self._last, max(texts))
        return {row: other for row, other in first.items() if other != row}

    def forget(self, keys: Sequence[tuple[int, str]]) -> bool:
        """Forget (row, key) pairs; False where one of them was put away, so that nothing was done."""
        if any(key <= self._before for _, key in keys):
            return False
        for row, key in keys:
            if self._latest.get(key) == row:
                del self._latest[key]
        return True

    def pour(self) -> Iterator[tuple[str, str, int]]:
        """Yield (scope, key, row) of all keys: they are remembered elsewhere from now on."""
        batches = self._db.execute("SELECT keys FROM ascending WHERE scope = ? ORDER BY seq", [self._scope])
        for (packed,) in batches:
            for key, row in marshal.loads(packed):
                yield self._scope, key, row
        for key, row in self._latest.items():
            yield self._scope, key, row

    def _put_away(self) -> None:
        if self._latest:
            packed = marshal.dumps(list(self._latest.items()))
            self._db.execute("INSERT INTO ascending (scope, keys) VALUES (?, ?)", [self._scope, packed])
        self._before, self._latest = self._last, {}
