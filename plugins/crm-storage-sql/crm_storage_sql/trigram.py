"""The search index of one table in an SQLite file: a document for each record, and FTS5's trigrams of the documents.

A document is all texts of a record, each in a line of its own and each word behind two spaces. So one trigram tells
that a word begins with a letter, and a line as it stands that a text is just this. The index keeps the places of
trigrams: without them it took a third less time and room, but for every few matches looked at some hundred that had the
trigrams elsewhere.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Final

import attrs

from crm_core.query.search import SHORT, Searched, SearchedText, Term
from crm_storage_sql.dialect import quote

PREFIX: Final = "crm_search"
DEFINITIONS: Final = PREFIX
"""The table that says, for each index, over which texts it was made."""
WAITING: Final = "crm_search_waiting"
"""The table of the records whose documents are to be made anew, many to a row."""
_WORD: Final = "  "
_LINE: Final = "\n"
_LONGEST: Final = 24
"""Characters of a fragment that are looked up: each more costs a list of records, and says little new."""
_DIGITS: Final = 8
"""The last digits of a number that are looked up: the first ones, of country and network, are everybody's."""


@attrs.frozen
class TrigramIndex:
    """Names and statements of one index."""

    searched: Searched

    @property
    def documents(self) -> str:
        """The table of the documents, quoted: id, name and body."""
        return quote(f"{PREFIX}_{self.searched.table}")

    @property
    def trigrams(self) -> str:
        """The table of FTS5, quoted."""
        return quote(f"{PREFIX}_{self.searched.table}_trigrams")

    def engine(self, documents: str) -> str:
        """Return the words that make a table of FTS5 the index over a table of documents."""
        return (
            f"fts5(body, content={quote(documents)}, content_rowid='id', tokenize='trigram case_sensitive 1', "
            "columnsize=0)"
        )

    def create(self, connection: sqlite3.Connection) -> None:
        """Create the index and fill it with all records there are."""
        connection.execute(
            f"CREATE TABLE {self.documents} (id INTEGER PRIMARY KEY, name TEXT NOT NULL, body TEXT NOT NULL) STRICT"
        )
        connection.execute(
            f"CREATE VIRTUAL TABLE {self.trigrams} USING {self.engine(f'{PREFIX}_{self.searched.table}')}"
        )
        connection.execute(f"INSERT INTO {self.documents} {self.made}")
        name_index = quote(f"{PREFIX}_{self.searched.table}(name)")
        connection.execute(f"CREATE INDEX {name_index} ON {self.documents} (name)")
        connection.execute(f"INSERT INTO {self.trigrams} (rowid, body) SELECT id, body FROM {self.documents}")
        connection.execute(f"INSERT INTO {DEFINITIONS} VALUES (?, ?)", (self.searched.table, self.definition))

    def drop(self, connection: sqlite3.Connection) -> None:
        """Remove the index."""
        connection.execute(f"DROP TABLE IF EXISTS {self.trigrams}")
        connection.execute(f"DROP TABLE IF EXISTS {self.documents}")
        connection.execute(f"DELETE FROM {WAITING} WHERE name = ?", (self.searched.table,))
        connection.execute(f"DELETE FROM {DEFINITIONS} WHERE name = ?", (self.searched.table,))

    def refreshing(self, ids: Iterable[int]) -> list[tuple[str, Sequence[Any]]]:
        """Return the statements that make the documents of those records anew, or remove them."""
        given = (json.dumps(list(ids)),)
        those = "IN (SELECT value FROM json_each(?))"
        there = f"FROM {self.documents} WHERE id {those}"
        return [
            (f"INSERT INTO {self.trigrams} ({self.trigrams}, rowid, body) SELECT 'delete', id, body {there}", given),
            (f"DELETE {there}", given),
            (f"INSERT INTO {self.documents} {self.made} AND t.id {those}", given),
            (f"INSERT INTO {self.trigrams} (rowid, body) SELECT id, body {there}", given),
        ]

    @property
    def merging(self) -> str:
        """The statement that writes the index anew, without what deleted documents left in it."""
        return f"INSERT INTO {self.trigrams} ({self.trigrams}) VALUES ('optimize')"

    @property
    def differing(self) -> str:
        """The select that counts the records whose documents are not as they say, but for those of a JSON list."""
        made, there = f"SELECT * FROM ({self.made})", f"SELECT id, name, body FROM {self.documents}"
        either = f"SELECT * FROM ({made} EXCEPT {there}) UNION ALL SELECT * FROM ({there} EXCEPT {made})"
        return f"SELECT count(DISTINCT id) FROM ({either}) WHERE id NOT IN (SELECT value FROM json_each(?))"

    @cached_property
    def definition(self) -> str:
        """The texts that it is over, as JSON."""
        return json.dumps(attrs.asdict(self.searched), ensure_ascii=False)

    @cached_property
    def made(self) -> str:
        """The select that makes a document of each record (alias t); it ends in a condition."""
        own = [f"t.{quote(text.column)}" for text in self.searched.own]
        lines = [f"coalesce({_line(cell)}, '')" for cell in own] + [_lines_of(part) for part in self.searched.parts]
        name = f"coalesce({own[0]}, '')" if own else "''"
        body = " || ".join([*lines, "char(10)"])
        return f"SELECT t.id, {name}, {body} FROM {quote(self.searched.table)} t WHERE TRUE"


