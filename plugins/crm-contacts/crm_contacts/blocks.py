"""Which customers are worth comparing: those who share a mark, such as an address, or beginnings of their names.

Marks of all customers are sorted in a database of SQLite's own temporary file, so that memory does not grow with them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import combinations, groupby
from operator import itemgetter
from typing import Any, Final, cast

import attrs

from crm_contacts.names import name_form
from crm_contacts.rules import Rules
from crm_core import CRM
from crm_core.errors import UsageError
from crm_core.values import text_key

KINDS: Final = {
    "email": "email",
    "phone": "phone",
    "whatsapp": "phone",
    "viber": "phone",
    "telegram": "account",
    "instagram": "account",
    "messenger": "account",
}
"""The rule that a kind of contact point belongs to; a website or a street is shared by too many."""
_WORKS_FOR: Final = "works for"
_OWN: Final = "crm-core"
"""The system of the ids that lead from merged customers to what they became: nobody else's."""
_SPECIAL: Final = 8
"""Characters from which on an external id with letters and digits is nobody else's by chance."""
_AFFIX: Final = 3
"""Letters at the beginning, or at the end, of two words of a name that must be the same for a comparison."""
_WORDS: Final = 4
"""Words of a name from which such pairs are made: more say little and cost the square."""
_CACHE: Final = -16_000
"""KiB that SQLite may keep in memory, negative as it wants them."""


@attrs.frozen
class Person:
    """What is compared of a customer besides the marks: the form of the name, the city, the day of birth."""

    id: int
    kind: str
    name: str
    city: str
    born: int | None


@attrs.frozen
class Block:
    """Customers who share a mark of a rule, by id, each with the form of the name where names are compared."""

    rule: str
    key: str
    members: list[tuple[int, str]]


class Marks:
    """The marks of all customers of a CRM, to be read block by block."""

    def __init__(self, crm: CRM, rules: Rules, *, names_alone: bool) -> None:
        """Prepare to mark; with `names_alone`, also by name without a city or company."""
        self._crm = crm
        self._rules = rules
        self._names_alone = names_alone
        # Without a name it lies in a temporary file that goes with the connection.
        self._base = sqlite3.connect("", isolation_level=None)
        self._base.execute(f"PRAGMA cache_size = {_CACHE}")
        self._base.execute("PRAGMA journal_mode = OFF")
        self._base.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, kind, name, city, born)")
        self._base.execute("CREATE TABLE marks (rule, key, id, name)")

    def close(self) -> None:
        """Give the temporary file back."""
        self._base.close()

    def read(self) -> int:
        """Read the CRM and return how many customers it has."""
        count = 0
        self._base.execute("BEGIN")
        with self._crm.snapshot():
            for rows in self._scan("customers", ["id", "kind", "name", "city", "birth_date", *self._key_columns()]):
                count += len(rows)
                self._people(rows)
            for rows in self._scan("relations", ["customer_id", "other_id", "kind"]):
                people = self.people(row[0] for row in rows)
                employed = [row for row in rows if _is_employment(row[2]) and row[0] in people and people[row[0]].name]
                self._places((row[0], f"works for {row[1]}", people[row[0]].name) for row in employed)
            for rows in self._scan("contact_points", ["customer_id", "kind", "key"]):
                self._add((KINDS[row[1]], str(row[2]), row[0]) for row in rows if row[1] in KINDS and row[2])
            for rows in self._scan("external_ids", ["record_type", "system", "external", "record_id", "state"]):
                self._add(
                    ("external", mark, row[3])
                    for row in rows
                    if row[0] == "customer" and row[4] in ("live", "merged")
                    for mark in [self._mark_of(row[1], row[2])]
                    if mark
                )
        self._base.execute("COMMIT")
        return count

    def blocks(self) -> Iterator[Block]:
        """Yield the marks that two customers share at least, in order."""
        rows = self._base.execute("SELECT rule, key, id, name FROM marks ORDER BY rule, key, id")
        for (rule, key), marked in groupby(rows, key=itemgetter(0, 1)):
            members = {row[2]: row[3] for row in marked}
            if len(members) > 1:
                yield Block(rule, key, list(members.items()))

    def people(self, ids: Iterable[int]) -> dict[int, Person]:
        """Return what is compared of those customers."""
        wanted = ",".join(str(int(one)) for one in ids)
        rows = self._base.execute(f"SELECT id, kind, name, city, born FROM people WHERE id IN ({wanted})")
        return {row[0]: Person(*row) for row in rows}

    def evidence(self) -> Evidence:
        """Return where reasons are collected, pair by pair."""
        return Evidence(self._base)

    def _scan(self, table: str, columns: list[str]) -> Iterator[list[Any]]:
        return cast("Iterator[list[Any]]", self._crm.storage.scan(table, columns))

    def _key_columns(self) -> list[str]:
        fields = [self._crm.registry.named("customer").field(path) for path in self._rules.keys]
        for field in fields:
            if field.declaration.kind not in ("text", "integer"):
                raise UsageError(f"{field.path} is a {field.declaration.kind} and tells no customers apart")
        return [field.column for field in fields]

    def _people(self, rows: list[Any]) -> None:
        people: list[tuple[object, ...]] = []
        marks: list[tuple[str, str, int]] = []
        places: list[tuple[int, str, str]] = []
        for id_, kind, name, city, born, *keys in rows:
            form = name_form(name, organisation=kind == "organisation") if name else ""
            place = text_key(city) if city else ""
            people.append((id_, kind, form, place, born))
            marks += [("external", f"{at} {text_key(str(key))}", id_) for at, key in enumerate(keys) if key is not None]
            if form and self._names_alone:
                marks.append(("same_name", form, id_))
            if form and place:
                places.append((id_, f"in {place}", form))
        self._base.executemany("INSERT INTO people VALUES (?, ?, ?, ?, ?)", people)
        self._add(marks)
        self._places(places)

    def _places(self, places: Iterable[tuple[int, str, str]]) -> None:
        """Mark names where they are compared: in a city, or at a company."""
        marks = ((f"{place} {affix}", id_, name) for id_, place, name in places for affix in affixes(name))
        self._base.executemany("INSERT INTO marks VALUES ('name', ?, ?, ?)", marks)

    def _add(self, marks: Iterable[tuple[str, str, int]]) -> None:
        self._base.executemany("INSERT INTO marks VALUES (?, ?, ?, '')", marks)

    def _mark_of(self, system: str, external: str) -> str:
        if system == _OWN:
            return ""
        if system in self._rules.same_ids:
            return f"shared {text_key(external)}"
        special = len(external) >= _SPECIAL and any(map(str.isdigit, external)) and any(map(str.isalpha, external))
        return text_key(external) if special else ""


