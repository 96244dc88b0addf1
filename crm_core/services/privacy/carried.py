"""What merges carried from a person to others, where they came apart since: images of the others' records hold it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any, Final, cast

from crm_core.ledger.session import Session
from crm_core.query.ast import And, Compare, In
from crm_core.records import RecordType
from crm_core.records.schema import Row
from crm_core.services.privacy.images import paged, personal_columns, pieces

PERSON: Final = "customer"
_MOVES: Final = ("deleted", "restored")
"""What the ledger says of a customer when a merge takes them away, and when it comes apart."""


class Carried:
    """Follows values of `persons` through merges and their undoing, by the values themselves.

    `images` are those of other records that hold such a value, by id; `is_about` tells which records are theirs.
    """

    def __init__(self, session: Session, persons: Set[int], is_about: Callable[[RecordType, int], bool]) -> None:
        self._storage = session.storage
        self._types = {kind.plural: kind for kind in session.registry.types.values() if kind.name != "external_id"}
        self._person = session.registry.types[PERSON]
        self._is_about = is_about
        self._values: dict[tuple[str, str], set[Any]] = {}
        self._carriers: dict[str, set[int]] = {}
        self.images: dict[int, Row] = {}
        fresh = self._first(persons)
        while fresh:
            fresh = self._further(fresh)

    def living(self) -> dict[str, set[int]]:
        """Return others' records, by table, that say such a value now: somebody wrote it again."""
        found: dict[str, set[int]] = {}
        for table, ids in self._carriers.items():
            names = self._types[table].table.column_names
            for row in self._storage.get_many(table, sorted(ids)):
                cells = zip(names, row, strict=False)
                if any(cell in self._values.get((table, name), ()) for name, cell in cells if cell is not None):
                    found.setdefault(table, set()).add(cast(int, row[0]))
        tags = tuple(sorted(self._values.get((self._person.tags_table, "tag"), ())))
        for where in pieces(f"{PERSON}_id", self._carriers.get(self._person.plural, set())) if tags else ():
            rows = self._storage.find(self._person.tags_table, And((where, In("tag", tags))), columns=[where.column])
            found.setdefault(self._person.plural, set()).update(cast(int, row[0]) for row in rows)
        return {table: ids for table, ids in found.items() if ids}

    def _first(self, persons: Set[int]) -> dict[str, set[int]]:
        """Note what the person's own merges brought to others; returns who has it."""
        moves: dict[int, str] = {}
        for where in pieces("record_id", persons):
            for row in self._images(And((Compare("table_name", "=", self._person.plural), where))):
                if row[4] in _MOVES:
                    moves[cast(int, row[1])] = str(row[4])
        found: dict[str, set[int]] = {}
        for where in pieces("tx_id", moves.keys()):
            for row in self._images(where):
                parted = moves[cast(int, row[1])] == "restored"
                came = self._brought(row, parted=parted)
                for column, values in came.items():
                    self._values.setdefault((str(row[2]), column), set()).update(values)
                    found.setdefault(str(row[2]), set()).add(cast(int, row[3]))
        tags = self._values.get((self._person.plural, "tags"), set())
        self._values.setdefault((self._person.tags_table, "tag"), set()).update(tags)
        return found

    def _brought(self, row: Row, *, parted: bool) -> dict[str, set[Any]]:
        """Return what a merge brought to another's record, or (parted) what its undoing took away again, by column."""
        kind, record_id = self._types.get(str(row[2])), cast(int, row[3])
        content: Mapping[str, Any] = json.loads(str(row[5])) or {}
        if kind is None or self._is_about(kind, record_id) or row[4] not in ("updated", *_MOVES[: int(parted)]):
            return {}
        found = {}
        for column in personal_columns(kind) & content.keys():
            old, new = (content[column], None) if row[4] == "deleted" else content[column]
            gone, came = (_each(new), _each(old)) if parted else (_each(old), _each(new))
            if came - gone:
                found[column] = came - gone
        return found

    def _further(self, fresh: Mapping[str, set[int]]) -> dict[str, set[int]]:
        """Find the images of these records that hold such values; returns the records that took them on from these."""
        moves: set[int] = set()
        for table, ids in fresh.items():
            self._carriers.setdefault(table, set()).update(ids)
            for where in pieces("record_id", ids):
                rows = list(self._images(And((Compare("table_name", "=", table), where))))
                holding = {row[3] for row in rows if self._collect(row) and row[4] == "deleted"}
                moves |= {cast(int, row[1]) for row in rows if row[4] in _MOVES and row[3] in holding}
        self._collect_tags(fresh.get(self._person.plural, set()))
        found: dict[str, set[int]] = {}
        for where in pieces("tx_id", moves):
            for row in self._images(where):
                table, record_id = str(row[2]), cast(int, row[3])
                if record_id not in self._carriers.get(table, ()) and self._holds(row):
                    found.setdefault(table, set()).add(record_id)
        return found

    def _collect_tags(self, customers: set[int]) -> None:
        """Find tags of these customers that were taken off since."""
        if not customers or not self._values[self._person.tags_table, "tag"]:
            return
        where = And((Compare("table_name", "=", self._person.tags_table), Compare("action", "=", "deleted")))
        for row in self._images(where):
            if (json.loads(str(row[5])) or {}).get(f"{PERSON}_id") in customers:
                self._collect(row)

    def _collect(self, row: Row) -> bool:
        if not self._holds(row):
            return False
        self.images[cast(int, row[0])] = row
        return True

    def _holds(self, row: Row) -> bool:
        """Whether an image of another's record holds a value that was carried to such a column."""
        kind = self._types.get(str(row[2]))
        if kind is None or self._is_about(kind, cast(int, row[3])):
            return False
        content: Mapping[str, Any] = json.loads(str(row[5])) or {}
        for column, cell in content.items():
            carried = self._values.get((str(row[2]), column))
            if carried:
                sides = [cell] if row[4] == "deleted" else cell
                if any(carried & _each(side) for side in sides):
                    return True
        return False

    def _images(self, where: And | In) -> Iterator[Row]:
        for rows in paged(self._storage, where):
            yield from rows


def _each(cell: Any) -> set[Any]:
    """Return the values of a cell: none, one, or those of a list of tags."""
    return set(cell) if isinstance(cell, list) else {cell} - {None}


__all__ = ["Carried"]
