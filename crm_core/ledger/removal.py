"""Deleting records with their parts, and refusing while anything else points at them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from crm_core.errors import StillReferenced
from crm_core.extend import Storage
from crm_core.ledger.detached import counted, in_words
from crm_core.ledger.work import Edit, Transaction
from crm_core.query.ast import And, Compare, In
from crm_core.records import RecordType, Registry
from crm_core.records.schema import Row, Table
from crm_core.values import format_id


class Removal:
    """Removes records of one storage."""

    def __init__(self, storage: Storage, registry: Registry, stored: Mapping[str, Table]) -> None:
        """Take the tables as the storage keeps them too: also those of plugins that are not at work."""
        self._storage = storage
        self._registry = registry
        self._stored = stored

    def remove(self, tx: Transaction, kind: RecordType, ids: Sequence[int]) -> None:
        """Delete records and what is a part of them, children first; their external ids stay, marked deleted.

        Raises:
            StillReferenced: a record that is no part of them points at one of them.
        """
        doomed = self._with_parts(kind, ids)
        self._refuse_referenced(kind, doomed)
        for type_name, rows in reversed(doomed.items()):
            table = self._registry.types[type_name].table
            tx.delete(table, rows)
            self._mark_external_ids(tx, type_name, [cast(int, row[0]) for row in rows])

    def _with_parts(self, kind: RecordType, ids: Sequence[int]) -> dict[str, list[Row]]:
        doomed: dict[str, dict[int, Row]] = {}
        waiting = [(kind, self._storage.get_many(kind.plural, ids))]
        while waiting:
            owner, rows = waiting.pop()
            mine = doomed.setdefault(owner.name, {})
            fresh = {cast(int, row[0]): row for row in rows if row[0] not in mine}
            mine.update(fresh)
            for part, field in self._registry.references_to(owner.name) if fresh else ():
                if field.declaration.part_of:
                    waiting.append((part, self._storage.find(part.plural, In(field.column, tuple(fresh)))))
        return {name: list(rows.values()) for name, rows in doomed.items()}

    def _refuse_referenced(self, kind: RecordType, doomed: dict[str, list[Row]]) -> None:
        counts: dict[str, int] = {}
        detached: Counter[str] = Counter()
        for type_name, rows in doomed.items():
            ids = tuple(cast(int, row[0]) for row in rows)
            for other, field in self._registry.references_to(type_name) if ids else ():
                if field.declaration.part_of:
                    continue
                leaving = {row[0] for row in doomed.get(other.name, ())}
                pointing = self._storage.find(other.plural, In(field.column, ids), columns=["id"])
                count = sum(1 for row in pointing if row[0] not in leaving)
                if count:
                    counts[other.name] = counts.get(other.name, 0) + count
            left = counted(self._storage, self._stored, self._registry, self._registry.types[type_name].plural, ids)
            detached.update(sum(left.values(), Counter()))
        if counts:
            told = " and ".join(self._registry.types[name].counted(count) for name, count in counts.items())
            first = format_id(cast(int, doomed[kind.name][0][0]))
            raise StillReferenced(
                f"{kind.name} {first} is still referenced by {told}",
                hint=f"delete {'that' if sum(counts.values()) == 1 else 'those'} first, or point elsewhere",
            )
        if detached:
            first = format_id(cast(int, doomed[kind.name][0][0]))
            raise StillReferenced(
                f"{kind.name} {first} is still referenced by {in_words(detached)}",
                hint="crm plugins attach PLUGIN brings back who knows of that; crm plugins purge PLUGIN removes it",
            )

    def _mark_external_ids(self, tx: Transaction, type_name: str, ids: Iterable[int]) -> None:
        kind = self._registry.types["external_id"]
        where = And((Compare("record_type", "=", type_name), In("record_id", tuple(ids))))
        rows = self._storage.find(kind.plural, where)
        place = kind.table.column_names.index("state")
        tx.update(kind.table, [Edit(row, {"state": "deleted"}) for row in rows if row[place] in ("live", "merged")])
