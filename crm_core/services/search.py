"""Finding records by parts of their texts: by the storage's index where it has one, else by reading, same answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from itertools import islice
from typing import Any, Final, cast

from crm_core.errors import UsageError
from crm_core.extend import Storage
from crm_core.query.ast import And, Compare, Contains, Expression, In, Or, SortKey
from crm_core.query.page import decode_cursor, encode_cursor
from crm_core.query.search import BEGINS, EXACT, SHORT, Hit, Question, Searched, Term, behind, best_text, rank_of

_CURSOR: Final = (SortKey("rank"), SortKey("name"))
_FEW: Final = 1_000
"""Candidates so few that reading their texts costs less than narrowing them down by one more word."""
_AT_ONCE: Final = 1_000
_PAGE: Final = 50
"""Names that are read together."""
_PAGES: Final = 4
"""So many pages of names at most: of some that begin so, the words are counted otherwise (a number)."""


def places_of(storage: Storage, searched: Searched, question: Question, *, after: Hit | None, limit: int) -> list[Hit]:
    """Return the places of what a question finds, those behind `after`, in order."""
    if "search" in storage.capabilities:
        found = storage.search(searched.table, question, after=after, limit=limit)
        if found is not None:
            return found
    exact = _owners(storage, searched, lambda column: In(column, question.exact))
    best = _best_places(storage, searched, question, exact, after, limit)
    if best is not None:
        return best
    return _ranked(storage, searched, question, exact | _candidates(storage, searched, question), after)[:limit]


def matched_texts(storage: Storage, searched: Searched, question: Question, ids: Sequence[int]) -> list[str]:
    """Return, for each of those ids, the text that shows best why it was found."""
    texts = _texts(storage, searched, ids)
    return [there[best_text(question, there)] if (there := texts.get(one, ("", []))[1]) else "" for one in ids]


def encode_place(place: Hit) -> str:
    """Return the cursor of the page that follows a place."""
    return encode_cursor(_CURSOR, (place.rank, place.name, place.id), ("rank", "name", "id"))


def decode_place(cursor: str) -> Hit:
    """Return the place that a cursor holds.

    Raises:
        UsageError: it is no cursor of a search.
    """
    try:
        values: tuple[Any, ...] = decode_cursor(cursor, ("int", "text"))
    except UsageError:
        values = ()
    if not values or None in values:
        raise UsageError(f"{cursor[:40]!r} is no cursor of a search", hint="pass --after as the page before printed it")
    return Hit(*values)


def _best_places(
    storage: Storage, searched: Searched, question: Question, exact: set[int], after: Hit | None, limit: int
) -> list[Hit] | None:
    """Return the places when those of the two best ranks fill the page: of the names that begin so, few are read."""
    if not searched.own or (after is not None and after.rank > BEGINS):
        return None
    found = [one for one in _ranked(storage, searched, question, exact, after) if one.rank == EXACT]
    name, whole = searched.own[0].column, question.whole
    begins = And((Compare(name, ">=", whole), Compare(name, "<", behind(whole))))
    place = (after.name, after.id) if after is not None and after.rank == BEGINS else ()
    for _ in range(_PAGES):
        if len(found) >= limit:
            return found[:limit]
        rows = storage.find(
            searched.table, begins, sort=[SortKey(name)], after=place, limit=_PAGE, columns=[name, "id"]
        )
        ids = [cast(int, row[1]) for row in rows]
        found += [one for one in _ranked(storage, searched, question, ids, after) if one.rank == BEGINS]
        if len(rows) < _PAGE:
            break
        place = cast(tuple[str, int], rows[-1])
    return found[:limit] if len(found) >= limit else None


def _ranked(
    storage: Storage, searched: Searched, question: Question, ids: Iterable[int], after: Hit | None
) -> list[Hit]:
    """Return the places of those of the records that are found, those behind `after`, in order."""
    places = (
        Hit(rank, name, id_)
        for id_, (name, texts) in _texts(storage, searched, ids).items()
        if (rank := rank_of(question, name, texts)) is not None
    )
    return sorted(place for place in places if after is None or place > after)


def _candidates(storage: Storage, searched: Searched, question: Question) -> set[int]:
    """Return the ids of all records in which every word occurs, and of some more."""
    found: set[int] | None = None
    for term in sorted(question.terms, key=_rarity, reverse=True):
        ids = {id_ for alternative in term for id_ in _having_all(storage, searched, alternative)}
        found = ids if found is None else found & ids
        if len(found) <= _FEW:
            break
    return found or set()


def _owners(storage: Storage, searched: Searched, condition: Callable[[str], Expression]) -> set[int]:
    """Return the ids of the records of which some text meets a condition on its column."""
    return {
        cast(int, row[0])
        for text in searched.texts
        for row in storage.find(text.table, condition(text.column), columns=[text.owner])
        if row[0] is not None
    }


def _having_all(storage: Storage, searched: Searched, fragments: Sequence[str]) -> set[int]:
    return reduce(set.intersection, (_owners(storage, searched, partial(_has, one)) for one in fragments))


def _has(fragment: str, column: str) -> Expression:
    if len(fragment) >= SHORT:
        return Contains(column, fragment)
    begins = And((Compare(column, ">=", fragment), Compare(column, "<", behind(fragment))))
    return Or((begins, Contains(column, f" {fragment}")))


def _rarity(term: Term) -> int:
    """Return how much a term narrows a search down: longer texts are in fewer records."""
    return min(max(map(len, alternative)) for alternative in term)


def _texts(storage: Storage, searched: Searched, ids: Iterable[int]) -> dict[int, tuple[str, list[str]]]:
    """Return name and texts of those records, by id."""
    found: dict[int, tuple[str, list[str]]] = {}
    source = iter(ids)
    while chunk := tuple(islice(source, _AT_ONCE)):
        columns = [text.column for text in searched.own]
        for id_, *cells in storage.find(searched.table, In("id", chunk), columns=["id", *columns]):
            texts = [str(cell) for cell in cells if cell is not None]
            found[cast(int, id_)] = ("" if not cells or cells[0] is None else str(cells[0]), texts)
        for part in searched.parts:
            for owner, cell in storage.find(part.table, In(part.owner, chunk), columns=[part.owner, part.column]):
                if owner in found and cell is not None:
                    found[owner][1].append(str(cell))
    return found