class Evidence:
    """Reasons why two customers may be one, each once for a pair, with how much of it holds in percent."""

    def __init__(self, base: sqlite3.Connection) -> None:
        self._base = base
        base.execute(
            "CREATE TABLE evidence (one, other, rule, value, share, PRIMARY KEY (one, other, rule, value)) "
            "WITHOUT ROWID"
        )
        base.execute("BEGIN")

    def add(self, rows: Iterable[tuple[int, int, str, str, int]]) -> None:
        """Note reasons: the two customers, the lower id first, the rule, what they share, how much."""
        self._base.executemany("INSERT OR IGNORE INTO evidence VALUES (?, ?, ?, ?, ?)", rows)

    def pairs(self, batch: int) -> Iterator[list[tuple[int, int, str, str, int]]]:
        """Yield the reasons in order of the pairs; no pair is parted between two batches."""
        waiting: list[Any] = []
        for row in self._base.execute("SELECT one, other, rule, value, share FROM evidence ORDER BY 1, 2, 3, 4"):
            if len(waiting) >= batch and row[:2] != waiting[-1][:2]:
                yield waiting
                waiting = []
            waiting.append(row)
        if waiting:
            yield waiting


def affixes(form: str) -> Iterator[str]:
    """Yield under what a name is compared: beginnings, and ends, of each two of its words; so one slip is forgiven.

    >>> list(affixes("ada lovelace")), list(affixes("siemens"))
    (['^ada lov', '$ace ada'], ['^sie', '$ens'])
    """
    words = sorted(form.split(), key=lambda word: (-len(word), word))[:_WORDS]
    parts: list[tuple[str, ...]] = [*combinations(words, 2)] or [(word,) for word in words]
    yield from sorted({"^" + " ".join(sorted(word[:_AFFIX] for word in part)) for part in parts})
    yield from sorted({"$" + " ".join(sorted(word[-_AFFIX:] for word in part)) for part in parts})


def _is_employment(kind: Any) -> bool:
    return text_key(str(kind)).replace("_", " ") == _WORKS_FOR
