"""Where the documents of a search index stand: numbers in the order of names, with room between them.

FTS5 gives what it finds in the order of these numbers, one after the other. So a page of results in the order of names
costs what the page costs, however many records are found; in any other order all of them would have to be sorted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Final

import attrs

from crm_core.records.schema import Row
from crm_storage_sql.room import Session
from crm_storage_sql.trigram import STEP, TrigramIndex

_NEAR: Final = 2**14
"""Room behind a document that comes between two others: names that come in their order fill what is left of it."""
_ROOM: Final = 2**6
"""Room that documents get at least when they have to move up."""
_MOVED: Final = 32
"""Documents on each side that move first; four times as many when that makes no room."""
_FIRST, _LAST = -(2**63), 2**63 - 1
_THOSE: Final = "IN (SELECT value FROM json_each(?))"

Document = tuple[str, int, str]
"""Name, id and body."""


@attrs.frozen
class _Gap:
    """Room between two documents that stand next to each other; None: there is none on that side."""

    low: int | None
    high: int | None
    before: tuple[str, int] | None
    """Name and id of the document behind the gap; None: there is none, or others around the gap moved as well."""

    def room(self, documents: int) -> int:
        """Return how far apart so many documents may stand in it; 0: it has no room for them."""
        if self.low is None and self.high is None:
            return min(STEP, 2**63 // (documents + 1))
        low, high = _FIRST if self.low is None else self.low, _LAST if self.high is None else self.high
        most = STEP if self.low is None or self.before is None else _NEAR
        return min(most, (high - low) // (documents + 1))

    def placed(self, documents: Sequence[Document]) -> Iterable[tuple[int, Document]]:
        """Return documents with places in it, in their order."""
        step = self.room(len(documents))
        if self.low is None and self.high is not None:
            first = self.high - step * len(documents)
        else:
            first = (self.low or 0) + step
        return zip(count(first, step), documents, strict=False)


def renew_documents(session: Session, index: TrigramIndex, ids: Iterable[int]) -> None:
    """Make the documents of those records anew where they changed, or remove them, within a writing transaction."""
    those = set(ids)
    made = f"{index.made} AND t.id {_THOSE}"
    changed = "CASE WHEN d.body = m.body THEN NULL ELSE m.body END"
    place = "CASE WHEN d.name = m.name THEN d.place END"
    rows = session.read(
        f"SELECT {place}, m.name, m.id, {changed} FROM ({made}) m LEFT JOIN {index.documents} d ON d.id = m.id "
        "ORDER BY m.name, m.id",
        (json.dumps(list(those)),),
    )
    stale = those.difference(row[2] for row in rows if row[3] is None)
    session.run_all(index.removing(f"id {_THOSE}", (json.dumps(list(stale)),)), index.searched.table)
    renewed = [row for row in rows if row[3] is not None]
    _put(session, index, [(int(str(row[0])), _document(row)) for row in renewed if row[0] is not None])
    _add(session, index, [_document(row) for row in renewed if row[0] is None])


def _add(session: Session, index: TrigramIndex, documents: Sequence[Document]) -> None:
    """Put documents, in the order of name and id, between those that are there."""
    placed: list[tuple[int, Document]] = []
    for gap, together in _by_gap(session, index, documents):
        if gap.room(len(together)):
            placed += gap.placed(together)
            continue
        _put(session, index, placed)
        placed = []
        _put(session, index, _moved_apart(session, index, gap, together))
    _put(session, index, placed)


def _put(session: Session, index: TrigramIndex, placed: Iterable[tuple[int, Document]]) -> None:
    rows = [(place, *document) for place, document in placed]
    session.run_all([(index.adding_document, row) for row in rows], index.searched.table)
    session.run_all([(index.adding_trigrams, (place, body)) for place, _, _, body in rows], index.searched.table)


def _by_gap(
    session: Session, index: TrigramIndex, documents: Sequence[Document]
) -> Iterator[tuple[_Gap, list[Document]]]:
    """Yield documents that come between the same two others together."""
    gap: _Gap | None = None
    together: list[Document] = []
    for document in documents:
        if gap is None or (gap.before is not None and document[:2] > gap.before):
            if gap is not None:
                yield gap, together
            gap, together = _gap_of(session, index, document), []
        together.append(document)
    if gap is not None:
        yield gap, together


def _gap_of(session: Session, index: TrigramIndex, document: Document) -> _Gap:
    columns = f"SELECT place, name, id FROM {index.documents}"
    low = session.read(f"{columns} WHERE (name, id) < (?, ?) ORDER BY name DESC, id DESC LIMIT 1", document[:2])
    high = session.read(f"{columns} WHERE (name, id) > (?, ?) ORDER BY name, id LIMIT 1", document[:2])
    before = (str(high[0][1]), int(str(high[0][2]))) if high else None
    return _Gap(_place(low), _place(high), before)


def _moved_apart(
    session: Session, index: TrigramIndex, gap: _Gap, documents: list[Document]
) -> Iterable[tuple[int, Document]]:
    """Return places for documents that have no room in their gap, and for those around it, which give up theirs."""
    moved = _MOVED
    while gap.room(len(documents)) < _ROOM:
        gap, documents = _widened(session, index, gap, documents, moved)
        moved *= 4
    return gap.placed(documents)


def _widened(
    session: Session, index: TrigramIndex, gap: _Gap, documents: list[Document], most: int
) -> tuple[_Gap, list[Document]]:
    """Take so many documents on each side out of the index, to be put in with the others."""
    columns = f"SELECT place, name, id, body FROM {index.documents}"
    below = session.read(f"{columns} WHERE place <= ? ORDER BY place DESC LIMIT ?", (gap.low, most + 1))
    above = session.read(f"{columns} WHERE place >= ? ORDER BY place LIMIT ?", (gap.high, most + 1))
    lower, upper = below[:most][::-1], above[:most]
    places = [row[0] for row in (*lower, *upper)]
    session.run_all(index.removing(f"place {_THOSE}", (json.dumps(places),)), index.searched.table)
    together = [*map(_document, lower), *documents, *map(_document, upper)]
    return _Gap(_place(below[most:]), _place(above[most:]), None), together


def _document(row: Row) -> Document:
    return str(row[1]), int(str(row[2])), str(row[3])


def _place(rows: Sequence[Row]) -> int | None:
    return int(str(rows[0][0])) if rows else None
