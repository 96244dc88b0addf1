"""Which records are about a person, those there are and those that were deleted: found by what references say.

A record is about a person when a reference to customers names them; where it names no customer at all, when it points
at a record that is. So a line of a sale is about who bought, and a call to somebody else on the same deal is not. What
points at nobody at all is about whose address it holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import cached_property
from typing import Any, Final, cast

from crm_core.ledger.session import Session
from crm_core.query.ast import And, Compare, In
from crm_core.records import RecordType
from crm_core.records.registry import Field
from crm_core.records.schema import Primitive, Row
from crm_core.services.privacy.carried import Carried
from crm_core.services.privacy.former import Former
from crm_core.services.privacy.images import holds, naming, paged, personal_columns, pieces
from crm_core.services.privacy.mentions import Mentions
from crm_core.services.references import MERGED
from crm_core.values import parse_id

PERSON: Final = "customer"
NAMES: Final = "external_id"
_BATCH: Final = 1_000


class Found:
    """What is about one person: ids by record type, present and deleted, and the images that hold personal values."""

    def __init__(self, session: Session, person: int, seen: Callable[[int], object] = lambda count: None) -> None:
        """Search; `seen` is told how many rows more were looked at, here and in what is read of it later."""
        self.person = person
        self._seen = seen
        self._session = session
        self._storage = session.storage
        self._types = session.registry.types
        self.present: dict[str, set[int]] = {}
        self.deleted: dict[str, set[int]] = {}
        self._search({PERSON: {person}})
        if not self._storage.get_many(self._types[PERSON].plural, [person]):  # who was deleted is in the ledger alone
            self.present[PERSON].discard(person)
        self._search_deleted()
        mentioned = Mentions(session, self._known()).found()
        if mentioned:
            self._search_mentioned(mentioned)

    def rows(self, type_name: str) -> Iterator[list[Row]]:
        """Yield the present rows of a type, in batches."""
        ids = sorted(self.present.get(type_name, ()))
        for at in range(0, len(ids), _BATCH):
            self._seen(len(ids[at : at + _BATCH]))
            yield self._storage.get_many(self._types[type_name].plural, ids[at : at + _BATCH])

    def names(self) -> Iterator[list[Row]]:
        """Yield the external ids of the records, but for those that only lead on from merged ones."""
        kind = self._types[NAMES]
        system = kind.table.column_names.index("system")
        for name, ids in self.present.items():
            for where in pieces("record_id", ids | self.deleted.get(name, set())):
                rows = self._storage.find(kind.plural, And((Compare("record_type", "=", name), where)))
                yield [row for row in rows if row[system] != MERGED]

    def images(self) -> Iterator[list[Row]]:
        """Yield the images that hold personal values, in batches: of the records, and of others that hold theirs."""
        others = {**self.carried.images, **{image: row for image, (row, _) in self.former.images.items()}}
        yield from self.own_images()
        ordered = sorted(others)
        for at in range(0, len(ordered), _BATCH):
            yield [others[image] for image in ordered[at : at + _BATCH]]

    def own_images(self) -> Iterator[list[Row]]:
        """Yield the images of the records that are about the person, those that hold personal values."""
        for name in {**self.present, **self.deleted, NAMES: set()}:
            kind = self._types[name]
            columns = personal_columns(kind)
            ids = self.present.get(name, set()) | self.deleted.get(name, set())
            if name == NAMES:
                ids = ids | {cast(int, row[0]) for rows in self.names() for row in rows}
            for where in pieces("record_id", ids) if columns else ():
                for rows in paged(self._storage, And((Compare("table_name", "=", kind.plural), where))):
                    self._seen(len(rows))
                    yield [row for row in rows if holds(row, columns)]

    @cached_property
    def persons(self) -> set[int]:
        """The person's own id, and those of customers who were merged into them."""
        kind = self._types[NAMES]
        wanted = {"record_type": PERSON, "system": MERGED, "record_id": self.person}
        where = And(tuple(Compare(column, "=", cast(Any, value)) for column, value in wanted.items()))
        return {
            self.person,
            *(parse_id(str(row[0])) for row in self._storage.find(kind.plural, where, columns=["external"])),
        }

    @cached_property
    def former(self) -> Former:
        """What was about the person once and is somebody else's now."""
        pointing = [kind for kind, _ in self._pointing() if kind.name != NAMES]
        return Former(self._session, self.persons, self._known(), pointing)

    @cached_property
    def carried(self) -> Carried:
        """What merges that came apart since carried to others."""
        known = self._known()
        return Carried(self._session, self.persons, lambda kind, record_id: record_id in known.get(kind.name, ()))

    def of_detached(self) -> Iterator[tuple[str, str, int]]:
        """Yield what plugins that are not at work keep of the person: table or column, whose it is, how many."""
        known = {kind.plural: kind for kind in self._types.values()}
        for table in self._session.work.stored.values():
            kind = known.get(table.name)
            if kind is None:
                columns = [column.name for column in table.columns if column.references == self._types[PERSON].plural]
                count = sum(self._storage.count(table.name, In(c, tuple(self.persons))) for c in columns)
                if count:
                    yield table.name, table.owner, count
                continue
            for column in table.columns[len(kind.table.columns) :]:
                place = table.column_names.index(column.name)
                count = sum(row[place] is not None for rows in self.rows(kind.name) for row in rows)
                if count:
                    yield f"{table.name}.{column.name}", column.owner, count

    def _known(self) -> dict[str, Set[int]]:
        names = {**self.present, **self.deleted}
        return {name: self.present.get(name, set()) | self.deleted.get(name, set()) for name in names}

    # Records that are there

    def _search(self, begin: Mapping[str, set[int]]) -> None:
        waiting = list(begin.items())
        for name, ids in waiting:
            self.present.setdefault(name, set()).update(ids)
        while waiting:
            name, ids = waiting.pop()
            for other, field in self._session.registry.references_to(name):
                if other.name == PERSON:  # who points at the person is another person
                    continue
                for where in pieces(field.column, ids):
                    fresh = {
                        cast(int, row[0])
                        for row in self._storage.find(other.plural, where)
                        if self._is_about(other, _cells(other, row))
                    } - self.present.get(other.name, set())
                    self._seen(len(fresh))
                    if fresh:
                        self.present.setdefault(other.name, set()).update(fresh)
                        waiting.append((other.name, fresh))

    def _search_mentioned(self, ids_of: Mapping[str, set[int]]) -> None:
        """Add records that hold an address of the person and name nobody, there or deleted, and what points at them."""
        there: dict[str, set[int]] = {}
        for name, ids in ids_of.items():
            rows = self._storage.get_many(self._types[name].plural, sorted(ids))
            there[name] = {cast(int, row[0]) for row in rows}
            self.deleted.setdefault(name, set()).update(ids - there[name])
        self._search({name: ids for name, ids in there.items() if ids})
        self._search_deleted()

    def _is_about(self, kind: RecordType, cells: Mapping[str, Primitive]) -> bool:
        named = {cells.get(column) for column in self._naming(kind)} - {None}
        return not named or bool(named & self.persons)

    def _naming(self, kind: RecordType) -> list[str]:
        return [field.column for field in kind.fields.values() if field.declaration.references == PERSON]

    # Records that were deleted

    def _search_deleted(self) -> None:
        """Go through the images of deleted records until none is found that points at one that is known."""
        self.deleted[PERSON] = self.persons - self.present[PERSON]
        pointing = self._pointing()
        grown = {PERSON, *self.present}
        while grown:
            before, grown = grown, set[str]()
            for kind, fields in pointing:
                if kind.name == NAMES or before & {field.declaration.references for field in fields}:
                    grown |= self._search_images(kind, fields)

    def _pointing(self) -> list[tuple[RecordType, list[Field]]]:
        kinds = [kind for kind in self._types.values() if kind.name != PERSON]
        pointing = [(k, [f for f in k.fields.values() if f.declaration.references]) for k in kinds]
        return [(kind, fields) for kind, fields in pointing if fields or kind.name == NAMES]

    def _search_images(self, kind: RecordType, fields: Sequence[Field]) -> set[str]:
        found = self.deleted.setdefault(kind.name, set())
        count = len(found)
        names = {field.declaration.references for field in fields} if kind.name != NAMES else self._known().keys()
        known = set().union(*(ids for name, ids in self._known().items() if name in names))
        where = (Compare("table_name", "=", kind.plural), Compare("action", "=", "deleted"))
        for rows in paged(self._storage, And((*where, *naming(known)))) if known else ():
            for row in rows:
                cells = json.loads(str(row[5])) or {}
                if row[3] not in found and self._points_here(kind, fields, cells):
                    found.add(cast(int, row[3]))
        return {kind.name} if len(found) > count else set()

    def _points_here(self, kind: RecordType, fields: Sequence[Field], cells: Mapping[str, Primitive]) -> bool:
        if kind.name == NAMES:
            return self._knows(str(cells.get("record_type")), cells.get("record_id"))
        points = any(self._knows(field.declaration.references, cells.get(field.column)) for field in fields)
        return points and self._is_about(kind, cells)

    def _knows(self, name: str, record_id: Primitive) -> bool:
        return record_id in self.present.get(name, ()) or record_id in self.deleted.get(name, ())


def _cells(kind: RecordType, row: Row) -> dict[str, Primitive]:
    return dict(zip(kind.table.column_names, row, strict=False))