def index_of(definition: str) -> TrigramIndex:
    """Return the index that a definition describes."""
    data = json.loads(definition)
    return TrigramIndex(Searched(data["table"], tuple(SearchedText(**text) for text in data["texts"])))


def has_fts5(connection: sqlite3.Connection) -> bool:
    """Say whether this build of SQLite has full-text search."""
    return connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone() is not None


def needle(fragment: str, *, begin: bool) -> str:
    """Return what a document contains when a fragment occurs in it: somewhere, or at the beginning of a word."""
    return _WORD + fragment if begin or len(fragment) < SHORT else fragment


def whole_line(text: str) -> str:
    """Return what a document contains when one of its texts is this."""
    return _LINE + _WORD + text.replace(" ", _WORD) + _LINE


def expression(terms: Iterable[Term], *, begin: bool) -> str:
    """Return the full-text expression that finds every document in which all terms occur, and some others."""
    return " AND ".join(f"({' OR '.join(_all_of(one, begin=begin) for one in term)})" for term in terms)


def rough_expression(terms: Iterable[Term]) -> str:
    """Return one that finds some more, in half the time or a quarter: every third trigram, wherever each of them is.

    What trigrams next to each other say of a text is mostly the same, and their places cost more than the lists.
    """
    return " AND ".join(f"({' OR '.join(f'({_spread(max(one, key=len))})' for one in term)})" for term in terms)


def is_exact(terms: Iterable[Term]) -> bool:
    """Say whether the expressions of terms find no documents but those in which they occur."""
    return all(
        len(one) == 1 and all(_looked_up(one[0], begin=begin) == needle(one[0], begin=begin) for begin in (False, True))
        for term in terms
        for one in term
    )


def _all_of(fragments: Iterable[str], *, begin: bool) -> str:
    """Look up the longest fragment alone: the others are seldom rarer."""
    return quote(_looked_up(max(fragments, key=len), begin=begin))


def _spread(fragment: str) -> str:
    text = _looked_up(fragment, begin=False)
    last = max(0, len(text) - SHORT)
    return " AND ".join(quote(text[at : at + SHORT]) for at in (*range(0, last, SHORT), last))


def _looked_up(fragment: str, *, begin: bool) -> str:
    """Return the part of a needle whose trigrams tell most records apart."""
    if fragment.lstrip("+").isdecimal() and len(fragment) > _DIGITS:
        return fragment[-_DIGITS:]
    local, at, host = fragment.partition("@")
    if at and len(local) < SHORT:
        return needle(fragment, begin=begin) if len(host) < SHORT else host[:_LONGEST]
    return needle(local, begin=begin)[:_LONGEST]


def _line(cell: str) -> str:
    return f"char(10) || '{_WORD}' || replace({cell}, ' ', '{_WORD}')"


def _lines_of(part: SearchedText) -> str:
    table, column, owner = map(quote, (part.table, part.column, part.owner))
    return f"coalesce((SELECT group_concat({_line(column)}, '') FROM {table} p WHERE p.{owner} = t.id), '')"
