"""Whether the search indexes of an SQLite file say what its records say, and making them anew where they do not.

FTS5 compares an index with its documents only by a statement that counts as a write. So a copy of the index, among the
temporary tables, is compared: inside a snapshot, on a file that may only be read, and nobody waits.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from crm_core.query.search import searched_in
from crm_core.records.schema import Manifest
from crm_storage_sql.dialect import quote
from crm_storage_sql.keeping import synchronise, waiting_ids
from crm_storage_sql.trigram import DEFINITIONS, PREFIX, TrigramIndex, has_fts5

_COPY: Final = f"{PREFIX}_copy"
_OURS: Final = f"type = 'table' AND (name = '{DEFINITIONS}' OR substr(name, 1, {len(PREFIX) + 1}) = '{PREFIX}_')"


def index_faults(connection: sqlite3.Connection, manifest: Manifest) -> list[str]:
    """Return in words which search indexes are missing, cannot be read, or do not say what the records say.

    Within a snapshot. A file that has none, made by a build of SQLite without FTS5, has no faults.

    Raises:
        sqlite3.Error: it cannot be looked at: no room for temporary tables, say.
    """
    if not has_fts5(connection) or not _is_there(connection, DEFINITIONS):
        return []
    found: list[str] = []
    for name, searched in searched_in(manifest.tables).items():
        try:
            found += _faults_of(connection, TrigramIndex(searched))
        except sqlite3.Error as error:
            if not _is_damage(error):
                raise
            found.append(f"the search index of {name} is damaged: {error}")
    return found


def rebuild(connection: sqlite3.Connection, manifest: Manifest) -> list[str]:
    """Remove, in a writing transaction, every table of the search, however damaged, and make the indexes anew.

    Returns the tables that are searched; none where this build of SQLite has no FTS5, and then nothing is changed.
    """
    if not has_fts5(connection):
        return []
    for (name,) in connection.execute(f"SELECT name FROM sqlite_schema WHERE {_OURS} AND sql LIKE 'CREATE VIRTUAL%'"):
        _drop_trigrams(connection, str(name))
    # What is left are our own tables, and those of an index that could only be forgotten.
    for (name,) in connection.execute(f"SELECT name FROM sqlite_schema WHERE {_OURS}").fetchall():
        if name not in manifest.tables:
            connection.execute(f"DROP TABLE {quote(name)}")
    synchronise(connection, manifest)
    return sorted(searched_in(manifest.tables))


def _faults_of(connection: sqlite3.Connection, index: TrigramIndex) -> Iterator[str]:
    name = index.searched.table
    rows = connection.execute(f"SELECT searched FROM {DEFINITIONS} WHERE name = ?", (name,)).fetchall()
    if rows != [(index.definition,)]:
        yield f"the search index of {name} is missing, or over other texts than were declared"
        return
    connection.execute(f"SELECT 1 FROM {index.trigrams} WHERE {index.trigrams} MATCH 'crm'").fetchone()
    ((count,),) = connection.execute(index.differing, (json.dumps(waiting_ids(connection, name)),))
    if count:
        yield f"the search index of {name} is wrong about {count} records"
    ((count,),) = connection.execute(index.misplaced)
    if count:
        yield f"the search index of {name} has {count} records out of order"
    if not _holds_its_documents(connection, index):
        yield f"the search index of {name} is damaged: it does not hold what its own documents say"


def _holds_its_documents(connection: sqlite3.Connection, index: TrigramIndex) -> bool:
    """Compare a copy of the index with the documents."""
    documents, vocabulary = f"{_COPY}_documents", f"{_COPY}_vocabulary"
    connection.execute(f"CREATE TEMP VIEW {documents} AS SELECT place, body FROM main.{index.documents}")
    try:
        connection.execute(f"CREATE VIRTUAL TABLE temp.{_COPY} USING {index.engine(documents)}")
        for part in ("data", "idx"):
            connection.execute(f"DELETE FROM temp.{_COPY}_{part}")
            there = quote(f"{PREFIX}_{index.searched.table}_trigrams_{part}")
            connection.execute(f"INSERT INTO temp.{_COPY}_{part} SELECT * FROM main.{there}")
        connection.execute(f"INSERT INTO temp.{_COPY} ({_COPY}, rank) VALUES ('integrity-check', 1)")
        # That reads page after page; a search goes by what leads to the page of a trigram.
        connection.execute(f"CREATE VIRTUAL TABLE temp.{vocabulary} USING fts5vocab(temp, {_COPY}, row)")
        lost = f"SELECT 1 FROM {vocabulary} a WHERE NOT EXISTS (SELECT 1 FROM {vocabulary} b WHERE b.term = a.term)"
        return connection.execute(f"{lost} LIMIT 1").fetchone() is None
    except sqlite3.DatabaseError as error:
        if not _is_damage(error):
            raise
        return False
    finally:
        connection.execute(f"DROP TABLE IF EXISTS temp.{vocabulary}")
        connection.execute(f"DROP TABLE IF EXISTS temp.{_COPY}")
        connection.execute(f"DROP VIEW temp.{documents}")


def _drop_trigrams(connection: sqlite3.Connection, name: str) -> None:
    """Remove a table of FTS5; one that is too damaged for that is only taken out of the schema."""
    with suppress(sqlite3.DatabaseError):
        connection.execute(f"DROP TABLE {quote(name)}")
        return
    connection.execute("PRAGMA writable_schema=ON")
    try:
        connection.execute("DELETE FROM sqlite_schema WHERE type = 'table' AND name = ?", (name,))
    finally:
        connection.execute("PRAGMA writable_schema=RESET")


def _is_damage(error: sqlite3.Error) -> bool:
    """Say whether an error is about what the file holds: a table that is missing in it is SQLITE_ERROR."""
    name = getattr(error, "sqlite_errorname", None) or ""
    return name == "SQLITE_ERROR" or name.startswith("SQLITE_CORRUPT")


def _is_there(connection: sqlite3.Connection, table: str) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone() is not None
