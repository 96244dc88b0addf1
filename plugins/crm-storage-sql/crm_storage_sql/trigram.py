"""The search index of one table in an SQLite file: a document for each record, and FTS5's trigrams of the documents.

A document is all texts of a record, each in a line of its own and each word behind two spaces. So one trigram tells
that a word begins with a letter, and a line as it stands that a text is just this. The index keeps where in a document
its trigrams are: without that it took a third less time and room, but for every few matches looked at some hundred that
had the trigrams elsewhere. The documents are numbered in the order of names; see `places`.
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
STEP: Final = 2**20
"""Room behind a document for others. The index keeps the distances between matches, so more room costs disk."""
_GATHERED: Final = 8 * 2**20
"""Bytes of trigrams that are written together: by the default of one megabyte, a bulk load left three times as many
pieces, in each of which every search looks."""
_LAYOUT: Final = 2
"""Raised when documents are kept in another way: an index of another layout is as good as none."""


@attrs.frozen
class TrigramIndex:
    """Names and statements of one index."""

    searched: Searched

    @property
    def documents(self) -> str:
        """The table of the documents, quoted: place (in the order of name and id), id, name and body."""
        return quote(f"{PREFIX}_{self.searched.table}")

    @property
    def trigrams(self) -> str:
        """The table of FTS5, quoted."""
        return quote(f"{PREFIX}_{self.searched.table}_trigrams")

    def engine(self, documents: str) -> str:
        """Return the words that make a table of FTS5 the index over a table of documents."""
        return (
            f"fts5(body, content={quote(documents)}, content_rowid='place', tokenize='trigram case_sensitive 1', "
            "columnsize=0)"
        )

    def create(self, connection: sqlite3.Connection) -> None:
        """Create the index and fill it with all records there are."""
        connection.execute(
            f"CREATE TABLE {self.documents} (place INTEGER PRIMARY KEY, id INTEGER NOT NULL UNIQUE, "
            "name TEXT NOT NULL, body TEXT NOT NULL) STRICT"
        )
        connection.execute(
            f"CREATE VIRTUAL TABLE {self.trigrams} USING {self.engine(f'{PREFIX}_{self.searched.table}')}"
        )
        connection.execute(f"INSERT INTO {self.trigrams} ({self.trigrams}, rank) VALUES ('hashsize', {_GATHERED})")
        place = f"row_number() OVER (ORDER BY name, id) * {STEP}"
        connection.execute(f"INSERT INTO {self.documents} SELECT {place}, id, name, body FROM ({self.made}) ORDER BY 1")
        name_index = quote(f"{PREFIX}_{self.searched.table}(name)")
        connection.execute(f"CREATE UNIQUE INDEX {name_index} ON {self.documents} (name, id)")
        connection.execute(f"INSERT INTO {self.trigrams} (rowid, body) SELECT place, body FROM {self.documents}")
        connection.execute(f"INSERT INTO {DEFINITIONS} VALUES (?, ?)", (self.searched.table, self.definition))

    def drop(self, connection: sqlite3.Connection) -> None:
        """Remove the index, of whatever layout it is."""
        connection.execute(f"DROP TABLE IF EXISTS {self.trigrams}")
        connection.execute(f"DROP TABLE IF EXISTS {self.documents}")
        connection.execute(f"DELETE FROM {WAITING} WHERE name = ?", (self.searched.table,))
        connection.execute(f"DELETE FROM {DEFINITIONS} WHERE name = ?", (self.searched.table,))

    @property
    def adding_document(self) -> str:
        """The statement that adds a document: place, name, id, body."""
        return f"INSERT INTO {self.documents} (place, name, id, body) VALUES (?, ?, ?, ?)"

    @property
    def adding_trigrams(self) -> str:
        """The statement that adds the trigrams of a document: place, body."""
        return f"INSERT INTO {self.trigrams} (rowid, body) VALUES (?, ?)"

    def removing(self, condition: str, given: Sequence[Any]) -> list[tuple[str, Sequence[Any]]]:
        """Return the statements that remove the documents of which a condition holds."""
        there = f"FROM {self.documents} WHERE {condition}"
        trigrams = f"SELECT 'delete', place, body {there} ORDER BY place"
        return [
            (f"INSERT INTO {self.trigrams} ({self.trigrams}, rowid, body) {trigrams}", given),
            (f"DELETE {there}", given),
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

    @property
    def misplaced(self) -> str:
        """The select that counts the documents that do not stand in the order of names."""
        before = "lag(name) OVER places AS name_before, lag(id) OVER places AS id_before"
        pairs = f"SELECT name, id, {before} FROM {self.documents} WINDOW places AS (ORDER BY place)"
        return f"SELECT count(*) FROM ({pairs}) WHERE (name, id) < (name_before, id_before)"

    @cached_property
    def definition(self) -> str:
        """The texts that it is over, and how documents are kept, as JSON."""
        return json.dumps({**attrs.asdict(self.searched), "layout": _LAYOUT}, ensure_ascii=False)

    @cached_property
    def made(self) -> str:
        """The select that makes a document of each record (alias t); it ends in a condition."""
        own = [f"t.{quote(text.column)}" for text in self.searched.own]
        lines = [f"coalesce({_line(cell)}, '')" for cell in own] + [_lines_of(part) for part in self.searched.parts]
        name = f"coalesce({own[0]}, '')" if own else "''"
        body = " || ".join([*lines, "char(10)"])
        return f"SELECT t.id AS id, {name} AS name, {body} AS body FROM {quote(self.searched.table)} t WHERE TRUE"


def index_of(definition: str) -> TrigramIndex:
    """Return the index that a definition describes.

    Raises:
        ValueError, KeyError, TypeError: it describes none, or one of another layout.
    """
    data = json.loads(definition)
    if data["layout"] != _LAYOUT:
        raise ValueError("an index of another layout")
    return TrigramIndex(Searched(data["table"], tuple(SearchedText(**text) for text in data["texts"])))


def has_fts5(connection: sqlite3.Connection) -> bool:
    """Say whether this build of SQLite has full-text search."""
    return connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone() is not None


def needle(fragment: str, *, begin: bool) -> str:
    """Return what a document contains when a fragment occurs in it: somewhere, or at the beginning of a word."""
    return _WORD + fragment if begin or len(fragment) < SHORT else fragment


def telling_part(fragment: str) -> str:
    """Return the part of a fragment that tells most records apart: the end of a number, an address without its host."""
    if fragment.lstrip("+").isdecimal() and len(fragment) > _DIGITS:
        return fragment[-_DIGITS:]
    local, at, _ = fragment.partition("@")
    if local and at and len(fragment) >= SHORT:
        return fragment[: max(min(len(local), _LONGEST) + len(at), SHORT)]
    return fragment


def whole_line(text: str) -> str:
    """Return what a document contains when one of its texts is this."""
    return _LINE + _WORD + text.replace(" ", _WORD) + _LINE


def expression(terms: Iterable[Term], *, begin: bool) -> str:
    """Return the full-text expression that finds just the documents in which all terms occur."""

    def all_of(fragments: Iterable[str]) -> str:
        return " AND ".join(quote(_without_first(needle(one, begin=begin))) for one in fragments)

    return " AND ".join(f"({' OR '.join(f'({all_of(one)})' for one in term)})" for term in terms)


def loose_expression(terms: Iterable[Term], sample: Sequence[str], *, begin: bool) -> str:
    """Return one that finds some more: without the trigrams that most documents of a sample have.

    Their lists are the longest of all and tell hardly anything.
    """

    def telling(term: Term) -> list[list[str]]:
        return [[part for one in way for part in _telling_parts(needle(one, begin=begin), sample)] for way in term]

    given = list(terms)
    # A term that may be written in a way that says nothing is left out, but for the first: something must be looked up.
    chosen = [ways for term in given if all(ways := telling(term))]
    return _any_way_of_each(chosen) if chosen else expression(given[:1], begin=begin)


def rough_expression(terms: Iterable[Term], sample: Sequence[str]) -> str:
    """Return one that finds some more, in less time: every third trigram, wherever each of them is.

    What trigrams next to each other say of a text is mostly the same, and their places cost more than the lists. One
    that most documents of a sample have says nothing.
    """
    ways = [[[part for one in way for part in _spread(one)] for way in term] for term in terms]
    rarer = [[[one for one in way if not _is_usual(one, sample)] for way in term] for term in ways]
    return _any_way_of_each([term for term in rarer if all(term)] or ways[:1])


def _any_way_of_each(terms: Iterable[Iterable[Iterable[str]]]) -> str:
    return " AND ".join(f"({' OR '.join(f'({_all(way)})' for way in term)})" for term in terms)


def _telling_parts(text: str, sample: Sequence[str]) -> list[str]:
    """Return a needle in parts, without the trigrams that are usual; one that stands alone keeps its neighbours."""
    text = _without_first(text)
    last = len(text) - SHORT
    rare = [not _is_usual(text[at : at + SHORT], sample) for at in range(last + 1)]
    alone = {at for at in range(last + 1) if rare[at] and not any(rare[max(at - 1, 0) : at] + rare[at + 1 : at + 2])}
    kept = [rare[at] or at - 1 in alone or at + 1 in alone for at in range(last + 1)]
    starts = [at for at in range(last + 1) if kept[at] and not (at and kept[at - 1])]
    ends = [at + SHORT for at in range(last + 1) if kept[at] and not (at < last and kept[at + 1])]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


def _all(trigrams: Iterable[str]) -> str:
    return " AND ".join(map(quote, trigrams))


def _is_usual(text: str, sample: Sequence[str]) -> bool:
    return sum(text in body for body in sample) * 2 > len(sample)


def _spread(fragment: str) -> list[str]:
    text = _looked_up(fragment)
    last = max(0, len(text) - SHORT)
    return [text[at : at + SHORT] for at in (*range(0, last, SHORT), last)]


def _looked_up(fragment: str) -> str:
    """Return the part of a needle whose trigrams tell most records apart."""
    return _without_first(needle(telling_part(fragment), begin=False))[:_LONGEST]


def _without_first(text: str) -> str:
    """Return a needle without the first of two spaces, where a trigram is left: one tells as much."""
    return text[1:] if text.startswith(_WORD) and len(text) > SHORT else text


def _line(cell: str) -> str:
    return f"char(10) || '{_WORD}' || replace({cell}, ' ', '{_WORD}')"


def _lines_of(part: SearchedText) -> str:
    table, column, owner = map(quote, (part.table, part.column, part.owner))
    return f"coalesce((SELECT group_concat({_line(column)}, '') FROM {table} p WHERE p.{owner} = t.id), '')"
