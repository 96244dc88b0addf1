"""One page of a search by trigrams: a few matches are ranked one by one, many are read in the order of the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from crm_core.query.search import BEGINS, EXACT, INSIDE, WORDS, Hit, Question
from crm_core.records.schema import Row
from crm_storage_sql.dialect import quote
from crm_storage_sql.trigram import TrigramIndex, expression, is_exact, needle, rough_expression, whole_line

MANY: Final = 1_500
"""Matches from which on not all are ranked for one page: a few milliseconds' worth."""
_STRETCH: Final = 500
_STRETCHES: Final = 8
"""Of many matches, those of one rank are sought in the order of names: so many rows at once, so many times. Who finds
no page among them ranks all: the matches stand close together, far from there."""
_FIRST: Final = -(2**63)
_BEYOND: Final = "\U0010ffff"

Read = Callable[[str, dict[str, Any]], list[Row]]


class Lookup:
    """The pages of one question over one index; `read` runs a statement within one snapshot."""

    def __init__(self, index: TrigramIndex, question: Question, read: Read) -> None:
        self._index = index
        self._question = question
        self._read = read
        self._values: dict[str, Any] = {"whole": question.whole, "length": len(question.whole)}
        self._is_exact = self._any_of([whole_line(text) for text in question.exact])
        self._occurs = self._condition(begin=False)
        self._rank = (
            f"CASE WHEN {self._is_exact} THEN {EXACT} WHEN NOT {self._occurs} THEN NULL "
            f"WHEN substr(d.name, 1, :length) = :whole THEN {BEGINS} "
            f"WHEN {self._condition(begin=True)} THEN {WORDS} ELSE {INSIDE} END"
        )

    def page(self, after: Hit | None, limit: int) -> list[Hit]:
        """Return the places behind `after`, in order, at most `limit`."""
        start = after or Hit(EXACT, "", _FIRST)
        found = self._exact(start, limit) if start.rank == EXACT else []
        if len(found) < limit:
            start = max(start, Hit(BEGINS, "", _FIRST))
            # Of many, each match more that is none would cost a look; of a few it costs less than to leave it out.
            few = self._matches(rough_expression(self._question.terms), MANY)
            if few is None:
                found += self._by_rank(start, limit - len(found))
            else:
                found += self._ranked(few, start, INSIDE, limit - len(found))
        return found

    def _by_rank(self, start: Hit, limit: int) -> list[Hit]:
        found: list[Hit] = []
        for rank, some_of_rank in ((BEGINS, self._beginning), (WORDS, self._words), (INSIDE, self._inside)):
            if start.rank <= rank and len(found) < limit:
                found += some_of_rank(max(start, Hit(rank, "", _FIRST)), limit - len(found))
        return found

    def _exact(self, start: Hit, limit: int) -> list[Hit]:
        """Return those with a text that is the question, by the indexes over the texts themselves."""
        texts = {f"exact{at}": text for at, text in enumerate(self._question.exact)}
        marks = ", ".join(f":{name}" for name in texts)
        owners = " UNION ".join(
            f"SELECT {quote(text.owner)} FROM {quote(text.table)} WHERE {quote(text.column)} IN ({marks})"
            for text in self._index.searched.texts
        )
        return self._places(f"{self._documents(EXACT)} AND d.id IN ({owners})", start, limit, texts)

    def _beginning(self, start: Hit, limit: int) -> list[Hit]:
        first = max(start, Hit(BEGINS, self._question.whole, _FIRST))
        condition = f"d.name < :beyond AND {self._occurs} AND NOT {self._is_exact}"
        beyond = {"beyond": self._question.whole + _BEYOND}
        return self._places(f"{self._documents(BEGINS)} AND {condition}", first, limit, beyond)

    def _words(self, start: Hit, limit: int) -> list[Hit]:
        return self._of_rank(expression(self._question.terms, begin=True), start, limit)

    def _inside(self, start: Hit, limit: int) -> list[Hit]:
        match = expression(self._question.terms, begin=False)
        if is_exact(self._question.terms):
            match = f"({match}) NOT ({expression(self._question.terms, begin=True)})"
        return self._of_rank(match, start, limit)

    def _of_rank(self, match: str, start: Hit, limit: int) -> list[Hit]:
        """Return records of the rank of `start`, all of which match."""
        few = self._matches(match, MANY)
        return self._walked(match, start, limit) if few is None else self._ranked(few, start, start.rank, limit)

    def _walked(self, match: str, start: Hit, limit: int) -> list[Hit]:
        """Read records in the order of names until enough have the rank of `start`, or it turns out to be too far."""
        found: list[Hit] = []
        place = start
        for _ in range(_STRETCHES):
            step = f"SELECT d.name, d.id {self._behind()} ORDER BY d.name, d.id LIMIT 1 OFFSET :limit"
            ends = self._read(step, self._given(place, _STRETCH - 1))
            until = {"last_name": ends[0][0], "last_id": ends[0][1]} if ends else {}
            condition = " AND (d.name, d.id) <= (:last_name, :last_id)" if ends else ""
            statement = f"{self._documents(start.rank)}{condition} AND {self._rank} = {start.rank}"
            found += self._places(statement, place, limit - len(found), until)
            if len(found) >= limit or not ends:
                return found
            place = Hit(start.rank, *ends[0])  # type: ignore[arg-type]
        return self._ranked(self._matches(match, -1) or "", start, start.rank, limit)

    def _ranked(self, matches: str, start: Hit, last: int, limit: int) -> list[Hit]:
        """Rank those matches, and return them from the place of `start` to the last rank."""
        statement = (
            f"SELECT * FROM (SELECT {self._rank} AS rank, d.name AS name, d.id AS id FROM json_each(:matches) x "
            f"CROSS JOIN {self._index.documents} d ON d.id = x.value) "
            "WHERE rank <= :last AND (rank, name, id) > (:rank, :name, :id) ORDER BY rank, name, id LIMIT :limit"
        )
        given = {**self._given(start, limit), "matches": matches, "last": last, "rank": start.rank}
        return [Hit(*row) for row in self._read(statement, given)]  # type: ignore[arg-type]

    def _matches(self, match: str, most: int) -> str | None:
        """Return the ids of all records that may answer, as JSON; None when there are more than `most` (-1: any)."""
        statement = (
            f"SELECT count(*), json_group_array(id) FROM (SELECT x.rowid AS id FROM {self._index.trigrams} x "
            f"WHERE x.{self._index.trigrams} MATCH :match LIMIT :limit)"
        )
        ((count, ids),) = self._read(statement, {"match": match, "limit": most + 1 if most >= 0 else -1})
        return None if most >= 0 and count == most + 1 else str(ids)

    def _documents(self, rank: int) -> str:
        return f"SELECT {rank}, d.name, d.id {self._behind()}"

    def _behind(self) -> str:
        return f"FROM {self._index.documents} d WHERE (d.name, d.id) > (:name, :id)"

    def _places(self, statement: str, start: Hit, limit: int, given: Mapping[str, Any]) -> list[Hit]:
        rows = self._read(f"{statement} ORDER BY d.name, d.id LIMIT :limit", {**self._given(start, limit), **given})
        return [Hit(*row) for row in rows]  # type: ignore[arg-type]

    def _given(self, start: Hit, limit: int) -> dict[str, Any]:
        return {**self._values, "name": start.name, "id": start.id, "limit": limit}

    def _condition(self, *, begin: bool) -> str:
        """Return the condition on a document that all terms occur in it."""
        terms = (
            " OR ".join(self._all_of([needle(fragment, begin=begin) for fragment in one]) for one in term)
            for term in self._question.terms
        )
        return f"({' AND '.join(f'({term})' for term in terms)})"

    def _all_of(self, needles: list[str]) -> str:
        return f"({' AND '.join(map(self._contains, needles))})"

    def _any_of(self, needles: list[str]) -> str:
        return f"({' OR '.join(map(self._contains, needles))})"

    def _contains(self, text: str) -> str:
        name = f"needle{len(self._values)}"
        self._values[name] = text
        return f"instr(d.body, :{name}) > 0"
