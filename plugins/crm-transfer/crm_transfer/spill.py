"""What a run must remember of its rows, kept in a temporary file so that a million of them take no memory.

Keys met so far (to name duplicates), records that point at something that comes later, rejected rows.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from types import TracebackType
from typing import Final

import attrs

from crm_core.errors import CrmError, StorageFull
from crm_core.settings import ScratchFolder
from crm_transfer.ascending import TABLE, Ascending

_REPEATED: Final = 20_000
"""How many keys that repeat are remembered in memory, by scope: a product is asked for in every chunk."""
_SETTLED: Final = 20_000
_SHORT: Final = 300
"""How many contents of rows that repeat are remembered, and how long they may be: a few MB."""


@attrs.frozen
class Waiting:
    """A record of a row that waits for another one.

    `written` says what became of it when it was stored already, without the reference; `status` what of the row so far.
    """

    file: int
    row: int
    record: int
    written: str
    status: str
    cells: tuple[str, ...]


@attrs.frozen
class Made:
    """A record that was written from a row of which another one waits.

    `id` is 0 where the row was unchanged, so that nothing was written now; `before` and `after` are its versions, 0
    that there was none. `counted` is what it counts as among the records of its type.
    """

    file: int
    row: int
    record: int
    counted: str
    id: int
    before: int
    after: int
    cells: tuple[str, ...] = ()

    @property
    def created(self) -> bool:
        """Whether this run created it."""
        return self.id != 0 and self.before == 0

    @property
    def scope(self) -> str:
        """Where the keys of its rows are remembered."""
        return f"{self.file}/{self.record}"


@attrs.frozen
class Rejected:
    """A rejected row and why."""

    file: int
    row: int
    column: str
    value: str
    rule: str
    message: str
    cells: tuple[str, ...]


def _full(folder: Path, error: sqlite3.OperationalError) -> CrmError:
    place = folder.parent
    if error.sqlite_errorname != "SQLITE_FULL" and not error.sqlite_errorname.startswith("SQLITE_IOERR"):
        return CrmError(f"{place}: the temporary file of the import cannot be used: {error}")
    return StorageFull(
        f"{place}: there is no room left for the temporary file of the import",
        hint="free some space there, or name another folder in TMPDIR",
    )


class Spill:
    """The temporary file of one run; when its disk is full the run ends with words, as when the database's is."""

    def __init__(self) -> None:
        """Open an empty file that is gone when it is closed, or when the process dies."""
        self._folder = ScratchFolder("import")
        try:
            self._db = sqlite3.connect(self._folder.path / "rows.db", isolation_level=None)
            self._prepare()
        except sqlite3.OperationalError as problem:
            self._folder.cleanup()
            raise _full(self._folder.path, problem) from problem
        self._round = 0
        self._repeated: dict[str, dict[str, int]] = {}
        self._settled: dict[str, set[str]] = {}
        self._ascending: dict[str, Ascending] = {}
        self._poured: set[str] = set()

    def _prepare(self) -> None:
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "PRAGMA cache_size = -32000",
            "CREATE TABLE seen (scope TEXT, key TEXT, row INTEGER, PRIMARY KEY (scope, key)) WITHOUT ROWID",
            TABLE,
            "CREATE TABLE waiting (seq INTEGER PRIMARY KEY, round INTEGER, file INTEGER, row INTEGER, record INTEGER,"
            " written TEXT, status TEXT, cells TEXT)",
            "CREATE TABLE shared (scope TEXT, key TEXT, row INTEGER, PRIMARY KEY (scope, key, row)) WITHOUT ROWID",
            "CREATE TABLE made (file INTEGER, row INTEGER, record INTEGER, counted TEXT, id INTEGER, before INTEGER,"
            " after INTEGER, stays TEXT, PRIMARY KEY (file, row, record)) WITHOUT ROWID",
            "CREATE TABLE rejected (seq INTEGER PRIMARY KEY, file INTEGER, row INTEGER, name TEXT, value TEXT,"
            " rule TEXT, message TEXT, cells TEXT)",
            "CREATE INDEX rejected_rows ON rejected (file, row)",
        ):
            self._db.execute(statement)
        self._db.execute("BEGIN")  # never committed: nobody reads the file after this run

    def __enter__(self) -> Spill:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        self._folder.cleanup()
        if isinstance(error, sqlite3.OperationalError):  # the storage's own errors are the kernel's by now
            raise _full(self._folder.path, error) from error

    def first_rows(self, scope: str, keys: Sequence[tuple[int, str]]) -> dict[int, int]:
        """Remember (row, key) pairs of a scope; return, by row, the earlier row that had the same key."""
        if scope not in self._poured:
            ascending = self._ascending.setdefault(scope, Ascending(self._db, scope))
            found = ascending.first_rows(keys)
            if found is not None:
                return found
            self._pour(scope)
        repeated = self._repeated.setdefault(scope, {})
        fresh = [(scope, key, row) for row, key in keys if key not in repeated]
        first = {key: repeated[key] for _, key in keys if key in repeated} if len(fresh) < len(keys) else {}
        added = self._db.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", fresh)
        if fresh and added.rowcount != len(fresh):
            asked = {key for _, key, _ in fresh}
            marks = ",".join("?" * len(asked))
            stored = self._db.execute(
                f"SELECT key, row FROM seen WHERE scope = ? AND key IN ({marks})", [scope, *asked]
            )
            first |= stored.fetchall()
            if len(repeated) > _REPEATED:
                repeated.clear()
            repeated |= {key: first[key] for _, key, row in fresh if first[key] != row}
        return {row: first[key] for row, key in keys if first.get(key, row) != row} if first else {}

    def forget(self, scope: str, keys: Sequence[tuple[int, str]]) -> None:
        """Forget (row, key) pairs of a scope: those rows made nothing."""
        if scope in self._ascending and self._ascending[scope].forget(keys):
            return
        self._pour(scope)
        repeated = self._repeated.get(scope, {})
        for row, key in keys:
            if repeated.get(key) == row:
                del repeated[key]
        self._db.executemany(
            "DELETE FROM seen WHERE scope = ? AND key = ? AND row = ?", [(scope, key, row) for row, key in keys]
        )

    def _pour(self, scope: str) -> None:
        """Put keys that came in ascending order where those of any order are."""
        self._poured.add(scope)
        ascending = self._ascending.pop(scope, None)
        if ascending is not None:
            self._db.executemany("INSERT INTO seen VALUES (?, ?, ?)", ascending.pour())
            self._db.execute("DELETE FROM ascending WHERE scope = ?", [scope])

    def settled(self, scope: str) -> Set[str]:
        """Return the contents of rows whose record is there by now: another such row changes nothing."""
        return self._settled.setdefault(scope, set())

    def settle(self, scope: str, contents: Iterable[str]) -> None:
        """Remember contents of rows that were written, or changed nothing; a few thousand of the short ones."""
        known = self._settled.setdefault(scope, set())
        if len(known) < _SETTLED:
            known.update(content for content in contents if len(content) <= _SHORT)

    def wait(self, waiting: Sequence[Waiting]) -> None:
        """Put records off to the next round."""
        self._db.executemany(
            "INSERT INTO waiting (round, file, row, record, written, status, cells) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(self._round, w.file, w.row, w.record, w.written, w.status, json.dumps(w.cells)) for w in waiting],
        )

    def next_round(self) -> int:
        """Begin the next round; return how many records wait for it."""
        found = self._db.execute("SELECT count(*) FROM waiting WHERE round = ?", [self._round]).fetchone()
        self._round += 1
        return int(found[0])

    def waiting(self, limit: int) -> Iterator[list[Waiting]]:
        """Yield what waited for this round, in chunks of one record of one file each."""
        last = 0
        while True:
            rows = self._db.execute(
                "SELECT seq, file, row, record, written, status, cells FROM waiting WHERE round = ? AND seq > ?"
                " ORDER BY seq LIMIT ?",
                [self._round - 1, last, limit],
            ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            chunks: dict[tuple[int, int], list[Waiting]] = {}
            for _, file, row, record, written, status, cells in rows:
                one = Waiting(file, row, record, written, status, tuple(json.loads(cells)))
                chunks.setdefault((file, record), []).append(one)
            for _, chunk in sorted(chunks.items()):
                yield chunk

    # What was written of rows that wait

    def share(self, scope: str, keys: Sequence[tuple[int, str]]) -> None:
        """Remember (row, key) pairs of rows that name a record which an earlier row makes."""
        pairs = [(scope, key, row) for row, key in keys]
        self._db.executemany("INSERT OR IGNORE INTO shared VALUES (?, ?, ?)", pairs)

    def shared(self, scope: str, key: str, file: int) -> bool:
        """Say whether a row that is not rejected names a record besides the one that makes it."""
        found = self._db.execute(
            "SELECT 1 FROM shared s WHERE scope = ? AND key = ? AND NOT EXISTS"
            " (SELECT 1 FROM rejected r WHERE r.file = ? AND r.row = s.row) LIMIT 1",
            [scope, key, file],
        )
        return found.fetchone() is not None

    def names(self, scope: str, key: str, file: int) -> bool:
        """Say whether a row that is not rejected names a record first in its scope."""
        self._pour(scope)
        found = self._db.execute(
            "SELECT 1 FROM seen s WHERE scope = ? AND key = ? AND NOT EXISTS"
            " (SELECT 1 FROM rejected r WHERE r.file = ? AND r.row = s.row)",
            [scope, key, file],
        )
        return found.fetchone() is not None

    def make(self, made: Sequence[Made]) -> None:
        """Remember what was written of rows that wait; of a record written again, only its version is new."""
        self._db.executemany(
            "INSERT INTO made VALUES (?, ?, ?, ?, ?, ?, ?, NULL)"
            " ON CONFLICT (file, row, record) DO UPDATE SET after = excluded.after WHERE excluded.id != 0",
            [(m.file, m.row, m.record, m.counted, m.id, m.before, m.after) for m in made],
        )

    def refuse_made(self, file: int, row: int, record: int) -> None:
        """Remember that a record counts as rejected by now."""
        self._db.execute(
            "UPDATE made SET counted = 'rejected' WHERE file = ? AND row = ? AND record = ?", [file, row, record]
        )

    def made_in_vain(self, limit: int) -> Iterator[list[Made]]:
        """Yield what was written of rows that are rejected now, last rows and last records first."""
        place = (1 << 62, 0, 0)
        while True:
            rows = self._db.execute(
                "SELECT m.file, m.row, m.record, counted, id, before, after, (SELECT cells FROM rejected r WHERE"
                " r.file = m.file AND r.row = m.row LIMIT 1) AS told FROM made m WHERE told IS NOT NULL"
                " AND (m.file, m.row, m.record) < (?, ?, ?) ORDER BY m.file DESC, m.row DESC, m.record DESC LIMIT ?",
                [*place, limit],
            ).fetchall()
            if not rows:
                return
            place = rows[-1][:3]
            yield [
                Made(file, row, record, counted, id_, before, after, tuple(json.loads(cells)))
                for file, row, record, counted, id_, before, after, cells in rows
            ]

    def settle_made(self, made: Made, stays: str | None) -> None:
        """Forget a record that was taken back (None) or need not be (no text); remember why another one stays."""
        where = [made.file, made.row, made.record]
        if stays:
            self._db.execute("UPDATE made SET stays = ? WHERE file = ? AND row = ? AND record = ?", [stays, *where])
        else:
            self._db.execute("DELETE FROM made WHERE file = ? AND row = ? AND record = ?", where)

    def tell_what_stays(self) -> None:
        """Say in the reason of rejected rows which of their records stay, and why."""
        self._db.execute(
            "UPDATE rejected SET message = message || '; ' || (SELECT group_concat(stays, '; ') FROM made m"
            " WHERE m.file = rejected.file AND m.row = rejected.row AND stays IS NOT NULL)"
            " WHERE EXISTS (SELECT 1 FROM made m WHERE m.file = rejected.file AND m.row = rejected.row"
            " AND stays IS NOT NULL)"
        )

    def reject(self, rejected: Sequence[Rejected]) -> None:
        """Keep rejected rows."""
        self._db.executemany(
            "INSERT INTO rejected (file, row, name, value, rule, message, cells) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(r.file, r.row, r.column, r.value, r.rule, r.message, json.dumps(r.cells)) for r in rejected],
        )

    def rejected(self, file: int) -> Iterator[Rejected]:
        """Yield the rejected rows of a file in the order of its lines."""
        rows = self._db.execute(
            "SELECT file, row, name, value, rule, message, cells FROM rejected WHERE file = ? ORDER BY row, seq", [file]
        )
        for at, row, name, value, rule, message, cells in rows:
            yield Rejected(at, row, name, value, rule, message, tuple(json.loads(cells)))
