"""Records that name nobody, and yet are about a person: a personal text of theirs holds one of the person's addresses.

A message of a sender who was not known yet, say. An address that another customer has too tells of neither.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import cached_property
from typing import Any, Final, cast

from crm_core.ledger.session import Session
from crm_core.query.ast import And, Compare, Expression, In, IsNull, Or, SortKey
from crm_core.records import RecordType
from crm_core.records.registry import Field
from crm_core.records.schema import Primitive, Row
from crm_core.services.privacy.images import paged, pieces
from crm_core.values import ascii_digits

_POINT: Final = "contact_point"
_BATCH: Final = 1_000
_NUMBER: Final = re.compile(r"\+?\d[\d\s()./\u2010-\u2015-]{4,}\d")
_SHORT: Final = 5
"""Characters of an address below which it must be the whole of a text: a short number stands in many."""

Ids = Mapping[str, Set[int]]


class Mentions:
    """Searches for what names nobody and holds an address of the person, by the ids of the contact points known."""

    def __init__(self, session: Session, known: Ids) -> None:
        self._session = session
        self._storage = session.storage
        self._types = session.registry.types
        self._known = known
        forms = self._forms()
        self._words = frozenset(one for one in forms if one)
        self._numbers = frozenset(filter(None, map(_digits, self._words)))

    def found(self) -> dict[str, set[int]]:
        """Return the ids of such records by type, also of those that were deleted."""
        found: dict[str, set[int]] = {}
        for kind in self._types.values() if self._words else ():
            columns = _texts(kind)
            if kind.name == "external_id" or not columns:
                continue
            if _naming(kind):
                ids = {cast(int, row[0]) for row in self._of_nobody(kind) if self._holds(kind, columns, row)}
                found.setdefault(kind.name, set()).update(ids)
            else:
                for whole, ids in self._wholes(kind, columns):
                    found.setdefault(whole, set()).update(ids)
        return {name: ids for name, ids in found.items() if ids}

    # Addresses

    def _forms(self) -> set[str]:
        """Return how the person's addresses are written, now and before, in lower case; those of others left out."""
        ids = self._known.get(_POINT, set())
        said = [*self._points(ids), *self._former(ids)]
        keys = {key for _, key in said if key}
        shared = set()
        for at in range(0, len(keys), _BATCH):
            where = In("key", tuple(sorted(keys)[at : at + _BATCH]))
            rows = self._storage.find(self._types[_POINT].plural, where, columns=["id", "key"])
            shared |= {str(row[1]) for row in rows if row[0] not in ids}
        return {form.casefold() for value, key in said if key not in shared for form in (value, key) if form}

    def _points(self, ids: Set[int]) -> Iterator[tuple[str, str]]:
        for where in pieces("id", ids):
            for row in self._storage.find(self._types[_POINT].plural, where, columns=["value", "key"]):
                yield str(row[0] or ""), str(row[1] or "")

    def _former(self, ids: Set[int]) -> Iterator[tuple[str, str]]:
        """Yield what the ledger says that addresses were before."""
        for where in pieces("record_id", ids):
            of_points = And((Compare("table_name", "=", self._types[_POINT].plural), where))
            for rows in paged(self._storage, of_points):
                for row in rows:
                    content: Mapping[str, Any] = json.loads(str(row[5])) or {}
                    cells = [content.get(column) for column in ("value", "key")]
                    old = [cell[0] if isinstance(cell, list) else cell for cell in cells]
                    yield str(old[0] or ""), str(old[1] or "")

    # Records

    def _of_nobody(self, kind: RecordType) -> Iterator[Row]:
        """Yield the rows of a type, deleted ones too, that name no customer and point at nothing that does."""
        nobody = And(tuple(IsNull(column) for column in _naming(kind)))
        last = 0
        while True:
            where = And((nobody, Compare("id", ">", last)))
            rows = self._storage.find(kind.plural, where, sort=[SortKey("id")], limit=_BATCH)
            yield from self._unclaimed(kind, rows)
            if len(rows) < _BATCH:
                break
            last = cast(int, rows[-1][0])
        for rows in self._deleted(kind):
            yield from self._unclaimed(kind, rows)

    def _deleted(self, kind: RecordType) -> Iterator[list[Row]]:
        """Yield rows that were deleted, as they were, in batches."""
        of_type = And((Compare("table_name", "=", kind.plural), Compare("action", "=", "deleted")))
        for images in paged(self._storage, of_type):
            said = [json.loads(str(image[5])) or {} for image in images]
            yield [tuple(cells.get(name) for name in kind.table.column_names) for cells in said if cells]

    def _unclaimed(self, kind: RecordType, rows: Iterable[Row]) -> list[Row]:
        """Return those of these rows that name no customer, and point at nothing that names one."""
        places = [kind.table.column_names.index(column) for column in _naming(kind)]
        free = [row for row in rows if all(row[place] is None for place in places)]
        for field in _references(kind) if free else ():
            target = self._types[field.declaration.references]
            if target.name == "customer" or not _naming(target):
                continue
            place = kind.table.column_names.index(field.column)
            claimed: set[Primitive] = set()
            for where in pieces("id", cast(set[int], {row[place] for row in free} - {None})):
                found = self._storage.find(target.plural, where, columns=["id", *_naming(target)])
                claimed |= {row[0] for row in found if any(cell is not None for cell in row[1:])}
            free = [row for row in free if row[place] not in claimed]
        return free

    def _wholes(self, kind: RecordType, columns: list[str]) -> Iterator[tuple[str, set[int]]]:
        """Yield what records are parts of, that are about nobody, where one of their texts is an address."""
        parts = [
            f for f in _references(kind) if f.declaration.part_of and _naming(self._types[f.declaration.references])
        ]
        if not parts:
            return
        exact: list[Expression] = [In(column, tuple(sorted(self._written))) for column in columns]
        places = [kind.table.column_names.index(column) for column in columns]
        rows = self._storage.find(kind.plural, Or(tuple(exact)))
        for deleted in self._deleted(kind):
            rows += [row for row in deleted if any(row[place] in self._written for place in places)]
        for field in parts:
            whole, place = self._types[field.declaration.references], kind.table.column_names.index(field.column)
            ids = {cast(int, row[place]) for row in rows if row[place] is not None}
            there = [row for where in pieces("id", ids) for row in self._storage.find(whole.plural, where)]
            gone = [row for deleted in self._deleted(whole) for row in deleted if row[0] in ids] if ids else []
            yield whole.name, {cast(int, row[0]) for row in self._unclaimed(whole, [*there, *gone])}

    @cached_property
    def _written(self) -> frozenset[str]:
        """How the addresses may stand as the whole of a text."""
        return self._words | {f"+{number}" for number in self._numbers} | self._numbers

    # Texts

    def _holds(self, kind: RecordType, columns: list[str], row: Row) -> bool:
        cells = dict(zip(kind.table.column_names, row, strict=False))
        return any(self._mentions(text) for column in columns for text in _strings(str(cells[column] or "")))

    def _mentions(self, text: str) -> bool:
        """Whether a text holds one of the addresses, not as a part of a longer one."""
        folded = text.casefold().strip()
        if folded in self._words or (self._pattern is not None and self._pattern.search(folded)):
            return True
        return any(_digits(number) in self._numbers for number in _NUMBER.findall(ascii_digits(folded)))

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        words = sorted((word for word in self._words if len(word) >= _SHORT), key=len, reverse=True)
        if not words:
            return None
        return re.compile(rf"(?<![\w.+@-])(?:{'|'.join(map(re.escape, words))})(?![\w@-]|\.\w)")


def _references(kind: RecordType) -> list[Field]:
    return [field for field in kind.fields.values() if field.declaration.references]


def _naming(kind: RecordType) -> list[str]:
    return [field.column for field in _references(kind) if field.declaration.references == "customer"]


def _texts(kind: RecordType) -> list[str]:
    fields = (field for field in kind.fields.values() if field.declaration.personal)
    return [field.column for field in fields if field.declaration.kind == "text"]


def _digits(text: str) -> str:
    """Return the digits of what is a telephone number and nothing else, without what leads out of a country."""
    if not _NUMBER.fullmatch(ascii_digits(text)):
        return ""
    return re.sub(r"\D", "", ascii_digits(text)).removeprefix("00")


def _strings(text: str) -> Iterator[str]:
    """Yield a text, or the texts in it where it is JSON."""
    if text[:1] not in ("{", "["):
        yield text
        return
    try:
        waiting = [json.loads(text)]
    except ValueError:
        yield text
        return
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one


__all__ = ["Mentions"]
