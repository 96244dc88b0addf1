"""Keeping the search indexes of an SQLite file true: a few changed records at their commit, many of them later.

Making a document costs about as much as inserting its record. So a bulk write only notes whose documents are to be
made. The searches that come next make up for it, each for a moment; until then records are searched by reading.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

from crm_core.extend import Update
from crm_core.query.search import Searched, SearchedText, searched_in
from crm_core.records.schema import Manifest, Row
from crm_storage_sql.dialect import quote
from crm_storage_sql.places import renew_documents
from crm_storage_sql.room import Session
from crm_storage_sql.session import SqliteSession
from crm_storage_sql.trigram import DEFINITIONS, WAITING, TrigramIndex, has_fts5, index_of

_AT_ONCE: Final = 50
"""Records of one transaction whose documents are made at its commit."""
_CHUNK: Final = 5_000
"""Records whose documents are made in one transaction when many wait: a twentieth of a second."""
_ROWS: Final = 4_000
"""Notes that are put together at once, so that a record that was noted with its parts gets its document once."""
_DEFINED: Final = f"SELECT name, searched FROM {DEFINITIONS} ORDER BY name"


def synchronise(connection: sqlite3.Connection, manifest: Manifest) -> None:
    """Create, within a change of the schema, the indexes that the manifest asks for, and remove all others."""
    wanted = {name: TrigramIndex(searched) for name, searched in searched_in(manifest.tables).items()}
    if not has_fts5(connection):
        return
    connection.execute(f"CREATE TABLE IF NOT EXISTS {DEFINITIONS} (name TEXT PRIMARY KEY, searched TEXT) STRICT")
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {WAITING} (id INTEGER PRIMARY KEY, name TEXT NOT NULL, ids BLOB NOT NULL) STRICT"
    )
    there = dict(connection.execute(f"SELECT name, searched FROM {DEFINITIONS}").fetchall())
    for name, definition in there.items():
        if name not in wanted or wanted[name].definition != definition:
            TrigramIndex(Searched(name, ())).drop(connection)
    for name, index in wanted.items():
        if there.get(name) != index.definition:
            index.create(connection)


class Keeper:
    """What one open storage knows of the indexes in its file, and what it does so that they stay true."""

    def __init__(self) -> None:
        self.indexes: dict[str, TrigramIndex] = {}
        self._sources: dict[str, list[tuple[str, SearchedText]]] = {}
        self._definitions: list[Row] = []
        self._has_fts5 = True

    def load(self, session: SqliteSession) -> None:
        """Read which indexes the file has."""
        try:
            self._has_fts5 = has_fts5(session.connection)
        except sqlite3.Error as error:
            raise session.translated(error) from error
        there = session.read("SELECT 1 FROM sqlite_schema WHERE name = ?", (DEFINITIONS,))
        self._read(session.read(_DEFINED) if there else [])

    def _read(self, definitions: list[Row]) -> None:
        self._definitions = definitions
        self.indexes = {}
        for name, definition in definitions:
            # A damaged one is as good as none: records are searched by reading, and `check_indexes` tells.
            with suppress(ValueError, KeyError, TypeError):
                self.indexes[str(name)] = index_of(str(definition))
        self._sources = {}
        for name, index in self.indexes.items():
            for text in index.searched.texts:
                self._sources.setdefault(text.table, []).append((name, text))

    def inserted(self, session: SqliteSession, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Note rows that are new."""
        for name, text in self._sources.get(table, ()):
            if text.owner in columns:
                at = columns.index(text.owner)
                _touch(session, name, (row[at] for row in rows))

    def updating(self, session: SqliteSession, table: str, updates: Sequence[Update]) -> None:
        """Note rows that are about to change: whose texts they are now, and whose they will be."""
        for name, text in self._sources.get(table, ()):
            changed = [one for one in updates if text.column in one.changes or text.owner in one.changes]
            if changed:
                _touch(session, name, _owners(session, text, [one.id for one in changed]))
                _touch(session, name, (one.changes.get(text.owner) for one in changed))

    def deleting(self, session: SqliteSession, table: str, ids: Sequence[int]) -> None:
        """Note rows that are about to go."""
        for name, text in self._sources.get(table, ()):
            _touch(session, name, _owners(session, text, ids))

    def settle(self, session: SqliteSession) -> None:
        """Before a commit: make the documents of a few records, note those of many."""
        if not any(session.touched.values()):
            return
        self.renew(session)
        touched = {name: ids for name, ids in session.touched.items() if ids and name in self.indexes}
        session.touched.clear()
        if self._has_fts5 and sum(map(len, touched.values())) <= _AT_ONCE:
            for name, ids in touched.items():
                renew_documents(session, self.indexes[name], ids)
        else:
            session.run_all([_noting(name, ids) for name, ids in touched.items()], WAITING)

    def renew(self, session: SqliteSession) -> None:
        """Read again which indexes there are, if another process has changed the schema."""
        if self.indexes and (definitions := session.read(_DEFINED)) != self._definitions:
            self._read(definitions)

    def is_behind(self, session: SqliteSession) -> bool:
        """Say whether documents wait to be made."""
        return bool(self.indexes) and bool(session.read(f"SELECT 1 FROM {WAITING} LIMIT 1"))

    def behind_by(self, session: SqliteSession) -> int:
        """Count the records whose documents wait to be made; one that waits twice counts twice."""
        rows = session.read(f"SELECT coalesce(sum(length(ids)), 0) FROM {WAITING}") if self.indexes else [(0,)]
        return int(str(rows[0][0])) // array("q").itemsize

    def catch_up(self, session: SqliteSession) -> None:
        """Within a writing transaction: make some of the documents that wait."""
        self.renew(session)
        name, ids = self._taken(session)
        if name in self.indexes:
            renew_documents(session, self.indexes[name], ids)

    def _taken(self, session: SqliteSession) -> tuple[str, Sequence[int]]:
        """Take a chunk of the records that wait, all of one table; the rest is put together into chunks."""
        rows = session.read(f"SELECT id, name, ids FROM {WAITING} ORDER BY id LIMIT 1")
        if not rows:
            return "", ()
        name = str(rows[0][1])
        chunk = _unpacked(rows[0][2])
        if len(chunk) < _CHUNK:
            rows = session.read(
                f"SELECT id, name, ids FROM {WAITING} WHERE name = ? ORDER BY id LIMIT {_ROWS}", (name,)
            )
            ids = sorted({one for row in rows for one in _unpacked(row[2])})
            chunk, rest = ids[:_CHUNK], [ids[at : at + _CHUNK] for at in range(_CHUNK, len(ids), _CHUNK)]
            session.run_all([_noting(name, some) for some in rest], WAITING)
        session.run_all([(f"DELETE FROM {WAITING} WHERE id = ?", row[:1]) for row in rows], WAITING)
        return name, chunk

    def described(self, session: SqliteSession) -> str:
        """Say in words how records are searched."""
        if not self._has_fts5 or not self.indexes:
            return "reads every record (no index: FTS5 is missing, or crm storage upgrade was not run)"
        waiting = self.behind_by(session)
        return "trigram index" + (f" ({waiting:,} records are not indexed yet)" if waiting else "")

    @property
    def usable(self) -> bool:
        """Whether this build of SQLite can read and write the indexes."""
        return self._has_fts5


