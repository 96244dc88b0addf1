"""One page of a search by trigrams: a few matches are ranked one by one, many are read in the order of the results."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from crm_core.query.search import BEGINS, EXACT, INSIDE, WORDS, Hit, Question, behind
from crm_core.records.schema import Row
from crm_storage_sql.dialect import quote
from crm_storage_sql.ranked import FIRST, RankedPages
from crm_storage_sql.trigram import TrigramIndex, expression, loose_expression, needle, rough_expression, whole_line

MANY: Final = 400
"""Matches from which on not all are ranked for one page: a millisecond's worth, and less than to find them again."""
_SAMPLE: Final = 32
"""Documents by which is told what most of them have."""
_LAST: Final = 2**63 - 1
"""Behind all ids and all places."""

Read = Callable[[str, dict[str, Any]], list[Row]]


class Lookup(RankedPages):
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

    def _exact(self, start: Hit, limit: int) -> list[Hit]:
        """Return those with a text that is the question: a few by the indexes over the texts themselves."""
        texts = {f"exact{at}": text for at, text in enumerate(self._question.exact)}
        marks = ", ".join(f":{name}" for name in texts)
        owners = " UNION ".join(
            f"SELECT {quote(text.owner)} FROM {quote(text.table)} WHERE {quote(text.column)} IN ({marks})"
            for text in self._index.searched.texts
        )
        few = self._few(owners, texts)
        if few is not None:
            return self._ranked("id", few, start, EXACT, limit)
        match = " OR ".join(quote(whole_line(text)) for text in self._question.exact)
        return self._in_order(match, start, limit)

    def _beginning(self, start: Hit, limit: int) -> list[Hit]:
        first = max(start, Hit(BEGINS, self._question.whole, _LAST))
        condition = f"d.name < :beyond AND {self._occurs} AND NOT {self._is_exact}"
        statement = (
            f"SELECT {BEGINS}, d.name, d.id FROM {self._index.documents} d WHERE (d.name, d.id) > (:name, :id) "
            f"AND {condition} ORDER BY d.name, d.id LIMIT :limit"
        )
        return self._hits(statement, {**self._given(first, limit), "beyond": behind(self._question.whole)})

    def _by_words(self, start: Hit, limit: int) -> list[Hit]:
        """Return those of the two last ranks, all of which have a trigram of every word."""
        terms = self._question.terms
        trigrams = self._index.trigrams
        # Of many, each match more that is none would cost a look; of a few it costs less than to leave it out.
        rough = f"SELECT x.rowid FROM {trigrams} x WHERE x.{trigrams} MATCH :match"
        sample = self._sample()
        few = self._few(rough, {"match": rough_expression(terms, sample)})
        if few is not None:
            return self._ranked("place", few, start, INSIDE, limit)
        found: list[Hit] = []
        if start.rank == WORDS:
            found += self._in_order(loose_expression(terms, sample, begin=True), start, limit)
        if len(found) < limit:
            match = loose_expression(terms, sample, begin=False)
            if start != Hit(WORDS, "", FIRST):
                # Those of the rank before match as well and may be many; where all of them are in `found` they are few.
                match = f"({match}) NOT ({expression(terms, begin=True)})"
            found += self._in_order(match, max(start, Hit(INSIDE, "", FIRST)), limit - len(found))
        return found

    def _in_order(self, match: str, start: Hit, limit: int) -> list[Hit]:
        """Return records of the rank of `start`, all of which match: those behind it, in their order."""
        found: list[Hit] = []
        trigrams = self._index.trigrams
        for first, last in self._stretches(start):
            statement = (
                f"SELECT {start.rank}, d.name, d.id FROM {trigrams} x "
                f"CROSS JOIN {self._index.documents} d ON d.place = x.rowid WHERE x.{trigrams} MATCH :match "
                f"AND x.rowid >= :first AND x.rowid <= :last AND {self._rank} = {start.rank} "
                "ORDER BY x.rowid LIMIT :limit"
            )
            places = {"match": match, "first": first, "last": last}
            if len(found) < limit:
                found += self._hits(statement, {**self._given(start, limit - len(found)), **places})
        return found

    def _stretches(self, start: Hit) -> list[tuple[int, int]]:
        """Return from which to which place records of the rank of `start` may stand behind it.

        Names that begin with the question have a rank of their own. They are left out where they are many; else one
        stretch takes less, because FTS5 looks for the first match of all before it goes to where a stretch begins.
        """
        first = self._place_behind(start.name, start.id)
        if start.rank == EXACT or not self._many_begin():
            return [(first, _LAST)]
        begin = self._place_behind(self._question.whole, FIRST)
        end = self._place_behind(behind(self._question.whole), FIRST)
        return [(first, begin - 1), (max(first, end), _LAST)]

    def _many_begin(self) -> bool:
        """Say whether the names that begin with the question are many."""
        names = f"SELECT 1 FROM {self._index.documents} d WHERE d.name >= :whole AND d.name < :beyond LIMIT {MANY + 1}"
        ((found,),) = self._read(
            f"SELECT count(*) FROM ({names})", {**self._values, "beyond": behind(self._question.whole)}
        )
        return found == MANY + 1

    def _sample(self) -> list[str]:
        """Return documents from all over the index: what most of them have need not be looked up."""
        documents = self._index.documents
        edges = f"SELECT (SELECT min(place) FROM {documents}), (SELECT max(place) FROM {documents})"
        ((first, last),) = self._read(edges, {})
        if not isinstance(first, int) or not isinstance(last, int):
            return []
        places = [first + (last - first) * at // _SAMPLE for at in range(_SAMPLE)]
        body = f"SELECT d.body FROM {documents} d WHERE d.place >= x.value ORDER BY d.place LIMIT 1"
        rows = self._read(f"SELECT ({body}) FROM json_each(:places) x", {"places": json.dumps(places)})
        return [str(row[0]) for row in rows]

    def _place_behind(self, name: str, id_: int) -> int:
        """Return the place of the first document behind a name and id; beyond all where there is none."""
        statement = f"SELECT d.place FROM {self._index.documents} d WHERE (d.name, d.id) > (:name, :id)"
        rows = self._read(f"{statement} ORDER BY d.name, d.id LIMIT 1", {"name": name, "id": id_})
        return int(str(rows[0][0])) if rows else _LAST

    def _ranked(self, column: str, values: str, start: Hit, last: int, limit: int) -> list[Hit]:
        """Rank the documents with those values of a column; return them from the place of `start` to the last rank."""
        statement = (
            f"SELECT * FROM (SELECT {self._rank} AS rank, d.name AS name, d.id AS id FROM json_each(:values) x "
            f"CROSS JOIN {self._index.documents} d ON d.{column} = x.value) "
            "WHERE rank <= :last AND (rank, name, id) > (:rank, :name, :id) ORDER BY rank, name, id LIMIT :limit"
        )
        return self._hits(statement, {**self._given(start, limit), "values": values, "last": last, "rank": start.rank})

    def _few(self, statement: str, given: dict[str, Any]) -> str | None:
        """Return the numbers that a statement finds, as JSON; None when there are many."""
        some = f"WITH x (number) AS ({statement} LIMIT {MANY + 1}) SELECT count(*), json_group_array(number) FROM x"
        ((found, numbers),) = self._read(some, given)
        return None if found == MANY + 1 else str(numbers)

    def _hits(self, statement: str, given: dict[str, Any]) -> list[Hit]:
        return [Hit(*row) for row in self._read(statement, given)]  # type: ignore[arg-type]

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
