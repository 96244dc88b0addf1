"""One page of a search on a server: a few candidates are all ranked, many are read in the order of the results.

A server keeps no documents of the records, as the index of an SQLite file does, but puts them together when it ranks
some. So few should be ranked: where a look at those that stand where the page begins says that many are found, records
are read in order until the page is full; else the indexes of the texts say who may be found at all, or, on a database
that has none for parts of words, the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import attrs

from crm_core.query.ast import And, Compare, Contains, Expression, SortKey
from crm_core.query.search import (
    BEGINS,
    EXACT,
    INSIDE,
    SHORT,
    WORDS,
    Hit,
    Question,
    Searched,
    SearchedText,
    Term,
    behind,
)
from crm_core.records.schema import Primitive, Row
from crm_storage_sql.dialect import PREFIX, quote
from crm_storage_sql.ranked import FIRST, RankedPages
from crm_storage_sql.trigram import needle, telling_part, whole_line
from crm_storage_sql.where import Clauses

MANY: Final = 5_000
"""Candidates from which on not all are ranked for a page: among 200,000 records, fewer are read in order for it."""
LOOK: Final = 200
"""Records that are looked at to tell how many are found."""
FREQUENT: Final = 2
"""Matches among these from which on a page is read in order."""
PATIENCE: Final = 4_000
"""Records that are read in order for a page before the candidates are looked up after all."""
_MOST: Final = 2_000
"""Records that are ranked together while a page is read in order."""
_USUAL: Final = 10
"""What one of so many records has tells little: it is looked for among the candidates alone."""
_WHOLE: Final = f"LIMIT {2**63 - 1}"
"""Keeps a server from working out what a derived row says once more for each time that it is named."""

Find = Callable[..., list[Row]]
Read = Callable[[str, Sequence[Any]], list[Row]]


@attrs.frozen
class _Sql:
    """Part of a statement with its parameters, in order."""

    text: str
    given: tuple[Any, ...] = ()

    def __add__(self, other: _Sql | str) -> _Sql:
        part = other if isinstance(other, _Sql) else _Sql(other)
        return _Sql(self.text + part.text, self.given + part.given)

    def __radd__(self, before: str) -> _Sql:
        return _Sql(before) + self


@attrs.define
class _Look:
    """What some records say: how many of them are found, by rank, and which fragments are usual."""

    matches: dict[int, int]
    usual: frozenset[str]

    def is_frequent(self, rank: int) -> bool:
        """Say whether so many have that rank that a page of them is read in order."""
        return self.matches[rank] >= FREQUENT


class ServerLookup(RankedPages):
    """The pages of one question; `find` and `read` read one snapshot, `clauses` begins those of a table."""

    def __init__(
        self, searched: Searched, question: Question, *, clauses: Callable[[str], Clauses], find: Find, read: Read
    ) -> None:
        self._searched = searched
        self._question = question
        self._clauses, self._find, self._read = clauses, find, read
        self._dialect = clauses(searched.table).dialect
        self._name = searched.own[0].column

    def _exact(self, start: Hit, limit: int) -> list[Hit]:
        """Return those with a text that is the question."""
        owners = _joined(" UNION ", [self._owners(text) for text in self._searched.texts])
        mark, name = self._dialect.mark, f"coalesce(t.{quote(self._name)}, '')"
        place = _Sql(f"({name} > {mark} OR ({name} = {mark} AND t.id > {mark}))", (start.name, start.name, start.id))
        return self._hits(
            f"SELECT {EXACT}, {name}, t.id FROM (" + owners + f") o JOIN {quote(self._searched.table)} t "
            "ON t.id = o.owner WHERE " + place + _Sql(f" ORDER BY {name}, t.id LIMIT {mark}", (limit,))
        )

    def _owners(self, text: SearchedText) -> _Sql:
        clauses = self._clauses(text.table)
        condition = clauses.members(text.column, self._question.exact)
        select = f"SELECT t0.{quote(text.owner)} AS owner FROM {quote(text.table)} t0 WHERE {condition}"
        return _Sql(select, tuple(clauses.parameters))

    def _beginning(self, start: Hit, limit: int) -> list[Hit]:
        """Return those whose name begins with the question."""
        whole = self._question.whole
        stretch = _names_between(self._name, whole, behind(whole))
        return self._in_order(start, [stretch], limit, size=limit, patience=None) or []

    def _by_words(self, start: Hit, limit: int) -> list[Hit]:
        """Return those of the two last ranks."""
        fragments = {one for term in self._question.terms for way in term for one in way}
        # Short ones are found where they begin a word, and nowhere else.
        last = WORDS if all(len(one) < SHORT for one in fragments) else INSIDE
        if start.rank > last:
            return []
        look = self._look(start)
        if start.rank == WORDS and not look.is_frequent(WORDS) and not look.is_frequent(INSIDE):
            candidates = self._candidates((WORDS, INSIDE), look)
            if candidates is not None:
                return self._ranked(candidates, start, INSIDE, limit)
        found: list[Hit] = []
        for rank in (WORDS, INSIDE):
            if start.rank <= rank <= last and len(found) < limit:
                found += self._of_rank(max(start, Hit(rank, "", FIRST)), look, limit - len(found))
        return found

    def _of_rank(self, start: Hit, look: _Look, limit: int) -> list[Hit]:
        """Return records of the rank of `start`: in order where many are found, else of the candidates."""
        stretches = self._stretches()
        if look.is_frequent(start.rank):
            size = LOOK * limit // look.matches[start.rank]
            found = self._in_order(start, stretches, limit, size=size, patience=PATIENCE)
            if found is not None:
                return found
        candidates = self._candidates((start.rank,), look)
        if candidates is not None:
            return self._ranked(candidates, start, start.rank, limit)
        return self._in_order(start, stretches, limit, size=_MOST, patience=None) or []

    # In order

    def _stretches(self) -> list[Expression | None]:
        """Return the conditions on names of which one after the other holds: all but those that begin as asked for.

        None stands for the records without a name, which come first.
        """
        name, whole = self._name, self._question.whole
        return [None, _names_between(name, "", whole), Compare(name, ">=", behind(whole))]

    def _in_order(
        self, start: Hit, stretches: Sequence[Expression | None], limit: int, *, size: int, patience: int | None
    ) -> list[Hit] | None:
        """Return records of the rank of `start` as they come in the order of names; None: that took too many."""
        found: list[Hit] = []
        looked_at = 0
        for ids in self._groups(start, stretches, size):
            if len(found) >= limit:
                break
            if patience is not None and looked_at >= patience:
                return None
            looked_at += len(ids)
            found += self._ranked(ids, start, start.rank, limit - len(found))
        return found[:limit]

    def _groups(self, start: Hit, stretches: Sequence[Expression | None], size: int) -> Iterator[list[int]]:
        """Yield the ids of the records behind a place in the order of names, more of them each time."""
        size = min(max(size, LOOK // 4), _MOST)
        for stretch in stretches:
            if stretch is None and start.name:
                continue
            after: Sequence[Primitive] = (start.name, start.id)
            while True:
                rows = self._unnamed(after, size) if stretch is None else self._named(stretch, after, size)
                if rows:
                    yield [int(str(row[1])) for row in rows]
                    after = rows[-1]
                if len(rows) < size:
                    break
                size = min(2 * size, _MOST)

    def _named(self, stretch: Expression | None, after: Sequence[Primitive], limit: int) -> list[Row]:
        return self._find(
            self._searched.table,
            stretch,
            sort=[SortKey(self._name)],
            after=after,
            limit=limit,
            columns=[self._name, "id"],
        )

    def _unnamed(self, after: Sequence[Primitive], limit: int) -> list[Row]:
        """Return the records without a name, or with an empty one, by id."""
        rows = self._named(Compare(self._name, "=", ""), ("", after[1]), limit)
        rows += self._named(None, (None, after[1]), limit)
        return sorted(rows, key=lambda row: int(str(row[1])))[:limit]

    def _look(self, start: Hit) -> _Look:
        """Look at the records that stand where a page begins, and at as many elsewhere: names next to it are alike."""
        elsewhere = frozenset(self._elsewhere(LOOK // 2))
        here = next(self._groups(start, self._stretches(), LOOK // 2), [])
        fragments = list(dict.fromkeys(one for term in self._question.terms for way in term for one in way))
        flags = [_case(self._contains(needle(one, begin=False))) for one in fragments]
        says = "SELECT d.id, " + _joined(", ", [self._rank, *flags]) + " FROM "
        rows = self._rows(says + self._documents([*elsewhere.union(here)]))
        had = zip(*(row[2:] for row in rows if row[0] in elsewhere), strict=True)
        return _Look(
            {rank: sum(row[1] == rank for row in rows) for rank in (WORDS, INSIDE)},
            frozenset(one for one, held in zip(fragments, had, strict=False) if sum(held) * _USUAL > len(held)),
        )

    def _elsewhere(self, limit: int) -> list[int]:
        """Return the ids of some records that were written one after the other."""
        table, mark = quote(self._searched.table), self._dialect.mark
        ((first, last),) = self._read(f"SELECT min(id), max(id) FROM {table}", ())
        if not isinstance(first, int) or not isinstance(last, int):
            return []
        some = f"SELECT id FROM {table} WHERE id >= {mark} ORDER BY id LIMIT {limit}"
        return [int(str(row[0])) for row in self._read(some, ((first + last) // 2,))]

    # Of candidates

    def _candidates(self, ranks: Sequence[int], look: _Look) -> list[int] | None:
        """Return the ids of all records that may have those ranks, and of some more; None: they are too many."""
        terms = self._question.terms
        rare = [tuple(tuple(one for one in way if one not in look.usual) for way in term) for term in terms]
        telling = [term for term in rare if all(term)]
        for chosen in filter(None, (telling, terms) if telling != [*terms] else (terms,)):
            statement = self._having(chosen, ranks, whole=chosen is terms)
            rows = self._rows(statement + f" LIMIT {MANY + 1}")
            if len(rows) <= MANY:
                return [int(str(row[0])) for row in rows]
        return None

    def _having(self, terms: Sequence[Term], ranks: Sequence[int], *, whole: bool) -> _Sql:
        """Return the select of the records in whose texts all of the terms are; `whole`: they are all there are."""
        begin = tuple(ranks) == (WORDS,)
        fragments = list(dict.fromkeys(one for term in terms for way in term for one in way))
        without_better = whole and tuple(ranks) == (INSIDE,)
        had = _had_all(terms, fragments, 0)
        if without_better:
            had = f"{had} AND NOT ({_had_all(terms, fragments, len(fragments))})"
        parts = [
            self._holding(text, fragments, begin=begin, and_whether_begun=without_better)
            for text in self._searched.texts
        ]
        return (
            "SELECT u.owner FROM (" + _joined(" UNION ALL ", parts) + f") u WHERE u.owner IS NOT NULL "
            f"GROUP BY u.owner HAVING {had}"
        )

    def _holding(self, text: SearchedText, fragments: Sequence[str], *, begin: bool, and_whether_begun: bool) -> _Sql:
        """Return the select of the texts that hold one of the fragments: which, and those that surely begin a word."""
        sought = [self._holds(text, fragment, begin=begin) for fragment in fragments]
        begun = [self._holds(text, fragment, begin=True, sure=True) for fragment in fragments]
        holds = sought + begun * and_whether_begun
        numbers = [f"n{at}" for at in range(len(holds))]
        flags = [_case(one) + f" AS {number}" for one, number in zip(holds, numbers, strict=True)]
        table, owner = quote(text.table), quote(text.owner)
        rows = "FROM " + table + " t0 WHERE " + _joined(" OR ", sought)
        if not self._dialect.covers or text.owner == "id":
            return f"SELECT t0.{owner} AS owner, " + _joined(", ", flags) + " " + rows
        covered = "SELECT t0.id, " + _joined(", ", flags) + " " + rows + f" {_WHOLE}"
        named = ", ".join(f"x.{number}" for number in numbers)
        return f"SELECT p.{owner} AS owner, {named} FROM (" + covered + f") x JOIN {table} p ON p.id = x.id"

    def _holds(self, text: SearchedText, fragment: str, *, begin: bool, sure: bool = False) -> _Sql:
        """Return the condition that a text has a fragment, or that a part of it which tells as much.

        What begins a word and is `sure` does not hold of a text that might have it, but of one that has it.
        """
        if self._dialect.covers:
            return self._beginning_holds(text, fragment, begin=begin, sure=sure)
        clauses, name = self._clauses(text.table), text.column
        if not begin and len(fragment) >= SHORT:
            return _Sql(f"({clauses.condition(Contains(name, telling_part(fragment)))})", tuple(clauses.parameters))
        first = clauses.condition(And((Compare(name, ">=", fragment), Compare(name, "<", behind(fragment)))))
        later = clauses.condition(Contains(name, f" {fragment}"))
        if text.table != self._searched.table and self._dialect.several_words:
            later = f"{self._dialect.several_words.format(clauses.column(name))} AND {later}"
        return _Sql(f"(({first}) OR ({later}))", tuple(clauses.parameters))

    def _beginning_holds(self, text: SearchedText, fragment: str, *, begin: bool, sure: bool) -> _Sql:
        """Return the same of what an index has of a text, which is read alone; one that is cut off might have it."""
        clauses, dialect = self._clauses(text.table), self._dialect
        cell, is_cut = clauses.lead(text.column), clauses.is_cut(text.column)
        if begin or len(fragment) < SHORT:
            cell, fragment = f"concat(' ', {cell})", f" {fragment}"
        condition = dialect.contains.format(cell)
        if is_cut and not sure:
            condition += f" OR char_length({clauses.lead(text.column)}) = {PREFIX}"
        return _Sql(f"({condition})", (fragment,))

    # Ranking

    def _ranked(self, ids: Sequence[int], start: Hit, last: int, limit: int) -> list[Hit]:
        """Rank those records; return them from the place of `start` to the last rank."""
        if not ids:
            return []
        mark = self._dialect.mark
        place = _Sql(
            f"(r.grade > {mark} OR (r.grade = {mark} AND (r.name > {mark} OR (r.name = {mark} AND r.id > {mark}))))",
            (start.rank, start.rank, start.name, start.name, start.id),
        )
        graded = "SELECT " + self._rank + " AS grade, d.name, d.id FROM " + self._documents(ids) + f" {_WHOLE}"
        return self._hits(
            "SELECT r.grade, r.name, r.id FROM ("
            + graded
            + _Sql(f") r WHERE r.grade <= {mark} AND ", (last,))
            + place
            + _Sql(f" ORDER BY r.grade, r.name, r.id LIMIT {mark}", (limit,))
        )

    def _documents(self, ids: Sequence[int]) -> _Sql:
        """Return the documents of those records, as SQLite's index has them, with their names."""
        clauses = self._clauses(self._searched.table)
        condition = clauses.members("id", ids)
        lines = [_line(f"t0.{quote(text.column)}") for text in self._searched.own]
        lines += [self._lines_of(part) for part in self._searched.parts]
        name = f"coalesce(t0.{quote(self._name)}, '')"
        body = f"concat({', '.join(lines)}, '\n')"
        select = f"SELECT t0.id, {name} AS name, {body} AS body FROM {quote(self._searched.table)} t0"
        return _Sql(f"({select} WHERE {condition} {_WHOLE}) d", tuple(clauses.parameters))

    def _lines_of(self, part: SearchedText) -> str:
        line = self._dialect.gathered.format(_line(f"p.{quote(part.column)}"))
        return f"coalesce((SELECT {line} FROM {quote(part.table)} p WHERE p.{quote(part.owner)} = t0.id), '')"

    @property
    def _rank(self) -> _Sql:
        """The rank of a document d; NULL where it is not found."""
        whole = self._question.whole
        is_exact = _joined(" OR ", [self._contains(whole_line(text)) for text in self._question.exact])
        begins = _Sql(f"left(d.name, {len(whole)}) = {self._dialect.mark}", (whole,))
        cases = [
            "CASE WHEN " + is_exact + f" THEN {EXACT}",
            "WHEN NOT (" + self._answers(self._question.terms, begin=False) + ") THEN NULL",
            "WHEN " + begins + f" THEN {BEGINS}",
            "WHEN " + self._answers(self._question.terms, begin=True) + f" THEN {WORDS} ELSE {INSIDE} END",
        ]
        return _joined(" ", cases)

    def _answers(self, terms: Iterable[Term], *, begin: bool) -> _Sql:
        """Return the condition on a document d that all those terms occur in it."""

        def way(fragments: Iterable[str]) -> _Sql:
            return "(" + _joined(" AND ", [self._contains(needle(one, begin=begin)) for one in fragments]) + ")"

        return _joined(" AND ", ["(" + _joined(" OR ", [way(one) for one in term]) + ")" for term in terms])

    def _contains(self, text: str) -> _Sql:
        return _Sql(self._dialect.contains.format("d.body"), (text,))

    def _hits(self, statement: _Sql) -> list[Hit]:
        return [Hit(*row) for row in self._rows(statement)]  # type: ignore[arg-type]

    def _rows(self, statement: _Sql) -> list[Row]:
        return self._read(statement.text, statement.given)


def _names_between(name: str, low: str, high: str) -> Expression:
    return And((Compare(name, ">" if not low else ">=", low), Compare(name, "<", high)))


def _had_all(terms: Iterable[Term], fragments: Sequence[str], first: int) -> str:
    """Return the condition on the texts of a record that among them all terms are held."""

    def way(parts: Iterable[str]) -> str:
        return " AND ".join(f"max(u.n{first + fragments.index(one)}) = 1" for one in parts)

    return " AND ".join(f"({' OR '.join(f'({way(one)})' for one in term)})" for term in terms)


def _case(condition: _Sql) -> _Sql:
    return "CASE WHEN " + condition + " THEN 1 ELSE 0 END"


def _joined(between: str, parts: Sequence[_Sql]) -> _Sql:
    return _Sql(between.join(part.text for part in parts), tuple(cell for part in parts for cell in part.given))


def _line(cell: str) -> str:
    return f"coalesce(concat('\n  ', replace({cell}, ' ', '  ')), '')"