def waiting_ids(connection: sqlite3.Connection, name: str) -> list[int]:
    """Return the records of a table whose documents wait to be made."""
    rows = connection.execute(f"SELECT ids FROM {WAITING} WHERE name = ?", (name,))
    return sorted({one for (packed,) in rows for one in _unpacked(packed)})


def _touch(session: SqliteSession, name: str, ids: Iterable[object]) -> None:
    session.touched.setdefault(name, set()).update(one for one in ids if isinstance(one, int))


def _owners(session: Session, text: SearchedText, ids: Sequence[int]) -> list[object]:
    if text.owner == "id":
        return list(ids)
    those = "id IN (SELECT value FROM json_each(?))"
    statement = f"SELECT {quote(text.owner)} FROM {quote(text.table)} WHERE {those}"
    return [owner for (owner,) in session.read(statement, (json.dumps(list(ids)),))]


def _noting(name: str, ids: Iterable[int]) -> tuple[str, Sequence[object]]:
    return f"INSERT INTO {WAITING} (name, ids) VALUES (?, ?)", (name, array("q", ids).tobytes())


def _unpacked(packed: object) -> Sequence[int]:
    assert isinstance(packed, bytes), "the ids of a row are packed"
    found = array("q")
    found.frombytes(packed)
    return found
